"""Where files are kept: room, the right to write, raw and prepared data, weights, results."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rdbench.commands.doctor.finding import Finding, gigabytes
from rdbench.storage import paths, places
from rdbench.storage.scratch import Scratch

LITTLE_BYTES = 2**30
GOOD_BYTES = 10 * 2**30
FULL_SHARE = 0.95  # of a disk: from there on Ray keeps no more objects on it


def cache() -> Iterator[Finding]:
    """Yield the cache, which holds prepared data, weights and measured speeds."""
    yield folder("cache", paths.cache_root(), "set RDBENCH_CACHE to a folder with room that you can write to")


def temporary_files() -> Iterator[Finding]:
    """Yield the folder for temporary files, Ray's too, and why not one that a variable names."""
    scratch = Scratch()  # raises, in one line, where there is none
    scratch.remove()
    place = scratch.path.parent
    advice = "to a folder with room, of a short path"
    row = folder("temporary files", place, f"set TMPDIR {advice}")
    size = shutil.disk_usage(place)
    if row.state != "problem" and 1 - size.free / size.total > FULL_SHARE:
        fix = f"Ray takes a disk that is 95 % full for full: set TMPDIR {advice}"
        row = Finding(row.what, row.found, "note", fix)
    yield row
    for unused in scratch.passed_over:
        if unused.variable:
            fix = f"{place} is used instead; set {unused.variable} {advice}"
            yield Finding("temporary files", str(unused), "note", fix)


def folder(what: str, place: Path, fix: str) -> Finding:
    """Check a folder that rdbench writes to, which may be missing yet."""
    existing = paths.nearest_existing(place)
    found = str(place) if existing == place else f"{place} (to be made)"
    if not existing.is_dir():
        return Finding(what, f"{place}: {existing} is a file", "problem", fix)
    try:
        _try_to_write(existing)
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        reason = getattr(error, "strerror", None) or error
        return Finding(what, f"{found} cannot be written: {reason}", "problem", fix)
    free = shutil.disk_usage(existing).free
    found += f", {gigabytes(free)} free"
    little = f"free some room, or {fix}"
    return Finding(what, found).graded(free, (LITTLE_BYTES, "problem", little), (GOOD_BYTES, "note", fix))


def _try_to_write(folder: Path) -> None:
    """Write, sync and lock a file that is gone afterwards."""
    from filelock import FileLock

    # The mode too: root may write anywhere, but a folder that nobody may write to is meant to stay as it is.
    if not folder.stat().st_mode & 0o222:
        raise PermissionError(None, "it is read-only")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".rdbench-doctor-") as name:
        with (Path(name) / "written").open("wb") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        with FileLock(Path(name) / "lock", timeout=5):
            pass


def data(option: Path | None) -> Iterator[Finding]:
    """Yield the data root, each dataset that is there or prepared, and the names of the others."""
    from rdbench import datasets

    chosen = paths.chosen_data_root(option)
    root = chosen.folder
    if root.is_dir():
        next(root.iterdir(), None)  # raises where it may not be read
        yield Finding("data root", str(root))
    elif chosen.named_by:
        fix = f"correct {chosen.named_by}, or make the folder for what is downloaded"
        yield Finding("data root", f"{root} is not there", "problem", fix)
    else:
        fix = "name the folder that has the raw data with --data or RDBENCH_DATA"
        yield Finding("data root", f"{root} is not there", "note", fix)
    statuses = datasets.status(root)
    for one in statuses:
        if one.prepared or one.raw:
            raw = {True: "raw data there", False: "raw data missing", None: "needs options"}[one.raw]
            yield Finding(f"data: {one.name}", f"{raw}, {len(one.prepared)} prepared")
    if missing := [one.name for one in statuses if not (one.prepared or one.raw)]:
        yield Finding("data: not here", ", ".join(missing), fix="'rdbench data list' says what they need")


def weights() -> Iterator[Finding]:
    """Yield Inception's weights, every byte of them read."""
    from rdbench.metrics.features import weights as inception

    for which, published in inception.PUBLISHED.items():
        what = f"weights: {published.file}"
        file = inception.path(which)
        if file is None:
            protocol = "clean" if which == "clean" else "paper"
            fix = f"fid and kid under protocol {protocol} need them: run 'rdbench weights'"
            yield Finding(what, f"not in {inception.folder()}", "note", fix)
        else:
            inception.identify(which, file)  # raises, with the fix, where they are others
            yield Finding(what, f"{file}, as published")


def results(where: str) -> Iterator[Finding]:
    """Yield whether a results folder can be written."""
    root = places.place(where)
    if isinstance(root, Path):
        yield folder("results", paths.absolute(root), "give another --results folder")
    else:
        probe = root / ".rdbench-doctor"
        places.write_atomically(probe, b"rdbench doctor was here")  # raises, in one line, if out of reach
        probe.unlink(missing_ok=True)
        yield Finding("results", f"{root} can be reached and written")
