"""What the decoder alone could do: its rate-distortion curve by annealed importance sampling.

Rate and squared error of a trial are those of its encoder. For the same decoder f and prior p(z) the best
channel at slope s is q_s(z|x) ~ p(z) exp(-s |x - f(z)|^2); its rate and squared error over all s are the
curve that no encoder of this decoder can go below (Huang, Makhzani, Cao & Grosse, "Evaluating lossy
compression rates of deep generative models", ICML 2020; :mod:`rdbench.numerics.annealing`). At the slope
s = 1 / (2 sigma^2) it gives the likelihood: ln p(x) = ln Z_s - n/2 ln(2 pi sigma^2), here at the sigma^2 of
``optimal_train``.

Of an image's encoder, with its rate R and expected squared error D,

    R + s D + ln Z_s(x) = KL(q(z|x) || q_s(z|x)) >= 0

``amortisation_gap`` is its mean at the slope where it is least, which is the encoder's rate less that of the
decoder's curve at the encoder's mean squared error: R(D) = max over s of (-s D - E ln Z_s). It holds what
amortisation costs and what the family of the posterior cannot express; and for a variant trained with beta
it does not hold the choice of the slope. ``inference_gap`` is its mean at s = 1 / (2 sigma^2), which is
ln p(x) less the ELBO (Cremer, Li & Duvenaud, "Inference suboptimality in variational autoencoders", ICML
2018): differences of ELBO are differences of ``log_likelihood``, the decoder's, less those of this gap.

Estimates of ln Z are lower bounds, so rates are upper bounds and gaps lower ones. ``gap`` says how loose they
are: on samples of the model itself, whose true latents are known, walks backwards bound ln p(x) from above.
Above ``tolerance`` chains are too short; rates and likelihoods are then marked as the bounds they are. Test
images may be harder to walk to than the model's own samples.

The prior is what the model's ``log_prior`` says: a standard normal, a VampPrior, any density that torch can
differentiate. Not defined for a model that can only draw from its prior (``two_stage``). A model without a
prior (``autoencoder``) is given the normal distribution of its training images' latents, and has no gaps. Nor
has a decoder without an encoder, whose sigma^2 is the likeliest of training images.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from rdbench.metrics.base import ImageCount, Metric, MetricOptions, Quantity, TrainedModel, Value, mean_value
from rdbench.metrics.coded import training_images
from rdbench.metrics.iwae import IwaeOptions, scored

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from rdbench.numerics.annealing import Curve, Path, Problem
    from rdbench.numerics.stages import Stages

PILOTS = 2  # chains an image of the walk that finds slopes and step sizes
STAYS = 10  # transitions at each slope that is reported
LONGER = 3.0  # factor by which a path is made longer that does not reach the encoder's error
MOST_LONGER = 6  # times
FARTHEST = 16  # times that a path is made longer which looks for the decoder's own sigma^2
DRAWS = 8  # of each image's posterior, over which the encoder's error is averaged
FITTED = 5000  # training images that the prior of a model without one is fitted to
UNSEEN = 50  # training images that the sigma^2 of a decoder without encoder is fitted to
CURVE = 24  # points of the curve that are stored for its drawing
SAY_EVERY = 20.0  # seconds
DECADES = tuple(10.0**power for power in range(-4, 7))


def _ascending(slopes: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return None if slopes is None else tuple(sorted(set(slopes)))


Slope = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class AisOptions(MetricOptions):
    """Options of ``ais``.

    Attributes:
        images: how many random test images, the first of those that ``iwae`` scores; ``all`` for every one.
        levels: slopes on the way from the prior to the end of the curve, one transition each.
        chains: of each image.
        leapfrog: steps of a transition.
        slopes: where rate and squared error are reported besides at 1 / (2 sigma^2), in nats per unit of
            squared error; null for the powers of ten up to the end of the curve that matter.
        simulated: samples of the model that the bounds are compared on.
        tolerance: nats that the bounds may lie apart in the mean before chains count as too short.
    """

    name: str = "ais"
    images: ImageCount = 100
    levels: int = Field(default=300, ge=10, le=1_000_000)
    chains: int = Field(default=8, ge=2, le=100_000)
    leapfrog: int = Field(default=10, ge=1, le=10_000)
    slopes: Annotated[
        Annotated[tuple[Slope, ...], Field(min_length=1, max_length=20)] | None, AfterValidator(_ascending)
    ] = None
    simulated: int = Field(default=20, ge=2, le=100_000)
    tolerance: float = Field(default=1.0, gt=0, allow_inf_nan=False)


@dataclass(frozen=True)
class _Task:
    """What is walked in, and how."""

    options: AisOptions
    model: TrainedModel
    noise: "Generator"
    problem: "Problem"  # of the test images
    prior: str  # what it is, for a reader
    variance: float  # sigma^2
    stages: "Stages"  # of the walks, in their order

    @property
    def own(self) -> float:
        """The model's own slope."""
        return 1 / (2 * self.variance)


