"""On simulated pages, whose truth is known, the verdicts are right as often as they say.

``tools/simulated_verdicts.py`` prints the same of more pages.
"""

import numpy as np
import pytest
from scipy.stats import nct, t
from simulated_pages import grid, page

from rdbench.report.statistics import band
from rdbench.report.statistics.bd_rate import bd_rate_between
from rdbench.report.statistics.difference import difference
from rdbench.report.statistics.verdict import Finding, every, judge
from rdbench.report.tables import claims

SEEDS = 5
INTERVAL = t.ppf(0.975, SEEDS - 1)
"""Half of an interval in standard errors."""


def leads(generator, truth, shared=3.0):
    """The differences of one page, paired by seed: ``truth`` of each in half-intervals of the mean."""
    size = INTERVAL * np.sqrt(2 / SEEDS)  # of the difference of two trainings of unit spread
    luck = shared * generator.normal(size=SEEDS)
    for place, lead in enumerate(truth):
        before, after = (luck + own for own in generator.normal(size=(2, SEEDS)))
        yield float(place), difference(dict(enumerate(before)), dict(enumerate(after + size * lead)))


def verdicts(generator, truth, pages):
    """The verdict of a page's one claim, that all of its differences are positive, over many pages."""
    for _ in range(pages):
        agrees, p, _ = every(dict(leads(generator, truth)))
        (judged,) = judge([Finding(agrees, p)])
        yield judged.verdict, judged.p <= 0.05


def shares(truth, pages=1000):
    found = list(verdicts(np.random.default_rng(7), truth, pages))
    held = np.mean([verdict == "held" for verdict, _ in found])
    refuted = np.mean([verdict == "did not hold" and shown for verdict, shown in found])
    return held, refuted


def test_of_no_difference_nothing_is_shown_in_93_to_97_of_100():
    held, refuted = shares([0.0])
    assert 0.93 <= 1 - held - refuted <= 0.97
    assert held == pytest.approx(0.025, abs=0.015)


def test_a_difference_of_half_an_interval_is_shown_as_often_as_the_test_has_power_and_never_the_other_way():
    held, refuted = shares([0.5])
    power = nct.sf(INTERVAL, SEEDS - 1, 0.5 * INTERVAL)
    assert held == pytest.approx(power, abs=0.04)
    assert refuted < 0.01
    interval = [abs(each.mean - 0.5 * INTERVAL * np.sqrt(2 / SEEDS)) <= each.half_width
                for _ in range(1000) for _, each in leads(np.random.default_rng(_), [0.5])]  # fmt: skip
    assert 0.93 <= np.mean(interval) <= 0.97


def test_a_difference_of_three_intervals_is_shown():
    assert shares([3.0])[0] >= 0.97
    assert shares([-3.0])[1] >= 0.97


def test_a_claim_about_every_beta_is_held_where_true_and_refuted_where_false_at_one():
    assert shares([3.0] * 5)[0] >= 0.93
    assert shares([3.0, 3.0, -3.0, 3.0, 3.0])[1] >= 0.93
    # Equal at one and far better at the others: the hardest of the untrue.
    held, refuted = shares([0.0, 6.0, 6.0, 6.0, 6.0])
    assert 1 - held - refuted >= 0.93
    assert held <= 0.045


def test_of_a_page_of_ten_untrue_claims_none_is_shown_in_93_to_97_of_100():
    generator, clean = np.random.default_rng(3), []
    for _ in range(1000):
        findings = [Finding(*every({0.0: lead})[:2]) for _, lead in leads(generator, [0.0] * 10, shared=0)]
        clean.append(all(each.p > 0.05 for each in judge(findings)))
    assert 0.93 <= np.mean(clean) <= 0.97


THREE_INTERVALS = 6 * INTERVAL * np.sqrt(2 / SEEDS)
"""Of a difference of two trainings of unit spread, nats."""


@pytest.mark.parametrize(("lead", "verdict"), [(THREE_INTERVALS, "held"), (-THREE_INTERVALS, "did not hold")])
def test_whole_pages_give_the_central_and_the_equal_beta_claim_their_verdict(lead, verdict, monkeypatch):
    monkeypatch.setattr(band, "DRAWS", 1000)
    generator = np.random.default_rng(2)
    for _ in range(8):
        found = claims.claims(page(generator, lead))
        central, equal = found[0], next(each for each in found if each.number == "C5")
        assert (central.verdict, equal.verdict) == (verdict, verdict)
        if lead < 0:
            assert central.reason == equal.reason == "its opposite is shown over seeds"


def test_whole_pages_without_a_difference_show_none_in_93_of_100(monkeypatch):
    monkeypatch.setattr(band, "DRAWS", 500)
    generator, clean = np.random.default_rng(1), []
    for _ in range(60):
        found = [each for each in claims.claims(page(generator, 0.0)) if each.number in ("C2", "C4", "C5")]
        clean.append(all(each.p > 0.05 for each in found if each.p is not None))
    assert np.mean(clean) >= 0.93


def test_numbers_at_the_edge_of_what_a_float_holds_are_left_out_without_a_warning(monkeypatch):
    monkeypatch.setattr(band, "DRAWS", 500)
    edges = [0.0, 1e-320, 1e-300, 1e154, 1e300, np.inf, np.nan, -1e300, 5e307]
    for seed in range(20):
        generator = np.random.default_rng(seed)
        own = page(generator, 1.0, seeds=1 + seed % 4)
        for column in ("rate", "distortion", "elbo", "mse"):
            values = own.points[column].to_numpy().copy()
            odd = generator.random(len(values)) < 0.1
            values[odd] = generator.choice(edges, len(values))[odd]
            own.points[column] = np.abs(values) if column in ("rate", "mse") else values
        claims.claims(own)
        parts = [own.points[own.points["variant"] == name] for name in ("bs_vae", "beta_vae")]
        for measure in ("mse", "distortion"):
            bd_rate_between(*(part[part["reading"] == "half"] for part in parts), measure)


@pytest.mark.parametrize("betas", [(9, 9), (29, 29), (29, 9), (9, 29)])
def test_equal_curves_come_out_equal_within_the_interval_whatever_the_grids(betas):
    generator = np.random.default_rng(5)
    found = [bd_rate_between(*(grid(generator, 5, own, 0.03) for own in betas), "mse") for _ in range(60)]
    assert np.mean([each.low <= 0 <= each.high for each in found]) >= 0.93
    assert abs(np.mean([each.percent for each in found])) < 7


def test_what_lies_between_few_points_is_part_of_the_interval_and_nothing_where_they_are_dense():
    generator = np.random.default_rng(5)

    def compared(*betas):
        sides = (grid(generator, 2, own, 0.0) for own in betas)  # seeds that do not differ
        return bd_rate_between(*(side.assign(distortion=784 * side["mse"]) for side in sides), "distortion")

    few, dense = compared(9, 29), compared(200, 150)
    assert abs(few.percent) > 5
    assert few.low <= 0 <= few.high
    assert dense.high - dense.low < 1.5
