"""Series: every quantity of a section that can be compared across its trials, each with one value a trial."""

import functools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rdbench import metrics
from rdbench.metrics import FINDINGS, stored
from rdbench.metrics.base import Better, value_name
from rdbench.numerics.likelihood import LIKELIHOOD, OWN, READING_NAMES
from rdbench.report.numbers import Estimate, plain
from rdbench.report.once import once
from rdbench.report.sections import Section, records
from rdbench.report.statistics.curves import estimate
from rdbench.report.statistics.difference import difference
from rdbench.results.model_states import State

UNTESTED = "a test takes two seeds each that differ"
"""Why two means were not told apart."""

QUANTITIES: tuple[tuple[str, str, str, str, Better | None], ...] = (
    ("rate", "rate", "test rate", "nats per image", None),
    ("mse", "mse", "test MSE", "", "lower"),
    ("psnr", "psnr_of_mse", "test PSNR of the MSE", "dB", "higher"),
)
"""Name, column of ``points``, title, unit and better direction of what does not depend on a reading."""

Key = tuple[str, float]
"""Variant and beta."""

MODELS_LIKELIHOOD = f"the model's likelihood (its own, else {READING_NAMES[LIKELIHOOD]})"
"""What variants of different families are compared by, for titles."""

BETA_HALF = (
    f"{READING_NAMES['beta_half']} says something of a loss sse + β·rate alone. So only variants that declare"
    f" it are shown there (beta_rate=True, with the native reading {READING_NAMES['half']})."
)
"""For captions; see :func:`not_compared_under`."""

_Row = tuple[dict[str, Any], dict[str, Any]]
"""A row of the ``metrics`` table, and its settings."""

_Way = tuple[str, str]
"""A metric's title, with its quantity and reading, and all else that a comparison rests on."""


@dataclass(frozen=True)
class Series:
    """One quantity.

    Attributes:
        name: unique in its section, fit for a file or field name: "elbo_optimal", "mse", "fid", "fid_2".
        title: for a reader: "test ELBO, σ² optimal for each image".
        unit: "nats per image", "dB" ...; "" for a pure number.
        better: which way is better; None where neither is.
        metric: the row's name in the ``metrics`` table; "" for what comes from ``points``.
        reading: of sigma^2, where the quantity depends on one; else "".
        how: how it was measured, for the legend; only what was measured alike is one series.
        silent: variants that have values and are compared with nothing (:func:`not_compared_under`).
        values: (variant, beta) -> seed -> value; finite values only.
        reasons: (variant, beta) -> why a value is missing there, where a reason was recorded.
        signs: (variant, beta) -> "≥" or "≤", where a value is known as a bound only; so is then the mean.
        warned: (variant, beta) some of whose values came with a warning, such as of chains too short.
        choice: as ``values``, of the validation images: what a best is chosen by; empty where none were held
            out, or it is not measured there.
        states: (variant, beta) -> "collapsed" or "unstable": such a model is nobody's best.
    """

    name: str
    title: str
    unit: str
    better: Better | None
    metric: str = ""
    reading: str = ""
    how: str = ""
    silent: frozenset[str] = frozenset()
    values: dict[Key, dict[int, float]] = field(default_factory=dict)
    reasons: dict[Key, str] = field(default_factory=dict)
    signs: dict[Key, str] = field(default_factory=dict)
    warned: set[Key] = field(default_factory=set)
    choice: dict[Key, dict[int, float]] = field(default_factory=dict)
    states: Mapping[Key, State] = field(default_factory=dict)

    @functools.cached_property
    def estimates(self) -> dict[Key, Estimate]:
        """The mean over seeds of each (variant, beta)."""
        return _means(self.values)

    @functools.cached_property
    def _chosen_by(self) -> dict[Key, Estimate]:
        return {key: mean for key, mean in _means(self.choice).items() if key in self.estimates}

    @property
    def chosen_on(self) -> str:
        """On which images :meth:`best` chooses, for a sentence."""
        return "chosen on the validation images" if self._chosen_by else "chosen on the test images"

    @functools.cached_property
    def top(self) -> Key | None:
        """The (variant, beta) of the best of all means that are shown; None where there is none."""
        return self._best(self.estimates)

    def best(self, variant: str | None = None) -> Key | None:
        """Return the best (variant, beta), of one variant or of all; None where there is none.

        It is chosen by the mean over the validation images, where there are any, else by that which is shown.
        A collapsed or unstable model is nobody's best.
        """
        return self._best(self._chosen_by or self.estimates, variant)

    def _best(self, means: dict[Key, Estimate], variant: str | None = None) -> Key | None:
        if self.better is None:
            return None
        sign = 1 if self.better == "higher" else -1
        compared = [
            key
            for key in means
            if variant in (None, key[0]) and key[0] not in self.silent and key not in self.states
        ]
        # Of equal means the lowest beta, so that the choice does not depend on the order of files.
        return max(compared, key=lambda key: (sign * means[key].mean, -key[1]), default=None)

    def tells_apart(self, one: Key, other: Key) -> bool | None:
        """Tell whether two means over seeds differ, by
        :func:`~rdbench.report.statistics.difference.difference` at 5%; None without a test (``UNTESTED``).
        """
        p = difference(self.values[one], self.values[other]).p
        return None if p is None else p < 0.05


