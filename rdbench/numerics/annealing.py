"""Annealed importance sampling of a fixed decoder: ln Z_s, rate and squared error along a path of slopes.

For a decoder f, a prior p(z) and an image x, the channel that is optimal at slope s, and its normaliser, are

    q_s(z|x) = p(z) exp(-s |x - f(z)|^2) / Z_s(x)        Z_s(x) = E_p exp(-s |x - f(z)|^2)

    rate(s) = KL(q_s || p) = -s E_q |x - f(z)|^2 - ln Z_s(x)

so one walk from s = 0, the prior, upwards gives the decoder's whole rate-distortion curve, without an encoder
(Huang, Makhzani, Cao & Grosse, "Evaluating lossy compression rates of deep generative models", ICML 2020).
At s = 1 / (2 sigma^2) its end is the likelihood: ln p(x) = ln Z_s - n/2 ln(2 pi sigma^2).

A chain starts at a draw of the prior. On the way from one slope to the next its log weight falls by the step
times its squared error, then a transition that leaves q_s invariant moves it (Neal, "Annealed importance
sampling", Statistics and Computing 11, 2001). The mean weight is an unbiased estimate of Z_s at every slope,
whatever the transitions: its logarithm bounds ln Z_s from below in expectation, the rate from above. The
transition is Hamiltonian Monte Carlo with mass 1 (Neal, "MCMC using Hamiltonian dynamics", 2011).

Where z is an exact draw of q_s, as the true latents of a sample of the model are at s = 1 / (2 sigma^2), the
same walk backwards is an unbiased estimate of 1 / Z_s: its logarithm bounds ln Z_s from above (bidirectional
Monte Carlo: Grosse, Ghahramani & Adams 2015). The gap between both says whether the chains were long enough.

Slopes and step sizes are chosen by a pilot walk of its own draws, so the estimate does not depend on itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import torch
from torch import Generator, Tensor

from rdbench.numerics.stages import UNKEPT, Stage

ACCEPTANCE = 0.65  # share of accepted proposals that step sizes are adapted to (Neal 2011, sec. 5.4.4.3)
GAIN = 0.15  # of that adaptation: change of ln(step) at each level, per unit of the acceptance's error
SETTLING = 20  # transitions at the prior before a pilot starts, in which the first step size is found
JITTER = 0.2  # a step is drawn within this share of its size: without, a trajectory may be a whole period
SMOOTHED = 9  # neighbouring levels over which the pilot's spread of errors is averaged

Tell = Callable[[int, int], None]
"""Told (levels done, of how many)."""


@dataclass(frozen=True)
class Problem:
    """A decoder with its prior, and the images whose latents are sought.

    Attributes:
        images: (images, ...), in the arithmetic that ``decode`` computes in.
        decode: latents (batch, latent) -> the decoder's mean, (batch, ...); torch can differentiate it.
        log_prior: latents (batch, latent) -> ln p(z) in nats up to a constant, (batch,); likewise.
        draw: (count, generator) -> latents of p(z), (count, latent), on the generator's device.
        at_once: latents that are decoded together: no result depends on it beyond rounding.
    """

    images: Tensor
    decode: Callable[[Tensor], Tensor]
    log_prior: Callable[[Tensor], Tensor]
    draw: Callable[[int, Generator], Tensor]
    at_once: int = 1000


@dataclass(frozen=True)
class Walk:
    """How chains move.

    Attributes:
        chains: of each image.
        leapfrog: steps of a transition.
        generator: of all random numbers.
        stays: transitions at a slope that the path stops at, over which its squared error is averaged; chains
            make one at any other.
        tell: told of the progress.
        stage: keeps the chains between two levels; gone on with, a walk gives the same numbers bit for bit.
    """

    chains: int
    leapfrog: int
    generator: Generator
    stays: int = 1
    tell: Tell = lambda done, levels: None
    stage: Stage = UNKEPT


@dataclass(frozen=True)
class Path:
    """Where chains go.

    Attributes:
        slopes: ascending from 0, (levels + 1,), float64.
        steps: step size of each image at each slope but the first, (levels, images), float64.
        stops: the levels, counted from the prior's 0, whose squared errors are asked for.
    """

    slopes: Tensor
    steps: Tensor
    stops: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Pilot:
    """What a pilot walk found: a path, and how much squared errors vary at its slopes, (levels + 1,)."""

    path: Path
    spread: Tensor
    sse: Tensor  # mean over images and chains at its slopes, (levels + 1,)


@dataclass(frozen=True)
class Curve:
    """What a walk measured at each slope of its path, float64.

    Attributes:
        slopes: (levels + 1,).
        log_z: lower bound of ln Z_s in nats, (levels + 1, images).
        sse: E_q |x - f(z)|^2 by self-normalised weights, (levels + 1, images).
        ess: effective sample size, 1 to the number of chains, (levels + 1, images).
        acceptance: share of proposals that were accepted, (levels + 1, images); 1 at the prior.
    """

    slopes: Tensor
    log_z: Tensor
    sse: Tensor
    ess: Tensor
    acceptance: Tensor

    @property
    def rate(self) -> Tensor:
        """Upper bound of the rate in nats, (levels + 1, images)."""
        return -self.slopes.unsqueeze(1) * self.sse - self.log_z

    def at(self, slope: float) -> int:
        """Return the level of a slope that the path goes through."""
        return int((self.slopes - slope).abs().argmin())


@dataclass(frozen=True)
class State:
    """Chains at one moment: latents (images, chains, latent), and what the dynamics need of them."""

    z: Tensor
    sse: Tensor  # (images, chains), float64, as is log_prior
    log_prior: Tensor
    sse_gradient: Tensor  # shaped as z, as is the next
    prior_gradient: Tensor

    def where(self, chosen: Tensor, other: "State") -> "State":
        """Return this state for the ``chosen`` chains, (images, chains), and the other for the rest."""
        pairs = [(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return State(*(torch.where(chosen if a.ndim == 2 else chosen.unsqueeze(2), a, b) for a, b in pairs))


def state_at(problem: Problem, z: Tensor) -> State:
    """Return the state of chains at latents (images, chains, latent)."""
    chains = z.shape[1]
    images = torch.arange(len(problem.images), device=z.device).repeat_interleave(chains)
    parts: list[list[Tensor]] = []
    batches = (whole.split(problem.at_once) for whole in (z.flatten(0, 1), images))
    for latents, index in zip(*batches, strict=True):
        with torch.enable_grad():
            here = latents.detach().requires_grad_()
            difference = problem.images[index].flatten(1) - problem.decode(here).flatten(1)
            sse = difference.double().square().sum(1)
            log_prior = problem.log_prior(here)
            parts.append([sse, log_prior.double(), *torch.autograd.grad(sse.sum(), here),
                          *torch.autograd.grad(log_prior.sum(), here)])  # fmt: skip
    joined = [torch.cat(part).detach().unflatten(0, z.shape[:2]) for part in zip(*parts, strict=True)]
    return State(z, *joined)


def hamiltonian(state: State, momentum: Tensor, slope: float) -> Tensor:
    """Return potential and kinetic energy of chains in nats, (images, chains)."""
    potential = slope * state.sse - state.log_prior
    return potential + momentum.double().square().sum(2) / 2


def acceptance(before: Tensor, after: Tensor) -> Tensor:
    """Return the probability of accepting proposals, by their energies; 0 where one is not finite."""
    return (before - after).nan_to_num(nan=-math.inf).clamp(max=0).exp()


def transition(
    problem: Problem, state: State, slope: float, step: Tensor, walk: Walk
) -> tuple[State, Tensor]:
    """Move chains by Hamiltonian Monte Carlo that leaves q_s invariant.

    Args:
        problem: what they walk in.
        state: where they are.
        slope: s, 0 or more.
        step: step size of each image, (images,).
        walk: gives chains, leapfrog steps and random numbers.

    Returns:
        Where they are now, and with which probability each proposal was accepted, (images, chains).
    """
    z, generator = state.z, walk.generator
    drawn: dict[str, Any] = {"generator": generator, "device": z.device, "dtype": z.dtype}
    momentum = torch.randn(z.shape, **drawn)
    jitter = 1 + JITTER * (2 * torch.rand(*z.shape[:2], 1, **drawn) - 1)
    size = step.to(z.dtype).view(-1, 1, 1) * jitter
    chance = torch.rand(z.shape[:2], **{**drawn, "dtype": torch.float64})
    before = hamiltonian(state, momentum, slope)
    proposal = state
    for _ in range(walk.leapfrog):
        momentum = momentum + size / 2 * _force(proposal, slope)
        proposal = state_at(problem, proposal.z + size * momentum)
        momentum = momentum + size / 2 * _force(proposal, slope)
    accepted = acceptance(before, hamiltonian(proposal, momentum, slope))
    return proposal.where(chance < accepted, state), accepted


def _force(state: State, slope: float) -> Tensor:
    return state.prior_gradient - slope * state.sse_gradient


def _start(problem: Problem, walk: Walk) -> State:
    """Return chains at draws of the prior."""
    count = len(problem.images)
    drawn = problem.draw(count * walk.chains, walk.generator).to(problem.images.dtype)
    return state_at(problem, drawn.unflatten(0, (count, walk.chains)))


def _going_on(
    problem: Problem, walk: Walk, begin: Callable[[State], dict[str, Tensor]], start: Tensor | None = None
) -> tuple[State, dict[str, Tensor], int]:
    """Return where chains are, what else belongs to them, and how many levels are done.

    It is as an earlier attempt left it; without one, at ``start`` or at draws of the prior, and what
    ``begin`` makes of the state there.
    """
    done, kept = walk.stage.begin({"noise": walk.generator})
    if kept is None:
        state = _start(problem, walk) if start is None else state_at(problem, start)
        return state, begin(state), 0
    parts = {name: value.to(problem.images.device, copy=True) for name, value in kept.items()}
    state = State(*(parts.pop(field.name) for field in fields(State)))
    return state, parts, done


def _level_ended(walk: Walk, done: int, levels: int, state: State, more: dict[str, Tensor]) -> None:
    parts = {field.name: getattr(state, field.name) for field in fields(state)}
    walk.stage.ended(done, parts | more, last=done == levels)
    walk.tell(done, levels)


def pilot(problem: Problem, end: float, levels: int, walk: Walk) -> Pilot:
    """Walk once to find step sizes and where errors vary; nothing of it enters an estimate.

    Args:
        problem: what to walk in.
        end: the last slope, > 0.
        levels: transitions on the way; slopes grow by differences at first, then by factors.
        walk: gives chains, leapfrog steps and random numbers.

    Raises ValueError: the squared error of some draw of the prior is not finite.
    """
    state, more, done = _going_on(problem, walk, lambda state: _pilots_start(state, end, levels))
    slopes = more["slopes"].cpu()
    for level in range(done - SETTLING, levels):
        slope = float(slopes[max(0, level + 1)])
        state, accepted = transition(problem, state, slope, more["log_step"].exp(), walk)
        more["log_step"] = more["log_step"] + GAIN * (accepted.mean(1) - ACCEPTANCE)
        if level >= 0:
            more["steps"][level] = more["log_step"].exp()
            more["spread"][level + 1] = _spread(state.sse)
            more["means"][level + 1] = state.sse.mean()
        _level_ended(walk, level + SETTLING + 1, levels + SETTLING, state, more)
    return Pilot(Path(slopes, more["steps"]), _smoothed(more["spread"].cpu()), more["means"])


def _pilots_start(state: State, end: float, levels: int) -> dict[str, Tensor]:
    """Return the slopes of a pilot whose chains start in this state, and room for what it will find."""
    if not bool(state.sse.isfinite().all()):
        raise ValueError("the squared error of some draw of the prior is not finite")
    # Below this slope an image changes no weight by more than a nat.
    scale = 1 / max(float(state.sse.std().nan_to_num()), 1e-12)
    growth = math.log1p(end / scale)
    slopes = scale * torch.expm1(torch.linspace(0, growth, levels + 1, dtype=torch.float64))
    slopes[-1] = end
    sse, images = state.sse, len(state.sse)
    spread, means = sse.new_zeros(levels + 1), sse.new_zeros(levels + 1)
    spread[0], means[0] = _spread(sse), sse.mean()
    log_step = torch.full((images,), math.log(0.5), dtype=torch.float64, device=sse.device)
    room = {"steps": sse.new_zeros(levels, images), "spread": spread, "means": means}
    return {"slopes": slopes, "log_step": log_step, **room}


def _spread(sse: Tensor) -> Tensor:
    """Return the standard deviation of squared errors within an image, pooled over the images."""
    return sse.var(1).mean().sqrt() if sse.shape[1] > 1 else sse.std().nan_to_num()


def _smoothed(values: Tensor) -> Tensor:
    """Return a running mean, in which the ends count as often as need be."""
    ends = SMOOTHED // 2
    padded = torch.cat([values[:1].expand(ends), values, values[-1:].expand(ends)])
    return padded.unfold(0, SMOOTHED, 1).mean(1)


def schedule(found: Pilot, slopes: Sequence[float], levels: int) -> Path:
    """Return a path through these slopes, to the largest, on which errors vary alike at every step.

    The variance of the log weights is about the sum over steps of (step times the errors' standard
    deviation)^2, least where all terms are equal.

    Args:
        found: of a pilot whose path ends at or beyond the largest slope.
        slopes: to go through, each > 0.
        levels: their number; a few more if so many slopes need it.
    """
    known = found.path.slopes
    middle = (found.spread[1:] + found.spread[:-1]) / 2
    length = torch.cat([known.new_zeros(1), (middle.clamp(min=1e-12) * known.diff()).cumsum(0)])
    stops = sorted({0.0, *slopes})
    places = _interpolated(torch.tensor(stops, dtype=torch.float64), known, length)
    parts, at = [known.new_zeros(1)], [0]
    for (low, high), (start, stop) in zip(pairwise(places), pairwise(stops), strict=True):
        count = max(1, round(levels * float((high - low) / places[-1])))
        within = _interpolated(torch.linspace(float(low), float(high), count + 1).double(), length, known)
        parts.append(within[1:].clamp(start, stop))
        parts[-1][-1] = stop  # exactly, whatever rounding made of it
        at.append(at[-1] + count)
    path = torch.cat(parts)
    # The step at slope s is that of the pilot's nearest level below.
    nearest = torch.searchsorted(known[1:].contiguous(), path[1:]).clamp(max=len(known) - 2)
    return Path(path, found.path.steps[nearest.to(found.path.steps.device)], frozenset(at[1:]))


def _interpolated(at: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """Return values at places, linear between known ones, which ascend."""
    right = torch.searchsorted(known.contiguous(), at).clamp(1, len(known) - 1)
    share = (at - known[right - 1]) / (known[right] - known[right - 1])
    return values[right - 1] + share.clamp(0, 1) * (values[right] - values[right - 1])


def forward(problem: Problem, path: Path, walk: Walk) -> Curve:
    """Walk from the prior to the end of the path; return what each of its slopes gave."""
    levels = len(path.slopes) - 1

    def begin(state: State) -> dict[str, Tensor]:
        found = state.sse.new_zeros(4, levels + 1, len(state.sse))
        weights = torch.zeros_like(state.sse)
        found[:, 0] = _measured(state.sse, weights, torch.ones_like(weights))
        return {"log_weights": weights, "found": found}

    state, more, done = _going_on(problem, walk, begin)
    for level in range(done, levels):
        slope = float(path.slopes[level + 1])
        more["log_weights"] = more["log_weights"] - (slope - float(path.slopes[level])) * state.sse
        moved = []
        for _ in range(walk.stays if level + 1 in path.stops else 1):
            state, accepted = transition(problem, state, slope, path.steps[level], walk)
            moved.append((state.sse, accepted))
        sse, accepted = (torch.stack(part).mean(0) for part in zip(*moved, strict=True))
        more["found"][:, level + 1] = _measured(sse, more["log_weights"], accepted)
        _level_ended(walk, level + 1, levels, state, more)
    return Curve(path.slopes, *more["found"].cpu())


def _measured(sse: Tensor, log_weights: Tensor, accepted: Tensor) -> Tensor:
    """Return ln Z_s, squared error, effective sample size and acceptance of each image, (4, images)."""
    weights = log_weights.softmax(1)
    log_z = log_weights.logsumexp(1) - math.log(log_weights.shape[1])
    ess = 1 / weights.square().sum(1)
    return torch.stack([log_z, (weights * sse).sum(1), ess, accepted.mean(1)])


def backward(problem: Problem, path: Path, latents: Tensor, walk: Walk) -> Tensor:
    """Walk from draws of q_s at the path's end back to the prior; return upper bounds of ln Z_s, (images,).

    Args:
        problem: what to walk in.
        path: as that of :func:`forward`.
        latents: an exact draw of q_s of each image, (images, latent): all its chains start there.
        walk: gives chains, leapfrog steps and random numbers.
    """
    start = latents.unsqueeze(1).expand(-1, walk.chains, -1).contiguous()
    state, more, done = _going_on(
        problem, walk, lambda state: {"log_weights": torch.zeros_like(state.sse)}, start
    )
    levels = len(path.slopes) - 1
    for level in range(levels - 1 - done, -1, -1):
        slope = float(path.slopes[level + 1])
        state, _ = transition(problem, state, slope, path.steps[level], walk)
        more["log_weights"] = more["log_weights"] + (slope - float(path.slopes[level])) * state.sse
        _level_ended(walk, levels - level, levels, state, more)
    return math.log(walk.chains) - more["log_weights"].logsumexp(1)
