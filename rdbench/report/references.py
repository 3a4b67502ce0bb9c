"""Reference curves from files: read, checked, and written in the same forms.

Two forms are read. CompressAI's results (``results/image/*/*.json`` of its repository)::

    {"name": "JPEG", "results": {"bpp": [0.22, 0.33], "psnr": [23.8, 26.6]}}

and a CSV with a line a point, in the units that each line names::

    rate,unit,distortion,unit,name
    0.22,bits per pixel,23.8,dB,JPEG

A file does not say which images it was measured on: whether they are those of the results is for its user to
see to. May import ``statistics`` and what is below.
"""

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rdbench.errors import ResultsError, StorageError
from rdbench.numerics.likelihood import OWN, READINGS
from rdbench.report.sections import Section
from rdbench.report.statistics.curves import finite_points, mean_points
from rdbench.storage.places import Place, place
from rdbench.text import choose, one_line

NATS, BITS, BITS_PER_PIXEL = "nats per image", "bits per image", "bits per pixel"
RATE_UNITS = (NATS, BITS, BITS_PER_PIXEL)
UNITS = ("dB", "MSE", *(f"{NATS} at {reading}" for reading in (*READINGS, OWN)))
"""Of distortion: the PSNR, the squared error of a value in [0, 1], or a likelihood under a reading."""
HEADER = ("rate", "unit", "distortion", "unit", "name")
PSNR_NAMES = ("psnr", "psnr-rgb")
LARGEST = 1_000_000  # characters of a file

Source = str | os.PathLike[str] | Place


@dataclass(frozen=True)
class Reference:
    """A curve of somebody else's.

    Attributes:
        name: what charts and tables call it.
        unit: of the rates, one of :data:`RATE_UNITS`.
        quantity: "psnr" in dB, "mse" of a value in [0, 1], or a reading of sigma^2, whose distortion it is in
            nats per image.
        points: (rate, value), by ascending rate.
    """

    name: str
    unit: str
    quantity: str
    points: tuple[tuple[float, float], ...]

    def rows(self, section: Section) -> list[dict[str, Any]]:
        """Return its points in the units of a section: rate in nats per image, and what follows of the rest.

        That is ``bits_per_pixel``, and ``psnr`` and ``mse`` or ``distortion_<reading>``.
        """
        pixels = section.pixels
        nats = {NATS: 1.0, BITS: math.log(2), BITS_PER_PIXEL: math.log(2) * pixels}[self.unit]
        rows = []
        for rate, value in self.points:
            row = {"reference": self.name, "rate": rate * nats,
                   "bits_per_pixel": rate * nats / (pixels * math.log(2))}  # fmt: skip
            if self.quantity == "psnr":
                row |= {"psnr": value, "mse": 10 ** (-value / 10)}
            elif self.quantity == "mse":
                row |= {"mse": value} | ({"psnr": -10 * math.log10(value)} if value > 0 else {})
            else:
                row[f"distortion_{self.quantity}"] = value
            rows.append(row)
        return rows

    def points_like(self, section: Section, measure: str, reading: str) -> pd.DataFrame | None:
        """Return its points as ``points`` rows: beta (a number), seed 0, rate and ``measure``.

        ``measure`` is "mse" or "distortion". None where its quantity is another.
        """
        field = "mse" if measure == "mse" else f"distortion_{reading}"
        rows = [row for row in self.rows(section) if field in row]
        if not rows:
            return None
        return pd.DataFrame(
            [{"beta": float(index), "seed": 0, "rate": row["rate"], measure: row[field]}
             for index, row in enumerate(rows)]
        )  # fmt: skip


def read_all(sources: Source | Sequence[Source | Reference] | Reference | None) -> tuple[Reference, ...]:
    """Return the curves of files; those that are curves already, as they are.

    Raises:
        ResultsError: a file is not there or of neither form, or two curves have one name.
    """
    if sources is None:
        return ()
    several = [sources] if isinstance(sources, str | os.PathLike | Place | Reference) else list(sources)
    curves = [curve for one in several for curve in ([one] if isinstance(one, Reference) else read(one))]
    seen = set()
    for curve in curves:
        if (curve.name, curve.quantity) in seen:
            raise ResultsError(f"two reference curves are named {curve.name!r}; rename one in its file")
        seen.add((curve.name, curve.quantity))
    return tuple(curves)


def read(source: Source) -> list[Reference]:
    """Return the curves of a file, in either form.

    Raises:
        ResultsError: it is not there, or of neither form; the line names the place and the fix.
    """
    file = place(source)
    try:
        content = file.read_bytes()
    except (OSError, StorageError) as error:
        reason = getattr(error, "strerror", None) or one_line(str(error))
        raise ResultsError(f"{file}: cannot be read ({reason}); name a curve's JSON or CSV") from None
    try:
        text = content[: LARGEST + 1].decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ResultsError(f"{file}: is not UTF-8 text; name a curve's JSON or CSV") from None
    if len(text) > LARGEST:
        raise ResultsError(f"{file}: has over {LARGEST:,} characters, which no curve has; name another")
    return (
        _json(text, str(file), file.name) if text.lstrip().startswith(("{", "[")) else _csv(text, str(file))
    )