def _means(values: Mapping[Key, Mapping[int, float]]) -> dict[Key, Estimate]:
    """Return the mean over seeds of each (variant, beta) that has values."""
    means = {key: estimate(list(by_seed.values())) for key, by_seed in values.items()}
    return {key: mean for key, mean in means.items() if mean is not None}


@once
def values_by_seed(
    section: Section, measure: str, reading: str, split: str = "test"
) -> dict[Key, dict[int, float]]:
    """Return (variant, beta) -> seed -> the finite values of a column of ``points``.

    A variant that the reading says nothing of has none (:func:`not_compared_under`).
    """
    values: dict[Key, dict[int, float]] = {}
    rows = section.splits.get((split, reading))
    if rows is None:
        return values
    if hidden := not_compared_under(section, reading):
        rows = rows[~rows["variant"].isin(hidden)]
    columns = (rows[name].tolist() for name in ("variant", "beta", "seed", measure))
    for variant, beta, seed, value in zip(*columns, strict=True):
        if value is not None and math.isfinite(value):
            values.setdefault((variant, beta), {})[int(seed)] = float(value)
    return values


@once
def not_compared_under(section: Section, reading: str) -> frozenset[str]:
    """Return the variants that a reading says nothing of: none, but under ``beta_half``.

    sigma^2 = beta/2 rests on Eq. 5, which holds of the loss sse + beta rate: of a variant of the native
    reading ``half`` that declares ``beta_rate``. Any other's beta is no such weight: its likelihood there
    means nothing, so it is neither shown nor compared, with other variants or by a gate. A variant of the
    user's own whose code is gone, or that declares nothing, counts as another.
    """
    if reading != "beta_half" or not len(section.points):
        return frozenset()
    points = section.points
    declared = points["native"].eq(True) & (points["reading"] == "half")
    declared &= points["beta_rate"].eq(True) if "beta_rate" in points else False
    return frozenset(points["variant"]) - frozenset(points.loc[declared, "variant"])


def beta_half(section: Section) -> str:
    """Return the end of a caption: why some variants are not compared, if any are not."""
    return (
        f" {BETA_HALF}" if any(not_compared_under(section, reading) for reading in section.readings) else ""
    )


def elbo(section: Section, reading: str) -> Series:
    """Return the test ELBO under a reading."""
    return Series(f"elbo_{reading}", f"test ELBO, {READING_NAMES[reading]}", "nats per image", "higher",
                  reading=reading, silent=not_compared_under(section, reading),
                  values=values_by_seed(section, "elbo", reading),
                  choice=values_by_seed(section, "elbo", reading, "validation"),
                  states=section.states)  # fmt: skip


def has_own(section: Section, split: str = "test") -> frozenset[str]:
    """Return the variants with a likelihood of their own."""
    return frozenset(variant for variant, _ in values_by_seed(section, "elbo", OWN, split))


def likelihood(section: Section, split: str = "test") -> Series:
    """Return the ELBO under the likelihood that each model has: its own, else at ``optimal_train``.

    Nats on the same pixels compare, whatever the family of the likelihood.
    """
    own = has_own(section, split)

    def of(split: str) -> dict[Key, dict[int, float]]:
        gaussian = values_by_seed(section, "elbo", LIKELIHOOD, split)
        values = {key: by_seed for key, by_seed in gaussian.items() if key[0] not in own}
        return values | values_by_seed(section, "elbo", OWN, split)

    return Series("elbo_likelihood", f"{split} ELBO, {MODELS_LIKELIHOOD}", "nats per image", "higher",
                  values=of(split), choice=of("validation"), states=section.states)  # fmt: skip


def series(section: Section) -> list[Series]:
    """Return the section's series: ELBO under each reading, then rate, MSE and PSNR, then proxy metrics.

    Where a variant has a likelihood of its own, :func:`likelihood` comes first.
    """
    elbos = [elbo(section, reading) for reading in section.readings]
    elbos = [likelihood(section), *elbos] if OWN in section.readings else elbos
    # These do not depend on the reading: any will do.
    others = [Series(name, title, unit, way, values=values_by_seed(section, column, "half"),
                     choice=values_by_seed(section, column, "half", "validation"), states=section.states)
              for name, column, title, unit, way in QUANTITIES]  # fmt: skip
    return [series for series in (*elbos, *others) if series.values] + proxies(section)


