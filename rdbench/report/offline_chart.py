"""The charts of ``rdbench.plot`` in a notebook: Vega lies in the output, so they show without a network.

Altair's own default has a notebook fetch Vega from a content network each time. Imports Altair.
"""

import html
from typing import Any

import altair as alt

FRAME = 460
"""Height in pixels until the chart is drawn, when the frame takes its own."""

_FIT = (
    "<script>addEventListener('load', () => new ResizeObserver(() => { frameElement.style.height ="
    " `${document.body.offsetHeight + 20}px`; }).observe(document.body));</script>"
)


class OfflineChart(alt.LayerChart):
    """A layered chart that shows without a network; what is laid over it, or set of it, stays one.

    Where another renderer than Altair's default was chosen (``alt.renderers.enable(...)``), it shows by that.
    """

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> Any:
        if alt.renderers.active != "default":
            return super()._repr_mimebundle_(*args, **options)
        # A frame, whose Vega is out of the way of other charts' and of what else the page has loaded.
        before, _, after = self.to_html(inline=True).rpartition("</body>")  # Vega's code holds another
        page = f"{before}{_FIT}</body>{after}"
        style = f"width: 100%; height: {FRAME}px; border: 0"
        frame = f'<iframe title="chart" style="{style}" srcdoc="{html.escape(page)}"></iframe>'
        return {"text/html": frame, "text/plain": "<chart>"}
