"""The resolved sweep file in a results folder, and copies of its variants' files."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from rdbench.errors import ResultsError, SpecError, StorageError
from rdbench.registry import copies
from rdbench.registry.imports import Files
from rdbench.registry.source import find
from rdbench.spec.sweep import Sweep, dump_sweep, load_sweep
from rdbench.storage import paths, places
from rdbench.storage.places import Place, write_atomically


def stored_sweep(root: Place, overrides: Sequence[str] = ()) -> Sweep:
    """Return the resolved spec of a results folder.

    Raises:
        ResultsError: the folder is not a results folder.
        SpecError: its spec, or an override, is not valid.
    """
    file = root / "sweep.yaml"
    if not places.is_file(file):
        raise ResultsError(f"{root}: not a results folder (no sweep.yaml in it); give the folder that"
                           " 'rdbench sweep' wrote, results/<name>")  # fmt: skip
    if isinstance(root, Path):
        return load_sweep(file, overrides, stored=True)
    near = paths.cache_root() / "remote"
    for stem, files in copies.found(root).items():
        with contextlib.suppress(StorageError):  # no cache: then the variant is known by name alone
            copies.save(near, stem[:-17], files)
    return load_sweep(file, overrides, stored=True, folders=[near])


def variant_sources(root: Place) -> dict[str, Files]:
    """Return the variants' files in a results folder, by hash; edited copies are left out."""
    return {stem[-16:]: files for stem, files in copies.found(root).items()}


def save_sweep(root: Place, sweep: Sweep) -> None:
    """Write the resolved spec into the results folder, and copies of its variants' files.

    Raises:
        SpecError: one of them was edited since the sweep was read.
    """
    variants = []
    for variant in sweep.variants:
        if variant.source and (source := find(variant.source)).files:
            if source.code != variant.code:
                raise SpecError(f"{source.path} was edited just now; run the same command again")
            copy = copies.save(root, variant.name, source.files)
            variant = variant.model_copy(update={"source": f"{copy}:{source.declaration.symbol}"})
        variants.append(variant)
    stored = sweep.model_copy(update={"variants": tuple(variants)})
    write_atomically(root / "sweep.yaml", dump_sweep(stored).encode())
