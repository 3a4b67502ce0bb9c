"""One file that several workers may make at once, and all have to use: the first one's stays.

On disk the file is linked to its name, which only one writer can do. A bucket, or a disk without hard links,
has no such operation: there each writer keeps its own under a name of its own, waits until those written at
the same time can be seen, and all take the earliest; the others are deleted by who wrote them.
"""

import contextlib
import os
import time
import uuid
from pathlib import Path

from rdbench.storage import places
from rdbench.storage.places import Place, write_atomically

SETTLE_SECONDS = 3.0
"""More than what two writers' times may differ by in a bucket, which counts whole seconds."""


def agreed(folder: Place, name: str, ending: str) -> Place | None:
    """Return the file that all use, None where there is none yet; or raise StorageError."""
    stamps = places.entries(folder)
    candidates = [file for file in stamps if file.startswith(f"{name}.") and file.endswith(ending)]
    first = min(candidates, key=lambda file: (stamps[file][1], file), default=None)
    return None if first is None else folder / first


def agree(folder: Place, name: str, ending: str, content: bytes) -> Place:
    """Offer a file, and return the one that all use: this one, or another writer's that was first.

    Args:
        folder: where it lies; it is made.
        name: the file's, without its ending.
        ending: the file's, ".safetensors".
        content: of the file.

    Raises:
        StorageError: it cannot be written or read now.
    """
    if (there := agreed(folder, name, ending)) is not None:
        return there
    own = folder / f"{name}.{uuid.uuid4().hex[:12]}{ending}"
    if isinstance(folder, Path) and isinstance(own, Path):
        hidden = own.with_name(f".{own.name}")
        write_atomically(hidden, content)
        try:
            with contextlib.suppress(FileExistsError):
                os.link(hidden, folder / f"{name}{ending}")
            return folder / f"{name}{ending}"
        except OSError:
            pass  # no hard links here
        finally:
            hidden.unlink(missing_ok=True)
    write_atomically(own, content)
    time.sleep(SETTLE_SECONDS)
    first = agreed(folder, name, ending) or own
    if first != own:
        own.unlink(missing_ok=True)
    return first
