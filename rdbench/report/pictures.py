"""Which stored pictures the page shows: always the same, by index, unaltered, within a budget of bytes."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rdbench.report.numbers import plain
from rdbench.report.sections import Section
from rdbench.report.statistics.curves import evenly_spaced

# (betas a variant, pictures a strip) of the grid; the first that fits into half the budget is taken.
STEPS = ((6, 8), (6, 6), (6, 4), (4, 4), (3, 3), (2, 2), (1, 1))
COUNTS = (8, 6, 4, 3, 2, 1)  # pictures a strip of the other betas, likewise, in the rest of the budget
LABELS = {"original": "test images", "reconstruction": "reconstructions", "sample": "prior samples"}
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """The pictures of one (variant, beta)."""

    key: str  # its name on the page, the same as in the charts
    variant: str
    beta: str
    seed: int
    strips: dict[str, list[str]]  # LABELS -> data URIs; without test images that are those of the one before


@dataclass(frozen=True)
class Pictures:
    """The pictures of a section: a grid of evenly spaced betas, the others, and what to know about them."""

    grid: tuple[Picture, ...]
    others: tuple[Picture, ...]
    count: int
    notes: tuple[str, ...]


def choose(section: Section, variants: Sequence[str], budget: int) -> Pictures | None:
    """Choose a section's pictures: by position and index, never by looks.

    ``budget`` is the bytes that the data URIs may take together. Returns None where no trial has stored any
    picture, or where one a strip is already too much.
    """
    images = section.images
    if not len(images):
        return None
    whole = images[[isinstance(png, bytes) and png.startswith(_PNG) for png in images["png"]]]
    broken = len(images) - len(whole)
    # One training stands for each variant and beta: that of the lowest seed.
    shown = whole[whole["seed"] == whole.groupby(["variant", "beta"])["seed"].transform("min")]
    for betas, count in STEPS:
        pick = pd.Series(False, index=shown.index)
        for variant, rows in shown.groupby("variant"):
            pick |= (shown["variant"] == variant) & shown["beta"].isin(
                evenly_spaced(rows["beta"].tolist(), betas)
            )
        grid = _pictures(shown[pick & (shown["index"] < count)], variants)
        if grid and (size := _size(grid)) <= budget / 2:
            others, dropped = _others(shown[~pick], variants, count, budget - size)
            notes = []
            if dropped:
                pairs = f"{dropped} other pairs of variant and β"
                notes.append(f"{pairs} have pictures that the page has no room for.")
            if broken:
                notes.append(f"{broken} stored pictures are left out: they are not PNG files.")
            return Pictures(grid, others, count, tuple(notes))
    return None


def _others(
    rest: pd.DataFrame, variants: Sequence[str], most: int, budget: float
) -> tuple[tuple[Picture, ...], int]:
    """Return (the pictures of the pairs outside the grid, how many of those pairs have no room)."""
    for count in (count for count in COUNTS if count <= most):
        others = _pictures(rest[rest["index"] < count], variants)
        if _size(others) <= budget:
            return others, 0
    return (), len(rest[["variant", "beta"]].drop_duplicates())


def _pictures(chosen: pd.DataFrame, variants: Sequence[str]) -> tuple[Picture, ...]:
    stored: dict[tuple[str, float, int], dict[str, list[str]]] = {}
    columns = ["variant", "beta", "seed", "kind", "index", "png"]
    for variant, beta, seed, kind, _, png in chosen[columns].sort_values(columns[:5]).itertuples(index=False):
        uri = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        stored.setdefault((variant, beta, seed), {}).setdefault(kind, []).append(uri)
    pictures = []
    before: list[str] | None = None
    for (variant, beta, seed), uris in stored.items():
        strips = {label: uris.get(kind, []) for kind, label in LABELS.items() if kind != "original"}
        # Stored without augmentation under either protocol, so they are the same for all of a data set.
        if (originals := uris.get("original", [])) != before:
            strips = {LABELS["original"]: originals} | strips
        before = originals
        key = f"{variants.index(variant)}/{beta:.12g}"
        pictures.append(Picture(key, variant, plain(beta), seed, strips))
    return tuple(pictures)


def betas(pictures: Sequence[Picture]) -> list[str]:
    """Return the betas of some pictures, in ascending order, each once."""
    return sorted({picture.beta for picture in pictures}, key=float)


def _size(pictures: Sequence[Picture]) -> int:
    return sum(len(uri) for picture in pictures for uris in picture.strips.values() for uri in uris)
