"""Copies of variants' files in a results folder, so that it can be evaluated without the author's.

A variant in one file is ``variants/<name>-<code>.py``; one of several the folder ``variants/<name>-<code>/``.
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


def save(root: Place, name: str, files: Files) -> str:
    """Copy a variant's files into a results folder; return where its own is, relative to that.

    Args:
        root: the results folder.
        name: the variant's, which with its code names the copy.
        files: see :func:`rdbench.registry.imports.collect`.
    """
    stem = f"{FOLDER}/{name}-{code_of(files)}"
    for file, target in zip(files, _targets(stem, files), strict=True):
        places.write_atomically(root / target, file.text.encode())
    return _targets(stem, files)[0]


def _targets(stem: str, files: Files) -> list[str]:
    return [f"{stem}.py"] if len(files) == 1 else [f"{stem}/{file.name}" for file in files]


def found(root: Place) -> dict[str, Files]:
    """Return the files of variants that a results folder keeps, by <name>-<code>; edited ones left out."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in places.below(root / FOLDER):
        if name.endswith(".py"):
            groups[name.partition("/")[0].removesuffix(".py")].append(name)
    copies = ((stem, _copy(root / FOLDER, names, stem[-16:])) for stem, names in groups.items())
    return {stem: files for stem, files in copies if files}


def _copy(folder: Place, names: Iterable[str], code: str) -> Files | None:
    """Return the files of a copy, the variant's own first; None if they do not have their code."""
    files = []
    for name in sorted(names):
        path = folder / name
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
        own = name.partition("/")[2] or alone(Path(name), text).name
        files.append(File(own, str(path), text))
    for main in files:
        ordered = (main, *(each for each in files if each is not main))
        if code_of(ordered) == code:
            return ordered
    return None


def kept(path: Path, text: str) -> Files | None:
    """Return the files of a variant if its own is a copy that :func:`save` wrote, unedited; else None.

    They are taken as they are: what is beside them, or installed by now, is not what they were run with.
    """
    if path.stem[-17:] == "-" + hashlib.sha256(text.encode()).hexdigest()[:16]:
        return (alone(path, text),)
    for folder in path.parents:
        if folder.parent.name == FOLDER and re.search(r"-[0-9a-f]{16}$", folder.name):
            names = [f"{folder.name}/{name}" for name in places.below(folder) if name.endswith(".py")]
            files = _copy(folder.parent, names, folder.name[-16:])
            if files and files[0].path == str(path):
                return files
    return None
