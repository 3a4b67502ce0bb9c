"""Which stored pictures the page shows: few, always the same, unaltered, within a budget of bytes."""

import base64
from dataclasses import dataclass
from typing import cast

import pandas as pd

from rdbench.report.curves import spaced
from rdbench.report.gather import Section
from rdbench.report.numbers import plain

STEPS = ((6, 8), (6, 6), (6, 4), (4, 4), (3, 3), (2, 2), (1, 1))
"""(betas a variant, pictures a strip), from the most that is shown to the least; the first that fits is."""

KINDS = ("original", "reconstruction", "sample")
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Strip:
    """Pictures in a row: what they are, and each as a data URI."""

    label: str
    uris: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """The pictures of one trial. ``originals`` is None where they are those of the trial before."""

    variant: str
    beta: str
    seed: int
    originals: Strip | None
    reconstructions: Strip
    samples: Strip


@dataclass(frozen=True)
class Pictures:
    """The pictures of a section, and what to know about them."""

    trials: tuple[Picture, ...]
    count: int
    notes: tuple[str, ...]


def choose(section: Section, budget: int) -> Pictures | None:
    """Choose a section's pictures: by position and index, never by looks.

    Args:
        section: its ``images`` are PNG bytes, stored clipped to [0, 1].
        budget: bytes the data URIs may take together.

    Returns:
        None where no trial has stored any, or where one picture a strip is already too much.
    """
    images = section.images
    if not len(images):
        return None
    whole = images[[isinstance(png, bytes) and png.startswith(_PNG) for png in images["png"]]]
    # One training stands for each variant and beta: that of the lowest seed.
    shown = whole[whole["seed"] == whole.groupby(["variant", "beta"])["seed"].transform("min")]
    for betas, count in STEPS:
        kept = [spaced(rows["beta"].tolist(), betas) for _, rows in shown.groupby("variant")]
        names = [variant for variant, _ in shown.groupby("variant")]
        pick = pd.Series(False, index=shown.index)
        for variant, values in zip(names, kept, strict=True):
            pick |= (shown["variant"] == variant) & shown["beta"].isin(values)
        chosen = shown[pick & (shown["index"] < count)]
        trials = _trials(chosen)
        strips = [s for t in trials for s in (t.originals, t.reconstructions, t.samples) if s]
        if trials and sum(len(uri) for strip in strips for uri in strip.uris) <= budget:
            return Pictures(tuple(trials), count, _notes(len(images) - len(whole), shown, chosen))
    return None


def _trials(chosen: pd.DataFrame) -> list[Picture]:
    pictures = []
    before: Strip | None = None
    for key, rows in chosen.groupby(["variant", "beta", "seed"]):
        variant, beta, seed = cast(tuple[str, float, int], key)
        original, reconstruction, sample = (_strip(kind, rows) for kind in KINDS)
        # Under protocol paper each trial has its own augmented originals.
        own = None if original == before else original
        before = original
        pictures.append(Picture(variant, plain(beta), seed, own, reconstruction, sample))
    return pictures


def _strip(kind: str, rows: pd.DataFrame) -> Strip:
    own = rows[rows["kind"] == kind].sort_values("index")
    uris = tuple(f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in own["png"])
    return Strip({"original": "test images", "reconstruction": "reconstructions",
                  "sample": "prior samples"}[kind], uris)  # fmt: skip


def _notes(broken: int, shown: pd.DataFrame, chosen: pd.DataFrame) -> tuple[str, ...]:
    notes = []
    every, some = (frame[["variant", "beta"]].drop_duplicates() for frame in (shown, chosen))
    if len(some) < len(every):
        notes.append(
            f"{len(some)} of {len(every)} pairs of variant and beta are shown, evenly spaced in beta."
        )
    if broken:
        notes.append(f"{broken} stored pictures are left out: they are not PNG files.")
    return tuple(notes)
