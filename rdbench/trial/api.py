"""What a trial function is given and gives back: the third, freest way to write a variant.

::

    @rdbench.variant("my_training", paper="...")
    def my_training(trial: rdbench.Run, data: rdbench.Dataset, *, more: int = 10):
        model = rdbench.Model(trial.about(data))
        diverged = trial.fit(model, data)
        ...  # whatever is to follow
        return rdbench.TrialResult(model, diverged=diverged)

It sees no Ray, and may train in any way at all. Whatever it returns is measured as every other variant is.
Draw random numbers from ``trial.generator`` or from torch's global generator, which is seeded for each trial:
then the trial repeats.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from rdbench.datasets import Dataset
from rdbench.numerics.seeding import generator
from rdbench.spec.plan import Trial
from rdbench.vae import models
from rdbench.vae.batches import Draws
from rdbench.vae.checkpoints import Checkpointer, Kept
from rdbench.vae.evaluation import Measurement
from rdbench.vae.models import Model
from rdbench.vae.training import Epoch, train


@dataclass(frozen=True)
class Run:
    """A trial as its trial function sees it.

    Attributes:
        settings: the trial: ``settings.train.epochs``, ``settings.model.latent``, ``settings.protocol`` ...
        device: where to train.
        betas: the betas to give a point at: the trial's own, or all of the sweep for a variant with
            curve=True.
        on_epoch: to be told of each epoch; it shows the progress and becomes the trial's history.
        checkpointer: of the state of the training, for :meth:`fit`, :meth:`epochs` and :meth:`resumable`.
    """

    settings: Trial
    device: torch.device
    betas: tuple[float, ...]
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    checkpointer: Checkpointer = field(default_factory=Checkpointer)

    @property
    def beta(self) -> float:
        """The trial's beta."""
        return self.settings.beta

    @property
    def seed(self) -> int:
        """The trial's seed."""
        return self.settings.seed

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> Generator:
        """Return the random generator of one purpose, seeded by the trial's seed."""
        return generator(self.seed, f"variant/{purpose}", device)

    def about(self, data: Dataset) -> models.About:
        """Return what a :class:`rdbench.Model` is built for."""
        return models.about(self.settings, data.shape, len(data.train.images))

    def fit(self, model: Model, data: Dataset) -> str | None:
        """Train a model by the reference recipe of the sweep, on its own ``loss``, as a model variant is.

        Return why it diverged; None if it did not. The model is then in evaluation mode, on the device.
        """
        stage = self.checkpointer.stage()
        (reason,) = train(
            [model], [self.settings], data, self.device, lambda member, epoch: self.on_epoch(epoch), stage
        )
        return reason

    def resumable(self, count: int, keep: Sequence[Kept]) -> Iterator[int]:
        """Yield 0 to ``count`` - 1, for a loop of an author's own that goes on where it was interrupted.

        ``keep`` is everything that the loop changes: modules, optimizers, ``torch.Generator``. An interrupted
        trial goes on after the last turn that was kept, bit for bit as if it had never stopped.
        """
        stage = self.checkpointer.stage()
        done, _ = stage.begin({str(number): part for number, part in enumerate(keep)})
        for turn in range(done, count):
            yield turn
            stage.ended(turn + 1, last=turn + 1 == count)

    def epochs(self, data: Dataset, keep: Sequence[Kept] = ()) -> Iterator["Batches"]:
        """Yield the batches of each epoch, for a training loop of its own::

            for batches in trial.epochs(data, keep=[model, optimizer]):
                for images, noise in batches: ...
                trial.on_epoch(Epoch(batches.epoch + 1, ...))

        ``keep`` is everything that the loop changes, as for :meth:`resumable`; then the first epoch of an
        interrupted trial is not 0. Without it such a trial begins again.
        """
        draws = Draws([self.settings], data, self.device)
        count = self.settings.train.epochs
        turns = self.resumable(count, [*keep, *draws.generators.values()]) if keep else range(count)
        for epoch in turns:
            yield Batches(epoch, (draws.batches(inputs)[self.seed] for inputs in draws.epoch()))


@dataclass
class Batches:
    """The batches of one epoch, each (images, noise): augmented images (batch, channels, height, width),
    float32 in [0, 1] on the device, in the order, and with the standard normal noise (batch, latent), of
    every variant of this seed.
    """

    epoch: int  # from 0
    _batches: Iterator[tuple[Tensor, Tensor]]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._batches


@dataclass(frozen=True)
class TrialResult:
    """What a trial function gives back.

    Attributes:
        model: the trained model, or one for each of the run's betas; measured and kept as any other.
        measured: in place of a model: by beta, then by split (those of ``data.splits``), measurements of each
            image.
        diverged: why it diverged, and then neither of the others counts; None if it did not.
    """

    model: Model | Mapping[float, Model] | None = None
    measured: Mapping[float, Mapping[str, Measurement]] = field(default_factory=dict)
    diverged: str | None = None
