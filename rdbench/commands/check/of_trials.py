"""Checks on tiny trials, of whatever kind: 128 digits, two epochs, a small network."""

import json
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import rdbench
from rdbench.commands.check.subject import TRAIN, CheckError, Note, Subject, measured, seconds
from rdbench.spec.plan import Trial
from rdbench.spec.sweep import VariantSpec
from rdbench.storage import paths
from rdbench.storage.scratch import Scratch
from rdbench.trial import by_kind
from rdbench.vae.checkpoints import Keeper, Stopped
from rdbench.vae.training import Epoch

COST_EPOCHS = 5
PATIENCE = 300  # seconds until a process that says nothing is given up


def trains(subject: Subject) -> str:
    """A tiny trial runs from its settings to its measurements."""
    row = subject.first["trials"][0]
    if row["status"] == "diverged":
        return Note(f"the tiny trial diverged: {row['error']}")
    epochs = len(subject.first["history"])
    if not epochs:
        return Note("the trial function reports no epochs: call trial.on_epoch, for progress and history")
    points = [point for point in subject.first["points"] if point["split"] == "test"]
    rate = "no rate" if points[0]["rate"] is None else f"rate {points[0]['rate']:.3g} nats"
    return f"{epochs} epochs, then {rate}, mse {points[0]['mse']:.3g} on test images"


def repeats(subject: Subject) -> str:
    """The same settings give the same figures, to the last digit, whatever was drawn before."""
    torch.rand(1)  # moves the global generator on: no trial may depend on where it stands
    _need_equal(subject.first, measured(subject.run(subject.trial)), "trained again,")
    return "trained again it gives the same points"


def resumes(subject: Subject) -> str:
    """Interrupted after its first epoch, a trial goes on from there and ends with the same figures."""
    with Scratch() as folder:

        def keeper(stop: bool) -> Keeper:
            asked = iter([stop])  # at the end of the first epoch, or turn of a loop of its own
            return Keeper(folder, [subject.trial], subject.device, minutes=0, stop=lambda: next(asked, False))

        first = keeper(True)
        try:
            subject.run(subject.trial, first)
        except Stopped:
            again = subject.run(subject.trial, keeper(False))
        else:
            if first.saved:
                return "its training ends before it could be interrupted"
            return Note(
                "an interrupted trial begins again: name what the loop changes, trial.epochs(data,"
                " keep=[...]) or trial.resumable(count, [...])"
            )
    if measured(subject.first) != measured(again):
        raise CheckError(
            "interrupted and gone on with, the same trial gives other points; what changes in training must"
            " be a parameter, a registered buffer, or named in keep=[...]"
        )
    return "interrupted and gone on with it gives the same points"


def _need_equal(first: dict[str, Any], again: str, what: str) -> None:
    if measured(first) != again:
        raise CheckError(
            f"{what} the same trial gives other points; draw from torch's global generator or"
            " trial.generator(...), which are seeded for each trial, and from nothing else (numpy, random,"
            " what an earlier trial left in the module)"
        )


def epochs_at_extreme_betas(subject: Subject) -> str:
    """Trials at extreme betas end, with finite points or as diverged."""
    trials = subject.trials()
    tables = [subject.first if trial.id == subject.trial.id else subject.run(trial) for trial in trials]
    diverged = []
    for trial, found in zip(trials, tables, strict=True):
        row = found["trials"][0]
        if row["status"] == "diverged":
            diverged.append(f"at beta {trial.beta:g}: {row['error']}")
            continue
        for point in found["points"]:
            own = ("distortion", "elbo") if point["native"] else ()
            for name in ("rate", "sse", *own):
                if point[name] is not None and not math.isfinite(point[name]):
                    raise CheckError(
                        f"{name} is {point[name]} on the {point['split']} split at beta"
                        f" {point['beta']:g}, though the trial did not diverge"
                    )
    if diverged:
        return Note(f"diverged {'; '.join(diverged)}")
    return "done with finite points at beta 1e-4, 1 and 1e3"


