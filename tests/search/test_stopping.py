"""Trials that cannot matter end early, and are never mistaken for finished ones."""

import pytest
from search_builders import sweep

from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.search_options import AshaStop, MedianStop, PlateauStop
from rdbench.trial.early_stopping import EarlyStopper, peer_losses, why_stop
from rdbench.trial.rows import failure_tables

FALLING = [10.0 / epoch for epoch in range(1, 41)]


def stopped_at(stop, losses, peers=(), epochs=40):
    """The epoch at which a trial with these losses is stopped; None if it is trained to its end."""
    for done in range(1, len(losses) + 1):
        if why_stop(stop, losses[:done], epochs, peers):
            return done
    return None


def test_plateau_stops_what_no_longer_falls_and_nothing_else():
    stop = PlateauStop(patience=5)
    assert stopped_at(stop, FALLING) is None
    assert stopped_at(stop, [*FALLING[:10], *[1.0] * 30]) == 15
    assert stopped_at(stop, [5.0] * 40) == 6
    # A loss may be negative, and its unit is nobody's business: the same curve, shifted and scaled.
    assert stopped_at(stop, [1e6 * loss - 1e9 for loss in [*FALLING[:10], *[1.0] * 30]]) == 15


def test_plateau_does_not_take_creeping_for_falling():
    creeping = [*FALLING[:10], *(1.0 - 1e-6 * epoch for epoch in range(30))]
    assert stopped_at(PlateauStop(patience=5), creeping) == 15
    assert stopped_at(PlateauStop(patience=5, least=1e-9), creeping) is None


def test_plateau_lets_a_loss_rise_while_the_error_falls():
    """As GECO's does, whose weights change as it trains."""
    stop, rising = PlateauStop(patience=5), [float(epoch) for epoch in range(40)]
    assert all(not why_stop(stop, rising[:done], 40, (), FALLING[:done]) for done in range(1, 40))
    assert why_stop(stop, rising[:6], 40, (), [1.0] * 6)


def test_median_stops_what_lies_above_its_peers():
    peers = [[loss * scale for loss in FALLING] for scale in (0.5, 1.0, 1.5)]
    worse = [loss * 2 for loss in FALLING]
    assert stopped_at(MedianStop(grace=4), worse, peers) == 4
    assert stopped_at(MedianStop(grace=4), FALLING, peers) is None  # as good as the median
    assert stopped_at(MedianStop(grace=4), worse, peers[:2]) is None  # too few to say
    # Peers that were stopped themselves count as far as they went.
    assert stopped_at(MedianStop(grace=4), worse, [own[:3] for own in peers]) is None


def test_asha_keeps_the_best_third_at_each_rung():
    peers = [[loss * scale for loss in FALLING] for scale in range(1, 9)]  # with the trial itself nine
    stop = AshaStop(grace=4, factor=3)
    assert stopped_at(stop, [loss * 0.5 for loss in FALLING], peers) is None
    assert stopped_at(stop, [loss * 2.5 for loss in FALLING], peers) is None  # third of nine
    assert stopped_at(stop, [loss * 3.5 for loss in FALLING], peers) == 4
    # Good at the first rung, no more at the second.
    assert stopped_at(stop, [*[loss * 1.2 for loss in FALLING[:4]], *[3.0] * 36], peers) == 12
    assert stopped_at(stop, [loss * 9 for loss in FALLING], peers[:1]) is None  # fewer than a factor of them


@pytest.mark.parametrize("stop", [PlateauStop(patience=1), MedianStop(grace=1), AshaStop(grace=2)])
def test_the_last_epoch_is_never_cut_off(stop):
    peers = [[1.0, 1.0]] * 9
    assert why_stop(stop, [9.0, 9.0], 2, peers) == ""
    assert why_stop(stop, [9.0, 9.0], 3, [[1.0, 1.0]] * 9) != ""


def test_a_reason_names_the_epoch_and_the_figures():
    peers = [[1.0] * 9] * 3
    assert why_stop(MedianStop(grace=2), [3.0, 2.0], 9, peers) == (
        "at epoch 2 of 9: its loss 2 is above the median of its 3 peers, 1"
    )


def write(root, trial, losses, status="done"):
    (row,) = failure_tables(trial, "", None)["trials"]
    each = {"rate": 1.0, "sse": 1.0, "lr": 1e-3, "seconds": 1.0, "images_per_second": 1.0}
    history = [{"epoch": epoch, "loss": loss} | each for epoch, loss in enumerate(losses, 1)]
    ResultsFolder(root).commit(trial.id, {"history": history, "trials": [row | {"status": status}]})


def test_peers_are_of_one_variant_and_beta_and_of_other_settings(tmp_path):
    """Not other seeds of the same settings: that would keep the lucky ones."""
    wanted = sweep(None, beta=[1, 2], variants=["beta_vae", "bs_vae"], seeds=2)
    ResultsFolder(tmp_path).save_sweep(wanted)
    faster = wanted.model_copy(update={"train": wanted.train.model_copy(update={"lr": 0.01})})
    trials = {
        (t.variant.name, t.beta, t.seed, t.train.lr): t for w in (wanted, faster) for t in plan(w).trials
    }
    for place, trial in enumerate(trials.values()):
        write(tmp_path, trial, [float(place), 0.5])
    judged = trials["bs_vae", 1, 0, 1e-3]
    among = {trial.id for trial in trials.values()}
    expected = sorted([float(list(trials).index(("bs_vae", 1, seed, 0.01))), 0.5] for seed in (0, 1))
    assert sorted(peer_losses(tmp_path, [judged], among)[0]) == expected
    # And only of those that had ended when it was proposed.
    assert peer_losses(tmp_path, [judged], {trials["bs_vae", 1, 1, 0.01].id}) == [[expected[1]]]
    assert peer_losses(tmp_path, [judged], set()) == [[]]


def test_a_pack_ends_when_all_of_its_trials_would(tmp_path):
    pack = plan(sweep(None, beta=[1, 2], train={"epochs": 9})).trials
    judge = EarlyStopper(PlateauStop(patience=2), tmp_path, pack, ())
    judge.history[0] += [{"loss": 1.0, "sse": 1.0}] * 3
    judge.history[1] += [{"loss": loss, "sse": 1.0} for loss in (3.0, 2.0, 1.0)]
    assert not judge.stops()
    assert judge.reasons == ["at epoch 3 of 9: neither loss nor error has fallen for 2 epochs", ""]
    judge.history[0] += [{"loss": 0.1, "sse": 1.0}] * 2  # better again, but it was out
    judge.history[1] += [{"loss": 1.0, "sse": 1.0}] * 2
    assert judge.stops()
    assert judge.reasons[0].startswith("at epoch 3")
    assert EarlyStopper(None, tmp_path, pack, ()).stops() is False


def test_a_history_from_before_an_interruption_is_judged_epoch_by_epoch(tmp_path):
    """So that a kill between the checkpoint that stopped a trial and its commit changes nothing."""
    (trial,) = plan(sweep(None, beta=[1], train={"epochs": 9})).trials
    judge = EarlyStopper(PlateauStop(patience=2), tmp_path, [trial], ())
    judge.history = [[{"loss": loss, "sse": 1.0} for loss in (3.0, 3.0, 3.0, 1.0, 1.0)]]
    assert judge.stops()
    assert judge.reasons == ["at epoch 3 of 9: neither loss nor error has fallen for 2 epochs"]
