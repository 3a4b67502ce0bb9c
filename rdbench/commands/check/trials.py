"""Checks on tiny trials, of whatever kind: 128 digits, two epochs, a small network."""

import math

import torch

from rdbench.commands.check.capture import why_not
from rdbench.commands.check.subject import Subject
from rdbench.commands.check.verdicts import CheckError, Note, measured, need
from rdbench.storage.scratch import Scratch
from rdbench.vae.checkpoints import Checkpointer, Keeping, Stopped

SIDE_BY_SIDE = 32  # images in a batch


def trains(subject: Subject) -> str:
    """A tiny trial runs from its settings to its measurements."""
    row = subject.first["trials"][0]
    if row["status"] == "diverged":
        return Note(f"the tiny trial diverged: {row['error']}")
    epochs = len(subject.first["history"])
    if not epochs and not subject.declaration.closed_form:
        return Note("the trial function reports no epochs: call trial.on_epoch, for progress and history")
    point = next(point for point in subject.first["points"] if point["split"] == "test")
    rate = "no rate" if point["rate"] is None else f"rate {point['rate']:.3g} nats"
    taught = "solved in closed form" if subject.declaration.closed_form else f"{epochs} epochs"
    return f"{taught}, then {rate}, mse {point['mse']:.3g} on test images"


def repeats(subject: Subject) -> str:
    """The same settings give the same figures, to the last digit, whatever was drawn before."""
    torch.rand(1)  # moves the global generator on: no trial may depend on where it stands
    _need_equal(subject, measured(subject.run(subject.trial)), "trained again,")
    return "trained again it gives the same points"


def _need_equal(subject: Subject, again: str, what: str) -> None:
    need(
        measured(subject.first) == again,
        f"{what} the same trial gives other points; draw from torch's global generator or"
        " trial.generator(...), which are seeded for each trial, and from nothing else (numpy, random,"
        " what an earlier trial left in the module)",
    )


def resumes(subject: Subject) -> str:
    """Interrupted after its first epoch, a trial goes on from there and ends with the same figures."""
    if subject.declaration.closed_form:
        return "solved in closed form: there is no epoch to be interrupted after"
    with Scratch() as folder:

        def checkpointer(stop: bool) -> Checkpointer:
            asked = iter([stop])  # at the end of the first epoch, or turn of a loop of its own
            keeping = Keeping(folder, minutes=0, stop=lambda: next(asked, False))
            return Checkpointer(keeping, [subject.trial], subject.device)

        first = checkpointer(True)
        try:
            subject.run(subject.trial, first)
        except Stopped:
            again = subject.run(subject.trial, checkpointer(False))
        else:
            if first.number:
                return "its training ends before it could be interrupted"
            return Note(
                "an interrupted trial begins again: name what the loop changes, trial.epochs(data,"
                " keep=[...]) or trial.resumable(count, [...])"
            )
    advice = "what changes in training must be a parameter, a registered buffer, or named in keep=[...]"
    message = f"interrupted and gone on with, the same trial gives other points; {advice}"
    need(measured(subject.first) == measured(again), message)
    return "interrupted and gone on with it gives the same points"


def epochs_at_extreme_betas(subject: Subject) -> str:
    """Trials at extreme betas end, with finite points or as diverged."""
    diverged = []
    for trial in subject.trials():
        tables = subject.first if trial.id == subject.trial.id else subject.run(trial)
        row = tables["trials"][0]
        if row["status"] == "diverged":
            diverged.append(f"at beta {trial.beta:g}: {row['error']}")
            continue
        for point in tables["points"]:
            for name in ("rate", "sse", *(("distortion", "elbo") if point["native"] else ())):
                need(
                    point[name] is None or math.isfinite(point[name]),
                    f"{name} is {point[name]} on the {point['split']} split at beta {point['beta']:g},"
                    " though the trial did not diverge",
                )
    if diverged:
        return Note(f"diverged {'; '.join(diverged)}")
    return "done with finite points at beta 1e-4, 1 and 1e3"


def fresh_process(subject: Subject) -> str:
    """Another process, on another machine even, gives the same points from the source text alone."""
    assert subject.fresh is not None
    answer = subject.fresh.answer()
    at = f"line {answer['line']}: " if answer["line"] else ""
    need(
        not answer["error"],
        f"in a fresh process, without its file's folder: {at}{answer['error']}; a worker elsewhere"
        " has this one file alone: put what it needs into it, or into an installed package",
    )
    _need_equal(subject, answer["measured"], "in a fresh process")
    return "a fresh process gives the same points from the source text alone"


def side_by_side(subject: Subject) -> str:
    """Whether a GPU trains several of its trials at once, which takes a step that it can record."""
    declared = subject.declaration
    if declared.kind == "trial":
        return Note("does not pack: its loop is its own, so each trial trains alone")
    if declared.closed_form:
        return "solved in closed form: there is no step to record"
    draws = torch.Generator().manual_seed(0)
    noise = torch.randn(3, SIDE_BY_SIDE, subject.trial.model.latent, generator=draws).to(subject.device)
    images = subject.images(3 * SIDE_BY_SIDE).split(SIDE_BY_SIDE)
    files = {str(subject.source.path), *(file.path for file in subject.source.files)}
    why = why_not(subject.build(), list(zip(images, noise, strict=True)), files)
    if why is None and declared.packs:
        return "packs: its step is the same work each time, so a GPU trains many of its trials at once"
    if why is None:
        return Note(
            "does not pack: write capturable = True in the class, for a GPU to train many trials at once"
        )
    at = "" if why.line is None else f", line {why.line}"
    if declared.capturable:
        raise CheckError(
            f"capturable = True says that a GPU can record its step, but {why.text}{at}; change that, do it"
            " in before_step, or leave the declaration out"
        )
    return Note(f"does not pack: {why.text}{at}, so each trial trains alone")
