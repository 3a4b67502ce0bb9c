"""Entropy coding of images by a variational autoencoder: bits back, and latents on a grid.

*Bits back* (Townsend, Bird & Barber, "Practical lossless compression with latent variables using bits back
coding", ICLR 2019) codes 8-bit images losslessly. Of a stack of bits, an image

    1. pops latents z under q(z|x)      2. pushes its pixels under p(x|z)      3. pushes z under p(z)

so that it adds -ln p(x|z) + ln q(z|x) - ln p(z), in the mean the negative ELBO. The decoder undoes the steps
in reverse. Latents are on a grid, fine against q; pixels have the likelihood of
:mod:`rdbench.numerics.binned`.

*Latents on a grid* is what a codec does: posterior means, rounded to steps of a size for each latent, are
coded under a model of theirs that encoder and decoder share, and decoded images differ from the originals.

The stack (asymmetric numeral systems) and the stream (range coding) are constriction's, whose models are
integers: the same on every machine. A network's floats are not, so a message of bits back is read by the
machine that wrote it; indices of latents are the same everywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint32]

WORD = 32  # bits
LEVELS = 256
PRECISION = 24  # bits: constriction's probabilities are multiples of 2^-24, and each symbol has at least one
GRID = 1 << 13
"""Steps of a latent of bits back, on either side of zero; so many waste less than 0.002 bits a latent."""
FINE = 4.0
"""Steps of bits back in a posterior's mean standard deviation: a latent is then 0.5% more uncertain."""
NEAR = 64
"""Steps of a posterior on either side of its mean. Random bits pop every symbol now and then, the least
probable too: were all of the grid among them, one image in thirty would have a senseless latent."""
REACH = 8.0
"""Standard deviations of the prior that a grid of latents reaches at least."""
MOST_STEPS = 1 << 18
"""Of a latent on a grid; a model of more is no finer than constriction's probabilities."""

_Pixels = constriction.stream.model.QuantizedGaussian(0, LEVELS - 1)
_Posterior = constriction.stream.model.QuantizedGaussian(-NEAR, NEAR)
_Prior = constriction.stream.model.QuantizedGaussian(-GRID, GRID)
_Table = constriction.stream.model.Categorical


# Bits back


@dataclass(frozen=True)
class BitsBack:
    """A model as bits back uses it; encoder and decoder need the very same one.

    Attributes:
        encode: levels 0..255 of one image, (n,) -> mean and standard deviation of q(z|x), each (latent,).
        decode: latents (latent,) -> the decoder's mean in levels, (n,).
        sigma: the decoder's standard deviation, in levels, > 0.
        steps: of the grid, (latent,); :func:`fine_steps`.
    """

    encode: Callable[[Integers], tuple[Floats, Floats]]
    decode: Callable[[Floats], Floats]
    sigma: float
    steps: Floats

    def push(self, stack: "Stack", levels: Integers) -> Floats:
        """Code one image onto a stack; return the latents that it was decoded from, (latent,)."""
        centre, *posterior = self._posterior(levels)
        indices = centre + stack.coder.decode(_Posterior, *posterior)
        stack.lowest = min(stack.lowest, stack.coder.num_valid_bits())
        latents: Floats = indices * self.steps
        stack.coder.encode_reverse(levels, _Pixels, *self._pixels(latents))
        stack.coder.encode_reverse(indices, _Prior, *self._prior)
        return latents

    def pop(self, stack: "Stack") -> Integers:
        """Take the last image off a stack that :meth:`push` put there, and give back the bits it popped."""
        indices = stack.coder.decode(_Prior, *self._prior)
        levels: Integers = stack.coder.decode(_Pixels, *self._pixels(indices * self.steps))
        centre, *posterior = self._posterior(levels)
        stack.coder.encode_reverse(indices - centre, _Posterior, *posterior)
        return levels

    @property
    def _prior(self) -> tuple[Floats, Floats]:
        deviations: Floats = 1 / self.steps
        return np.zeros(len(self.steps)), deviations

    def _posterior(self, levels: Integers) -> tuple[Integers, Floats, Floats]:
        """Return the step nearest to the mean, and mean from there and deviation in steps, each (latent,)."""
        mean, deviation = self.encode(levels)
        within = GRID - NEAR
        centre = np.clip(np.rint(mean / self.steps), -within, within)
        return centre.astype(np.int32), mean / self.steps - centre, deviation / self.steps

    def _pixels(self, latents: Floats) -> tuple[Floats, Floats]:
        mean = self.decode(latents)
        return mean, np.full(len(mean), self.sigma)


class Stack:
    """A stack of bits, which begins with random ones for the first image to pop.

    Attributes:
        coder: constriction's.
        lowest: how few bits it has held.
    """

    def __init__(self, latent: int, random: np.random.Generator) -> None:
        # A latent takes at most PRECISION bits. A word of zero at the end would be read as none.
        self._words = random.integers(1, 1 << WORD, size=latent + 2, dtype=np.uint32)
        self.coder = constriction.stream.stack.AnsCoder(self._words.copy())
        self.lowest = self.coder.num_valid_bits()
        self._start = self.coder.num_bits(), self.lowest

    @property
    def net_bits(self) -> int:
        """What the images on it take, without the bits that it began with."""
        return int(self.coder.num_bits() - self._start[0])

    @property
    def start_up_bits(self) -> int:
        """What had to be there for the images to pop, and comes back when they are decoded."""
        return int(self._start[1] - self.lowest)

    @property
    def is_as_it_began(self) -> bool:
        """Whether nothing but the random bits is left."""
        return np.array_equal(self.coder.get_compressed(), self._words)


