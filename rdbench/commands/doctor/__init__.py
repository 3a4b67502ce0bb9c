"""What is wrong with this machine, or will be once a sweep runs here, and how to fix it.

    software.py   versions, and whether they fit together    folders.py  room, rights, data, weights, results
    machine.py    cores, memory, devices, limits             wanted.py   what one sweep needs of all that
    settings.py   environment variables

A check is a generator of :class:`Finding`; what it raises becomes one too. Nothing is changed or downloaded.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from rdbench.commands.doctor.finding import Finding, problem
from rdbench.errors import UserError
from rdbench.text import counted, one_line

_LONGEST = 400  # characters of a value that are shown: an environment variable may hold pages


def examine(
    spec: str | Path | None = None,
    data: Path | None = None,
    results: str | None = None,
    overrides: Iterable[str] = (),
) -> Iterator[Finding]:
    """Run all checks, and yield each finding as it is made.

    The needs of ``spec``, a sweep file, are checked too; ``overrides`` are of its values. By default the raw
    ``data`` lie where a sweep looks for them, and ``results`` are those of the sweep, or ``results``.
    """
    from rdbench.commands.doctor import folders, machine, settings, software, wanted

    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("Python", software.python),
        ("packages", software.packages),
        ("torch and torchvision", software.torch_and_torchvision),
        ("commit", software.commit),
        ("processor", machine.processor),
        ("GPU", machine.gpus),
        ("memory", machine.memory),
        ("shared memory", machine.shared_memory),
        ("open files", machine.open_files),
        ("cache", folders.cache),
        ("temporary files", folders.temporary_files),
        ("data", lambda: folders.data(data)),
        ("Inception weights", folders.weights),
        ("results", lambda: folders.results("results" if results is None else results))
        if spec is None
        else ("sweep", lambda: wanted.sweep(spec, overrides, data, results)),
        ("environment", settings.environment),
    ]
    for what, check in checks:
        try:
            yield from check()
        except UserError as error:
            yield problem(what, error)
        except (Exception, SystemExit) as error:  # a broken package may raise anything when it is imported
            text = f"{type(error).__name__}: {error}"
            yield Finding(what, text, "problem", "this check itself failed; fix what it names")


def line(finding: Finding) -> str:
    """Return a finding as a line: its state, what was checked, what was found, and the fix if any.

    Without control characters, which could overwrite others, and not too long.
    """
    what, found, fix = (
        text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ... ({len(text):,} characters)"
        for text in map(one_line, (finding.what, finding.found, finding.fix))
    )
    return f"{finding.state + ':':8} {what}: {found}{'; ' if fix else ''}{fix}"


def summary(findings: Sequence[Finding]) -> list[str]:
    """Return a line for each problem, and a last one that counts."""
    states = [finding.state for finding in findings]
    lines = [line(finding) for finding in findings if finding.state == "problem"]
    counts = counted(len(lines), "problem"), counted(states.count("note"), "note")
    return [*lines, f"{', '.join(counts)}, {len(states)} checks"]
