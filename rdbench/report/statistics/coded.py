"""Real bits in place of the KL: the points of the metric ``coded``, a curve of quantised, coded latents."""

import math
from collections import Counter
from typing import Any

import pandas as pd

from rdbench.metrics import stored
from rdbench.report.sections import Section, records

METRIC = "coded"
COLUMNS = ["variant", "beta", "seed", "step", "rate", "sse", "mse", "psnr"]


def coded_points(section: Section) -> pd.DataFrame:
    """Return what the models cost a coder and the error that it decodes to, a row a step of a trial.

    Columns variant, beta, seed, step (in mean posterior deviations), ``rate`` (nats an image of the real
    stream), ``sse`` (of an image), ``mse`` (of a value) and ``psnr`` (dB; missing of data that are no
    images). Only what was measured in the commonest way, so that all share a curve; of models that are not
    unstable. Empty without the metric.
    """
    if not len(section.metrics):
        return pd.DataFrame(columns=COLUMNS)
    n = _values_an_image(section.points)
    found: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in records(section.metrics[section.metrics["name"] == METRIC]):
        settings = stored.settings(row)
        if row["value"] is None or not math.isfinite(row["value"]) or "step" not in settings:
            continue
        if section.states.get((row["variant"], row["beta"])) == "unstable":
            continue
        way = settings.get("n_images"), settings.get("fit")
        key = (way, row["variant"], row["beta"], row["seed"], settings["step"])
        found.setdefault(key, {})[settings["quantity"]] = row["value"]
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    (common, _), *_ = Counter(way for way, *_ in found).most_common(1)
    rows = [
        (*key, values["bits"] * math.log(2), values["sse"], values["sse"] / n, values.get("psnr"))
        for (way, *key), values in found.items()
        if way == common and {"bits", "sse"} <= values.keys()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _values_an_image(points: pd.DataFrame) -> float:
    """Return how many values an image has, from a point's sums and means over them."""
    known = points[points["mse"] > 0].iloc[0]
    return float(round(known["sse"] / known["mse"]))