def fine_steps(means: Floats, deviations: Floats) -> Floats:
    """Return the steps of the grid of bits back, (latent,), from posteriors of many images, (images, latent).

    A step is a quarter of the mean posterior deviation, or larger where the grid would not reach ten per cent
    over the largest mean, and eight deviations of the prior.
    """
    reach = np.maximum(REACH, 1.1 * np.abs(means).max(0) + REACH * deviations.mean(0))
    steps: Floats = np.maximum(deviations.mean(0) / FINE, reach / GRID)
    return steps


# Latents on a grid


@dataclass(frozen=True)
class LatentModel:
    """The probabilities of one latent's indices ``low``, ``low`` + 1, ...; (indices,), they sum to one."""

    low: int
    probabilities: Floats

    @property
    def count(self) -> int:
        """How many indices it has."""
        return len(self.probabilities)

    @property
    def table(self) -> Any:
        """What constriction codes indices less ``low`` by."""
        return _Table(self.probabilities, perfect=False)

    def held(self, indices: Integers) -> Integers:
        """Return the nearest indices that the model has."""
        return held(indices, self.low, self.count)


@dataclass(frozen=True)
class NormalModel:
    """The indices ``low``, ``low`` + 1, ... of one latent as a normal density, in bins, the outer ones open.

    Four numbers, whose probabilities are the same on every machine: what a file can hold.
    """

    low: int
    count: int
    mean: float
    deviation: float

    @classmethod
    def of(cls, indices: Integers) -> "NormalModel":
        """Fit it to indices, all of which it has."""
        low, count = int(indices.min()), int(np.ptp(indices)) + 1
        # As float32 keeps them: a file's numbers must be those that were coded with.
        return cls(low, count, float(np.float32(indices.mean())), float(np.float32(max(indices.std(), 0.1))))

    @property
    def table(self) -> Any:
        """What constriction codes indices less ``low`` by."""
        if self.count == 1:  # a model of constriction has two symbols or more; the second never comes
            return constriction.stream.model.QuantizedGaussian(0, 1, -8.0, 0.5)
        last = self.count - 1
        return constriction.stream.model.QuantizedGaussian(0, last, self.mean - self.low, self.deviation)


def held(indices: Integers, low: int, count: int) -> Integers:
    """Return the nearest of so many indices from ``low`` on."""
    return np.clip(indices, low, low + count - 1).astype(np.int32)


def rounded(values: Floats, step: float) -> Integers:
    """Return the indices of the steps nearest to some values.

    Raises:
        ValueError: there are more than a coder tells apart.
    """
    if not np.abs(values).max() < step * MOST_STEPS / 2:
        raise ValueError(f"latents as large as {np.abs(values).max():.3g} are over {MOST_STEPS // 2} steps")
    return np.rint(values / step).astype(np.int32)


def fit(indices: Integers) -> LatentModel:
    """Fit the model of one latent to its indices over images: a normal density mixed with their histogram.

    How much of the histogram there is, is chosen by what each half of the images says of the other; few
    images for a fine grid give the normal density alone. The model reaches an eighth of the range, and two
    steps, beyond what was seen.
    """
    low, high = int(indices.min()), int(indices.max())
    margin = 2 + (high - low) // 8
    low, count = low - margin, high - low + 1 + 2 * margin
    halves = [_parts(indices[start::2], low, count) for start in (0, 1)]
    shares = np.linspace(0, 0.95, 20)
    cost = np.zeros(len(shares))
    for half, (normal, histogram) in zip((1, 0), halves, strict=True):
        at = indices[half::2] - low
        mixed = (1 - shares[:, None]) * normal[at] + shares[:, None] * histogram[at]
        cost -= np.log(np.maximum(mixed, 2.0**-PRECISION)).sum(1)
    share = shares[int(cost.argmin())]
    normal, histogram = _parts(indices, low, count)
    return LatentModel(low, (1 - share) * normal + share * histogram)


def _parts(indices: Integers, low: int, count: int) -> tuple[Floats, Floats]:
    """Return the normal density of some indices, in bins with the outer ones open, and their histogram."""
    histogram = np.bincount(indices - low, minlength=count) / max(1, len(indices))
    mean = indices.mean() if len(indices) else low + count / 2
    deviation = max(float(indices.std()) if len(indices) else count / 4, 0.05)
    edges = ndtr((np.arange(low, low + count - 1) + 0.5 - mean) / deviation)
    return np.diff(np.concatenate([[0.0], edges, [1.0]])), histogram


def encode_latents(columns: Sequence[Integers], models: Sequence[LatentModel | NormalModel]) -> Words:
    """Code indices, a column of all images for each latent, as one stream of 32-bit words."""
    encoder = constriction.stream.queue.RangeEncoder()
    for column, model in zip(columns, models, strict=True):
        encoder.encode((column - model.low).astype(np.int32), model.table)
    words: Words = encoder.get_compressed()
    return words


def decode_latents(words: Words, images: int, models: Sequence[LatentModel | NormalModel]) -> list[Integers]:
    """Return the columns that :func:`encode_latents` coded, of so many images."""
    decoder = constriction.stream.queue.RangeDecoder(words)
    columns = []
    for model in models:
        column = decoder.decode(model.table, images)
        columns.append((column + model.low).astype(np.int32))
    return columns


def of_prior(model: LatentModel, step: float) -> LatentModel:
    """Return the probabilities that the standard normal prior gives the same indices."""
    count = len(model.probabilities)
    edges = ndtr((np.arange(model.low, model.low + count - 1) + 0.5) * step)
    return LatentModel(model.low, np.diff(np.concatenate([[0.0], edges, [1.0]])))
