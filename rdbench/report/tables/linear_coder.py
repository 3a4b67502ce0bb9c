"""How the trained variants compare with the linear coder, which needs no training.

The linear coder (:mod:`rdbench.variants`, ``linear_coder``) is the best linear VAE of the training images'
covariance, in closed form. A curve above its curve is a statement about training or architecture, so each
variant is told how much more rate it needs, and how long it was trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rdbench.report.numbers import ABSENT, number
from rdbench.report.sections import Section
from rdbench.report.statistics.bd_rate import LEAST_RATE, BdRate, CurvePoints, bd_rate
from rdbench.report.statistics.claims import p_value
from rdbench.report.statistics.curves import finite_points
from rdbench.report.statistics.states import in_curves
from rdbench.report.statistics.verdict import Finding, Judgement
from rdbench.report.tables.bd_rate import baselines, is_linear_coder, is_trained
from rdbench.report.tables.table import Cell, Column, Table


@dataclass(frozen=True)
class Comparison:
    """A variant beside the linear coder: BD-rate at equal MSE, and the finding that it needs less rate."""

    rate: BdRate
    finding: Finding


def comparisons(section: Section, floor: float = LEAST_RATE) -> list[Comparison]:
    """Return how each trained variant compares with the section's linear coder; empty without one.

    Args:
        section: its test points at equal MSE decide.
        floor: rates up to it are left out, nats.
    """
    variants = sorted(section.points["variant"].unique()) if len(section.points) else []
    coder = next(iter(baselines(variants)), "")
    if not is_linear_coder(coder):
        return []
    points = in_curves(finite_points(section.points, "test", "half"), section.states, collapsed=True)
    curves = {name: CurvePoints(points[points["variant"] == name], "mse", floor) for name in variants}
    trained = length_of_training(section)
    rates = (bd_rate(curve, curves[coder], variant=name, name=coder)
             for name, curve in curves.items() if is_trained(name))  # fmt: skip
    return [Comparison(rate, _finding(rate, trained)) for rate in rates]


def _finding(rate: BdRate, trained: str) -> Finding:
    if rate.percent is None:
        return Finding(None, reason=rate.reason)
    size = number(abs(rate.percent), 1 if abs(rate.percent) < 1e6 else None)
    what = f"needs {size}% {'more' if rate.percent > 0 else 'less'} rate than the linear coder"
    if rate.low is not None and rate.high is not None:
        what += f" (95% interval {number(rate.low, 1)} to {number(rate.high, 1)}%)"
    overlap = (
        "" if rate.overlap is None else f" over {number(100 * rate.overlap, 0)}% of the errors either reaches"
    )
    return Finding(rate.percent < 0, rate.p, f"{what}{overlap}; {trained}", rate.reason)


def length_of_training(section: Section) -> str:
    """Return how long a section's trials were trained: "trained for 20 epochs of 1,437 images"."""
    epochs, images = (section.settings.get(key, {}) for key in ("train", "dataset"))
    amount = None if images.get("validation") else images.get("train_images")
    if amount is None and len(section.points):
        trained = section.points.loc[section.points["split"] == "train", "n_images"]
        amount = int(trained.max()) if len(trained) else None
    of = "" if amount is None else f" of {amount:,} images"
    length = epochs.get("epochs")
    if isinstance(length, list | tuple):  # of a grid
        length = " or ".join(map(str, length))
    return (
        f"trained for {length} epochs{of}"
        if length is not None
        else f"trained{of and f' on {amount:,} images'}"
    )


def table(found: Sequence[Comparison], judged: Sequence[Judgement]) -> Table | None:
    """Return a row for each variant; None where there is no linear coder.

    Args:
        found: :func:`comparisons` of a section.
        judged: their verdicts, from the correction over the whole page.
    """
    if not found:
        return None
    rows = tuple(
        (Cell(each.rate.variant),
         Cell(judgement.verdict, mark="warning" if each.finding.agrees is False else ""),
         Cell(ABSENT if judgement.p is None else p_value(judgement.p).removeprefix("= "), value=judgement.p),
         Cell(judgement.reason),
         Cell(each.finding.figures or ABSENT, value=each.rate.percent))
        for each, judgement in zip(found, judged, strict=True)
    )  # fmt: skip
    caption = "Whether a variant needs less rate than the linear coder for the same squared error."
    method = (
        "On average over the errors both reach (BD-rate). The linear coder is the best linear VAE of the"
        " training images' covariance, in closed form. What lies above it speaks of training or architecture."
        " Verdicts as of the paper's claims, after the same correction for all of this page."
    )
    columns = (
        Column("variant", kind="key"), Column("needs less rate", kind="text"), Column("p, corrected"),
        Column("why", kind="text"), Column("figures", kind="text"),
    )  # fmt: skip
    return Table("linear_coder", "Against the linear coder", caption, columns, rows, method=method)
