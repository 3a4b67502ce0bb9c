"""What the trainings cost: time, throughput and memory, by variant and device."""

from typing import Any

import pandas as pd

from rdbench.report.numbers import ABSENT, number, seconds
from rdbench.report.sections import Section
from rdbench.report.tables.table import Cell, Column, Table

METHOD = (
    "Of the trials that were trained, diverged ones included. Images/s counts training alone, of one trial;"
    " trials that share a device divide it among them. Time is a trial's own: its share of its pack's where"
    " it was trained side by side with others. So the sum is device time. Memory is the peak of a worker's"
    " process, or of a GPU."
)


def table(section: Section) -> Table | None:
    """Return time, throughput and memory of each variant and device; None where nothing was trained."""
    trials = section.trials
    trained = trials[trials["seconds"].notna()]
    if not len(trained):
        return None
    devices = [device if isinstance(device, str) else "not recorded" for device in trained["device"]]
    rows = []
    for (variant, device), group in trained.assign(device=devices).groupby(["variant", "device"]):
        total = float(group["seconds"].sum())
        rows.append((
            Cell(str(variant)), Cell(str(device)), Cell(f"{len(group):,}", value=len(group)), _packs(group),
            _median(group["seconds"], seconds),
            _median(group["images_per_second"], lambda value: number(value, 0)),
            _median(group["peak_memory_bytes"] / 2**30, lambda value: f"{number(value, 2)} GiB"),
            Cell(seconds(total), value=total),
        ))  # fmt: skip
    columns = (
        Column("variant", kind="key"), Column("device", kind="key"), Column("trials"),
        Column("trials in a pack"), Column("time a trial, median"), Column("images/s, median"),
        Column("memory, median"), Column("time, all trials"),
    )  # fmt: skip
    caption = "What the trainings took; times are device time."
    return Table("cost", "Throughput and cost", caption, columns, tuple(rows), method=METHOD)


def _median(values: "pd.Series[Any]", text: Any) -> Cell:
    known = values.dropna()
    if not len(known):
        return Cell(ABSENT, "not recorded")
    median = float(known.median())
    return Cell(text(median), value=median)


def _packs(trials: pd.DataFrame) -> Cell:
    sizes = sorted({int(size) for size in trials["pack"].dropna()})
    if not sizes:
        return Cell(ABSENT, "not recorded")
    return Cell(f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}")
