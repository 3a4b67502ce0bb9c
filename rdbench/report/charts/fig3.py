"""The paper's Fig. 3: every reading in one plot, of BS-VAE and of constant variance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rdbench.numerics.likelihood import LIKELIHOOD, READING_NAMES
from rdbench.report.charts import fit
from rdbench.report.charts.chart import Chart, Control, Rows, Values, by_variant, wide
from rdbench.report.charts.curve_plot import Plot
from rdbench.report.charts.rate import MSE, PSNR, SCALES, beside, distortion, end_of_axis, units_of
from rdbench.report.numbers import number
from rdbench.report.sections import Section
from rdbench.report.statistics.series import values_by_seed

BS, CONSTANT = "bs_vae", "beta_vae"
OPTIMAL = (LIKELIHOOD, "optimal", "optimal_shared")  # the variance that a decoder can know first
CAPTION = f"The same {CONSTANT} models, read with each variance σ² named, beside {BS}. Lower is better."
PALER = 0.35  # the share of white in the colour of a reading that is not the optimum


@dataclass(frozen=True)
class Curve:
    """One variant under one reading, with its look."""

    name: str
    variant: str
    reading: str
    colour: str
    shape: str


def fig3(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw distortion over the rate: bs_vae at its optimum, beta_vae at 1/2, at beta/2 and at its optimum.

    The optimum is the variance fitted to the training images, else another that was read. None where either
    variant or a reading at an optimum is missing. ``variants`` are all of the section, in order.
    """
    best = next((reading for reading in OPTIMAL if ("test", reading) in section.splits), None)
    if best is None or not {BS, CONSTANT} <= set(variants):
        return None
    curves = _curves(variants, best)
    values = {curve: _values(section, curve) for curve in curves}
    drawn = [curve for curve in curves if values[curve]["distortion"]]
    if not {(BS, best), (CONSTANT, best)} <= {(curve.variant, curve.reading) for curve in drawn}:
        return None
    quantities = {
        name: {key: by_seed for curve in drawn for key, by_seed in values[curve][name].items()}
        for name in values[drawn[0]]
    }
    means, seeds = wide([curve.name for curve in drawn], quantities)
    member = {curve.name: curve.variant for curve in drawn}
    for row in [*means, *seeds]:
        row["member"] = member[row["variant"]]
    for row in means:  # the pictures of the trial are the same under every reading
        row["key"] = f"{variants.index(row['member'])}/{row['beta']:.12g}"
    fit.mark_states(means, section.states, "member")
    return _chart(section, drawn, {"means": means} | ({"seeds": seeds} if seeds else {}))


def _curves(variants: Sequence[str], best: str) -> tuple[Curve, ...]:
    """Return the four curves. At its optimum a variant looks as in all other charts; else paler."""
    looks = by_variant(variants)
    colours, shapes = (dict(zip(variants, looks[name], strict=True)) for name in ("$colours", "$shapes"))
    colour, used = colours[CONSTANT], {shapes[CONSTANT], shapes[BS]}
    half, beta_half, *_ = (
        shape for shape in ("diamond", "triangle-up", "cross", "square") if shape not in used
    )
    return (
        Curve(f"{CONSTANT}, σ² = 1/2", CONSTANT, "half", _paler(colour), half),
        Curve(f"{CONSTANT}, σ² = β/2", CONSTANT, "beta_half", _paler(colour), beta_half),
        Curve(f"{CONSTANT}, optimal σ²", CONSTANT, best, colour, shapes[CONSTANT]),
        Curve(f"{BS}, optimal σ²", BS, best, colours[BS], shapes[BS]),
    )


def _paler(colour: str) -> str:
    """Return a colour "#rrggbb", mixed with white so that it still shows on white."""
    parts = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(part + PALER * (255 - part)):02X}" for part in parts)


def _values(section: Section, curve: Curve) -> dict[str, Values]:
    """Return each quantity of a curve's points, by (name of the curve, beta) and seed."""
    rates = values_by_seed(section, "rate", "half")
    heights = beside(rates, section, distortion(curve.reading))
    measured = {"rate": rates, "mse": beside(rates, section, MSE), "psnr": beside(rates, section, PSNR)}
    betas = [beta for variant, beta in heights if variant == curve.variant]
    return {
        name: {(curve.name, beta): found.get((curve.variant, beta), {}) for beta in betas}
        for name, found in (measured | {"distortion": heights}).items()
    }


def _chart(section: Section, curves: Sequence[Curve], data: dict[str, Rows]) -> Chart:
    looks = {
        "$variants": [curve.name for curve in curves], "$columns": 2,
        "$colours": [curve.colour for curve in curves], "$shapes": [curve.shape for curve in curves],
    }  # fmt: skip
    # At beta/2 the distortion of the least and the largest beta is far from all others.
    loose = frozenset(curve.name for curve in curves if curve.reading == "beta_half")
    plot = Plot(
        data, looks, units_of(section)[:1], end_of_axis(section), plain=True, loose=loose, rough=loose
    )
    measure = replace(distortion("half"), name="distortion", axis=("distortion (nats per image)",))
    best = curves[-1].reading
    views = plot.views(measure, [], _finding(data["means"], curves))
    member = {curve.name: curve.variant for curve in curves}
    for name in [name for name in data if name.startswith(("curve", "names"))]:
        for row in data[name]:
            row["member"] = member[row["variant"]]
    note = f"Optimal σ² here: {READING_NAMES[best]}."
    return Chart("fig3", "All readings of σ² in one plot, as Fig. 3 of Kim & Lee (2024)", (note,),
                 (Control(SCALES.label, SCALES.options),), plot.switches, views, data, CAPTION)  # fmt: skip


def _finding(means: Rows, curves: Sequence[Curve]) -> str:
    """Say what distortion each reading of the same models comes down to."""
    least = {
        curve.name: min(row["distortion"] for row in means if row["variant"] == curve.name)
        for curve in reversed(curves)
    }
    return f"Least distortion: {'; '.join(f'{name} {number(low)}' for name, low in least.items())} nats."
