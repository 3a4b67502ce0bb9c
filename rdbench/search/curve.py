"""The search ``curve``: bisects the widest gaps of every variant's curve (:mod:`rdbench.search.gaps`)."""

from collections.abc import Collection, Mapping

from rdbench.search import gaps
from rdbench.search.base import BetaSearch, SearchState, by_beta
from rdbench.search.ended import FinishedTrial
from rdbench.spec.labels import variant_names
from rdbench.spec.search_options import TRIALS_A_CURVE, CurveSearch
from rdbench.spec.sweep import VariantSpec

Curves = dict[VariantSpec, dict[float, list[gaps.Point]]]


class CurveSearcher(BetaSearch):
    """The search ``curve``: first the sweep's betas, then wherever the curves have their widest gaps."""

    def __init__(self, begun: SearchState, settings: CurveSearch) -> None:
        super().__init__(begun, settings.trials, TRIALS_A_CURVE)
        self.settings = settings

    def curves(self, known: Collection[FinishedTrial]) -> Curves:
        """Return the points of every variant at every known beta, of the seeds that have one."""
        return {
            variant: {
                beta: [point for trial in trials if (point := self._point(trial))]
                for beta, trials in by_beta(self.sweep, variant, known).items()
            }
            for variant in self.sweep.variants
        }

    def _point(self, trial: FinishedTrial) -> gaps.Point | None:
        x, y = (gaps.coordinate(name, trial.values) for name in self.settings.plane)
        return None if x is None or y is None else (x, y)

    def choose(self, known: Collection[FinishedTrial]) -> list[tuple[VariantSpec, float]]:
        """Return the betas that split the widest gaps."""
        return gaps.choose(self.curves(known), self.settings.at_a_time, self.settings.gap)

    def findings(self, ended: Mapping[str, FinishedTrial]) -> list[str]:
        """Return the widest gap of each variant before and after."""
        known = self.known(ended)
        now = self.curves(known)
        # Before: of what was there and the start grid, on the axes' ranges of the end.
        start = self.begun.there | {trial.id for batch in self.begun.batches[:1] for trial in batch}
        first = self.curves([result for result in known if result.trial.id in start])
        scale = gaps.scales(now.values())
        names, lines = variant_names(self.sweep.variants), []
        for variant, curve in now.items():
            before, after = gaps.widest(first[variant], scale), gaps.widest(curve, scale)
            if not before:
                lines.append(f"{names[variant]}: fewer than two betas gave a point; no gap to split")
                continue
            count = sum(bool(points) for points in curve.values())
            lines.append(
                f"{names[variant]}: widest gap {before[0].size:.3f} -> {after[0].size:.3f} of the plane's"
                f" range, {count} betas"
            )
            if walls := [f"{beta:g}" for beta, points in curve.items() if not points]:
                lines.append(f"{names[variant]}: no point at beta {', '.join(walls)}")
        return lines

    def why_done(self, ended: Mapping[str, FinishedTrial]) -> str:
        """Return "done" and why, where no further beta is to be trained."""
        curves = self.curves(self.known(ended))
        widest = gaps.largest(curves).values()
        if widest and all(gap.size <= self.settings.gap for gap in widest):
            return f"done: every gap is at most {self.settings.gap:g}"
        if not gaps.choose(curves, 1, self.settings.gap):
            return "done: the gaps left lie between betas too close to split, or at trials without a point"
        return "" if self.affords_more() else "done: the trials are spent"
