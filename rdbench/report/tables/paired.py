"""Differences between variants on the same test images: smaller errors than two independent means have."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from rdbench.numerics.likelihood import READING_NAMES, READINGS, distortion
from rdbench.report.numbers import Estimate, interval, plain
from rdbench.report.sections import Section, records
from rdbench.report.statistics.series import beta_half, not_compared_under, values_by_seed
from rdbench.report.statistics.training_progress import mean_rise, progress
from rdbench.report.statistics.weights import NOT_EQUAL, OFF_CURVES, on_curves, weights
from rdbench.report.tables.table import Cell, Column, Table
from rdbench.report.tables.training_progress import RISE, ROSE, rise_cell
from rdbench.report.tables.weights import equal_weight_cell, weight_cell

Seeds = dict[int, npt.NDArray[np.float64]]


CAPTION = (
    "Difference in test ELBO of two variants at one β, nats per image, ± the standard error of its mean over"
    " test images."
)


@dataclass(frozen=True)
class PairedDifference:
    """ELBO of ``variant`` less that of ``baseline`` (nats per image), on the same images and seeds.

    ``standard_error`` is that of the mean of the images' differences; ``independent`` is what it would be
    if the two had been measured on different images. Both are errors of sampling test images alone.
    """

    beta: float
    variant: str
    baseline: str
    mean: float
    standard_error: float
    independent: float
    images: int
    seeds: int


def _elbos(per_image: pd.DataFrame, points: pd.DataFrame, reading: str) -> dict[float, dict[str, Seeds]]:
    """Return beta -> variant -> seed -> the ELBO of each test image, in the order of the images."""
    elbos: dict[float, dict[str, Seeds]] = {}
    images = {key: rows.sort_values("index") for key, rows in per_image.groupby(["variant", "beta", "seed"])}
    train = points[(points["split"] == "train") & (points["reading"] == reading)]
    train_sse = {(row["variant"], row["beta"], row["seed"]): row["sse"] for row in records(train)}
    for row in records(points[(points["split"] == "test") & (points["reading"] == reading)]):
        key = (row["variant"], row["beta"], row["seed"])
        rows = images.get(key)
        if rows is None or len(rows) < 2 or not row["mse"] > 0:
            continue
        sse, rate = (rows[name].to_numpy(np.float64) for name in ("sse", "rate"))
        n = round(row["sse"] / row["mse"])
        elbo = -(distortion(reading, sse, row["beta"], n, train_sse.get(key, math.nan)) + rate)
        if np.isfinite(elbo).all():
            elbos.setdefault(row["beta"], {}).setdefault(row["variant"], {})[row["seed"]] = elbo
    return elbos


def paired_differences(per_image: pd.DataFrame, points: pd.DataFrame, reading: str) -> list[PairedDifference]:
    """Compare every two variants at each beta, image by image.

    Args:
        per_image: rows of the ``per_image`` table with variant, beta and seed.
        points: rows of the ``points`` table.
        reading: of sigma^2.

    Returns:
        By beta; only where both variants have a seed in common and the same images. An image's ELBO is
        its mean over those seeds.
    """
    differences = []
    for beta, variants in sorted(_elbos(per_image, points, reading).items()):
        for (baseline, theirs), (variant, ours) in combinations(sorted(variants.items()), 2):
            pairs = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
            pairs = [(one, other) for one, other in pairs if len(one) == len(other) == len(pairs[0][0])]
            if pairs:
                one, other = np.mean(pairs, axis=0)
                error, n = float((one - other).std(ddof=1)), len(one)
                independent = math.hypot(float(one.std(ddof=1)), float(other.std(ddof=1)))
                differences.append(
                    PairedDifference(beta, variant, baseline, float((one - other).mean()),
                                     error / math.sqrt(n), independent / math.sqrt(n), n, len(pairs))
                )  # fmt: skip
    return differences


def _method(section: Section) -> str:
    method = (
        "The mean over images of each image's own difference, which is a mean over the seeds both have."
        " Beside it stands the standard error that two independent sets of images would give. Both are errors"
        " of sampling test images, for these trained models; how trainings vary is another question."
    )
    method += (
        f" {NOT_EQUAL} At equal w: the same difference, in the mean over test images, where both weigh the"
        " rate as the second does at this β. Each seed is interpolated in ln w between its neighbouring"
        f" weights. {OFF_CURVES} The 95% interval is over seeds."
    )
    method += f" {ROSE} Marked: more than the difference.{beta_half(section)}"
    return method


def table(section: Section, reading: str) -> Table | None:
    """Return the paired differences under a reading; None where no images were kept or none are shared."""
    # A likelihood of the model's own is no function of what was kept of each image.
    if not len(section.per_image) or reading not in READINGS:
        return None
    silent = not_compared_under(section, reading)
    points = section.points[~section.points["variant"].isin(silent)]
    differences = paired_differences(section.per_image, points, reading)
    if not differences:
        return None
    trainings, reasons = progress(section)
    found, unknown = weights(section)
    lines = on_curves(section, values_by_seed(section, "elbo", reading))

    def rose(pair: PairedDifference) -> tuple[Cell, Cell]:
        one, other = (trainings.get((name, pair.beta), {}) for name in (pair.variant, pair.baseline))
        both = [one, other] if not one.keys() & other.keys() else [
            {seed: side[seed] for seed in one.keys() & other.keys()} for side in (one, other)
        ]  # fmt: skip
        cells = [
            rise_cell(mean_rise(side.values(), reading), pair.mean, reasons.get((name, pair.beta), ""))
            for side, name in zip(both, (pair.variant, pair.baseline), strict=True)
        ]
        return cells[0], cells[1]

    columns = (
        Column("β", kind="key"), Column("difference of", kind="key"), Column("mean ± s.e."),
        Column("s.e. if independent"), Column("images"), Column("seeds"),
        Column("w, the first"), Column("w, the second"), Column("at equal w"),
        Column("the first", RISE), Column("the second", RISE),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(plain(pair.beta)),
            Cell(f"{pair.variant} − {pair.baseline}"),
            Cell(interval(Estimate(pair.mean, pair.standard_error, n=2)), value=pair.mean),
            Cell(f"{pair.independent:.2g}", value=pair.independent),
            Cell(f"{pair.images:,}", value=pair.images),
            Cell(str(pair.seeds), value=pair.seeds),
            *(weight_cell(found, (name, pair.beta), unknown) for name in (pair.variant, pair.baseline)),
            equal_weight_cell(lines, found, ((pair.baseline, pair.beta), pair.variant)),
            *rose(pair),
        )
        for pair in differences
    )
    return Table(f"paired_{reading}", READING_NAMES[reading], CAPTION, columns, rows, method=_method(section),
                 folded=True)  # fmt: skip
