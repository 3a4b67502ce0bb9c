"""From a section's rows to the report's tables and sentences; no HTML here."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from rdbench.metrics import FINDINGS
from rdbench.report.curves import Estimate, estimate
from rdbench.report.gather import VARIES, Section, records
from rdbench.report.numbers import ABSENT, count, interval, plain

READING_NAMES = {
    "half": "σ² = 1/2",
    "beta_half": "σ² = β/2",
    "optimal": "σ² optimal for each image",
    "optimal_shared": "σ² optimal, one for all images",
}

DETAILS = (
    ("test ELBO", "test", "elbo"),
    ("train ELBO", "train", "elbo"),
    ("test rate", "test", "rate"),
    ("test distortion", "test", "distortion"),
    ("test MSE", "test", "mse"),
    ("test PSNR, dB", "test", "psnr"),
    ("test bits per value", "test", "bits_per_dim"),
)
"""Columns of a reading's table of details: heading, split, measure."""

ABSENT_BECAUSE = dict.fromkeys(("psnr", "bits_per_dim"), "defined for images in [0, 1] only")

WITHOUT_ERROR = {"done": "its table of points is not there or cannot be read"}

Key = tuple[str, float]


@dataclass(frozen=True)
class Cell:
    """One table cell: what it shows, what to know about it, and whether it is the best of its kind."""

    text: str
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Column:
    """One column of the ELBO table; ``native``: the variant's loss is this reading's likelihood."""

    reading: str
    variant: str
    native: bool


