"""Rate against PSNR, which needs no reading of sigma^2; against squared error of data that are no images."""

from collections.abc import Sequence

from rdbench.report.charts.chart import Chart
from rdbench.report.charts.rate import MSE, PSNR, draw
from rdbench.report.sections import Section


def psnr_chart(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw the PSNR of the test split over the rate, a curve a variant, with its name at its end.

    Data that are no images have no PSNR: then MSE, with Shannon's curve where that is known. None without
    any point. ``variants`` are all of the section, in order.
    """
    return draw(section, variants, [PSNR], "psnr", "Rate and PSNR, test split") or draw(
        section, variants, [MSE], "psnr", "Rate and squared error, test split"
    )
