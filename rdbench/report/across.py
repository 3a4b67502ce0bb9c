"""A grid as one section: a curve for every variant at every combination of the settings that it varies."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from rdbench.report.sections import Section
from rdbench.spec.grid import shown, values_of
from rdbench.spec.sweep import Sweep


def across(sections: Sequence[Section], sweeps: Iterable[Sweep]) -> list[Section]:
    """Return a section for each grid of which several combinations have results.

    Args:
        sections: those of single combinations, which stay as they are: what is compared within one shares
            all its settings.
        sweeps: what was asked for.
    """
    joined: dict[tuple[int, ...], Section] = {}
    for sweep in sweeps:
        values = {}
        for combination in sweep.combinations if sweep.grid else ():
            settings = _settings(sweep, *combination)
            for index, section in enumerate(sections):
                if section.settings == settings and len(section.points):
                    values[index] = values_of(list(sweep.grid), combination)
        for checksum in dict.fromkeys(sections[index].checksum for index in values):
            alike = tuple(index for index in values if sections[index].checksum == checksum)
            if len(alike) > 1:
                joined.setdefault(alike, _joined([(sections[index], values[index]) for index in alike]))
    return list(joined.values())


def _settings(sweep: Sweep, *combination: Any) -> dict[str, Any]:
    """Return the settings of the section that holds the trials of one combination."""
    train, model, dataset = (json.loads(part.model_dump_json()) for part in (*combination, sweep.dataset))
    return {"dataset": dataset, "protocol": sweep.protocol, "train": train, "model": model}


def _joined(members: Sequence[tuple[Section, Mapping[str, Any]]]) -> Section:
    """Return sections as one; the values of each are part of its variants' names."""
    first, varied = members[0]
    settings = json.loads(json.dumps(first.settings))
    for key in varied:
        part, _, name = key.partition(".")
        settings[part][name] = list({json.dumps(values[key]): values[key] for _, values in members}.values())
    readings = tuple(dict.fromkeys(reading for section, _ in members for reading in section.readings))
    section = Section(settings, first.checksum, readings, varied=tuple(varied))
    section.parts = [(shown(values), part) for part, values in members]
    for field in fields(Section):
        if isinstance(getattr(first, field.name), pd.DataFrame):
            suffixed = [(part, f", {shown(values)}") for part, values in members]
            setattr(section, field.name, renamed(field.name, suffixed))
    section.images = section.images.head(0)  # shown with their own combination
    return section


def renamed(frame: str, members: Sequence[tuple[Section, str]]) -> pd.DataFrame:
    """Return the rows of one frame of all sections, each section's suffix after its variants' names."""
    parts: list[tuple[pd.DataFrame, str]] = [(getattr(section, frame), suffix) for section, suffix in members]
    filled = [rows.assign(variant=rows["variant"] + suffix) for rows, suffix in parts if len(rows)]
    return pd.concat(filled, ignore_index=True) if filled else parts[0][0]