def proxies(section: Section) -> list[Series]:
    """Return the proxy metrics of a section; values measured in different ways are different series.

    A row without a value says only what was asked for: it gives its reason to every series that was measured
    so, of its variant if there are any, and stands for itself where there is none.
    """
    taken: Counter[str] = Counter()
    proxies = []
    for (title, how), rows in _rows_by_way(section):
        row, settings = rows[0]
        metric, quantity, reading = row["name"], settings.get("quantity"), settings.get("reading") or ""
        name = value_name(metric, quantity, reading)
        taken[name] += 1
        name += f"_{taken[name]}" if taken[name] > 1 else ""
        silent = not_compared_under(section, reading)
        kind = metrics.quantity(name)
        better = kind.better if kind else settings.get("better")
        how = ", ".join(filter(None, (kind.what if kind else "", how)))
        proxy = Series(name, title, "", better, metric, reading, how, silent, states=section.states)
        for row, settings in rows:
            key = (row["variant"], row["beta"])
            if row["value"] is not None and math.isfinite(row["value"]):
                proxy.values.setdefault(key, {})[int(row["seed"])] = float(row["value"])
                if "warning" in settings:
                    proxy.warned.add(key)
                if sign := metrics.sign(metric, settings, row.get("standard_error")):
                    proxy.signs[key] = sign
            elif "error" in settings:
                lines = str(settings["error"]).strip().splitlines()
                proxy.reasons[key] = lines[-1] if lines else "no reason was recorded"
        proxies.append(replace(proxy, reasons=_elsewhere(proxy, section) | proxy.reasons))
    return proxies


def _rows_by_way(section: Section) -> list[tuple[_Way, list[_Row]]]:
    """Return the rows of each way of measuring, those with a value first; then ways that gave no value."""
    measured: dict[_Way, list[_Row]] = {}
    failed: list[_Row] = []
    for row, settings in _metric_rows(section):
        if "error" in settings:
            failed.append((row, settings))
        else:
            measured.setdefault(_measured_how(row, settings), []).append((row, settings))
    alone: dict[_Way, list[_Row]] = {}
    reasons: dict[_Way, list[_Row]] = {}
    for row, settings in failed:
        answered = [way for way, rows in measured.items() if _asks_for(row, settings, *rows[0])]
        # Features may differ, which a failure does not know: its variant's other seeds do.
        likely = [
            way for way in answered if row["variant"] in {other["variant"] for other, _ in measured[way]}
        ]
        for way in likely or answered:
            reasons.setdefault(way, []).append((row, settings))
        if not answered:
            alone.setdefault(_measured_how(row, settings), []).append((row, settings))
    return [(way, ways[way] + reasons.get(way, [])) for ways in (measured, alone) for way in sorted(ways)]


def _elsewhere(proxy: Series, section: Section) -> dict[Key, str]:
    """Return why a metric measured at one beta of a training for all betas has no value at the others."""
    if "betas" not in section.trials:
        return {}
    curves = dict(zip(section.trials["variant"], section.trials["betas"], strict=True))
    reasons: dict[Key, str] = {}
    for variant, betas in curves.items():
        at = sorted(beta for name, beta in proxy.values if name == variant)
        if at and isinstance(betas, list):
            why = f"measured at β = {', '.join(map(plain, at))} only: one training gives the whole curve"
            reasons |= {(variant, beta): why for beta in betas if (variant, beta) not in proxy.values}
    return reasons


def _asks_for(
    row: dict[str, Any], settings: dict[str, Any], other: dict[str, Any], measured: dict[str, Any]
) -> bool:
    """Tell whether a row without a value asked for what another row, of settings ``measured``, has."""
    asked = metrics.of_quantity(row["name"], measured.get("quantity"), settings)
    asked = {name: value for name, value in asked.items() if name not in FINDINGS}
    same = (row["name"], row["protocol"]) == (other["name"], other["protocol"])
    return same and all(name in measured and measured[name] == value for name, value in asked.items())


def _metric_rows(section: Section) -> list[_Row]:
    return [(row, stored.settings(row)) for row in records(section.metrics)]


def remarks(section: Section) -> list[str]:
    """Return what single values of proxy metrics warn of, each once."""
    warned = [(row, settings) for row, settings in _metric_rows(section) if "warning" in settings]
    lines = (f"{_measured_how(row, settings)[0]}: {settings['warning']}" for row, settings in warned)
    return list(dict.fromkeys(lines))


def _measured_how(row: dict[str, Any], settings: dict[str, Any]) -> _Way:
    quantity, reading = settings.get("quantity"), settings.get("reading")
    parts = [row["name"], quantity if quantity != row["name"] else None, reading]
    shown = {
        name: value
        for name, value in settings.items()
        if name not in FINDINGS | {"quantity", "reading", "readings", "measures"} and value is not None
    }
    how = [f"{name} {value}" for name, value in shown.items()] + [f"protocol {row['protocol']}"]
    if isinstance(row["feature_hash"], str):  # else null, which is not a number to pandas
        how.append(f"feature weights {row['feature_hash'][:8]}")
    title = " ".join(part for part in parts if part)
    if settings.get("network") not in (None, "published"):
        title += ", not with the published weights"  # no stand-in goes by the name of the real thing
    return title, ", ".join(how)
