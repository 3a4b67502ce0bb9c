"""How often the page's verdicts, bands and BD-rates are right on simulated pages, whose truth is known.

    uv run python tools/simulated_verdicts.py --pages 1000

Prints a line a scenario: what is true, and in how many of 100 pages the page says so. Some minutes on one
core.
"""

import argparse
import itertools
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from simulated_pages import band_holds, grid, page

from rdbench.report.statistics.bd_rate import bd_rate_between
from rdbench.report.tables import claims

HALF_WIDTH = 2.776 * math.sqrt(2 / 5)
"""Of the 95% interval of a difference of two means of five seeds of unit spread, nats."""


def share(values):
    return f"{100 * np.mean(values):5.1f} of 100 ({len(values)})"


SCENARIOS = {
    "no difference": 0.0,
    "half a half-width": 0.5,
    "half an interval": 1.0,
    "three half-widths": 3.0,
    "three intervals": 6.0,
    "three intervals the other way": -6.0,
    "three intervals, but equal at one beta": [6.0, 6.0, 0.0, 6.0, 6.0],
    "three intervals, but as many worse at one": [6.0, 6.0, -6.0, 6.0, 6.0],
}
"""What is true: by how many half-widths of an interval BS-VAE is better, at every beta or one by one."""


def is_shown(claim):
    return claim.p is not None and claim.p <= 0.05


def verdicts(pages):
    """Whole pages of two variants, five betas, five seeds."""
    for name, lead in SCENARIOS.items():
        generator = np.random.default_rng(0)
        found = [claims.claims(page(generator, np.multiply(lead, HALF_WIDTH))) for _ in range(pages)]
        for what, place in (("C2, central", 0), ("C4, likelihood", 6), ("C5, likelihood", 8)):
            lines = [each[place] for each in found]
            held = share([each.verdict == "held" for each in lines])
            refuted = share([each.verdict == "did not hold" and is_shown(each) for each in lines])
            print(f"{name}: {what}: held {held}, opposite shown {refuted}", flush=True)
        compared = [[each for each in lines if each.number in ("C2", "C4", "C5")] for lines in found]
        print(f"{name}: any of C2, C4, C5 shown {share([any(map(is_shown, own)) for own in compared])}")


def bands(pages):
    """Bands about two equal curves."""
    for seeds, betas, correlation in itertools.product((3, 5, 10), (5, 9, 29), (0.0, 0.8)):
        generator = np.random.default_rng(0)
        held = [band_holds(generator, seeds, betas, 0.02, correlation) for _ in range(pages)]
        band, pointwise = zip(*held, strict=True)
        print(f"{seeds} seeds, {betas} betas, correlation {correlation}: the band holds zero at every rate in"
              f" {share(band)}, pointwise intervals in {share(pointwise)}", flush=True)  # fmt: skip


GRIDS = ((9, 9, True), (29, 29, True), (29, 9, True), (9, 29, False), (29, 29, False))
"""Betas of either curve, and whether the second is noisy; the linear coder's is not."""


def grids(pages):
    """BD-rates of equal curves."""
    for seeds, noise, (one, other, noisy) in itertools.product((3, 5), (0.02, 0.05, 0.1), GRIDS):
        generator = np.random.default_rng(0)
        sides = ((one, noise), (other, noise * noisy))
        found = [bd_rate_between(*(grid(generator, seeds, *side) for side in sides), "mse")
                 for _ in range(pages)]  # fmt: skip
        held = share([each.low <= 0 <= each.high for each in found if each.low is not None])
        gains = share([abs(each.gain) <= each.gain_half_width for each in found if each.gain_half_width])
        percent = [each.percent for each in found]
        print(f"{seeds} seeds, noise {noise}, {one} against {other} betas{'' if noisy else ' without noise'}:"
              f" BD-rate {np.mean(percent):+.2f} (spread {np.std(percent):.2f}) %, its interval holds zero in"
              f" {held}, that of the gain in {gains}", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--only", choices=["verdicts", "bands", "grids"])
    options = parser.parse_args()
    for run in (verdicts, bands, grids):
        if options.only in (None, run.__name__):
            run(options.pages)


if __name__ == "__main__":
    main()
