"""Differences between variants on the same test images: smaller errors than two independent means have."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from rdbench.numerics.likelihood import READINGS, distortion
from rdbench.report.numbers import Estimate, interval, plain
from rdbench.report.sections import Section, records
from rdbench.report.statistics.series import BETA_HALF, READING_NAMES, says_nothing_of
from rdbench.report.tables.table import Cell, Column, Table

KEY = ("variant", "beta", "seed")

Key = tuple[str, float, int]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """ELBO of ``variant`` less that of ``baseline`` (nats per image), on the same images and seeds.

    ``standard_error`` is that of the mean of the images' differences; ``independent`` is what it would be
    if the two had been measured on different images. Both speak of the sampling of test images alone,
    given the trained models: how seeds vary is another question.
    """

    beta: float
    variant: str
    baseline: str
    mean: float
    standard_error: float
    independent: float
    images: int
    seeds: int


def _elbo_by_image(per_image: pd.DataFrame, points: pd.DataFrame, reading: str) -> dict[Key, Float64]:
    """Return the ELBO of each test image, in the order of the images, of each (variant, beta, seed)."""
    found: dict[Key, Float64] = {}
    for row in records(points[(points["split"] == "test") & (points["reading"] == reading)]):
        own = per_image[(per_image[list(KEY)] == [row[name] for name in KEY]).all(axis=1)].sort_values(
            "index"
        )
        if len(own) < 2 or not row["mse"] > 0:
            continue
        sse, rate = (own[name].to_numpy(np.float64) for name in ("sse", "rate"))
        elbo = -(distortion(reading, sse, row["beta"], round(row["sse"] / row["mse"])) + rate)
        if np.isfinite(elbo).all():
            found[row["variant"], row["beta"], row["seed"]] = elbo
    return found


def paired_differences(per_image: pd.DataFrame, points: pd.DataFrame, reading: str) -> list[Difference]:
    """Compare every two variants at each beta, image by image.

    Args:
        per_image: rows of the ``per_image`` table with variant, beta and seed.
        points: rows of the ``points`` table.
        reading: the reading of sigma^2.

    Returns:
        By beta; only where both variants have a seed in common and the same images. An image's ELBO is
        its mean over those seeds.
    """
    elbo = _elbo_by_image(per_image, points, reading)
    differences = []
    for beta in sorted({beta for _, beta, _ in elbo}):
        variants = sorted({variant for variant, own, _ in elbo if own == beta})
        for baseline, variant in combinations(variants, 2):
            pairs = [
                (values, elbo[baseline, beta, seed])
                for (name, own, seed), values in elbo.items()
                if (name, own) == (variant, beta) and (baseline, beta, seed) in elbo
            ]
            pairs = [(one, other) for one, other in pairs if len(one) == len(other) == len(pairs[0][0])]
            if pairs:
                one, other = np.mean(pairs, axis=0)
                differences.append(_difference(beta, variant, baseline, one, other, len(pairs)))
    return differences


def _difference(
    beta: float, variant: str, baseline: str, one: Float64, other: Float64, seeds: int
) -> Difference:
    """Return the difference of two rows of values of the same images."""
    root = math.sqrt(len(one))
    paired = float((one - other).std(ddof=1)) / root
    independent = math.hypot(float(one.std(ddof=1)), float(other.std(ddof=1))) / root
    mean = float((one - other).mean())
    return Difference(beta, variant, baseline, mean, paired, independent, len(one), seeds)


def table(section: Section, reading: str) -> Table | None:
    """Return the paired differences under a reading; None where no images were kept or none are shared."""
    # A likelihood of the model's own is no function of what was kept of each image.
    if not len(section.per_image) or reading not in READINGS:
        return None
    silent = says_nothing_of(section, reading)
    points = section.points[~section.points["variant"].isin(silent)]
    found = paired_differences(section.per_image, points, reading)
    if not found:
        return None
    caption = (
        "Difference in test ELBO, nats per image, of two variants at one β: the mean over images of each"
        " image's own difference (itself a mean over the seeds both have) ± its standard error, and beside"
        " it the standard error that two independent sets of images would give. Both are errors of sampling"
        " test images, for these trained models; how trainings vary is another question."
    )
    if any(says_nothing_of(section, each) for each in section.readings):
        caption += f" {BETA_HALF}"
    columns = (
        Column("β", kind="key"), Column("difference of", kind="key"), Column("mean ± s.e."),
        Column("s.e. if independent"), Column("images"), Column("seeds"),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(plain(each.beta)),
            Cell(f"{each.variant} − {each.baseline}"),
            Cell(interval(Estimate(each.mean, each.standard_error, n=2)), value=each.mean),
            Cell(f"{each.independent:.2g}", value=each.independent),
            Cell(f"{each.images:,}", value=each.images),
            Cell(str(each.seeds), value=each.seeds),
        )
        for each in found
    )
    return Table(f"paired_{reading}", READING_NAMES[reading], caption, columns, rows, folded=True)
