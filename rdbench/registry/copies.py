"""Copies of authors' files in a results folder, so that it can be evaluated without the author's.

A variant in one file is ``variants/<name>-<code>.py``; one of several the folder ``variants/<name>-<code>/``.
Metrics, datasets and feature networks are kept likewise, in ``plugins/``.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from rdbench.registry.imports import File, Files, alone, code_of
from rdbench.storage import places
from rdbench.storage.places import Place

FOLDER = "variants"
PLUGINS = "plugins"  # of metrics, datasets and feature networks


def save(root: Place, name: str, files: Files, folder: str = FOLDER) -> str:
    """Copy the files of a variant of this name into a results folder; return where its own is, relative."""
    stem = f"{folder}/{name}-{code_of(files)}"
    targets = [f"{stem}.py"] if len(files) == 1 else [f"{stem}/{file.name}" for file in files]
    for file, target in zip(files, targets, strict=True):
        places.write_atomically(root / target, file.text.encode())
    return targets[0]


def found(root: Place, folder: str = FOLDER) -> dict[str, Files]:
    """Return the files of variants that a results folder keeps, by <name>-<code>; edited ones left out."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in places.below(root / folder):
        if name.endswith(".py"):
            groups[name.partition("/")[0].removesuffix(".py")].append(name)
    copies = ((stem, _copy(root / folder, names, stem[-16:])) for stem, names in groups.items())
    return {stem: files for stem, files in copies if files}


def _copy(folder: Place, names: Iterable[str], code: str) -> Files | None:
    """Return the files of a copy, the variant's own first; None if they do not have their code."""
    files = []
    for name in sorted(names):
        path = folder / name
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
        imported_by = name.partition("/")[2] or alone(Path(name), text).name
        files.append(File(imported_by, str(path), text))
    for main in files:
        ordered = (main, *(file for file in files if file is not main))
        if code_of(ordered) == code:
            return ordered
    return None


def kept(path: Path, text: str) -> Files | None:
    """Return the files of a variant if its own is a copy that :func:`save` wrote, unedited; else None."""
    if path.stem[-17:] == "-" + hashlib.sha256(text.encode()).hexdigest()[:16]:
        return (alone(path, text),)
    for folder in path.parents:
        if folder.parent.name in (FOLDER, PLUGINS) and re.search(r"-[0-9a-f]{16}$", folder.name):
            names = [f"{folder.name}/{name}" for name in places.below(folder) if name.endswith(".py")]
            files = _copy(folder.parent, names, folder.name[-16:])
            if files and files[0].path == str(path):
                return files
    return None
