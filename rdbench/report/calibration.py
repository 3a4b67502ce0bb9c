"""Is the harness right? Measured points compared with the optimum that is known in closed form.

On the source ``gaussian`` the model ``linear`` has an optimum that :mod:`rdbench.numerics.theory` gives, so
each measured (rate, sse) of the test split has a true value, and its distance to Shannon's rate-distortion
function a lower bound of zero. A trial that trained to its end and misses them shows a fault in what lies
between a sweep file and its tables: data, objective, training, evaluation or store.

A trial is judged by :data:`TOLERANCES`, set for the sweeps that ship (:data:`SWEEPS`), and by Shannon: no
point lies below R(D) by more than its sampling error.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rdbench.datasets.gaussian import GaussianOptions, spectrum
from rdbench.errors import UserError
from rdbench.metrics.failures import last_line
from rdbench.numerics import theory
from rdbench.results.load import Results
from rdbench.spec.plan import Trial, plan

if TYPE_CHECKING:
    import pandas as pd

SWEEPS = ("gaussian_calibration", "gaussian_calibration_bs_vae")  # those that ship for calibration
STANDARD_ERRORS = 4  # that a measured number may stray from its expectation: 1 in 16,000 does


@dataclass(frozen=True)
class Tolerance:
    """How far a point may be from theory."""

    rate: float  # relative to the prediction, as sse is
    sse: float
    distance: float | None  # of the rate to R(D) at the measured sse, relative to R(D); None: only shown
    # Allowed however small the rate is: at rate 0 all is relative to nothing.
    rate_nats: float = 0.02
    distance_nats: float = 0.01


# By variant; any other that theory predicts is held to the bars of ``beta_vae``.
TOLERANCES = {
    # Its optimum does not depend on the data's finite sample in many dimensions, so the bars are tighter.
    "beta_vae": Tolerance(rate=0.02, sse=0.02, distance=0.01),
    "bs_vae": Tolerance(rate=0.03, sse=0.01, distance=None),
}
# Variants that theory knows by another name.
LIKE = {"sigma_vae": "optimal_shared", "sigma_vae_optimal": "optimal_shared"}


@dataclass(frozen=True)
class Point:
    """A measured point: means over test images, and their standard errors (None for a single image)."""

    rate: float
    sse: float
    rate_se: float | None = None
    sse_se: float | None = None


@dataclass(frozen=True)
class Check:
    """One trial against theory."""

    trial: Trial
    point: Point | None  # what was measured; None where nothing was
    predicted: theory.Prediction | None  # the optimum; None where there is none, or no prediction
    bound: float | None  # R(D) in nats at the measured sse with as many dimensions as there are latents
    verdict: str  # "within", "off", or why there is none: "no optimum", "no prediction", "not measured"
    reason: str  # what is off, or why there is no verdict; empty for "within"

    @property
    def judged(self) -> bool:
        """Whether theory has something to hold this trial to; one without a result is off."""
        return self.verdict in ("within", "off", "not measured")

    def error(self, name: Literal["rate", "sse"]) -> float | None:
        """Measured over predicted, less one; None at a prediction of zero."""
        measured, predicted = getattr(self.point, name, None), getattr(self.predicted, name, None)
        return measured / predicted - 1 if measured is not None and predicted else None

    @property
    def distance(self) -> float | None:
        """Measured rate less :attr:`bound`, in nats; None where no code reaches the measured sse."""
        if self.point is None or self.bound is None or not math.isfinite(self.bound):
            return None
        return self.point.rate - self.bound


def applies(trial: Trial) -> bool:
    """Return whether theory covers the trial: model ``linear`` on the source ``gaussian``."""
    return isinstance(trial.dataset, GaussianOptions) and trial.model.name == "linear"


def check(trial: Trial, point: Point | None, lost: str = "") -> Check:
    """Compare one trial that theory covers (:func:`applies`) with it.

    ``point`` is what was measured on its test split; where that is nothing, ``lost`` says why.
    """
    if not isinstance(trial.dataset, GaussianOptions):
        raise ValueError(f"theory does not cover dataset {trial.dataset.name!r}")
    name, latent, eigenvalues = trial.variant.name, trial.model.latent, spectrum(trial.dataset)
    bound = None if point is None else float(theory.rate_at(eigenvalues, point.sse, latent))
    faults = [] if point is None else _below_shannon(point, eigenvalues, latent)
    predicted, verdict, reason = None, "within", ""
    try:
        predicted = theory.predict(LIKE.get(name, name), eigenvalues, latent, trial.beta)
    except theory.NoFixedPointError as error:
        verdict, reason = "no optimum", str(error)
    except ValueError:
        verdict, reason = "no prediction", f"no prediction for variant {name}"
    if predicted and (point is None or bound is None):
        verdict, reason = "not measured", lost or "it has no points"
    elif predicted and point and bound is not None:
        tolerance = TOLERANCES.get(name, TOLERANCES["beta_vae"])
        faults = _beyond(point, predicted, bound, tolerance) + faults
    if faults:
        verdict, reason = "off", "; ".join(faults)
    return Check(trial, point, predicted, bound, verdict, reason)


def _beyond(point: Point, predicted: theory.Prediction, bound: float, bars: Tolerance) -> list[str]:
    """Return which bars a point misses, and by how much."""
    faults = []
    if not abs(point.rate - predicted.rate) <= max(bars.rate * predicted.rate, bars.rate_nats):
        allowed = f"{bars.rate:.1%} or {bars.rate_nats:g} nats"
        faults.append(f"rate {point.rate:.4g} for {predicted.rate:.4g} nats, allowed {allowed}")
    if not abs(point.sse - predicted.sse) <= bars.sse * predicted.sse:
        faults.append(f"sse {point.sse:.4g} for {predicted.sse:.4g}, allowed {bars.sse:.1%}")
    # No code reaches an sse whose bound is infinite: whether sampling explains it, _below_shannon says.
    distance = point.rate - bound
    if bars.distance is not None and abs(distance) > max(bars.distance * bound, bars.distance_nats):
        allowed = f"{bars.distance:.1%} or {bars.distance_nats:g} nats"
        faults.append(f"{distance:+.4f} nats from Shannon's curve, allowed {allowed}")
    return faults


def _below_shannon(point: Point, eigenvalues: "theory.Float64", latent: int) -> list[str]:
    """Return a line where a point lies below what any code attains, beyond its sampling error."""
    if not (math.isfinite(point.rate) and math.isfinite(point.sse)):
        return ["its rate or sse is not finite"]
    if point.rate_se is None or point.sse_se is None:
        return []
    rate = max(0.0, point.rate + STANDARD_ERRORS * point.rate_se)
    sse = point.sse + STANDARD_ERRORS * point.sse_se
    # In sse, not in rate: D(R) is finite at every rate, R(D) is not at every sse.
    least = float(theory.sse_at(eigenvalues, rate, latent))
    line = f"below Shannon's curve: sse {sse:.4g} at {rate:.4g} nats, where no code has less than {least:.4g}"
    return [] if sse >= least else [line]


def checks(trials: "pd.DataFrame", points: "pd.DataFrame") -> list[Check]:
    """Compare each trial of the tables ``trials`` and ``points`` that theory covers with it.

    Returns:
        By variant, beta and seed. Trials whose settings cannot be read, or meant something else when they
        were trained, are left out.
    """
    # An image's distortion under sigma^2 = 1/2 is its sse and a constant: they share a standard error.
    halves = {}
    if len(points):
        measured = points[(points["split"] == "test") & (points["reading"] == "half")]
        halves = {row["trial"]: row for row in reversed(measured.to_dict("records"))}
    results = []
    for row in trials.to_dict("records"):
        try:
            trial = Trial.from_json(row["spec"])
        except (ValueError, UserError):
            continue
        if trial.id == row["trial"] and applies(trial):
            error = row["error"] if isinstance(row["error"], str) else "its table of points cannot be read"
            lost = f"{row['status']}: {last_line(error)}"
            half = halves.get(trial.id)
            if half and (half["rate"] is None or math.isnan(half["rate"])):
                half, lost = None, "it has no rate"
            results.append(check(trial, _point(half) if half else None, lost))
    return sorted(results, key=_order)


def _point(row: Mapping[Any, Any]) -> Point:
    errors = (row["rate_se"], row["distortion_se"])
    rate_se, sse_se = (None if e is None or math.isnan(e) else float(e) for e in errors)
    return Point(float(row["rate"]), float(row["sse"]), rate_se, sse_se)


def _order(result: Check) -> tuple[str, float, int]:
    return result.trial.variant.name, result.trial.beta, result.trial.seed


def calibrate(results: Results) -> list[Check]:
    """Compare a results folder with theory, by variant, beta and seed; its missing trials are among them."""
    trained = checks(results.trials, results.points)
    ids = {result.trial.id for result in trained}
    missing = [trial for trial in plan(results.sweep).trials if trial.id not in ids and applies(trial)]
    return sorted([*trained, *(check(trial, None, "not trained yet") for trial in missing)], key=_order)


HEADINGS = (
    "variant", "beta", "seed", "rate", "predicted", "error", "sse", "predicted", "error", "from R(D)",
    "verdict",
)  # fmt: skip
"""Of the columns of :func:`cells`. Rates are in nats; "from R(D)" is the distance and its share of R(D)."""


def cells(result: Check) -> tuple[str, ...]:
    """Return a check as text, a cell for each of :data:`HEADINGS`; a missing number is an en dash."""
    distance = _number(result.distance, "+.4f")
    if result.distance is not None and result.bound:
        distance += f" ({result.distance / result.bound:+.2%})"

    def three(name: Literal["rate", "sse"]) -> tuple[str, str, str]:
        measured, predicted = getattr(result.point, name, None), getattr(result.predicted, name, None)
        return _number(measured, ".4f"), _number(predicted, ".4f"), _number(result.error(name), "+.2%")

    verdict = f"{result.verdict}: {result.reason}" if result.reason else result.verdict
    variant, beta, seed = _order(result)
    return (variant, f"{beta:g}", str(seed), *three("rate"), *three("sse"), distance, verdict)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def table(results: Sequence[Check]) -> str:
    """Return the checks as lines of aligned text, under their headings."""
    rows = [HEADINGS, *map(cells, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        numbers = map(str.rjust, row[1:-1], widths[1:-1])
        return "  ".join([row[0].ljust(widths[0]), *numbers, row[-1]]).rstrip()

    return "\n".join(map(line, rows))


def is_calibrated(results: Sequence[Check]) -> bool:
    """Return whether there is something to judge, and all of it is within tolerance."""
    return {result.verdict for result in results if result.judged} == {"within"}


def summary(results: Sequence[Check]) -> str:
    """Return the outcome in a line."""
    judged = [result for result in results if result.judged]
    off = [f"{one.trial.variant.name} beta {one.trial.beta:g}" for one in judged if one.verdict != "within"]
    unjudged = len(results) - len(judged)
    rest = f"; {unjudged} more without a prediction" if unjudged else ""
    if not judged:
        return f"not calibrated: there is no point that theory predicts{rest}"
    if not off:
        return f"calibrated: {len(judged)} of {len(judged)} points within tolerance{rest}"
    return (
        f"not calibrated: {len(off)} of {len(judged)} points not within tolerance"
        f" ({', '.join(dict.fromkeys(off))}){rest}"
    )
