"""``rdbench check``: whether a variant keeps what the harness counts on, told a line a check.

A check is a function of a :class:`Subject`. It returns what it found to hold, or a :class:`Note`; it raises
:class:`CheckError` with what is wrong, and an exception of the author's code is a failure too. Checks come in
stages: what a later one needs, an earlier one has proved.
"""

import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

import torch
from pydantic import TypeAdapter, ValidationError

from rdbench import datasets
from rdbench.commands.check import of_models, of_objectives, of_trials
from rdbench.commands.check.declared import declared, imports, options
from rdbench.commands.check.subject import DATA, CheckError, Finding, Note, Subject, words
from rdbench.errors import SpecError
from rdbench.numerics.precision import resolve_device
from rdbench.registry import variants
from rdbench.registry.declaration import Kind
from rdbench.registry.source import find
from rdbench.spec.errors import from_validation
from rdbench.spec.sweep import VariantSpec
from rdbench.spec.yaml import Document, Place, override
from rdbench.storage import paths

__all__ = ["Finding", "check", "summary"]

Check = Callable[[Subject], str]

_ON_MODELS: tuple[Check, ...] = (of_models.rate, of_models.evaluation, of_models.weights)
SHAPES: dict[Kind, tuple[Check, ...]] = {
    "objective": (of_objectives.shapes,),
    "model": (of_models.shapes, of_models.prior),
    "trial": (),
}
BEHAVIOUR: dict[Kind, tuple[Check, ...]] = {
    "objective": (of_objectives.gradients, of_objectives.direction, of_objectives.members),
    "model": (of_models.gradients, *_ON_MODELS),
    "trial": (of_models.prior, *_ON_MODELS),
}


def check(
    reference: str, overrides: Sequence[str] = (), device: str = "cpu", *, elsewhere: bool = True
) -> Iterator[Finding]:
    """Check a variant, and yield each finding as it is made.

    Args:
        reference: a registered name, ``package.module:symbol`` or ``file.py:symbol``.
        overrides: options, such as ``dof=5``; the values are YAML.
        device: "cpu" or "cuda".
        elsewhere: also train in a fresh process, and measure the cost: most of the time it all takes.

    Raises:
        SpecError: no such name, option or device.
    """
    where = torch.device(resolve_device(device))
    if ":" not in reference:
        variants.declared(reference)  # says which name comes close
    try:
        source = find(reference)
    except SpecError as error:
        yield Finding("FAIL", "declared", str(error))
        return
    spec = _settled(reference, overrides)
    data = datasets.load(datasets.make_options("digits", DATA), paths.data_root())
    subject = Subject(reference, source, spec, data, where)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker does; more would not repeat to the last digit
    try:
        yield from _stages(subject, elsewhere)
    finally:
        torch.set_num_threads(threads)


def _stages(subject: Subject, elsewhere: bool) -> Iterator[Finding]:
    kind = subject.declaration.kind
    for stage in ((declared, imports), (options, *SHAPES[kind])):
        if (yield from _all(stage, subject)):
            return
    other = of_trials.Elsewhere(subject) if elsewhere else None  # starts while this process goes on
    try:
        if (yield from _all((of_trials.trains,), subject)):
            return
        yield from _all(
            (
                *BEHAVIOUR[kind],
                of_trials.repeats,
                of_trials.resumes,
                of_trials.epochs_at_extreme_betas,
                of_trials.side_by_side,
            ),
            subject,
        )
        if other is not None:
            yield _examine("fresh_process", lambda subject: of_trials.fresh_process(subject, other), subject)
            yield from _all((of_trials.cost,), subject)
    finally:
        if other is not None:
            other.close()


def _all(checks: Iterable[Check], subject: Subject) -> Generator[Finding, None, bool]:
    """Yield what each check finds; return whether one failed."""
    failed = False
    for each in checks:
        finding = _examine(each.__name__, each, subject)
        failed |= finding.status == "FAIL"
        yield finding
    return failed


def _examine(name: str, function: Check, subject: Subject) -> Finding:
    name = name.replace("_", " ")
    try:
        said = function(subject)
    except CheckError as wrong:
        return Finding("FAIL", name, f"{subject.place(wrong.at)}: {wrong}")
    except (Exception, SystemExit) as error:
        trace = "".join(traceback.format_exception(error))
        return Finding("FAIL", name, f"{subject.place_of(error)}: {words(error)}", trace)
    return Finding("note" if isinstance(said, Note) else "ok", name, said)


def _settled(reference: str, overrides: Sequence[str]) -> VariantSpec:
    document = Document({"name": reference}, {(): Place(0, 0, reference)})
    for text in overrides:
        document = override(document, text)
    try:
        return TypeAdapter(VariantSpec).validate_python(document.data)
    except ValidationError as error:
        raise from_validation(error, document, lambda at: []) from None


def summary(name: str, findings: Sequence[Finding]) -> str:
    """Return the last line: how many checks a variant passes, or fails."""
    failed = sum(finding.status == "FAIL" for finding in findings)
    if failed:
        return f"{name} fails {failed} of {len(findings)} checks"
    return f"{name} passes {len(findings)} checks"
