"""The search ``target`` finds the beta at which a rate or a PSNR is met."""

import pytest
from search_builders import begun, betas, predicted, run, sweep

from rdbench.search.ended import FinishedTrial
from rdbench.search.target import TargetSearcher, next_beta


def searching(there=None, **settings) -> TargetSearcher:
    search = {"name": "target"} | settings.pop("search")
    wanted = sweep(search, **({"beta": [1e-3, 0.1, 10]} | settings))
    return TargetSearcher(begun(wanted, there), wanted.search)


@pytest.mark.parametrize("rate", [0.1, 1, 5, 20, 30])
def test_a_rate_is_met_within_eight_trials(rate):
    search = searching(search={"rate": rate})
    found = run(search)
    assert len(found) <= 8
    assert min(abs(each.values["rate"] / rate - 1) for each in found.values()) <= 0.03
    assert search.account(found)[0].startswith("search target: beta_vae: rate ")
    assert search.account(found)[-1].endswith(" s of training; done")


def test_a_psnr_is_met_within_a_tenth_of_a_decibel():
    found = run(searching(search={"psnr": 12}))
    assert min(abs(each.values["psnr"] - 12) for each in found.values()) <= 0.1
    assert len(found) <= 8


def test_how_near_is_near_enough_can_be_said():
    loose = run(searching(search={"rate": 5, "within": 0.3}))
    tight = run(searching(search={"rate": 5, "within": 1e-4, "trials": 12}))
    assert len(loose) < len(tight)
    assert min(abs(each.values["rate"] / 5 - 1) for each in tight.values()) <= 1e-4


def test_killed_and_resumed_it_proposes_what_it_would_have_proposed():
    whole = run(searching(search={"rate": 5}))
    ended: dict[str, FinishedTrial] = {}
    while todo := searching(search={"rate": 5}).propose(ended):
        ended[todo[-1].id] = predicted(todo[-1])  # one of a batch, and then a new search
    assert ended.keys() == whole.keys()


def test_a_target_out_of_reach_is_said_and_costs_no_more_than_the_start():
    search = searching(search={"rate": 500})
    found = run(search)
    assert betas(found) == [1e-3, 0.1, 10]
    assert "rate 500 nats not met: nearest 37.77" in search.account(found)[0]
    assert "out of reach; let the range of beta begin below 0.001" in search.account(found)[0]


def test_a_jump_over_the_target_ends_the_search():
    jump = {0.99995: 10.0, 1.0: 0.1}
    assert next_beta({0.5: 11.0} | jump, 5.0).why == "it jumps between beta 0.99995 and 1"


def test_a_step_stays_off_the_ends_of_its_interval():
    """So that a curve that is flat and then falls does not creep."""
    step = next_beta({0.01: 100.0, 100.0: 99.0 - 98.999}, 0.01)
    assert 0.01 * 1.5 < step.beta < 100 / 1.5


def test_several_variants_are_each_brought_there_and_compared():
    search = searching(search={"rate": 5}, variants=["beta_vae", "bs_vae"])

    def end(trial):
        if trial.variant.name == "beta_vae":
            return predicted(trial)
        worse = predicted(trial.model_copy(update={"beta": trial.beta * 3}))
        return FinishedTrial(trial, "done", dict(worse.values) | {"mse": worse.values["mse"] * 1.1}, 1.0)

    found = run(search, end)
    assert search.account(found)[2].startswith("search target: best at 5 nats: beta_vae; mse beta_vae 0.1")
    assert len(found) <= 16


def test_seeds_count_by_their_mean_and_a_lost_seed_makes_a_wall():
    def end(trial):
        own = predicted(trial)
        rate = own.values["rate"] * (1 + 0.2 * (trial.seed - 0.5))
        return FinishedTrial(trial, "done", dict(own.values) | {"rate": rate})

    search = searching(search={"rate": 5}, seeds=2)
    found = run(search, end)
    by_beta: dict[float, list[float]] = {}
    for each in found.values():
        by_beta.setdefault(each.trial.beta, []).append(each.values["rate"])
    assert min(abs(sum(rates) / 2 / 5 - 1) for rates in by_beta.values()) <= 0.03
    search = searching(search={"rate": 5}, seeds=2)
    lost = run(search, lambda t: FinishedTrial(t, "failed") if t.seed else end(t))
    assert len(lost) == 6
    assert "no beta gave a rate" in search.account(lost)[0]


