"""How often a run of the tests starts Ray, be it in this process or in a command that a test runs.

Ray calls :func:`note_driver` in each process that starts a Ray or joins one: :func:`prepare` names it in the
environment, and puts this folder on PYTHONPATH. What starts Ray in another way calls :func:`note`.
"""

import os
from collections import Counter
from pathlib import Path

FILE = "RDBENCH_TEST_RAY_STARTS"  # the file, a line for each start
OWN = "RAY_worker_niceness"  # which drivers have set that do not join a cluster
MOST = 16  # starts in a run of all tests; each costs about ten seconds on two busy cores


def note() -> None:
    """Note a start, with the test that runs."""
    if FILE in os.environ:
        with Path(os.environ[FILE]).open("a") as starts:
            starts.write(os.environ.get("PYTEST_CURRENT_TEST", "a worker").partition("::")[0] + "\n")


def note_driver(runtime_env):
    """Note a driver's start of a Ray of its own; as a hook of Ray, return the environment as it is."""
    if OWN in os.environ:
        note()
    return runtime_env


def prepare(file: Path) -> None:
    """Have every process that starts Ray from now on note it in a file."""
    folders = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ |= {
        FILE: str(file),
        "PYTHONPATH": os.pathsep.join(folders),
        "RAY_RUNTIME_ENV_HOOK": f"{__name__}.note_driver",
    }


def summary(file: Path) -> tuple[int, str]:
    """Return the number of starts, and a line that says which files of tests had them."""
    starts = Counter(file.read_text().splitlines() if file.exists() else [])
    files = ", ".join(f"{Path(name).name} {count}" for name, count in sorted(starts.items()))
    return starts.total(), f"Ray was started {starts.total()} times (at most {MOST}){files and ': ' + files}"