class Elsewhere:
    """A tiny trial in a fresh process, from the text of its files alone, as on a machine without them.

    Args:
        subject: whose trial it is. The process starts at once.
    """

    def __init__(self, subject: Subject) -> None:
        self._folder = Scratch()
        trial, sources = subject.trial, {}
        if files := subject.source.files:
            gone = [each._replace(path=f"{self._folder.path}/gone/{each.name}") for each in files]
            place = f"{gone[0].path}:{subject.declaration.symbol}"
            trial = trial.model_copy(update={"variant": subject.spec.model_copy(update={"source": place})})
            sources[subject.spec.code] = gone
        job = {
            "trial": trial.to_json(),
            "sources": sources,
            "device": str(subject.device),
            "data": str(paths.data_root()),
        }
        package = str(Path(rdbench.__file__).parent.parent)
        # An installed variant is imported there too, as a worker does; an author's must not need its folder.
        path = [package, *([] if sources else [str(Path.cwd())]), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rdbench.commands.check.elsewhere"],
            cwd=self._folder.path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job))
        self._process.stdin.close()
        self._process.stdin = None

    def answer(self) -> dict[str, Any]:
        """Wait for what it measured, or for its error."""
        try:
            out, err = self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise CheckError(f"a fresh process did not end in {PATIENCE} seconds") from None
        try:
            found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        except (ValueError, IndexError):
            last = (err.strip().splitlines() or ["no message"])[-1]
            raise CheckError(f"a fresh process died ({last})") from None
        return found

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        self._folder.remove()


def fresh_process(subject: Subject, elsewhere: Elsewhere) -> str:
    """Another process, on another machine even, gives the same points from the source text alone."""
    found = elsewhere.answer()
    if found["error"]:
        at = f"line {found['line']}: " if found["line"] else ""
        raise CheckError(
            f"in a fresh process, without its file's folder: {at}{found['error']}; a worker elsewhere"
            " has this one file alone: put what it needs into it, or into an installed package"
        )
    _need_equal(subject.first, found["measured"], "in a fresh process")
    return "a fresh process gives the same points from the source text alone"


def side_by_side(subject: Subject) -> str:
    """Whether a GPU trains several of its trials at once, in one network."""
    if subject.declaration.packs:
        return "packs: a GPU trains many of its trials in one network"
    own = "a model has networks of its own" if subject.declaration.kind == "model" else "its loop is its own"
    return Note(f"does not pack: {own}, so each trial trains alone")


def cost(subject: Subject) -> Note:
    """What training costs, against bs_vae's on the same images in the same minute."""
    plain = subject.trials(VariantSpec(name="bs_vae"))[1]
    if subject.declaration.kind == "trial":  # its steps are its own: the whole trial counts
        own = subject.seconds
        subject.run(plain)
        theirs, what = subject.seconds, "a whole trial takes"
    else:
        recipe = plain.train.model_copy(update={"epochs": COST_EPOCHS})
        both = [one.model_copy(update={"train": recipe}) for one in (plain, subject.trial)]
        theirs, own = (_best_epoch(subject, one) for one in both)
        what = f"training at {len(subject.data.train.images) / own:,.0f} images/s,"
    if math.isnan(own):
        return Note("not measured: it diverges in its first epochs")
    size = f"8x8 images, batch {TRAIN['batch_size']}; on larger ones the networks weigh more"
    return Note(f"{what} {own / theirs:.2f} times bs_vae's time ({size})")


def _best_epoch(subject: Subject, trial: Trial) -> float:
    """Return the seconds of the fastest epoch."""
    ends: list[float] = []

    def ended(member: int, epoch: Epoch) -> None:
        ends.append(seconds(subject.device))

    by_kind.trained([trial], subject.data, subject.device, ended)
    spans = [after - before for before, after in pairwise(ends)]
    if not spans:
        return math.nan  # it diverges at once
    return min(spans)