@dataclass(frozen=True)
class ElboTable:
    """Test ELBO: a row a beta, a column a reading and variant; ``seeds`` lists how many a cell may have."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[float, tuple[Cell, ...]], ...]
    seeds: tuple[int, ...]


def keys(section: Section) -> list[Key]:
    """Return every (variant, beta) that was trained or asked for, sorted."""
    frames = (section.trials, section.missing)
    return sorted({key for frame in frames for key in zip(frame["variant"], frame["beta"], strict=True)})


def losses(section: Section) -> dict[Key, str]:
    """Return, by (variant, beta), what keeps it from all its seeds: "2 diverged, 1 missing"."""
    found: dict[Key, Counter[str]] = {}
    bad = section.trials[section.trials["status"] != "done"]
    for variant, beta, status in zip(bad["variant"], bad["beta"], bad["status"], strict=True):
        found.setdefault((variant, beta), Counter())[str(status)] += 1
    for variant, beta in zip(section.missing["variant"], section.missing["beta"], strict=True):
        found.setdefault((variant, beta), Counter())["not trained yet"] += 1
    return {
        key: ", ".join(f"{amount} {what}" for what, amount in sorted(counter.items()))
        for key, counter in found.items()
    }


def estimates(points: pd.DataFrame, split: str, reading: str, measure: str) -> dict[Key, Estimate]:
    """Return the estimate over seeds of each (variant, beta) that has a finite value."""
    rows = points[(points["split"] == split) & (points["reading"] == reading)]
    found = {}
    for key, values in rows.groupby(["variant", "beta"])[measure]:
        if (value := estimate(values.tolist())) is not None:
            found[cast(Key, key)] = value
    return found


def best(found: dict[Key, Estimate]) -> Key | None:
    """Return the (variant, beta) with the highest mean; None where there is none."""
    return max(found, key=lambda key: found[key].mean, default=None)


def _cell(
    value: Estimate | None, lost: str | None, *, best: bool = False, show_n: bool = False, absent: str = ""
) -> Cell:
    if value is None:
        return Cell(ABSENT, lost or absent or "not a finite number")
    notes = [f"n = {value.n}"] if show_n else []
    return Cell(interval(value), ", ".join([*notes, *([lost] if lost else [])]), best)


def elbo_table(section: Section) -> ElboTable:
    """Return the table of test ELBO (nats per image) by beta, reading and variant.

    The best of each reading is marked; values under different readings are bounds on different
    likelihoods and are not compared.
    """
    every = keys(section)
    variants = sorted({variant for variant, _ in every})
    lost = losses(section)
    found = {reading: estimates(section.points, "test", reading, "elbo") for reading in section.readings}
    winners = {
        reading: {key for key, value in values.items() if value.mean == values[top].mean}
        for reading, values in found.items()
        if (top := best(values)) is not None
    }
    seeds = tuple(sorted({value.n for values in found.values() for value in values.values()}))
    native = set()
    if len(section.points):
        rows = section.points[section.points["native"].astype(bool)]
        native = set(zip(rows["reading"], rows["variant"], strict=True))
    columns = tuple(Column(r, v, (r, v) in native) for r in section.readings for v in variants)

    def cell(column: Column, beta: float) -> Cell:
        key = (column.variant, beta)
        if key not in every:
            return Cell(ABSENT, "not asked for")
        top = key in winners.get(column.reading, ())
        return _cell(found[column.reading].get(key), lost.get(key), best=top, show_n=len(seeds) > 1)

    betas = sorted({beta for _, beta in every})
    return ElboTable(columns, tuple((b, tuple(cell(c, b) for c in columns)) for b in betas), seeds)


def details(section: Section, reading: str) -> list[tuple[str, str, list[Cell]]]:
    """Return rows (variant, beta, cells as in ``DETAILS``) of everything measured under a reading."""
    columns = [estimates(section.points, split, reading, measure) for _, split, measure in DETAILS]
    seeds = {value.n for values in columns for value in values.values()}
    lost = losses(section)
    rows = []
    for key in keys(section):
        measured = any(key in values for values in columns)
        cells = [
            _cell(
                values.get(key),
                # Where the others were measured, a lost seed is not why this one was not.
                None if measured and key not in values else lost.get(key),
                show_n=len(seeds) > 1,
                absent=ABSENT_BECAUSE.get(measure, ""),
            )
            for values, (_, _, measure) in zip(columns, DETAILS, strict=True)
        ]
        rows.append((key[0], plain(key[1]), cells))
    return rows


@dataclass(frozen=True)
class MetricTable:
    """Proxy metrics: a column for each way of measuring, a row for each variant and beta.

    Attributes:
        columns: the heads.
        legend: for each column how it was measured; only values measured alike share a column.
        rows: (variant, beta, a cell for each column).
        remarks: what single values warn of, each once.
    """

    columns: list[str]
    legend: list[str]
    rows: list[tuple[str, str, list[str]]]
    remarks: list[str]


def metrics(section: Section) -> MetricTable:
    """Return the proxy metrics; seeds are a mean with its interval.

    A value that could not be measured shows the last line of its reason.
    """
    values: dict[tuple[str, str], dict[tuple[str, float], list[float]]] = {}
    reasons: dict[tuple[str, str], dict[tuple[str, float], str]] = {}
    remarks: dict[str, None] = {}
    for row in records(section.metrics):
        settings = json.loads(row["settings"])
        place = (row["variant"], row["beta"])
        key = _measured_how(row, settings)
        values.setdefault(key, {}).setdefault(place, []).append(row["value"])
        if "error" in settings:
            reasons.setdefault(key, {})[place] = str(settings["error"]).strip().splitlines()[-1]
        if "warning" in settings:
            remarks[f"{key[0]}: {settings['warning']}"] = None
    keys = sorted(values)
    names = Counter(name for name, _ in keys)
    seen: Counter[str] = Counter()
    columns = []
    for name, _ in keys:
        seen[name] += 1
        columns.append(f"{name} ({seen[name]})" if names[name] > 1 else name)
    rows = []
    for variant, beta in sorted({place for found in values.values() for place in found}):
        cells = []
        for key in keys:
            found = values[key].get((variant, beta))
            reason = reasons.get(key, {}).get((variant, beta))
            cell = _cell(estimate(found) if found else None, reason, absent="not measured")
            cells.append(f"{cell.text} {cell.note}".strip())
        rows.append((variant, plain(beta), cells))
    legend = [f"{column}: {how}" for column, (_, how) in zip(columns, keys, strict=True)]
    return MetricTable(columns, legend, rows, list(remarks))


def _measured_how(row: dict[str, Any], settings: dict[str, Any]) -> tuple[str, str]:
    """Return a metric's name, with its quantity and reading, and all else that a comparison rests on."""
    quantity, reading = settings.get("quantity"), settings.get("reading")
    parts = [row["name"], quantity if quantity != row["name"] else None, reading]
    shown = {
        name: value
        for name, value in settings.items()
        if name not in FINDINGS | {"quantity", "reading", "readings"} and value is not None
    }
    how = [f"{name} {value}" for name, value in shown.items()] + [f"protocol {row['protocol']}"]
    if isinstance(row["feature_hash"], str):  # else null, which is not a number to pandas
        how.append(f"feature weights {row['feature_hash'][:8]}")
    name = " ".join(part for part in parts if part)
    if settings.get("network") not in (None, "published"):
        name += ", not with the published weights"  # no stand-in goes by the name of the real thing
    return name, ", ".join(how)


