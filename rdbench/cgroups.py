"""What Linux's control groups grant this process: the limits of a container, a batch job or a service."""

from collections.abc import Iterator
from pathlib import Path

PROCESS = Path("/proc/self")


def limits(controller: str, new: str, *old: str) -> list[list[str]]:
    """Return the words of a limit, once for this process's group and each group above it that says it.

    Groups of version 2 and of version 1 are looked at, as one machine may have both.

    Args:
        controller: its name in version 1, such as ``cpu``.
        new: the file that says it in version 2.
        old: the files that say it in version 1, a word each.
    """
    found = []
    for version, folder in _groups(controller):
        try:
            texts = [(folder / name).read_text() for name in ((new,) if version == 2 else old)]
        except OSError:  # a group at the top has no limits
            continue
        found.append(" ".join(texts).split())
    return found


def _groups(controller: str) -> Iterator[tuple[int, Path]]:
    """Yield the version and the folder of each group, those of this process before those above them."""
    try:
        lines = (PROCESS / "cgroup").read_text().splitlines()
        mounts = (PROCESS / "mountinfo").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, names, path = line.split(":", 2)  # version 2 names no controllers
        if names and controller not in names.split(","):
            continue
        for mount in mounts:
            where, _, system = mount.partition(" - ")
            root, point = where.split()[3:5]
            kind, options = system.split()[0], system.split()[-1].split(",")
            if kind == "cgroup" and controller in options if names else kind == "cgroup2":
                # A container may see its own group at the top, and be told its path on the host all the same.
                below = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path()
                for up in (below, *below.parents):
                    yield 1 if names else 2, Path(point) / up
