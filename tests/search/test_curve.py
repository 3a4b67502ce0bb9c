"""The search ``curve`` places betas where a rate-distortion curve is least known."""

import math

import numpy as np
import pytest
from search_builders import EIGENVALUES, begun, betas, predicted, run, sweep

from rdbench.numerics import theory
from rdbench.search import curve
from rdbench.search.curve import CurveSearcher
from rdbench.search.ended import FinishedTrial
from rdbench.spec.sweep import Sweep

GRID = [float(f"{beta:.6g}") for beta in np.logspace(-4, 3, 16)]


def searching(wanted: Sweep, there=None) -> CurveSearcher:
    return CurveSearcher(begun(wanted, there), wanted.search)


def place(beta: float) -> tuple[float, float]:
    found = theory.predict("beta_vae", EIGENVALUES, 12, beta)
    return math.log(max(found.rate, curve.RATE_FLOOR)), found.sse


def quality(chosen: list[float]) -> tuple[float, float]:
    """The largest gap and the area between a polyline through the true points and the true curve."""
    truth = np.array([place(beta) for beta in np.logspace(-4, 3, 4001)])
    points = np.array([place(beta) for beta in sorted(chosen)])
    ranges = np.ptp(truth, axis=0)
    gap = np.linalg.norm(np.diff(points, axis=0) / ranges, axis=1).max()
    line = np.interp(truth[:, 0], points[::-1, 0], points[::-1, 1])
    return gap, abs(np.trapezoid(abs(line - truth[:, 1]), truth[:, 0])) / ranges.prod()


@pytest.mark.parametrize("at_a_time", [1, 4])
def test_sixteen_chosen_betas_halve_the_largest_gap_and_the_area_error_of_sixteen_on_a_grid(at_a_time):
    found = run(searching(sweep({"name": "curve", "trials": 16, "gap": 0, "at_a_time": at_a_time})))
    assert len(found) == 16
    gap, area = quality(betas(found))
    grid_gap, grid_area = quality(GRID)
    assert gap < 0.5 * grid_gap
    assert area < 0.5 * grid_area


def test_a_collapsed_stretch_costs_no_trial_however_long_it_is():
    found = betas(run(searching(sweep({"name": "curve", "trials": 20, "gap": 0}))))
    # Rates are 0 from beta 4 on. Beyond the start grid's 17.8 and 1000 one more finds the edge.
    assert sorted(beta for beta in found if beta > 4)[-2:] == [17.7828, 1000]
    assert len([beta for beta in found if beta > 4.5]) <= 3


def test_the_first_batch_is_the_start_grid_and_nothing_known_is_trained_again():
    wanted = sweep({"name": "curve", "trials": 8})
    first = searching(wanted).propose({})
    assert [trial.beta for trial in first] == list(wanted.beta)
    there = {trial.id: predicted(trial) for trial in first[1:3]}
    assert [trial.beta for trial in searching(wanted, there).propose(there)] == [
        beta for beta in wanted.beta if beta not in betas(there)
    ]


def test_results_that_were_there_are_points_of_the_curve_and_cost_nothing():
    known = run(searching(sweep({"name": "curve", "trials": 12, "gap": 0})))
    search = searching(sweep({"name": "curve", "trials": 5, "gap": 0}), known)
    more = run(search, ended=known)
    assert len(more) == len(known) + 5
    assert quality(betas(more))[0] < quality(betas(known))[0]
    assert "5 of at most 5 trials, 10 s of training" in search.account(more)[-1]


def test_a_search_ends_where_every_gap_is_small_enough():
    search = searching(sweep({"name": "curve", "trials": 1000, "gap": 0.2}))
    found = run(search)
    assert len(found) < 20
    assert all(gap.size <= 0.2 for gap in curve.largest(search.curves(list(found.values()))).values())
    assert search.account(found)[-1].endswith("done: every gap is at most 0.2")


def test_the_choice_hangs_on_finished_batches_only_not_on_who_was_first():
    """Killed at any moment, with any part of a batch in, a search proposes what it would have proposed."""
    wanted = sweep({"name": "curve", "trials": 16, "gap": 0})
    whole = run(searching(wanted))
    for seed in range(5):
        order = np.random.default_rng(seed)
        ended: dict[str, FinishedTrial] = {}
        while todo := searching(wanted).propose(ended):  # a new search each time: nothing is in memory
            part = order.permutation(len(todo))[: 1 + order.integers(len(todo))]
            ended |= {todo[i].id: predicted(todo[i]) for i in part}
        assert ended.keys() == whole.keys()


def test_raising_the_budget_goes_on_where_the_search_ended():
    short = run(searching(sweep({"name": "curve", "trials": 9, "gap": 0})))
    longer = run(searching(sweep({"name": "curve", "trials": 16, "gap": 0})))
    # The last batch of the shorter one was cut by its budget.
    assert short.keys() < longer.keys()


def test_several_at_a_time_do_not_pile_up():
    wanted = sweep({"name": "curve", "trials": 40, "gap": 0, "at_a_time": 8})
    search = searching(wanted)
    ended = {trial.id: predicted(trial) for trial in search.propose({})}
    batch = sorted(math.log(trial.beta) for trial in search.propose(ended))
    assert len(batch) == 8
    assert min(np.diff(batch)) > 0.05
    # Several gaps are served: not all of the batch lies between one pair of neighbours.
    logs = sorted(map(math.log, wanted.beta))
    assert len(set(np.searchsorted(logs, batch))) > 1


