"""Stops unpromising trials early: ``stop: asha``, ``median`` or ``plateau``.

``plateau`` looks at a trial alone: neither its loss nor its squared error falls any more. (A loss whose
weights change in training, such as GECO's, rises while all goes well.) ``asha`` and ``median`` judge a trial
by its peers, and what may be a peer is narrow, because it decides what is never measured:

- of the same variant with the same options, and of the same beta: losses of different variants, or at
  different betas, are not comparable, and to keep the lowest would keep the smallest betas;
- of other settings of training or network: seeds of one setting are never judged against each other, which
  would keep the lucky ones and bias every mean over seeds;
- ended when the trial's batch was proposed, so that a verdict does not depend on which worker was first.

So these two belong to a search over such settings at one beta or a few, and a sweep that asks for them
elsewhere is refused. A stopped trial is committed with status ``stopped`` and its history, and without
points: it has no place in a curve. Its checkpoint stays: asked for without ``stop`` it is trained to its end.

Ray's own ASHA and median stopping do not serve: their choices depend on the order in which trials report, so
no run would repeat.
"""

import math
import statistics
from collections.abc import Collection, Sequence
from typing import Any

from rdbench.results.load import load_results
from rdbench.spec.plan import Trial
from rdbench.spec.search_options import AshaStop, MedianStop, PlateauStop, StopOptions
from rdbench.storage.places import Place

Losses = Sequence[float]


def why_stop(
    stop: StopOptions, losses: Losses, epochs: int, peers: Sequence[Losses], errors: Losses = ()
) -> str:
    """Return why a trial is to be stopped now; "" if it goes on.

    ``losses`` and squared ``errors`` are of its epochs so far, without errors it is judged by losses alone;
    ``peers`` are the losses of its peers' epochs, as many as each had. The last of all ``epochs`` is never
    cut off.
    """
    done = len(losses)
    if not 0 < done < epochs:
        return ""
    at = f"at epoch {done} of {epochs}"
    if isinstance(stop, PlateauStop):
        patience = stop.patience or max(2, math.ceil(epochs / 2))
        since = min(_without_improvement(curve, stop.least) for curve in (losses, errors) if curve)
        return f"{at}: neither loss nor error has fallen for {since} epochs" if since >= patience else ""
    grace = stop.grace or max(1, math.ceil(epochs / 10))
    bests = [min(curve[:done]) for curve in peers if len(curve) >= done]
    best = min(losses)
    if isinstance(stop, MedianStop):
        if done < grace or len(bests) < stop.peers or best <= (middle := statistics.median(bests)):
            return ""
        return f"{at}: its loss {best:.6g} is above the median of its {len(bests)} peers, {middle:.6g}"
    if isinstance(stop, AshaStop) and _is_rung(done, grace, stop.factor):
        rivals = len(bests) + 1
        better = sum(loss < best for loss in bests)
        if rivals >= stop.factor and better >= rivals // stop.factor:
            return f"{at}: its loss {best:.6g} is not among the best {rivals // stop.factor} of {rivals}"
    return ""


def _is_rung(done: int, grace: int, factor: int) -> bool:
    """Whether successive halving looks after so many epochs: grace, grace x factor, ..."""
    while grace < done:
        grace *= factor
    return grace == done


def _without_improvement(losses: Losses, least: float) -> int:
    """Return for how many epochs the loss has not fallen by a share of all that it has fallen."""
    fallen = losses[0] - min(losses)
    best, since = losses[0], 0
    for loss in losses[1:]:
        if best - loss > least * fallen:
            best, since = loss, 0
        else:
            since += 1
    return since


def peer_losses(root: Place, pack: Sequence[Trial], among: Collection[str]) -> list[list[Losses]]:
    """Return, for each trial of a pack, the losses of its peers ``among`` those of a folder, by epoch."""
    if not among:
        return [[] for _ in pack]
    results = load_results(root, ("history",))
    losses = results.history.sort_values("epoch").groupby("trial", observed=True)["loss"].agg(list).to_dict()
    others = [
        (Trial.from_json(str(spec)), losses[name])
        for name, spec in zip(results.trials["trial"], results.trials["spec"], strict=True)
        if name in among and name in losses
    ]
    return [[curve for other, curve in others if _is_peer(trial, other)] for trial in pack]


def _is_peer(trial: Trial, other: Trial) -> bool:
    same = (trial.dataset, trial.variant, trial.beta, trial.protocol, trial.train.epochs)
    theirs = (other.dataset, other.variant, other.beta, other.protocol, other.train.epochs)
    return same == theirs and (trial.train, trial.model) != (other.train, other.model)


class EarlyStopper:
    """Judges the trials of a pack as their epochs end; a pack ends early when all of them would.

    Trials that train side by side cost the same whether one of them goes on or not.
    """

    def __init__(
        self, stop: StopOptions | None, root: Place, pack: Sequence[Trial], among: Collection[str]
    ) -> None:
        self._stop = stop
        self._pack = pack
        judged = stop is not None and not isinstance(stop, PlateauStop)
        self._peers = peer_losses(root, pack, among if judged else ())
        self.history: list[list[dict[str, Any]]] = [[] for _ in pack]  # training adds rows to these lists
        self.reasons = [""] * len(pack)  # why each trial is to be stopped; "" while it goes on
        self._judged = [0] * len(pack)  # epochs
        self._lasted = [0] * len(pack)  # epochs, of those that are to be stopped

    def stops(self) -> bool:
        """Judge every trial by its history; tell whether all are to be stopped. Asked as an epoch ends."""
        if self._stop is None:
            return False
        for member, (trial, rows) in enumerate(zip(self._pack, self.history, strict=True)):
            losses, errors = ([float(row[key]) for row in rows] for key in ("loss", "sse"))
            # Every epoch is judged, those before an interruption too; a trial that is out stays out, whatever
            # it does while others of its pack go on.
            for done in range(self._judged[member] + 1, len(rows) + 1):
                if not self.reasons[member]:
                    self.reasons[member] = why_stop(
                        self._stop, losses[:done], trial.train.epochs, self._peers[member], errors[:done]
                    )
                    self._lasted[member] = done
            self._judged[member] = len(rows)
        return all(self.reasons)

    def stopped(self, member: int) -> tuple[str, list[dict[str, Any]]] | None:
        """Return why a trial is to be stopped, and its history up to there; None while it goes on."""
        if not self.reasons[member]:
            return None
        return self.reasons[member], self.history[member][: self._lasted[member]]
