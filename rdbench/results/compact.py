"""``rdbench compact``: the files of many trials in one, for folders of thousands and for buckets.

``compact-<generation>-<number>.parquet`` holds up to ``TRIALS`` trials, in the folder of its table. New files
are written before old ones are deleted, and readers take the later of two that hold a trial
(:mod:`rdbench.results.table_files`). So nothing is lost or read twice if it is killed; the next run completes
it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rdbench.results import parquet
from rdbench.results.lease import Lease
from rdbench.results.parquet import TABLES
from rdbench.results.repair import set_aside
from rdbench.results.store import ResultsFolder
from rdbench.results.table_files import OWN, Problems, Table, generation
from rdbench.storage import places
from rdbench.storage.places import Place

TRIALS = 1000  # in one file


@dataclass(frozen=True)
class Size:
    """Number of files of the tables of a results folder, and their total size in bytes."""

    files: int
    size: int

    def __str__(self) -> str:
        return f"{self.files:,} files of {self.size / 1e6:,.1f} MB"


def measure(root: Place) -> Size:
    """Return the size of the tables of a results folder."""
    sizes = [size for name in TABLES for size, _ in Table(root / name).stamps().values()]
    return Size(len(sizes), sum(sizes))


def compact(root: Place, say: Callable[[str], None] = lambda line: None) -> tuple[Size, Size]:
    """Merge the files of each table of a results folder; return the size of the tables before and after.

    Rows that are not committed stay where they are; ``say`` gets a line for each file that is set aside.

    Raises:
        ResultsError: it is not a results folder, or a driver is using it.
    """
    folder = ResultsFolder(root)
    folder.sweep()
    with Lease(root, "rdbench compact", say):
        before = measure(root)
        for line in set_aside(root):
            say(line)
        committed = set(folder.trial_ids())
        for name in TABLES:
            _compact_table(folder.table(name), committed)
        return before, measure(root)


def _compact_table(table: Table, committed: set[str]) -> None:
    before = table.stamps()
    held = table.holdings()
    single = {name for name in held if name in committed}
    compacted = {name for name in held if generation(name) != OWN}
    generations = {int(generation(name)) for name in compacted}
    if not single and len(generations) < 2:
        return  # nothing is new
    # Including trials in compacted files that have lost their row in trials since: their rows are kept.
    trials = sorted(single.union(*(held[name] for name in compacted)))
    problems: Problems = {}
    for number, start in enumerate(range(0, len(trials), TRIALS)):
        rows = table.read(trials[start : start + TRIALS], problems, keep=False)
        name = f"compact-{1 + max(generations, default=0)}-{number}"
        content = parquet.encode(table.folder.name, name, rows, small=False)
        places.write_atomically(table.file(name), content)
    # A file that has changed since it was read stays: it holds more than the new one.
    same = {name for name, stamp in table.stamps().items() if before.get(name) == stamp}
    places.unlink_each({table.file(name) for name in same & (single | compacted)} - problems.keys())
