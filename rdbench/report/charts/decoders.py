"""The decoder's own rate-distortion curve beside the trial's point: what the metric ``ais`` found."""

import json
from collections.abc import Sequence
from typing import Any

from rdbench.metrics import stored
from rdbench.report.charts.chart import Chart, Control, Rows, Spec, fill, rounded
from rdbench.report.charts.templates import template
from rdbench.report.charts.training import BLUE_TO_ORANGE, LEGEND
from rdbench.report.numbers import number, plain
from rdbench.report.sections import Section, records
from rdbench.report.statistics.curves import evenly_spaced

HEIGHT = 360
DIGITS = 5
METRIC = "ais"


@template(("linear", "log"))
def _template(scale: str) -> Spec:
    """Return the template of all views with this scale of the error."""
    import altair as alt

    from rdbench.report.charts import layers

    error = alt.Scale(type="log", nice=False) if scale == "log" else alt.Scale(zero=False)
    x = alt.X("rate:Q", title="rate (nats per image)", scale=alt.Scale(zero=True))
    y = alt.Y("sse:Q", title="squared error, summed over an image", scale=error)
    betas = alt.Scale(type="log", domain=["$betas"], range=["$colours"])
    legend = alt.Legend(title="β", orient="top", type="symbol", values=["$legend"], format="~g", columns=4)
    colour = alt.Color("beta:Q", scale=betas, legend=legend)
    curves = alt.Chart(alt.NamedData("$rows")).transform_filter("datum.kind === 'decoder'")
    line = curves.transform_flatten(["rate", "sse", "at"], ["rate", "sse", "at"]).mark_line(
        strokeWidth=1.5, **layers.QUIET
    )
    points = alt.Chart(alt.NamedData("$rows")).transform_filter("datum.kind === 'encoder'")
    tooltip = [alt.Tooltip("variant:N"), layers.BETA, alt.Tooltip("seed:Q"),
               alt.Tooltip("rate:Q", title="encoder's rate", format=layers.NUMBER),
               alt.Tooltip("sse:Q", title="encoder's squared error", format=layers.NUMBER),
               alt.Tooltip("wasted:Q", title="amortisation gap (nats)", format=layers.NUMBER)]  # fmt: skip
    dot = points.mark_point(filled=True, size=70, opacity=1, clip=True)
    drawn = [
        line.encode(x, y, colour, detail=["beta:Q", "seed:Q"], order="at:Q").add_params(layers.zoom()),
        dot.encode(x, y, colour, tooltip=tooltip),
    ]
    return layers.configure(alt.layer(*drawn), HEIGHT)


def decoders_chart(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw the curve of every decoder and the point of its encoder; None where ``ais`` measured none.

    ``variants`` are all of the section, in order; a view shows one of them.
    """
    rows = _rows(section)
    data = {f"variant_{index}": [row for row in rows if row["variant"] == variant]
            for index, variant in enumerate(variants)}  # fmt: skip
    data = {name: found for name, found in data.items() if found}
    if not data:
        return None
    betas = sorted({row["beta"] for row in rows})
    views = {f"{name}/{scale}": _view(name, found, scale, betas) for name, found in data.items()
             for scale in ("linear", "log")}  # fmt: skip
    controls = (
        Control("variant", tuple((name, found[0]["variant"]) for name, found in data.items())),
        Control("vertical scale", (("linear", "linear"), ("log", "logarithmic"))),
    )
    return Chart("decoders", "The decoder's own curve, and the trial's point", (), controls, (), views, data)


def _rows(section: Section) -> Rows:
    """Return a row a curve, with lists of its points, and a row an encoder's point, of every training."""
    trainings: dict[tuple[str, float, int, str], dict[str, Any]] = {}
    for row in records(section.metrics):
        settings = stored.settings(row) if row["name"] == METRIC else {}
        quantity = settings.get("quantity")
        if quantity is None or row["value"] is None or "slope" in settings:
            continue
        # Measured in two ways, a training has two curves.
        way = json.dumps(
            [settings.get(name) for name in ("images", "levels", "chains", "leapfrog", "slopes")]
        )
        key = (row["variant"], float(row["beta"]), int(row["seed"]), way)
        trainings.setdefault(key, {})[quantity] = row["value"]
        if "curve" in settings:
            trainings[key]["curve"] = settings["curve"]
    rows: Rows = []
    for (variant, beta, seed, _), found in sorted(trainings.items()):
        name = {"variant": variant, "beta": beta, "seed": seed}
        if "curve" in found:
            _, rates, errors = zip(*found["curve"], strict=True)
            lists = {"rate": _rounded(rates), "sse": _rounded(errors), "at": list(range(len(rates)))}
            rows.append(name | {"kind": "decoder"} | lists)
        if "encoder_rate" in found:
            rate, sse = _rounded([found["encoder_rate"], found["encoder_sse"]])
            wasted = found.get("amortisation_gap")
            point = {"rate": rate, "sse": sse, "wasted": None if wasted is None else rounded(wasted, DIGITS)}
            rows.append(name | {"kind": "encoder"} | point)
    return rows


def _rounded(values: Sequence[float]) -> list[float]:
    return [rounded(value, DIGITS) for value in values]


def _view(name: str, rows: Rows, scale: str, betas: Sequence[float]) -> Spec:
    spec: Spec = fill(_template(scale), {
        "$rows": name, "$betas": [betas[0], betas[-1] if len(betas) > 1 else 2 * betas[0]],
        "$legend": evenly_spaced(betas, LEGEND), "$colours": list(BLUE_TO_ORANGE),
        "$description": _finding(rows),
    })  # fmt: skip
    return spec


def _finding(rows: Rows) -> str:
    """Say where the encoder wastes least and most."""
    gaps = [(row["wasted"], row["beta"]) for row in rows if row.get("wasted") is not None]
    variant = rows[0]["variant"]
    if not gaps:
        return f"{variant}: the decoder's own rate-distortion curve; its encoder has no rate."
    (least, at_least), (most, at_most) = min(gaps), max(gaps)
    low, high = f"{number(least)} nats at β = {plain(at_least)}", f"{number(most)} at β = {plain(at_most)}"
    return f"{variant}: the encoder spends from {low} to {high} over the decoder's own curve at equal error."