@dataclass(frozen=True)
class _Encoder:
    """Rate in nats, and mean squared error over draws of its posterior, of each image, float64 (images,)."""

    rate: "Tensor"
    sse: "Tensor"


def compute(options: AisOptions, model: TrainedModel) -> list[Value]:
    """Return the decoder's curve, its likelihood, and how far the encoder is from both.

    Raises ValueError: the training images' error is not known or is 0; or an error is not finite.
    """
    import torch

    from rdbench.numerics import annealing
    from rdbench.numerics.seeding import generator

    index = scored(IwaeOptions(images=options.images), model.n_test)
    images = model.test_images(index)
    encodes = "encoder" not in model.lacks
    if encodes and not model.train_sse:
        what = "is 0" if model.train_sse == 0 else "was not measured"
        raise ValueError(f"the squared error of the training images, which gives sigma^2, {what}")
    noise = generator(model.seed, "metric/ais", model.device)
    with torch.no_grad():
        problem, prior = _problem(model, images)
        task = _Task(options, model, noise, problem, prior, math.nan, model.stages(options))
        task = replace(task, variance=_variance(task, model.train_sse if encodes else None))
        encoder = _encoder(task, index)
        path = _path(task, None if encoder is None else float(encoder.sse.mean()))
        curve = annealing.forward(problem, path, _walk(task, options.chains, "curve", STAYS))
        # By as many levels as the curve has on its way there, and by draws of their own.
        samples = generator(model.seed, "metric/ais/samples", model.device)
        gaps = _gaps(replace(task, noise=samples), curve.at(task.own))
    values = _of_decoder(task, curve, gaps) + _of_encoder(task, curve, encoder)
    return [*values, _gap(task, gaps)]


def _problem(model: TrainedModel, images: "Tensor") -> "tuple[Problem, str]":
    """Return what is walked in, and what its prior is."""
    import torch

    from rdbench.numerics.annealing import Problem

    def standard(latents: "Tensor") -> "Tensor":
        return -latents.square().sum(1) / 2

    def draw(count: int, noise: "Generator") -> "Tensor":
        return torch.randn(count, model.latent, generator=noise, device=model.device)

    if "prior" not in model.lacks:
        given = Problem(images, model.decode, model.log_prior or standard, model.prior or draw)
        return given, "the model's"
    latents = torch.cat([model.encode(batch)[0] for batch in training_images(model, FITTED)]).double()
    covariance = latents.T.cov().reshape(model.latent, model.latent)
    least = 1e-6 * covariance.trace() / model.latent  # of a latent that is the same for all images
    factor = torch.linalg.cholesky(covariance + least * torch.eye(len(covariance), device=latents.device))
    mean, factor = latents.mean(0).float(), factor.float()
    fitted = Problem(images, lambda u: model.decode(mean + u @ factor.T), standard, draw)
    return fitted, f"normal, fitted to the latents of {len(latents):,} training images"


