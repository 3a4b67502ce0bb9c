"""Charts of results in Python, as ``rdbench.plot``: Altair charts that can be layered with one's own.

    chart = rdbench.plot.rate_distortion(results, y="psnr")
    chart + alt.Chart(mine).mark_line().encode(x="rate:Q", y="psnr:Q")

Each is of one section, as the page has them: data, protocol and settings that may be compared. Its data,
colours and fitted curves are those of the page; its fields are named as the columns of the tables.
"""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rdbench.errors import ResultsError, need
from rdbench.numerics.likelihood import LIKELIHOOD, OWN, READING_NAMES, READINGS
from rdbench.report.charts import beta as beta_charts
from rdbench.report.charts import fig3 as fig3_charts
from rdbench.report.charts import training as training_charts
from rdbench.report.charts.chart import GREY, Chart, Rows
from rdbench.report.charts.curve_plot import Measure
from rdbench.report.charts.rate import MSE, PSNR, distortion, draw
from rdbench.report.charts.reference_lines import reference_rows
from rdbench.report.chosen import Source, variants_of
from rdbench.report.chosen import choose as section_of
from rdbench.report.references import Reference, read_all
from rdbench.report.references import Source as File
from rdbench.storage import paths
from rdbench.text import choose

if TYPE_CHECKING:
    import altair as alt

References = File | Reference | Sequence[File | Reference] | None
WIDTH, HEIGHT = 520, 340

__all__ = ["fig3", "over_beta", "rate_distortion", "training"]


def rate_distortion(
    results: Source,
    *,
    y: str = "distortion",
    reading: str = LIKELIHOOD,
    reference: References = None,
    section: int | None = None,
) -> "alt.LayerChart":
    """Draw the rate against what is lost: a point a variant and beta, a fitted curve a variant, test split.

    Args:
        results: a results folder, its address, loaded results, or a list of these.
        y: "distortion" or "elbo" under ``reading``, in nats per image; or "psnr" (dB) or "mse" (of a value),
            which need no reading.
        reading: of sigma^2, see :mod:`rdbench.numerics.likelihood`.
        reference: files of curves to draw beside, one or a list, see :mod:`rdbench.report.references`; those
            of another quantity than ``y`` are left out.
        section: number of the section on the page, from 0, where there are several.

    Returns:
        A chart of the fields ``rate`` (nats per image) and ``y``.

    Raises:
        ResultsError: there is no such section, nothing to draw in it, or a file that holds no curve.
    """
    measure = _measure(y, reading)
    chosen = section_of(results, section)
    chart = draw(chosen, variants_of(chosen), [measure], "rate_distortion", "")
    if chart is None:
        raise ResultsError(f"no trial has a rate and a finite {measure.title}; choose another y or reading")
    curves = chart.data[f"curve_{measure.name}"]
    drawn = _over_rate(chart, curves, measure.name, "\n".join(measure.axis), y)
    rows = reference_rows(chosen, read_all(reference))
    lines = [row | {y: row[measure.name]} for row in rows if measure.name in row]
    return _layered(*_references(lines, y), *drawn.layer) if lines else drawn


def _references(rows: Rows, field: str) -> list[Any]:
    """Return the layers of reference curves over the rate, and of their names."""
    alt = _altair()
    base = alt.Chart(alt.Data(values=rows))
    x, y = alt.X("rate:Q", title="rate (nats per image)"), alt.Y(f"{field}:Q")
    line = base.mark_line(color=GREY, strokeDash=[2, 3], point={"color": GREY, "size": 12})
    name = base.transform_filter("datum.last").mark_text(color=GREY, align="right", dy=-8)
    return [
        line.encode(x, y, detail="curve:N", tooltip=["reference:N", "rate:Q", f"{field}:Q"]),
        name.encode(x, y, text="reference:N"),
    ]


def _measure(y: str, reading: str) -> Measure:
    if y not in ("distortion", "elbo", "psnr", "mse"):
        raise ResultsError(f"y={y!r} is not known; {choose(y, ['distortion', 'elbo', 'psnr', 'mse'])}")
    if reading not in (*READINGS, OWN):
        raise ResultsError(f"reading={reading!r} is not known; {choose(reading, [*READINGS, OWN])}")
    if y == "elbo":
        title = f"ELBO, {READING_NAMES[reading]}"
        axis = ("ELBO (nats per image)", READING_NAMES[reading])
        return Measure("elbo", "elbo", reading, title, "ELBO", axis, higher=True, monotone=False)
    return {"psnr": PSNR, "mse": MSE}.get(y) or distortion(reading)


