"""How much each latent tells: its KL over beta, a line a latent, the one that tells most first."""

from collections.abc import Sequence
from typing import Any

from rdbench.metrics import stored
from rdbench.report.charts import label_placement
from rdbench.report.charts.chart import Chart, Control, Rows, Spec, fill, rounded
from rdbench.report.charts.templates import template
from rdbench.report.charts.training import BLUE_TO_ORANGE
from rdbench.report.numbers import number, plain
from rdbench.report.sections import Section, records
from rdbench.report.statistics.series import Key

HEIGHT = 320
DIGITS = 4
"""Significant digits of the data: lines are read by eye, and there may be many."""

TELLING = 0.01
"""Mean KL in nats from which on the finding counts a latent."""

LEAST = 1e-6
"""Mean KL in nats below which the logarithmic axis shows none."""

_Lines = dict[Key, list[list[float]]]
"""(variant, beta) -> of each seed the KL of its latents, largest first."""


@template(("linear", "log"))
def _template(scale: str) -> Spec:
    """Return the template of all views with this scale."""
    import altair as alt

    from rdbench.report.charts import layers

    x = alt.X("beta:Q", title="β", scale=alt.Scale(type="log", domain=["$xdomain"], nice=False),
              axis=alt.Axis(values=["$ticks"], format="~g"))  # fmt: skip
    y_scale = alt.Scale(type="log", nice=False) if scale == "log" else alt.Scale(zero=True)
    y = alt.Y("kl:Q", title="KL of a latent (nats per image)", scale=y_scale, axis=alt.Axis(format=",.4~g"))
    ranks = alt.Scale(domain=["$ranks"], range=["$colours"])
    legend = alt.Legend(title="latent, by its KL", orient="top", type="symbol", format="d", columns=8)
    colour = alt.Color("rank:Q", scale=ranks, legend=legend)
    tooltip = [alt.Tooltip("variant:N"), layers.BETA, alt.Tooltip("rank:Q", title="latent, by its KL"),
               alt.Tooltip("kl:Q", title="KL (nats per image)", format=layers.NUMBER),
               alt.Tooltip("n:Q", title="seeds averaged")]  # fmt: skip
    base = alt.Chart(alt.NamedData("$rows")).transform_flatten(["beta", "kl", "n"], ["beta", "kl", "n"])
    if scale == "log":
        base = base.transform_filter(f"datum.kl >= {LEAST}")
    line = base.mark_line(strokeWidth=1.5, **layers.QUIET).add_params(layers.zoom())
    dot = base.mark_point(filled=True, size=20, opacity=1, **layers.QUIET)
    drawn = [line.encode(x, y, colour, detail="rank:Q"), dot.encode(x, y, colour, tooltip=tooltip)]
    return layers.configure(alt.layer(*drawn), HEIGHT)


def latents_chart(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw the KL of each latent over beta, a mean over seeds; None where the metric ``latents`` has none.

    Latents are sorted within each training, as which of them tells most is chance. ``variants`` are all of
    the section, in order; a view shows one of them.
    """
    lines, notes = _lines(section)
    data: dict[str, Rows] = {}
    for index, variant in enumerate(variants):
        betas = sorted(beta for name, beta in lines if name == variant)
        if betas:
            data[f"variant_{index}"] = _rows(variant, {beta: lines[variant, beta] for beta in betas})
    if not data:
        return None
    views = {f"{name}/{scale}": _view(name, rows, scale) for name, rows in data.items()
             for scale in ("log", "linear")}  # fmt: skip
    controls = (
        Control("variant", tuple((name, rows[0]["variant"]) for name, rows in data.items())),
        Control("vertical scale", (("log", "logarithmic"), ("linear", "linear"))),
    )
    return Chart("latent_kl", "KL of each latent over β", notes, controls, (), views, data)


def _lines(section: Section) -> tuple[_Lines, tuple[str, ...]]:
    """Return the KLs of the trainings that hold them, of one number of images; and what is left out."""
    measured: dict[int, dict[tuple[Key, int], list[float]]] = {}
    for row in records(section.metrics):
        if row["name"] != "latents" or "kl_by_latent" not in (settings := stored.settings(row)):
            continue
        key = ((row["variant"], row["beta"]), int(row["seed"]))
        measured.setdefault(settings["n_images"], {})[key] = settings["kl_by_latent"]
    if not measured:
        return {}, ()
    most = max(measured)
    lines: _Lines = {}
    for (point, _), values in sorted(measured[most].items()):
        lines.setdefault(point, []).append(values)
    notes = () if len(measured) == 1 else (f"Of {most:,} test images; what fewer gave is not drawn.",)
    return lines, notes


def _rows(variant: str, by_beta: dict[float, list[list[float]]]) -> Rows:
    """Return a row a latent: lists by beta of its KL, a mean over seeds, and of the number of these."""
    size = min(len(values) for seeds in by_beta.values() for values in seeds)
    rows: Rows = []
    for rank in range(size):
        means = [rounded(sum(values[rank] for values in seeds) / len(seeds), DIGITS)
                 for seeds in by_beta.values()]  # fmt: skip
        row: dict[str, Any] = {"variant": variant, "rank": rank + 1, "beta": [*by_beta], "kl": means}
        rows.append(row | {"n": [len(seeds) for seeds in by_beta.values()]})
    return rows


def _view(name: str, rows: Rows, scale: str) -> Spec:
    betas = rows[0]["beta"]
    spec: Spec = fill(_template(scale), {
        "$rows": name, "$xdomain": list(label_placement.domain(betas, log=True)),
        "$ticks": sorted(label_placement.wanted(betas)), "$ranks": [1, max(2, len(rows))],
        "$colours": list(BLUE_TO_ORANGE), "$description": _finding(rows),
    })  # fmt: skip
    return spec


def _finding(rows: Rows) -> str:
    """Say what the latent that tells most tells at either end, and how many tell something."""
    betas, largest = rows[0]["beta"], rows[0]["kl"]
    ends = [0] if len(betas) == 1 else [0, -1]
    parts = [
        f"at β = {plain(betas[end])} the latent that tells most has a KL of {number(largest[end])} nats, and"
        f" {sum(row['kl'][end] >= TELLING for row in rows)} of {len(rows)} have {TELLING:g} or more"
        for end in ends
    ]
    return f"{rows[0]['variant']}. {'. '.join(f'{part[:1].upper()}{part[1:]}' for part in parts)}."
