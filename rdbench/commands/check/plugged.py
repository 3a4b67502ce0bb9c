"""What checks of everything plugged in have in common: how one is begun, and what counts as part of it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from pydantic import ValidationError

from rdbench.commands.check.verdicts import CheckError, Finding, Note, examined
from rdbench.errors import SpecError
from rdbench.registry import plugins
from rdbench.registry.imports import Files, counted, dynamic_imports
from rdbench.registry.plugins import OptionError, Plugin
from rdbench.spec.errors import explained


class PluggedSubject(Protocol):
    """Something plugged in that is checked."""

    @property
    def plugin(self) -> Plugin | None:
        """Its code; None where it is a file of TorchScript."""


def findings(make: Callable[[], PluggedSubject], checks: Sequence[Callable[[Any], str]]) -> Iterator[Finding]:
    """Make a subject, then yield each check's finding as it is made. The first that fails is the last.

    Raises SpecError: an option is wrong.
    """
    try:
        subject = make()
    except OptionError as error:
        raise SpecError(f"--set {error.key}: {error}") from None
    except ValidationError as error:
        wrong = error.errors()[0]
        raise SpecError(f"--set {'.'.join(map(str, wrong['loc']))}: {explained(wrong)}") from None
    except SpecError as error:
        yield Finding("FAIL", "declared", str(error))
        return

    def place_of(error: BaseException) -> str:
        has_said = isinstance(error, CheckError) and error.at
        return "" if subject.plugin is None or has_said else subject.plugin.place_of(error)

    for function in checks:
        finding = examined(function, subject, place_of)
        yield finding
        if finding.status == "FAIL":
            return


def imports(subject: PluggedSubject) -> str:
    """Its files run."""
    assert subject.plugin is not None  # a file of TorchScript has a check of its own
    plugins.runnable(subject.plugin)
    return runs(subject.plugin.files, subject.plugin.module, plugins.WORDS[subject.plugin.kind])


def runs(files: Files, module: str, what: str) -> str:
    """Return that a source runs, and which files count as part of it; ``what`` it is: "metric"."""
    if not files:
        return f"{module} runs"
    text = (
        f"its text runs; an edit of {', '.join(file.name for file in counted(files))} makes it another {what}"
    )
    if unseen := dynamic_imports(files):
        return Note(f"{text}; what is imported by a computed name ({', '.join(unseen)}) is not seen")
    return text


def options_line(options: dict[str, Any]) -> str:
    """Return options and their values, or that there are none."""
    return ", ".join(f"{name}={value!r}" for name, value in options.items()) or "no options"