def test_a_beta_of_which_only_some_seeds_are_there_is_not_taken_for_their_mean():
    two = sweep({"name": "target", "rate": 5}, beta=[1e-3, 0.1, 10], seeds=2)
    near = sweep({"name": "target", "rate": 5}, beta=[0.2402, 10], seeds=[0])
    there = {trial.id: predicted(trial) for trial in TargetSearcher(begun(near), near.search).propose({})[:1]}
    assert abs(next(iter(there.values())).values["rate"] / 5 - 1) < 0.03
    search = TargetSearcher(begun(two, there), two.search)
    assert len(run(search, ended=there)) > 7


def test_a_collapsed_end_of_the_range_is_no_obstacle():
    """Its rate is 0, or by rounding a little less."""
    search = searching(search={"rate": 1}, beta=[1e-3, 1, 1000])

    def end(trial):
        own = predicted(trial)
        return FinishedTrial(trial, "done", dict(own.values) | {"rate": own.values["rate"] - 1e-9})

    assert len(run(search, end)) <= 7


def test_who_comes_nearer_to_the_target_does_not_win_by_that():
    """Both variants on one curve: what differs at the target is where their betas happened to fall."""
    search = searching(search={"rate": 5}, variants=["beta_vae", "bs_vae"])

    def end(trial):
        shifted = trial.beta * (1.5 if trial.variant.name == "bs_vae" else 1)
        return FinishedTrial(trial, "done", predicted(trial.model_copy(update={"beta": shifted})).values, 1.0)

    found = run(search, end)
    assert search.account(found)[2].startswith("search target: at 5 nats too near to call: mse ")


@pytest.mark.parametrize("shift", [1.1, 1.37, 1.9, 2.7])
@pytest.mark.parametrize("rate", [1, 2.7, 6, 15])
def test_variants_on_one_curve_are_never_told_apart(rate, shift):
    search = searching(search={"rate": rate}, variants=["beta_vae", "bs_vae"])

    def end(trial):
        beta = trial.beta * (shift if trial.variant.name == "bs_vae" else 1)
        return FinishedTrial(trial, "done", predicted(trial.model_copy(update={"beta": beta})).values, 1.0)

    assert not any("best at" in line for line in search.account(run(search, end)))


def test_where_the_end_of_the_range_gives_no_result_the_target_is_looked_for_before_it():
    search = searching(search={"rate": 30, "trials": 12}, beta=[1e-4, 0.1, 10])
    found = run(search, lambda t: FinishedTrial(t, "diverged") if t.beta < 1e-3 else predicted(t))
    assert min(abs(each.values.get("rate", 99) / 30 - 1) for each in found.values()) <= 0.03
    search = searching(search={"rate": 30, "trials": 99}, beta=[1e-4, 0.1, 10])
    found = run(search, lambda t: FinishedTrial(t, "diverged") if t.beta < 0.1 else predicted(t))
    assert len(found) < 20
    assert "no trial below beta 0.1 gave a result" in search.account(found)[0]


def test_variants_that_differ_in_options_are_told_apart_by_them():
    two = [{"name": "student_t", "dof": 2.0}, {"name": "student_t", "dof": 10.0}]
    search = searching(search={"rate": 5}, variants=two, dataset="digits", model={})

    def end(trial):
        own = predicted(trial.model_copy(update={"model": trial.model.model_copy(update={"latent": 12})}))
        worse = 3 if trial.variant.options["dof"] == 2 else 1
        return FinishedTrial(trial, "done", dict(own.values) | {"mse": worse * own.values["mse"]}, 1.0)

    lines = search.account(run(search, end))
    assert lines[0].startswith("search target: student_t (dof=2.0")
    assert lines[2].startswith("search target: best at 5 nats: student_t (dof=10.0")


def test_a_trial_without_a_result_is_stepped_around():
    lost = []

    def end(trial):
        if len(lost) < 2 and trial.beta not in (1e-3, 0.1, 10):
            lost.append(trial.beta)
            return FinishedTrial(trial, "diverged")
        return predicted(trial)

    search = searching(search={"rate": 5, "trials": 12})
    found = run(search, end)
    assert len(lost) == 2
    assert min(abs(each.values.get("rate", 99) / 5 - 1) for each in found.values()) <= 0.03


def test_where_no_trial_gives_a_result_the_search_ends_and_says_so():
    search = searching(search={"rate": 5, "trials": 100})
    found = run(search, lambda t: predicted(t) if t.beta in (1e-3, 0.1, 10) else FinishedTrial(t, "failed"))
    assert 8 < len(found) < 30
    line = search.account(found)[0]
    assert "not met: nearest 0 at beta 10, beyond it 10.14 at beta 0.1" in line
    assert "no trial between beta 0.1 and 10 gave a result" in line
