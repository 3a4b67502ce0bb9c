"""Encoder and decoder apart: what the metric ``ais`` found, a row a (variant, beta)."""

from collections.abc import Sequence
from dataclasses import replace

from rdbench.report.sections import Section
from rdbench.report.statistics.series import Key, Series, proxies, remarks
from rdbench.report.tables.measured import BOUNDS, KEYS, LONG, over_seeds, rows_by_key
from rdbench.report.tables.table import Column, Table, numbered

METRIC = "ais"

_COLUMNS = {
    "elbo": "ELBO",
    "log_likelihood": "ln p(x) of the decoder",
    "inference_gap": "inference gap",
    "encoder_sse": "encoder's error",
    "encoder_rate": "encoder's rate",
    "decoder_rate": "decoder's rate at that error",
    "amortisation_gap": "amortisation gap",
    "gap": "bounds apart",
}
"""Quantities in the order of the table, and their headings; ``elbo`` and ``decoder_rate`` are differences."""


def table(section: Section) -> Table | None:
    """Return what of each model is its encoder and what its decoder; None where ``ais`` measured nothing.

    A row whose chains were too short is marked in the column of the bounds.
    """
    measured = [one for one in proxies(section) if one.metric == METRIC]
    columns = [column for name in _COLUMNS for column in _columns(name, measured)]
    if not any(column.values for column in columns):
        return None
    heads = numbered([_COLUMNS[column.title] for column in columns])
    shown = sorted({key for column in columns for key in (*column.values, *column.reasons)})

    def why(column: Series, key: Key) -> tuple[str, str]:
        return column.reasons.get(key, "not measured"), ""

    rows = []
    for key, cells in zip(shown, rows_by_key(shown, columns, why), strict=True):
        marked = [
            replace(cell, mark="warning", note="chains too short")
            if column.title == "gap" and key in column.warned
            else replace(cell, mark="")
            for column, cell in zip(columns, cells[len(KEYS) :], strict=True)
        ]
        rows.append((*cells[: len(KEYS)], *marked))
    notes = [f"{head}: {column.how}" for head, column in zip(heads, columns, strict=True) if column.how]
    notes += [f"Note. {line}" for line in remarks(section) if line.startswith(f"{METRIC} ")]
    caption = f"What the encoder wastes and what the decoder could do, nats per image. {over_seeds(columns)}"
    return Table(
        "decoders", "Encoder and decoder apart", caption, (*KEYS, *map(Column, heads)), tuple(rows),
        tuple(dict.fromkeys(notes)), method=_method(columns), folded=len(rows) >= LONG,
    )  # fmt: skip


def _method(columns: list[Series]) -> str:
    return (
        "By annealed importance sampling (metric ais): what the decoder could do with the best encoder there"
        " is. ELBO = ln p(x) − inference gap, both at the σ² of the training images. Of a difference between"
        " two variants, that of ln p(x) is the decoders' and that of the inference gap the encoders'."
        " Amortisation gap: the rate that the encoder spends over the decoder's own curve at the encoder's"
        " mean squared error. Rates, gaps and likelihoods are nats per image, errors are summed over an"
        " image, of a random part of the test images. Bounds apart: how far upper and lower bound of ln p(x)"
        " lie apart on the model's own samples. A gap is known to about so much. Where it is marked, chains"
        " are too short."
        f"{BOUNDS if any(column.signs for column in columns) else ''}"
    )


def _columns(name: str, measured: list[Series]) -> list[Series]:
    """Return the columns of a quantity, one a way of measuring."""
    if name == "elbo":
        pairs = (of("log_likelihood", measured), of("inference_gap", measured))
    elif name == "decoder_rate":
        pairs = (of("encoder_rate", measured), of("amortisation_gap", measured))
    else:
        return [replace(one, title=name, better=None) for one in of(name, measured)]
    return [_difference(name, *both) for both in zip(*pairs, strict=False)]


def of(name: str, measured: Sequence[Series]) -> list[Series]:
    """Return the series of one quantity of ``ais``, one a way of measuring."""
    whole = f"{METRIC}_{name}"
    return [one for one in measured if one.name == whole or one.name.removeprefix(f"{whole}_").isdigit()]


def _difference(name: str, one: Series, less: Series) -> Series:
    values = {
        key: {seed: value - less.values[key][seed] for seed, value in by_seed.items()
              if seed in less.values.get(key, {})}
        for key, by_seed in one.values.items()
    }  # fmt: skip
    found = {key: by_seed for key, by_seed in values.items() if by_seed}
    return Series(name, name, one.unit, None, values=found, reasons=less.reasons, states=one.states)