def test_variants_share_the_budget_by_their_gaps():
    """The curve with jumps gets what the smooth one has no need of."""
    wanted = sweep(
        {"name": "curve", "trials": 24, "gap": 0, "plane": ["rate", "mse"]}, variants=["beta_vae", "bs_vae"]
    )

    def end(trial):
        x = math.log10(trial.beta) / 7
        if trial.variant.name == "beta_vae":
            return FinishedTrial(trial, "done", {"rate": 1 - x, "mse": x})
        return FinishedTrial(trial, "done", {"rate": 0.1 * (1 - x), "mse": 0.1 * x})

    found = run(searching(wanted), end)
    names = [each.trial.variant.name for each in found.values()]
    assert names.count("beta_vae") > 2 * names.count("bs_vae")


def test_every_seed_is_trained_at_a_chosen_beta_and_disagreeing_seeds_widen_a_gap():
    wanted = sweep(
        {"name": "curve", "trials": 12, "gap": 0, "plane": ["rate", "mse"], "at_a_time": 1},
        seeds=2,
        beta=[0.01, 0.1, 1, 10, 100],
    )

    def end(trial):
        x = math.log10(trial.beta) / 4
        apart = 0.4 * trial.seed if trial.beta == 10 else 0.0
        return FinishedTrial(trial, "done", {"rate": 1 - x + apart, "mse": x})

    search = searching(wanted)
    found = run(search, end)
    chosen = [each.trial for each in found.values()][10:]
    assert {trial.seed for trial in chosen} == {0, 1}
    assert all(1 < trial.beta < 100 for trial in chosen)


def test_a_beta_without_a_point_is_a_wall():
    """A gap with a wall in it is parted beside the wall; beyond the last point nothing is sought."""
    wanted = sweep({"name": "curve", "trials": 12, "gap": 0}, beta=[1e-4, 1e-2, 0.1, 1, 3])

    def end(trial):
        return FinishedTrial(trial, "diverged") if trial.beta in (1e-4, 0.1) else predicted(trial)

    search = searching(wanted)
    found = run(search, end)
    assert len(found) == 12
    assert all(beta > 1e-2 for beta in betas(found)[5:])
    assert any("no point at beta 0.0001, 0.1" in line for line in search.account(found))


def test_nothing_is_computed_from_trials_that_gave_no_number():
    wanted = sweep({"name": "curve", "trials": 10})
    for status in ("failed", "diverged", "stopped"):
        search = searching(wanted)
        found = run(search, lambda trial, status=status: FinishedTrial(trial, status))
        assert betas(found) == list(wanted.beta)
        assert any("fewer than two betas gave a point" in line for line in search.account(found))
    # A model without a rate has no place in the plane.
    found = run(searching(wanted), lambda trial: FinishedTrial(trial, "done", {"mse": 1.0}))
    assert betas(found) == list(wanted.beta)


def test_a_jump_is_not_bisected_for_ever():
    wanted = sweep({"name": "curve", "trials": 200, "gap": 0.01, "plane": ["rate", "mse"]}, beta=[0.1, 10])
    found = run(
        searching(wanted), lambda t: FinishedTrial(t, "done", {"rate": float(t.beta < 1), "mse": 1.0})
    )
    assert len(found) < 25
    near = sorted(abs(math.log(beta)) for beta in betas(found))[:2]
    assert sum(near) < 2 * curve.CLOSEST


def test_rates_below_the_floor_are_one_place():
    assert curve.coordinate("log_rate", {"rate": 1e-9}) == math.log(0.01)
    assert curve.coordinate("log_rate", {"rate": 0.0}) == math.log(0.01)
    assert curve.coordinate("log_mse", {"mse": 0.0}) is None
    assert curve.coordinate("mse", {"mse": 0.25}) == 0.25
    assert curve.coordinate("fid", {}) is None


def test_the_account_tells_the_gaps_before_and_after_and_the_cost():
    search = searching(sweep({"name": "curve", "trials": 16, "gap": 0}))
    found = run(search)
    first, last = search.account(found)
    before, after = (float(word) for word in first.split("gap ")[1].split(" of")[0].split(" -> "))
    assert before > 0.5 > 0.2 > after
    assert last == "search curve: 16 of at most 16 trials, 32 s of training; done: the trials are spent"


def test_a_budget_that_does_not_pay_for_all_seeds_of_a_beta_leaves_it():
    wanted = sweep({"name": "curve", "trials": 16, "gap": 0}, seeds=3)
    found = run(searching(wanted))
    assert len(found) == 15  # the start grid; one trial is left, and a beta costs three


def test_the_start_grid_is_paid_for_however_many_betas_it_has():
    wanted = sweep("curve", beta={"logspace": [1e-4, 1e3, 41]})
    found = run(searching(wanted))
    assert set(wanted.beta) <= set(betas(found))
    assert len(found) == 45


def test_a_search_that_has_not_begun_is_not_done():
    assert searching(sweep("curve")).account({})[-1].endswith("; not done yet")
