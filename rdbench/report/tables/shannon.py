"""A section on a Gaussian source against theory: Shannon's curve, and the known optimum of each trial."""

import json

import numpy as np
import pandas as pd

from rdbench.datasets.gaussian import GaussianOptions, spectrum
from rdbench.numerics import theory
from rdbench.numerics.likelihood import distortion
from rdbench.report import calibration
from rdbench.report.sections import Section
from rdbench.report.tables.table import Cell, Column, Table, texts

POINTS = 400
"""Of the curve, half of them evenly spaced in the rate and half in its logarithm."""

FUNCTIONS_OF_MSE = ("half", "optimal_train", "optimal_shared")
"""The readings under which the least distortion is a function of the mean squared error alone; ``beta_half``
has a curve a beta, and ``optimal`` depends on each image's error. Under ``optimal_train`` it is that of
training images of the same mean error: no other variance is better for the test images."""


def reference(section: Section, reading: str, measure: str) -> pd.DataFrame | None:
    """Return Shannon's rate-distortion function of the section's source, for all of its dimensions.

    Columns rate (nats, ascending, over those of the section's points) and ``measure``: "mse", or "distortion"
    under the reading. None where the source is not Gaussian, where the measure is no function of the rate, or
    where there is no point.
    """
    if section.dataset != "gaussian" or not len(section.points):
        return None
    if measure == "distortion" and reading not in FUNCTIONS_OF_MSE:
        return None
    rates = section.points["rate"]
    rates = rates[np.isfinite(rates) & (rates > 0)]
    if not len(rates):
        return None
    eigenvalues = spectrum(GaussianOptions.model_validate_json(json.dumps(section.settings["dataset"])))
    low, high = float(rates.min()) / 2, float(rates.max()) * 1.1  # beyond the margins of the axes
    grid = np.union1d(np.linspace(0, high, POINTS // 2), np.geomspace(low, high, POINTS // 2))
    sse, n = theory.sse_at(eigenvalues, grid), len(eigenvalues)
    # Every image has the mean error: under a shared sigma^2 that is what the split's distortion depends on.
    splits = sse[:, None]
    heights = sse / n if measure == "mse" else distortion(reading, splits, 1.0, n, splits)[:, 0]
    drawn = np.isfinite(heights)  # at thousands of nats the error underflows to zero
    return pd.DataFrame({"rate": grid[drawn], measure: heights[drawn]})


def table(section: Section) -> Table | None:
    """Return the section's trials against the optimum that theory predicts; None where it predicts none."""
    if section.dataset != "gaussian":
        return None
    checks = calibration.checks(section.trials, section.points)
    if not checks:
        return None
    summary = calibration.summary(checks)
    caption = f"{summary[:1].upper()}{summary[1:]}."
    method = (
        "A linear model of a Gaussian source has a known optimum. Measured is the test split; rates are in"
        " nats, sse in squared units per image. From R(D): the rate less the least rate with which a"
        " code of as many dimensions as there are latents reaches the measured sse. Beside it: its share of"
        " that."
    )
    *heads, verdict = calibration.HEADINGS
    columns = [Column(heading, kind="key" if index < 3 else "number") for index, heading in enumerate(heads)]
    rows = []
    for check in checks:
        *cells, last = calibration.cells(check)
        rows.append((*texts(cells), Cell(last, mark="warning" if check.verdict == "off" else "")))
    return Table("theory", "Against theory", caption, (*columns, Column(verdict, kind="text")), tuple(rows),
                 method=method)  # fmt: skip
