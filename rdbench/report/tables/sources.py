"""Where a section's numbers come from: settings, data, code and machines; and what tells sections apart."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from rdbench import datasets
from rdbench.report import numbers
from rdbench.report.sections import Section, is_labelled_elsewhere
from rdbench.report.tables.table import Column, Table, texts
from rdbench.spec.plan import flat

PROTOCOLS = {
    "clean": "clean: train and test images as they are, every image.",
    "paper": "paper: images with the training augmentation, the last partial batch dropped, as the paper's"
    " released code evaluates.",
}


def flatten(settings: dict[str, Any]) -> dict[str, str]:
    """Return nested settings under dotted keys, their values as text."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in flat(settings).items()
    }


SHOWN = 3
"""Differing settings that a heading names; more are listed below it."""


def headings(sections: Sequence[Section]) -> list[tuple[str, str]]:
    """Return (dataset, protocol and the first few settings that differ; the further ones) of each section."""
    texts_of = [flatten(section.settings) for section in sections]
    keys = sorted({key for settings in texts_of for key in settings} - {"dataset.name", "protocol"})
    headings = []
    for index, (section, settings) in enumerate(zip(sections, texts_of, strict=True)):
        alike = [other for other, rival in enumerate(sections)
                 if (rival.dataset, rival.protocol) == (section.dataset, section.protocol)]  # fmt: skip
        differing = [key for key in keys if len({texts_of[other].get(key) for other in alike}) > 1]
        parts = [f"{key} {settings.get(key, 'not set')}" for key in differing]
        if [texts_of[other] for other in alike].count(settings) > 1:
            parts.insert(0, f"data {(section.checksum or 'unknown')[:12]}")
        heading = ", ".join([f"{section.dataset}, protocol {section.protocol}", *parts[:SHOWN]])
        if len(parts) > SHOWN:
            heading += f" ({alike.index(index) + 1} of {len(alike)})"
        headings.append((heading, ", ".join(parts[SHOWN:])))
    return headings


def settings(section: Section) -> Table:
    """Return the settings that all trials of a section share."""
    shared = flatten(section.settings)
    title, caption = (
        "Settings all these trials share",
        "What differs between the trials is variant, β and seed.",
    )
    elsewhere = section.trials["variant"].map(is_labelled_elsewhere).astype(bool)
    if elsewhere.any():
        caption += " Of networks trained elsewhere those of training and network do not hold."
    if len(elsewhere) and elsewhere.all():
        shared = {key: value for key, value in shared.items() if not key.startswith(("train.", "model."))}
    rows = tuple(map(texts, shared.items()))
    return Table("settings", title, caption, _COLUMNS, rows, folded=True)


def provenance(section: Section) -> Table | None:
    """Return what the trials were run with, the commonest value first; None where no trial was run."""
    trials = section.trials
    if not len(trials):
        return None
    started = pd.to_datetime(trials["started"], utc=True).dropna()
    dates = [f"{moment:%Y-%m-%d %H:%M} UTC" for moment in (started.min(), started.max()) if len(started)]
    skipped = trials["skipped_files"].dropna()
    entries = {
        "protocol": [PROTOCOLS.get(section.protocol, section.protocol)],
        "dataset checksum": [section.checksum] if section.checksum else [],
        "files left out of the dataset": [f"{int(skipped.max()):,}"] if len(skipped) else [],
        "images": _image_counts(section.points),
        "remarks on the data": data_remarks(section),
        "parameters of a model": _tally(f"{int(p):,}" for p in trials["parameters"].dropna()),
        "versions": _tally(map(_versions, _texts(trials["versions"], "not recorded"))),
        "commit": _tally(_texts(trials["commit"], "not run from a git checkout")),
        "device": _tally(_texts(trials["device"], "not recorded")),
        "host": _tally(_texts(trials["host"], "not recorded")),
        "started": [" to ".join(dict.fromkeys(dates))] if dates else [],
        "time, all trainings": [numbers.seconds(trials["seconds"].sum(min_count=1))],
    }
    absent = f"{numbers.ABSENT} not recorded"
    rows = tuple(texts((what, "; ".join(values) or absent)) for what, values in entries.items())
    return Table("provenance", "Data, code and machines", "", _COLUMNS, rows, folded=True)


_COLUMNS = (Column("what", kind="key"), Column("value", kind="text"))


def data_remarks(section: Section) -> list[str]:
    """Return how the data differed from those that are published, and what preparing them changed.

    Trials of an older rdbench have no remarks: theirs follow from how many images were measured.
    """
    noted = [text for text in section.trials.get("data_notes", ()) if isinstance(text, str)]
    if noted or "n_images" not in section.points:
        with contextlib.suppress(ValueError, TypeError):  # a folder may come from anywhere
            return list(dict.fromkeys(str(note) for text in noted for note in json.loads(text)))
        return []
    asked, train = section.settings["dataset"], section.settings["train"]
    remarks = []
    published = datasets.get(section.dataset).sizes if section.dataset in datasets.names() else None
    for split, number in zip(("train", "test"), published or (), strict=False):
        expected = min(asked.get(f"{split}_images") or number, number)
        if section.protocol == "paper":
            expected -= expected % train["batch_size"]
        measured = section.points.loc[section.points["split"] == split, "n_images"].unique()
        remarks += [f"{n:,} {split} images instead of {expected:,}" for n in measured if n != expected]
    return remarks


def _image_counts(points: pd.DataFrame) -> list[str]:
    if not len(points):
        return []
    counts = points.groupby("split")["n_images"].agg(["min", "max"]).astype(int)
    return [f"{split} {' to '.join(f'{n:,}' for n in dict.fromkeys(row))}"
            for split, row in zip(counts.index, counts.to_numpy().tolist(), strict=True)]  # fmt: skip


def _texts(column: "pd.Series[Any]", absent: str) -> list[str]:
    """Return a column's texts; one without any text has no string type, so it is not ``fillna``'s."""
    return [value if isinstance(value, str) else absent for value in column]


def _tally(values: Iterable[str]) -> list[str]:
    counter = Counter(values)
    if len(counter) < 2:
        return list(counter)
    return [f"{value} ({numbers.count(amount, 'trial')})" for value, amount in counter.most_common()]


def _versions(text: str) -> str:
    try:
        return ", ".join(f"{name} {version}" for name, version in json.loads(text).items())
    except (ValueError, AttributeError):
        return text