def _variance(task: _Task, train_sse: float | None) -> float:
    """Return the sigma^2 of ``optimal_train``, or without an encoder's error the decoder's own.

    That is where the likelihood of training images is highest: d/ds (ln Z_s + n/2 ln s) = 0, at the slope
    at which s E_q |x - f(z)|^2 = n/2. A pilot finds it. ValueError: there is none to be found.
    """
    import torch

    from rdbench.numerics import annealing
    from rdbench.numerics.seeding import generator

    n = task.problem.images[0].numel()
    if train_sse is not None:
        return train_sse / n
    images = torch.cat(training_images(task.model, UNSEEN))
    noise = generator(task.model.seed, "metric/ais/variance", task.model.device)
    problem, task = replace(task.problem, images=images), replace(task, noise=noise)
    if images.amin() == images.amax():
        raise ValueError(
            "all pixels of the training images are of one value, so there is no sigma^2 to look for"
        )
    levels, end = max(10, task.options.levels // 2), 1 / float(images.var())
    for longer in range(FARTHEST):
        end *= LONGER if longer else 1
        found = annealing.pilot(problem, end, levels, _walk(task, PILOTS, "sigma^2"))
        reached = found.path.slopes * found.sse.cpu() >= n / 2
        if bool(reached.any()):
            return 1 / (2 * float(found.path.slopes[int(reached.double().argmax())]))
    raise ValueError(f"the decoder's likelihood rises up to sigma^2 = {1 / (2 * end):.2g}: it has no optimum")


def _encoder(task: _Task, index: "Tensor") -> _Encoder | None:
    """Return what the encoder makes of the test images; None where its rate has no meaning."""
    import torch

    model, images = task.model, task.problem.images
    if model.lacks & {"prior", "encoder"} or model.test_rates is None or model.reconstruct is None:
        return None
    errors = []
    for _ in range(DRAWS):
        noise = torch.randn(len(images), model.latent, generator=task.noise, device=model.device)
        decoded = model.reconstruct(images, noise)
        errors.append((images - decoded).double().square().flatten(1).sum(1).cpu())
    rate = torch.from_numpy(model.test_rates[index.cpu().numpy()]).double()
    return _Encoder(rate, torch.stack(errors).mean(0))


def _walk(task: _Task, chains: int, what: str, stays: int = 1) -> Any:
    """Return how chains move, telling of their progress every few seconds."""
    from rdbench.numerics.annealing import Walk

    start = last = time.monotonic()
    before = -1  # levels that were done as this attempt began; -1: it did not

    def tell(done: int, levels: int) -> None:
        nonlocal last, before
        now = time.monotonic()
        if before < 0:
            before = done - 1
            if before:
                task.model.say(f"ais: {what} goes on from level {before} of {levels}")
        if now - last >= SAY_EVERY:
            last = now
            left = (now - start) / (done - before) * (levels - done)
            task.model.say(f"ais: {what}, level {done} of {levels}, about {left:.0f} s left")

    return Walk(chains, task.options.leapfrog, task.noise, stays, tell, task.stages())


def _path(task: _Task, error: float | None) -> "Path":
    """Return a path through all slopes that are reported, long enough to reach a mean squared error."""
    from rdbench.numerics import annealing

    options = task.options
    end = max(task.own, *(options.slopes or (0.0,)))
    for longer in range(MOST_LONGER + 1):
        end *= LONGER if longer else 1
        found = annealing.pilot(task.problem, end, max(10, options.levels // 2), _walk(task, PILOTS, "pilot"))
        if error is None or float(found.sse[-1]) < 0.97 * error:
            break
    decades = [slope for slope in DECADES if end / 1e3 < slope < end]
    wanted = [*(options.slopes or decades), task.own, end]
    return annealing.schedule(found, wanted, options.levels)


def _gaps(task: _Task, levels: int) -> "Tensor":
    """Return how far upper and lower bound of ln p(x) lie apart, of samples of the model, (samples,)."""
    import torch

    from rdbench.numerics import annealing

    count, options = task.options.simulated, task.options
    latents = task.problem.draw(count, task.noise)
    shape = (count, *task.problem.images.shape[1:])
    normal = torch.randn(shape, generator=task.noise, device=task.model.device)
    samples = task.problem.decode(latents).reshape(shape) + math.sqrt(task.variance) * normal
    problem = replace(task.problem, images=samples)
    found = annealing.pilot(problem, task.own, max(10, options.levels // 2), _walk(task, PILOTS, "pilot"))
    path = annealing.schedule(found, [task.own], levels)
    lower = annealing.forward(problem, path, _walk(task, options.chains, "own samples")).log_z[-1]
    upper = annealing.backward(problem, path, latents, _walk(task, options.chains, "backwards"))
    return upper.cpu() - lower


def _warned(task: _Task, gaps: "Tensor", bound: str) -> dict[str, str]:
    """Return the settings that mark a value whose chains were too short; none where they were not."""
    apart = float(gaps.mean())
    if apart <= task.options.tolerance:
        return {}
    warning = (
        f"chains too short: on samples of the model the bounds of ln p(x) lie {apart:.3g} nats apart, over"
        f" the tolerance of {task.options.tolerance:g}; take more levels"
    )
    return {"bound": bound, "warning": warning}


def _of_decoder(task: _Task, curve: "Curve", gaps: "Tensor") -> list[Value]:
    """Return rates, squared errors and likelihood of the decoder."""
    n, at = task.problem.images[0].numel(), curve.at(task.own)
    known: dict[str, Any] = {"prior": task.prior}
    listed = task.options.slopes or [slope for slope in DECADES if slope in curve.slopes.tolist()]
    values = []
    for slope, level in [*((slope, curve.at(slope)) for slope in listed), ("own", at)]:
        here = known | {"slope": slope, "ess": _digits(curve.ess[level].mean())}
        here |= {"variance": task.variance} if slope == "own" else {}
        rate = mean_value(curve.rate[level], quantity="rate", **here, **_warned(task, gaps, "upper"))
        values += [rate, mean_value(curve.sse[level], quantity="sse", **here)]
    log_p = curve.log_z[at] - n / 2 * math.log(2 * math.pi * task.variance)
    accepted = _digits(curve.acceptance[1:].mean())
    known |= {"variance": task.variance, "acceptance": accepted, "curve": _drawn(curve)}
    likelihood = mean_value(log_p, quantity="log_likelihood", **known, **_warned(task, gaps, "lower"))
    return [likelihood, *values, mean_value(curve.ess[at], quantity="ess")]


def _drawn(curve: "Curve") -> list[list[float]]:
    """Return points of the curve, each slope, rate and squared error, to the digits worth storing.

    A point between those that chains stayed at is the Legendre transform's, whose rate hangs on the error
    of the squared error in second order only.
    """
    import torch

    log_z, sse = curve.log_z.mean(1), curve.sse.mean(1)
    chosen = torch.linspace(0, len(sse) - 1, CURVE).round().long().unique()
    window = max(1, len(sse) // (4 * CURVE))
    points = []
    for level in chosen.tolist():
        near = sse[max(0, level - window) : level + window + 1].mean() if level else sse[0]
        rate = torch.clamp((-curve.slopes * near - log_z).max(), min=0)
        points.append([_digits(curve.slopes[level]), _digits(rate), _digits(near)])
    return points


def _digits(value: "Tensor | float") -> float:
    return float(f"{float(value):.6g}")


def _of_encoder(task: _Task, curve: "Curve", encoder: _Encoder | None) -> list[Value]:
    """Return the encoder's rate and squared error on these images, and how far it is from the decoder's."""
    if encoder is None:
        lacking = (
            "it has no encoder" if "encoder" in task.model.lacks else "a deterministic encoder has no rate"
        )
        why = f"not defined for this variant: {lacking}"
        return [_undefined(name, why) for name in ("amortisation_gap", "inference_gap")]
    divergence = encoder.rate + curve.slopes.unsqueeze(1) * encoder.sse + curve.log_z
    at = int(divergence.mean(1).argmin())
    values = [
        mean_value(encoder.rate, quantity="encoder_rate"),
        mean_value(encoder.sse, quantity="encoder_sse"),
        mean_value(divergence[curve.at(task.own)], quantity="inference_gap", variance=task.variance),
    ]
    if at == len(curve.slopes) - 1:
        why = f"the encoder's squared error lies below the curve's end at slope {curve.slopes[-1]:.4g}"
        return [*values, _undefined("amortisation_gap", why)]
    slope = _digits(curve.slopes[at])
    return [*values, mean_value(divergence[at], quantity="amortisation_gap", at_slope=slope)]


def _undefined(quantity: str, why: str) -> Value:
    return Value(None, settings={"quantity": quantity, "error": why, "undefined": True})


def _gap(task: _Task, gaps: "Tensor") -> Value:
    return mean_value(gaps, quantity="gap", **{key: value for key, value in _warned(task, gaps, "").items()
                                               if key == "warning"})  # fmt: skip


METRIC = Metric(
    "ais",
    "the decoder's own rate-distortion curve and ln p(x) by annealed importance sampling; minutes",
    AisOptions,
    compute,
    (
        Quantity("log_likelihood", "higher", "nats per image", has_zero=False, positive=False),
        Quantity("rate", None, "nats per image", positive=False),
        Quantity("sse", None),
        Quantity("ess", "higher"),
        Quantity("encoder_rate", None, "nats per image", positive=False),
        Quantity("encoder_sse", None),
        Quantity("amortisation_gap", "lower", "nats per image", positive=False),
        Quantity("inference_gap", "lower", "nats per image", positive=False),
        Quantity("gap", "lower", "nats", positive=False, options=("simulated",)),
    ),
    protocols=("clean",),
    needs=("density",),
    takes_long=True,
)
