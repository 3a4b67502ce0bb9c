"""The search ``curve``: bisects the widest gaps of every variant's curve (:mod:`rdbench.search.gaps`)."""

from collections.abc import Collection, Mapping

from rdbench.search import gaps
from rdbench.search.base import Begun, Rounds, at_beta, budget, by_beta, cost
from rdbench.search.ended import Ended
from rdbench.spec.naming import labels
from rdbench.spec.plan import Trial
from rdbench.spec.search_options import TRIALS_A_CURVE, CurveSearch
from rdbench.spec.sweep import VariantSpec

Curves = dict[VariantSpec, dict[float, list[gaps.Point]]]


class CurveRounds(Rounds):
    """The search ``curve``: first the sweep's betas, then wherever the curves have their widest gaps."""

    def __init__(self, begun: Begun, settings: CurveSearch) -> None:
        self.begun = begun
        self.settings = settings
        self.budget = budget(settings.trials, begun.sweep, TRIALS_A_CURVE)

    def curves(self, known: Collection[Ended]) -> Curves:
        """Return the points of every variant at every known beta, of the seeds that have one."""
        found: Curves = {}
        for variant in self.begun.sweep.variants:
            own = by_beta(self.begun.sweep, variant, known)
            found[variant] = {beta: self._points(trials) for beta, trials in own.items()}
        return found

    def _points(self, trials: Collection[Ended]) -> list[gaps.Point]:
        points = []
        for each in trials:
            x, y = (gaps.coordinate(name, each.values) for name in self.settings.plane)
            if x is not None and y is not None:
                points.append((x, y))
        return points

    def choose(self, known: Collection[Ended]) -> list[list[Trial]]:
        """Return the betas that part the widest gaps."""
        chosen = gaps.choose(self.curves(known), self.settings.at_a_time, self.settings.gap)
        return [at_beta(self.begun.sweep, variant, beta) for variant, beta in chosen]

    def account(self, ended: Mapping[str, Ended]) -> list[str]:
        """Return the widest gap of each variant before and after, what that cost, and why it ended."""
        known, spent = self.known(ended), self.spent(ended)
        now = self.curves(known)
        # Before: of what was there and the start grid, on the axes' ranges of the end.
        start = self.begun.there | {trial.id for batch in self.begun.batches[:1] for trial in batch}
        first = self.curves([each for each in known if each.trial.id in start])
        scale = gaps.scales(now.values())
        names, lines = labels(self.begun.sweep.variants), []
        for variant, curve in now.items():
            before, after = gaps.widest(first[variant], scale), gaps.widest(curve, scale)
            if not before:
                lines.append(f"{names[variant]}: fewer than two betas gave a point; no gap to part")
                continue
            count = sum(bool(points) for points in curve.values())
            lines.append(
                f"{names[variant]}: widest gap {before[0].size:.3f} -> {after[0].size:.3f} of the plane's"
                f" range, {count} betas"
            )
            if walls := [f"{beta:g}" for beta, points in curve.items() if not points]:
                lines.append(f"{names[variant]}: no point at beta {', '.join(walls)}")
        lines.append(f"{cost(spent, self.budget)}; {self._why(ended, now)}")
        return [f"search curve: {line}" for line in lines]

    def _why(self, ended: Mapping[str, Ended], curves: Curves) -> str:
        if not self.trials() or any(trial.id not in ended for trial in self.trials()):
            return "not done yet"
        widest = gaps.largest(curves).values()
        if widest and all(gap.size <= self.settings.gap for gap in widest):
            return f"done: every gap is at most {self.settings.gap:g}"
        if not gaps.choose(curves, 1, self.settings.gap):
            return (
                "done: what gaps are left lie between betas too close to part, or at trials without a point"
            )
        # A further beta is paid for, or not, with all its seeds.
        left = self.budget - sum(trial.id not in self.begun.there for trial in self.trials())
        return "not done yet" if left >= len(self.begun.sweep.seeds) else "done: the trials are spent"
