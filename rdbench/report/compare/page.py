"""A comparison as a page: both sides' curves over one another, what moved, and the gates."""

from collections.abc import Sequence
from typing import Any

from rdbench.report.across import renamed
from rdbench.report.charts.marks import marks
from rdbench.report.charts.rate import psnr_chart, rate_chart
from rdbench.report.compare.compare import Comparison, Pair
from rdbench.report.compare.render import as_tables, left_out, sentences
from rdbench.report.page import filled
from rdbench.report.sections import Section

FRAMES = ("points", "trials", "metrics", "missing")


def as_html(comparison: Comparison, a: str, b: str, outcomes: Sequence[Any] = ()) -> str:
    """Return the page.

    Args:
        comparison: of :func:`rdbench.report.compare.compare.compare`.
        a, b: the two folders, as a reader is told of them.
        outcomes: of the gates, with ``passed`` and a text.
    """
    sections = [_view(f"s{index}", pair) for index, pair in enumerate(comparison.pairs)]
    return filled(
        "compare.html.j2",
        {section["key"]: section["charts"] for section in sections},
        title="B against A",
        a=a,
        b=b,
        outcomes=outcomes,
        left_out=left_out(comparison),
        sections=sections,
    )


def _view(key: str, pair: Pair) -> dict[str, Any]:
    both = overlaid(*pair.sides)
    variants = sorted(set(both.points["variant"])) if len(both.points) else []
    drawn = [draw(both, variants) for draw in (psnr_chart, rate_chart)] if variants else []
    charts = [chart for chart in drawn if chart is not None]
    return {"key": key, "pair": pair, "sentences": sentences(pair), "tables": as_tables(pair),
            "variants": variants, "charts": charts, "marks": marks(charts)}  # fmt: skip


def overlaid(a: Section, b: Section) -> Section:
    """Return both sides as one section: each variant of A, and of B, under its name and its side's."""
    section = Section(a.settings, a.checksum, tuple(dict.fromkeys([*a.readings, *b.readings])))
    for frame in FRAMES:
        setattr(section, frame, renamed(frame, [(a, ", A"), (b, ", B")]))
    return section