def failures(section: Section) -> pd.DataFrame:
    """Return trial, variant, beta, seed, status, error of every trial without points, and why.

    A finished trial whose points cannot be read is among them: it has no place in any curve either.
    """
    columns = ["trial", "variant", "beta", "seed", "status", "error"]
    trials = section.trials
    with_points = set(section.points["trial"]) if len(section.points) else set()
    rows = trials[(trials["status"] != "done") | ~trials["trial"].isin(with_points)][columns].copy()
    rows["error"] = [
        error if isinstance(error, str) and error else WITHOUT_ERROR.get(status, "no reason was recorded")
        for status, error in zip(rows["status"], rows["error"], strict=True)
    ]
    return rows.sort_values(["variant", "beta", "seed"], ignore_index=True)


def missing(section: Section) -> list[tuple[str, str, str]]:
    """Return rows (variant, beta, seeds) of the trials the sweep asked for that are not there."""
    seeds: dict[Key, list[int]] = {}
    for variant, beta, seed in sorted(zip(*(section.missing[name] for name in VARIES), strict=True)):
        seeds.setdefault((variant, beta), []).append(seed)
    return [(variant, plain(beta), ", ".join(map(str, own))) for (variant, beta), own in seeds.items()]


def progress(section: Section) -> str:
    """Say how many trainings were asked for and what became of them."""
    amounts = Counter(section.trials["status"])
    done = amounts.pop("done", 0)
    total = len(section.trials) + len(section.missing)
    parts = [f"{done:,} of {count(total, 'training')} done"]
    parts += [f"{amount:,} {status}" for status, amount in sorted(amounts.items())]
    if len(section.missing):
        parts.append(f"{len(section.missing):,} not trained yet")
    return ", ".join(parts)


def of_seeds(value: Estimate) -> str:
    """Say what an estimate rests on."""
    if value.half_width is None:
        return "one training, n = 1"
    return f"mean of {value.n} seeds, 95% interval ± {interval(value).rpartition('± ')[2]}"


def findings(section: Section) -> list[str]:
    """Return one sentence a reading: which variant and beta has the best test ELBO, and its value."""
    sentences = []
    for reading in section.readings:
        found = estimates(section.points, "test", reading, "elbo")
        top = best(found)
        if top is not None:
            value = found[top]
            mean = interval(value).partition(" ±")[0]
            sentences.append(
                f"{READING_NAMES[reading]}: best test ELBO {mean} nats per image,"
                f" {top[0]} at β = {plain(top[1])} ({of_seeds(value)})."
            )
    return sentences
