"""A table as a pandas frame: numbers in full precision, what was not measured as NaN."""

import math
from typing import TYPE_CHECKING, Any

from rdbench.report.numbers import ABSENT
from rdbench.report.tables.table import Cell, Table
from rdbench.report.tables.write import headings

if TYPE_CHECKING:
    import pandas as pd


def to_frame(table: Table) -> "pd.DataFrame":
    """Return a table as a frame, whose columns are as in :func:`rdbench.report.tables.write.to_csv`.

    Its ``attrs`` has title, caption and notes.
    """
    import pandas as pd

    columns: dict[str, list[Any]] = {}
    for index, name in enumerate(headings(table)):
        cells = [row[index] for row in table.rows]
        columns[name] = [_content(cell) for cell in cells]
        extras: dict[str, list[Any]] = {
            "half_width": [math.nan if cell.half_width is None else cell.half_width for cell in cells],
            "n": [math.nan if cell.n is None else cell.n for cell in cells],
            "bound": [cell.sign for cell in cells],
            "note": [cell.note for cell in cells],
        }
        for suffix, values in extras.items():
            if any(value == value and value != "" for value in values):  # NaN is not equal to itself
                columns[f"{name} {suffix}"] = values
    frame = pd.DataFrame(columns)
    frame.attrs |= {"title": table.title, "caption": table.caption, "notes": list(table.notes)}
    return frame


def _content(cell: Cell) -> Any:
    if cell.value is not None:
        return cell.value
    return math.nan if cell.text == ABSENT else cell.text
