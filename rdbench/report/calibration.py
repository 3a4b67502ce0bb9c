"""Is the harness right? Measured points held against the optimum that is known in closed form.

On the source ``gaussian`` the model ``linear`` has an optimum that :mod:`rdbench.numerics.theory` gives, so
each measured (rate, sse) of the test split has a true value, and its distance to Shannon's rate-distortion
function a lower bound of zero. A trial that trained to its end and misses them shows a fault in what lies
between a sweep file and its tables: data, objective, training, evaluation or store.

A trial is judged by three bars and a law. The bars (:data:`TOLERANCES`) are set for the sweeps that ship,
:data:`SWEEPS`; the law is Shannon's: no point lies below R(D) by more than its sampling error.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rdbench.datasets.gaussian import GaussianOptions, spectrum
from rdbench.errors import UserError
from rdbench.numerics import theory
from rdbench.results.load import Results
from rdbench.spec.plan import Trial, plan

if TYPE_CHECKING:
    import pandas as pd

SWEEPS = ("gaussian_calibration", "gaussian_calibration_bs_vae")
"""Names of the sweeps that ship for calibration."""

STANDARD_ERRORS = 4
"""How many of its standard errors a measured number may stray from its expectation: 1 in 16,000."""


@dataclass(frozen=True)
class Tolerance:
    """How far a point may be from theory.

    Attributes:
        rate, sse: relative to the prediction.
        distance: of the rate to Shannon's R(D) at the measured sse, relative to R(D); None: only shown.
        rate_nats, distance_nats: allowed however small the rate is; at rate 0 all is relative to nothing.
    """

    rate: float
    sse: float
    distance: float | None
    rate_nats: float = 0.02
    distance_nats: float = 0.01


TOLERANCES = {
    # Its optimum does not depend on the data's finite sample in many dimensions, so the bars are tighter.
    "beta_vae": Tolerance(rate=0.02, sse=0.02, distance=0.01),
    "bs_vae": Tolerance(rate=0.03, sse=0.01, distance=None),
}
"""By variant; any other that theory predicts is held to the bars of ``beta_vae``."""


LIKE = {"sigma_vae": "optimal_shared", "sigma_vae_optimal": "optimal_shared"}
"""Variants that theory knows by another name."""


@dataclass(frozen=True)
class Point:
    """A measured point: means over test images, and their standard errors (None for a single image)."""

    rate: float
    sse: float
    rate_se: float | None = None
    sse_se: float | None = None


@dataclass(frozen=True)
class Check:
    """One trial against theory.

    Attributes:
        trial, variant, beta, seed: which.
        point: what was measured; None where nothing was.
        predicted: the optimum; None where there is none, or no prediction.
        bound: R(D) in nats at the measured sse with as many dimensions as there are latents.
        tolerance: the bars the point was held to; None where it was not judged.
        verdict: "within", "off", or why there is none: "no optimum", "no prediction", "not measured".
        reason: what is off, or why there is no verdict; empty for "within".
    """

    trial: str
    variant: str
    beta: float
    seed: int
    point: Point | None
    predicted: theory.Prediction | None
    bound: float | None
    tolerance: Tolerance | None
    verdict: str
    reason: str

    @property
    def judged(self) -> bool:
        """Whether theory has something to hold this trial to; one without a result is off."""
        return self.verdict in ("within", "off", "not measured")

    @property
    def rate_error(self) -> float | None:
        """Measured over predicted rate, less one; None at a predicted rate of zero."""
        return self._relative("rate")

    @property
    def sse_error(self) -> float | None:
        """Measured over predicted sse, less one."""
        return self._relative("sse")

    def _relative(self, name: str) -> float | None:
        measured, predicted = getattr(self.point, name, None), getattr(self.predicted, name, None)
        return measured / predicted - 1 if measured is not None and predicted else None

    @property
    def distance(self) -> float | None:
        """Measured rate less :attr:`bound`, in nats; None where no code reaches the measured sse."""
        if self.point is None or self.bound is None or not math.isfinite(self.bound):
            return None
        return self.point.rate - self.bound


def applies(trial: Trial) -> bool:
    """Return whether the trial is one that theory speaks of: model ``linear`` on the source ``gaussian``."""
    return isinstance(trial.dataset, GaussianOptions) and trial.model.name == "linear"


def check(trial: Trial, point: Point | None, lost: str = "") -> Check:
    """Hold one trial against theory.

    Args:
        trial: one that theory speaks of (:func:`applies`).
        point: what was measured on its test split; None for nothing.
        lost: why there is no point.
    """
    if not isinstance(trial.dataset, GaussianOptions):
        raise ValueError(f"theory has no word on dataset {trial.dataset.name!r}")
    name, latent, eigenvalues = trial.variant.name, trial.model.latent, spectrum(trial.dataset)
    bound = None if point is None else float(theory.rate_at(eigenvalues, point.sse, latent))
    tolerance = TOLERANCES.get(name, TOLERANCES["beta_vae"])

    def result(verdict: str, reason: str, predicted: theory.Prediction | None = None) -> Check:
        bars = tolerance if predicted else None
        return Check(trial.id, name, trial.beta, trial.seed, point, predicted, bound, bars, verdict, reason)

    impossible = _below_shannon(point, eigenvalues, latent) if point else ""
    try:
        predicted = theory.predict(LIKE.get(name, name), eigenvalues, latent, trial.beta)
    except theory.NoFixedPointError as error:
        return result("off", impossible) if impossible else result("no optimum", str(error))
    except ValueError:
        reason = f"no prediction for variant {name}"
        return result("off", impossible) if impossible else result("no prediction", reason)
    if point is None or bound is None:
        return result("not measured", lost or "it has no points", predicted)
    faults = [*_beyond(point, predicted, bound, tolerance), *filter(None, [impossible])]
    return result("off" if faults else "within", "; ".join(faults), predicted)


def _beyond(point: Point, predicted: theory.Prediction, bound: float, bars: Tolerance) -> list[str]:
    """Return which bars a point misses, and by how much."""
    faults = []
    if not abs(point.rate - predicted.rate) <= max(bars.rate * predicted.rate, bars.rate_nats):
        faults.append(
            f"rate {point.rate:.4g} for {predicted.rate:.4g} nats, allowed"
            f" {bars.rate:.1%} or {bars.rate_nats:g} nats"
        )
    if not abs(point.sse - predicted.sse) <= bars.sse * predicted.sse:
        faults.append(f"sse {point.sse:.4g} for {predicted.sse:.4g}, allowed {bars.sse:.1%}")
    # No code reaches an sse whose bound is infinite: whether sampling explains it, _below_shannon says.
    distance = point.rate - bound
    if bars.distance is not None and abs(distance) > max(bars.distance * bound, bars.distance_nats):
        faults.append(
            f"{distance:+.4f} nats from Shannon's curve, allowed {bars.distance:.1%} or"
            f" {bars.distance_nats:g} nats"
        )
    return faults


def _below_shannon(point: Point, eigenvalues: "theory.Float64", latent: int) -> str:
    """Return a line where a point lies below what any code attains, beyond its sampling error; else ""."""
    if not (math.isfinite(point.rate) and math.isfinite(point.sse)):
        return "its rate or sse is not finite"
    if point.rate_se is None or point.sse_se is None:
        return ""
    rate = max(0.0, point.rate + STANDARD_ERRORS * point.rate_se)
    sse = point.sse + STANDARD_ERRORS * point.sse_se
    # In sse, not in rate: D(R) is finite at every rate, R(D) is not at every sse.
    least = float(theory.sse_at(eigenvalues, rate, latent))
    if sse >= least:
        return ""
    return f"below Shannon's curve: sse {sse:.4g} at {rate:.4g} nats, where no code has less than {least:.4g}"


def checks(trials: "pd.DataFrame", points: "pd.DataFrame") -> list[Check]:
    """Hold the rows of the tables ``trials`` and ``points`` against theory.

    Returns:
        One check a trial that theory speaks of, by variant, beta and seed. Trials whose settings cannot be
        read, or meant something else when they were trained, are left out.
    """
    found = []
    for row in trials.to_dict("records"):
        try:
            trial = Trial.from_json(row["spec"])
        except (ValueError, UserError):
            continue
        if trial.id != row["trial"] or not applies(trial):
            continue
        own = points[(points["trial"] == row["trial"]) & (points["split"] == "test")]
        # An image's distortion under sigma^2 = 1/2 is its sse and a constant: they share a standard error.
        halves = own[own["reading"] == "half"].to_dict("records")
        error = row["error"] if isinstance(row["error"], str) else "its table of points cannot be read"
        lost = f"{row['status']}: {(error.strip().splitlines() or [''])[-1]}"
        if halves and (halves[0]["rate"] is None or math.isnan(halves[0]["rate"])):
            halves, lost = [], "it has no rate"
        found.append(check(trial, _point(halves[0]) if halves else None, lost))
    return sorted(found, key=_order)


def _point(row: Mapping[Any, Any]) -> Point:
    errors = (row["rate_se"], row["distortion_se"])
    rate_se, sse_se = (None if e is None or math.isnan(e) else float(e) for e in errors)
    return Point(float(row["rate"]), float(row["sse"]), rate_se, sse_se)


def _order(found: Check) -> tuple[str, float, int]:
    return found.variant, found.beta, found.seed


def calibrate(results: Results) -> list[Check]:
    """Hold a results folder against theory; trials that its sweep asks for and lacks are not measured.

    Returns:
        By variant, beta and seed; empty where the folder has no trial that theory speaks of.
    """
    found = checks(results.trials, results.points)
    there = {each.trial for each in found}
    missing = [trial for trial in plan(results.sweep).trials if trial.id not in there and applies(trial)]
    return sorted([*found, *(check(trial, None, "not trained yet") for trial in missing)], key=_order)


HEADINGS = (
    "variant", "beta", "seed", "rate", "predicted", "error", "sse", "predicted", "error", "from R(D)",
    "verdict",
)  # fmt: skip
"""Of the columns of :func:`cells`. Rates are in nats; "from R(D)" is the distance and its share of R(D)."""


def cells(found: Check) -> tuple[str, ...]:
    """Return a check as text, a cell for each of :data:`HEADINGS`; what is not there is an en dash."""
    distance = _number(found.distance, "+.4f")
    if found.distance is not None and found.bound:
        distance += f" ({found.distance / found.bound:+.2%})"
    verdict = f"{found.verdict}: {found.reason}" if found.reason else found.verdict
    return (
        found.variant,
        f"{found.beta:g}",
        str(found.seed),
        _number(getattr(found.point, "rate", None), ".4f"),
        _number(getattr(found.predicted, "rate", None), ".4f"),
        _number(found.rate_error, "+.2%"),
        _number(getattr(found.point, "sse", None), ".4f"),
        _number(getattr(found.predicted, "sse", None), ".4f"),
        _number(found.sse_error, "+.2%"),
        distance,
        verdict,
    )


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def table(found: Sequence[Check]) -> str:
    """Return the checks as lines of aligned text, under their headings."""
    rows = [HEADINGS, *map(cells, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(HEADINGS) - 1

    def line(row: Sequence[str]) -> str:
        aligned = (
            text.ljust(width) if place in (0, last) else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(aligned).rstrip()

    return "\n".join(map(line, rows))


def is_calibrated(found: Sequence[Check]) -> bool:
    """Return whether there is something to judge, and all of it is within tolerance."""
    verdicts = [each.verdict for each in found if each.judged]
    return bool(verdicts) and set(verdicts) == {"within"}


def summary(found: Sequence[Check]) -> str:
    """Return the outcome in a line."""
    judged = [each for each in found if each.judged]
    within = sum(each.verdict == "within" for each in judged)
    unjudged = len(found) - len(judged)
    rest = f"; {unjudged} more without a prediction" if unjudged else ""
    if is_calibrated(found):
        return f"calibrated: {within} of {len(judged)} points within tolerance{rest}"
    if not judged:
        return f"not calibrated: there is no point that theory predicts{rest}"
    off = [f"{each.variant} beta {each.beta:g}" for each in judged if each.verdict != "within"]
    return (
        f"not calibrated: {len(off)} of {len(judged)} points not within tolerance"
        f" ({', '.join(dict.fromkeys(off))}){rest}"
    )
