"""What is wrong with this machine, or will be once a sweep runs here, and how to fix it.

    software.py   versions, and whether they fit together    folders.py  room, rights, data, weights, results
    machine.py    cores, memory, devices, limits, clock      wanted.py   what one sweep needs of all that
    settings.py   environment variables, and Ray

A check is a generator of :class:`Finding`; what it raises becomes one too. Nothing is changed or downloaded.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rdbench.commands.doctor.finding import Check, Finding, problem
from rdbench.errors import UserError
from rdbench.text import counted, one_line

_LONGEST = 400  # characters of a value that are shown: an environment variable may hold pages
_NARROW = 72  # columns below which a table of four would be one letter wide


def examine(
    spec: str | Path | None = None,
    data: Path | None = None,
    results: str | None = None,
    overrides: Iterable[str] = (),
    *,
    start_ray: bool = False,
) -> Iterator[Finding]:
    """Run all checks, and yield each finding as it is made.

    The needs of ``spec``, a sweep file, are checked too; ``overrides`` are of its values. By default the raw
    ``data`` lie where a sweep looks for them, and ``results`` are those of the sweep, or ``results``.
    """
    from rdbench.commands.doctor import folders, machine, settings, software, wanted

    checks: list[tuple[str, Check]] = [
        ("Python", software.python),
        ("packages", software.packages),
        ("torch and torchvision", software.torch_and_torchvision),
        ("commit", software.commit),
        ("processor", machine.processor),
        ("threads", machine.threads),
        ("GPU", machine.gpus),
        ("memory", machine.memory),
        ("shared memory", machine.shared_memory),
        ("open files", machine.open_files),
        ("clock", machine.clock),
        ("cache", folders.cache),
        ("temporary files", folders.temporary_files),
        ("data", lambda: folders.data(data)),
        ("Inception weights", folders.weights),
        ("results", lambda: folders.results("results" if results is None else results))
        if spec is None
        else ("sweep", lambda: wanted.sweep(spec, overrides, data, results)),
        ("environment", settings.environment),
        ("Ray", lambda: settings.ray(start_ray)),
    ]
    for what, check in checks:
        try:
            yield from check()
        except UserError as error:
            yield problem(what, error)
        except (Exception, SystemExit) as error:  # a broken package may raise anything when it is imported
            text = f"{type(error).__name__}: {error}"
            yield Finding(what, text, "problem", "this check itself failed; fix what it names")


def table(findings: Iterable[Finding], width: int) -> str:
    """Return findings as text: a table of four columns, or a few lines each where ``width`` is small."""
    rows = [_printable(finding) for finding in findings]
    if width < _NARROW:
        return "\n".join(_stacked(row) for row in rows)
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table("what", "found", "state", "fix", box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.columns[0].max_width = 24
    drawn.columns[2].no_wrap = True
    for column in drawn.columns:
        column.overflow = "fold"
    for row in rows:
        drawn.add_row(*map(Text, (row.what, row.found, row.state, row.fix)))
    console = Console(width=width, color_system=None, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().strip("\n").splitlines())


def summary(findings: Iterable[Finding]) -> list[str]:
    """Return a line for each problem, and a last one that counts."""
    rows = [_printable(finding) for finding in findings]
    problems = [row for row in rows if row.state == "problem"]
    lines = [f"problem: {row.what}: {row.found}{'; ' if row.fix else ''}{row.fix}" for row in problems]
    notes = sum(row.state == "note" for row in rows)
    return [*lines, f"{counted(len(lines), 'problem')}, {counted(notes, 'note')}, {len(rows)} checks"]


def to_json(findings: Iterable[Finding]) -> dict[str, Any]:
    """Return findings for machines, whole."""
    rows = [{"what": f.what, "found": f.found, "state": f.state, "mend": f.fix} for f in findings]
    return {"problems": sum(row["state"] == "problem" for row in rows), "findings": rows}


def _printable(finding: Finding) -> Finding:
    return Finding(_line(finding.what), _line(finding.found), finding.state, _line(finding.fix))


def _line(text: str) -> str:
    """Return one line without control characters, which could overwrite the table, and not too long."""
    line = one_line(text)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ... ({len(line):,} characters)"


def _stacked(row: Finding) -> str:
    fix = f"\n  -> {row.fix}" if row.fix else ""
    return f"{row.state:7} {row.what}\n  {row.found}{fix}"
