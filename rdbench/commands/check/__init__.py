"""``rdbench check``: whether a variant keeps what the harness counts on, a line a check.

Metrics, datasets and feature networks of one's own are checked in modules named for them. Of variants, start
with ``STAGES``, which lists the checks. Each is a function of a :class:`Subject` that returns what holds, or
a ``Note``, and raises ``CheckError``; an exception of the author's code is a failure too.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from pydantic import ValidationError

from rdbench import datasets
from rdbench.commands.check import dataset, declared, evaluation, features, losses, metric, trials
from rdbench.commands.check.fresh_process import FreshProcess
from rdbench.commands.check.kinds import Kind, kind_of
from rdbench.commands.check.subject import DATA, Subject
from rdbench.commands.check.verdicts import Finding, examined
from rdbench.errors import SpecError
from rdbench.numerics.precision import resolve_device
from rdbench.registry import variants
from rdbench.registry.declaration import Kind as VariantKind
from rdbench.registry.source import find
from rdbench.spec.errors import from_validation
from rdbench.spec.sweep import VariantSpec
from rdbench.spec.yaml import Document, Place, override
from rdbench.storage import paths

__all__ = ["Finding", "check", "summary"]


class Check(NamedTuple):
    """A check, and the kinds of variants that it is of."""

    function: Callable[[Subject], str]
    kinds: tuple[VariantKind, ...] = ("objective", "model", "trial")


# In the order in which they run. A stage rests on what those before it have proved.
STAGES: tuple[tuple[Check, ...], ...] = (
    (Check(declared.declared), Check(declared.imports)),
    (
        Check(declared.options),
        Check(losses.shapes, ("objective",)),
        Check(losses.model_shapes, ("model",)),
        Check(evaluation.prior, ("model",)),
    ),
    (Check(trials.trains),),
    (
        Check(losses.gradients, ("objective",)),
        Check(losses.direction, ("objective",)),
        Check(losses.beta_rate, ("objective",)),
        Check(losses.images, ("objective",)),
        Check(losses.model_gradients, ("model",)),
        Check(losses.model_beta_rate, ("model",)),
        Check(evaluation.prior, ("trial",)),
        Check(evaluation.rate, ("model", "trial")),
        Check(evaluation.evaluation, ("model", "trial")),
        Check(evaluation.weights, ("model", "trial")),
        Check(trials.repeats),
        Check(trials.resumes),
        Check(trials.epochs_at_extreme_betas),
        Check(trials.side_by_side),
        Check(trials.fresh_process),
    ),
)
_TRAINING = 2  # the first stage that trains


def check(
    reference: str,
    overrides: Sequence[str] = (),
    device: str = "cpu",
    *,
    kind: Kind | None = None,
    elsewhere: bool = True,
) -> Iterator[Finding]:
    """Check what is plugged in, and yield each finding as it is made.

    ``reference`` is a registered name, ``package.module:symbol`` or ``file.py:symbol``, ``overrides`` are
    options, such as ``dof=5``, of values in YAML. ``kind`` is by default what stands there. ``elsewhere``:
    also run a variant in a fresh process.

    Raises SpecError: no such name, option or device.
    """
    where = torch.device(resolve_device(device))
    if kind is None:
        try:
            kind = kind_of(reference)
        except SpecError as error:
            yield Finding("FAIL", "declared", str(error))
            return
    if kind != "variant":
        options = {key: value for key, value in _written(reference, overrides).data.items() if key != "name"}
        yield from _OF_KIND[kind](reference, options, where)
        return
    if ":" not in reference:
        variants.declared(reference)  # says which name comes close
    try:
        source = find(reference)
    except SpecError as error:
        yield Finding("FAIL", "declared", str(error))
        return
    spec = _settled(reference, overrides)
    data = datasets.load(datasets.make_options("digits", DATA), paths.data_root())
    subject = Subject(source, spec, data, where)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker does; more would not repeat to the last digit
    try:
        yield from _run(subject, elsewhere)
    finally:
        torch.set_num_threads(threads)
        if subject.fresh is not None:
            subject.fresh.close()


def _run(subject: Subject, elsewhere: bool) -> Iterator[Finding]:
    for index, stage in enumerate(STAGES):
        if index == _TRAINING and elsewhere:
            # It works while this process goes on.
            subject.fresh = FreshProcess(subject.trial, subject.source, subject.device)
        failed = False
        for function, kinds in stage:
            if subject.declaration.kind in kinds and (elsewhere or function is not trials.fresh_process):
                finding = examined(function, subject, subject.place_of)
                failed |= finding.status == "FAIL"
                yield finding
        if failed:
            return


_OF_KIND = {"metric": metric.check, "dataset": dataset.check, "features": features.check}


def _written(reference: str, overrides: Sequence[str]) -> Document:
    document = Document({"name": reference}, {(): Place(0, 0, reference)})
    for text in overrides:
        document = override(document, text)
    return document


def _settled(reference: str, overrides: Sequence[str]) -> VariantSpec:
    document = _written(reference, overrides)
    try:
        return VariantSpec.model_validate(document.data)
    except ValidationError as error:
        raise from_validation(error, document, lambda at: []) from None


def summary(name: str, findings: Sequence[Finding]) -> str:
    """Return the last line: how many checks what is plugged in passes, or fails."""
    failed = sum(finding.status == "FAIL" for finding in findings)
    verdict = f"fails {failed} of" if failed else "passes"
    return f"{name} {verdict} {len(findings)} checks"