def fig3(results: Source, *, section: int | None = None) -> "alt.LayerChart":
    """Draw Fig. 3 of Kim & Lee (ICPR 2024): every reading of beta_vae, and bs_vae, in one plot.

    Arguments and errors as of :func:`rate_distortion`; fields ``rate`` and ``distortion``, nats per image.
    """
    chosen = section_of(results, section)
    chart = fig3_charts.fig3(chosen, variants_of(chosen))
    if chart is None:
        raise ResultsError("Fig. 3 is of bs_vae and beta_vae, and one of them has no finite point here; run a"
                           " sweep with variants: [beta_vae, bs_vae]")  # fmt: skip
    curves = chart.data["curve_distortion"]
    return _over_rate(chart, curves, "distortion", "distortion (nats per image)", "distortion")


def over_beta(
    results: Source, value: str = f"elbo_{LIKELIHOOD}", *, section: int | None = None
) -> "alt.LayerChart":
    """Draw one measure over beta, a line a variant: means over seeds with their 95% intervals.

    Args:
        results: as of :func:`rate_distortion`.
        value: what the page calls it: ``elbo_<reading>``, "rate", "mse", "psnr", or a proxy metric's value,
            such as "fid" or "prdc_recall".
        section: number of the section on the page, from 0, where there are several.

    Returns:
        A chart of the fields ``beta`` and ``value``.

    Raises:
        ResultsError: there is no such section or value; the line lists those there are.
    """
    alt = _altair()
    chosen = section_of(results, section)
    chart = beta_charts.beta_chart(chosen, variants_of(chosen))
    options = dict(chart.controls[0].options) if chart else {}
    if chart is None or value not in options:
        raise ResultsError(f"no measure {value!r} was taken; {choose(value, [*options])}")
    field = f"v{list(options).index(value)}"
    ends = {f"{field}{end}": f"value{end}" for end in ("", "_low", "_high", "_n")}
    kept = {"variant", "beta"}
    rows = [
        {ends.get(key, key): content for key, content in row.items() if key in kept or key in ends}
        for row in chart.data["means"]
        if row[field] is not None
    ]
    x = alt.X("beta:Q", title="β", scale=alt.Scale(type="log", nice=False))
    y = alt.Y("value:Q", title=options[value], scale=alt.Scale(zero=False))
    base = alt.Chart(alt.Data(values=rows))
    colour, shape = _looks(chart)
    tooltip = ["variant:N", "beta:Q", "value:Q", alt.Tooltip("value_n:Q", title="seeds averaged")]
    line = base.mark_line().encode(x, y, colour, order="beta:Q")
    bar = base.transform_filter("isValid(datum.value_low)").mark_rule()
    bar = bar.encode(x, alt.Y("value_low:Q", title=options[value]), colour, y2="value_high:Q")
    point = base.mark_point(filled=True, size=50).encode(x, y, colour, shape, tooltip=tooltip)
    return _layered(line, bar, point)


def training(
    results: Source, value: str = "loss", *, variant: str | None = None, section: int | None = None
) -> "alt.LayerChart":
    """Draw a column of the history by epoch: a line a variant and beta, its mean over seeds.

    Args:
        results: as of :func:`rate_distortion`.
        value: "loss", "rate" (nats per image), "sse" or "images_per_second".
        variant: the one to draw; by default all, told apart by their dashes.
        section: number of the section on the page, from 0, where there are several.

    Returns:
        A chart of the fields ``epoch`` and ``value``.

    Raises:
        ResultsError: there is no such section, value or variant, or no history.
    """
    alt = _altair()
    chosen = section_of(results, section)
    if value not in training_charts.MEASURES:
        raise ResultsError(f"{value!r} is not in the history; {choose(value, [*training_charts.MEASURES])}")
    chart = training_charts.training_chart(chosen, variants_of(chosen))
    rows = [*_epochs(chart, value, variant)] if chart else []
    if not rows:
        lines = [row for of_variant in chart.data.values() for row in of_variant] if chart else []
        known = [*dict.fromkeys(row["variant"] for row in lines)]
        if variant is not None and variant not in known and known:
            raise ResultsError(f"no variant {variant!r} was trained; {choose(variant, known)}")
        raise ResultsError(f"no trial has a history of {value}: what is solved in closed form has none")
    names = [*dict.fromkeys(row["variant"] for row in rows)]
    scale = alt.Scale(type="log", range=list(training_charts.BLUE_TO_ORANGE))
    y = alt.Y("value:Q", title=training_charts.MEASURES[value], scale=alt.Scale(zero=False))
    line = alt.Chart(alt.Data(values=rows)).mark_line(point=len({row["epoch"] for row in rows}) == 1)
    line = line.encode(
        alt.X("epoch:Q", title="epoch"), y, alt.Color("beta:Q", title="β", scale=scale),
        alt.Detail(["variant:N", "beta:Q"]), tooltip=["variant:N", "beta:Q", "epoch:Q", "value:Q"],
    )  # fmt: skip
    if len(names) > 1:
        line = line.encode(strokeDash=alt.StrokeDash("variant:N", title=None))
    return _layered(line)