def _json(text: str, where: str, stem: str) -> list[Reference]:
    form = 'write {"name": "JPEG", "results": {"bpp": [...], "psnr": [...]}}, as CompressAI does'
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{where}: is no JSON ({one_line(str(error))}); {form}") from None
    results = data.get("results") if isinstance(data, dict) else None
    if not isinstance(results, dict):
        raise ResultsError(f"{where}: has no results; {form}")
    quality = next((name for name in PSNR_NAMES if name in results), None)
    if "bpp" not in results or quality is None:
        has = ", ".join(sorted(map(str, results))) or "nothing"
        raise ResultsError(f"{where}: results: bpp and psnr are needed, and it has {has}; {form}")
    rates, values = (_numbers(results[name], f"{where}: results: {name}") for name in ("bpp", quality))
    if len(rates) != len(values):
        raise ResultsError(
            f"{where}: results: {len(rates)} values of bpp and {len(values)} of {quality}; each point needs"
            " both"
        )
    name = str(data.get("name") or stem.rpartition(".")[0] or stem)
    return [_curve(name, BITS_PER_PIXEL, "psnr", zip(rates, values, strict=True), where)]


def _numbers(values: Any, where: str) -> list[float]:
    if not isinstance(values, list):
        raise ResultsError(f"{where}: is no list of numbers; write one value a point")
    return [_number(value, f"{where}[{index}]") for index, value in enumerate(values)]


def _number(value: Any, where: str) -> float:
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ResultsError(f"{where}: {value!r} is no finite number; write one, or leave the point out")
    return number


def _csv(text: str, where: str) -> list[Reference]:
    lines = [(number, row) for number, row in enumerate(csv.reader(io.StringIO(text)), start=1) if any(row)]
    head = tuple(name.strip().lower() for name in lines[0][1]) if lines else ()
    if head != HEADER:
        raise ResultsError(
            f"{where}: the first line is {','.join(head)[:60]!r}; write {','.join(HEADER)}, and a line a"
            " point"
        )
    points: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for number, row in lines[1:]:
        at = f"{where}: line {number}"
        if len(row) != len(HEADER):
            raise ResultsError(
                f"{at}: has {len(row)} values; write {len(HEADER)}: {','.join(HEADER)} (one with a comma in"
                " quotes)"
            )
        rate, unit, value, of, name = (part.strip() for part in row)
        if unit not in RATE_UNITS:
            raise ResultsError(f"{at}: unit of the rate: {unit!r} is not known; {choose(unit, RATE_UNITS)}")
        if of not in UNITS:
            raise ResultsError(f"{at}: unit of the distortion: {of!r} is not known; {choose(of, UNITS)}")
        if not name:
            raise ResultsError(f"{at}: the curve has no name; write one")
        pair = _number(rate, f"{at}: rate"), _number(value, f"{at}: distortion")
        quantity = {"dB": "psnr", "MSE": "mse"}.get(of) or of.removeprefix(f"{NATS} at ")
        points.setdefault((name, unit, quantity), []).append(pair)
    if not points:
        raise ResultsError(f"{where}: has no point; write a line for each below the first")
    return [_curve(*key, pairs, where) for key, pairs in points.items()]


def _curve(
    name: str, unit: str, quantity: str, points: Iterable[tuple[float, float]], where: str
) -> Reference:
    ordered = tuple(sorted(points))
    if not ordered:
        raise ResultsError(f"{where}: {name} has no point; write one value a point")
    if ordered[0][0] < 0:
        raise ResultsError(f"{where}: {name}: a rate of {ordered[0][0]:g}; rates are 0 or more")
    if quantity == "mse" and min(value for _, value in ordered) < 0:
        raise ResultsError(f"{where}: {name}: an MSE below 0; write squared errors of values in [0, 1]")
    return Reference(one_line(name), unit, quantity, ordered)


def to_csv(section: Section) -> str:
    """Return the curves of a section's variants: means over seeds, test split, in the form that is read.

    The PSNR is that of the mean squared error over images, where CompressAI has the mean of the images' PSNR.
    Collapsed and unstable models are left out.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(HEADER)
    for reading in section.readings:
        means = _means(section, reading)
        quantities = [("psnr_of_mse", "dB"), ("mse", "MSE")] if reading == section.readings[0] else []
        for column, unit in [*quantities, ("distortion", f"{NATS} at {reading}")]:
            for row in means.sort_values(["variant", "rate"]).to_dict("records"):
                if math.isfinite(row[column]):
                    writer.writerow([repr(row["rate"]), NATS, repr(row[column]), unit, row["variant"]])
    return lines.getvalue()


def to_compressai(section: Section, variant: str) -> str | None:
    """Return a variant's curve as CompressAI's results have one; None where it has no PSNR."""
    means = _means(section, section.readings[0]) if section.readings else pd.DataFrame()
    rows = means[means["variant"] == variant].sort_values("rate") if len(means) else means
    rows = rows[rows["psnr_of_mse"].notna()] if len(rows) else rows
    if not len(rows):
        return None
    bits = rows["rate"] / (section.pixels * math.log(2))
    data = {
        "name": variant,
        "description": f"{section.dataset}, protocol {section.protocol}, means over seeds; the rate is"
        " KL(q(z|x) || p(z)); PSNR of the mean squared error",
        "results": {"bpp": bits.tolist(), "psnr": rows["psnr_of_mse"].tolist()},
    }
    return json.dumps(data, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def _means(section: Section, reading: str) -> pd.DataFrame:
    means = mean_points(finite_points(section.points, "test", reading))
    kept = [key not in section.states for key in zip(means["variant"], means["beta"], strict=True)]
    return means[pd.Series(kept, index=means.index, dtype=bool)]