def _epochs(chart: Chart, value: str, variant: str | None) -> Iterator[dict[str, Any]]:
    for lines in chart.data.values():
        for row in lines:
            if variant in (None, row["variant"]):
                for epoch, content in zip(row["epoch"], row.get(value, []), strict=False):
                    if content is not None:
                        yield {
                            "variant": row["variant"],
                            "beta": row["beta"],
                            "epoch": epoch,
                            "value": content,
                        }


def _altair() -> Any:
    """Return Altair, which cannot be imported without a home."""
    need("report", "altair")
    os.environ.update(paths.home_variable())
    import altair

    return altair


def _looks(chart: Chart) -> tuple[Any, Any]:
    """Return colour and shape by variant, as the page has them."""
    alt = _altair()
    found: dict[str, dict[str, Any]] = {}
    for layer in chart.views[chart.first]["layer"]:
        for channel in ("color", "shape"):
            scale = layer.get("encoding", {}).get(channel, {}).get("scale", {})
            if "domain" in scale:
                found[channel] = {"domain": scale["domain"], "range": scale["range"]}
    colour = alt.Color("variant:N", title=None, scale=alt.Scale(**found["color"]))
    return colour, alt.Shape("variant:N", title=None, scale=alt.Scale(**found["shape"]))


def _over_rate(chart: Chart, curves: Rows, name: str, title: str, field: str) -> "alt.LayerChart":
    """Return the layers of a plot over the rate; the heights, ``name`` in the data, become ``field``."""
    alt = _altair()
    renamed = {f"{name}{end}": f"{field}{end}" for end in ("", "_low", "_high", "_n")}
    means = _fields(chart.data["means"], renamed)
    x = alt.X("rate:Q", title="rate (nats per image)", scale=alt.Scale(zero=False))
    y = alt.Y(f"{field}:Q", title=title.split("\n"), scale=alt.Scale(zero=False))
    colour, shape = _looks(chart)
    base = alt.Chart(alt.Data(values=means))
    drawn = []
    if curves:
        line = alt.Chart(alt.Data(values=_fields(curves, renamed))).mark_line()
        dash = alt.condition("datum.alone", alt.value([5, 4]), alt.value([1, 0]))
        drawn.append(line.encode(x, y, colour, detail="part:N", order="rate:Q", strokeDash=dash))
    low = alt.Y(f"{field}_low:Q", title=title.split("\n"))
    bars = base.transform_filter(f"isValid(datum['{field}_low'])").mark_rule()
    drawn.append(bars.encode(x, low, colour, y2=f"{field}_high:Q"))
    across = base.transform_filter("isValid(datum.rate_low)").mark_rule()
    drawn.append(
        across.encode(alt.X("rate_low:Q", title="rate (nats per image)"), y, colour, x2="rate_high:Q")
    )
    tooltip = [
        "variant:N",
        "beta:Q",
        "rate:Q",
        f"{field}:Q",
        alt.Tooltip(f"{field}_n:Q", title="seeds averaged"),
    ]
    drawn.append(base.mark_point(filled=True, size=50).encode(x, y, colour, shape, tooltip=tooltip))
    return _layered(*drawn)


def _layered(*layers: Any) -> "alt.LayerChart":
    _altair()
    from rdbench.report.offline_chart import OfflineChart

    return OfflineChart(layer=layers).properties(width=WIDTH, height=HEIGHT)


def _fields(rows: Sequence[dict[str, Any]], renamed: dict[str, str]) -> Rows:
    """Return rows with a value, with the fields that a chart over the rate uses."""
    kept = {"variant", "beta", "rate", "rate_low", "rate_high", "part", "alone", "state"}
    name = next(iter(renamed))
    return [
        {renamed.get(key, key): value for key, value in row.items() if key in kept or key in renamed}
        for row in rows
        if row[name] is not None and row["rate"] is not None
    ]
