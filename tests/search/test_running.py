"""A search at work in a results folder: what it goes on from, and what it says of itself."""

import json
from pathlib import Path

import pytest
from report_builders import make_sweep
from search_builders import begun, commit, predicted, run, searching, sweep, work

from rdbench.errors import ResultsError
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.search import ended, running
from rdbench.search.curve import CurveSearcher
from rdbench.search.running import SearchRun
from rdbench.spec.labels import trial_name_in

WANTED = {"name": "curve", "trials": 10, "gap": 0, "at_a_time": 2}


def test_a_search_in_a_folder_does_what_it_does_in_memory(tmp_path):
    wanted = sweep(WANTED)
    betas = work(searching(tmp_path, wanted))
    alone = run(CurveSearcher(begun(wanted), wanted.search))
    assert betas == [each.trial.beta for each in alone.values()]


def test_a_search_that_was_killed_goes_on_as_it_would_have(tmp_path):
    """Half a batch is in the folder: it must not pass for results that were there before."""
    undisturbed = work(searching(tmp_path / "a", sweep(WANTED)))
    root = tmp_path / "b"
    for kept in (3, 1, 0, 1, 2):
        for trial in searching(root, sweep(WANTED)).next()[:kept]:
            commit(root, trial)
    work(searching(root, sweep(WANTED)))
    assert set(load_results(root, ()).trials["beta"]) == set(undisturbed)


def test_what_was_there_before_the_search_is_told_from_its_own(tmp_path):
    grid = sweep(None, beta={"logspace": [1e-4, 1e3, 7]})
    from rdbench.spec.plan import plan

    for trial in plan(grid).trials:
        commit(tmp_path, trial)
    search = searching(tmp_path, sweep(WANTED | {"trials": 6}))
    lines = search.plan().search
    assert lines[0] == "search curve: 0 of at most 6 trials done, besides 7 that were there"
    assert len(work(search)) == 6
    assert "6 of at most 6 trials, 12 s of training" in search.account()[-1]
    again = searching(tmp_path, sweep(WANTED | {"trials": 6}))
    assert again.next() == []
    assert again.plan().search[0] == "search curve: 6 of at most 6 trials done, besides 7 that were there"


def test_more_trials_extend_a_search_and_another_search_begins_with_all_that_is_there(tmp_path):
    work(searching(tmp_path, sweep(WANTED)))
    assert len(work(searching(tmp_path, sweep(WANTED | {"trials": 13})))) == 3
    other = searching(tmp_path, sweep(WANTED | {"plane": ["rate", "mse"]}))
    assert other.plan().search[0].endswith("0 of at most 10 trials done, besides 13 that were there")
    for trial in other.next():
        commit(tmp_path, trial)
    # Each goes on from its own record.
    first = searching(tmp_path, sweep(WANTED | {"trials": 13})).plan()
    assert first.search[0] == "search curve: 13 of at most 13 trials done"


def test_a_dry_run_shows_the_first_proposals_and_writes_nothing(tmp_path):
    whole = SearchRun(sweep(WANTED), tmp_path / "none", lambda: set()).plan()
    assert whole.summary().splitlines() == [
        "search curve: 0 of at most 10 trials done",
        "next: beta_vae beta 0.0001 seed 0, beta_vae beta 0.00562341 seed 0, beta_vae beta 0.316228 seed 0,"
        " beta_vae beta 17.7828 seed 0, beta_vae beta 1000 seed 0; the choice after them follows from their"
        " results",
    ]
    assert whole.at_most == 10
    assert not (tmp_path / "none").exists()
    over = {"name": "optuna", "over": {"lr": [1e-4, 1e-2]}, "at_a_time": 2, "trials": 4}
    lines = SearchRun(sweep(over), tmp_path / "none", lambda: set()).plan().search
    assert lines[0] == "search optuna: 0 of at most 4 trials done"
    assert lines[1].count(" lr 0.0") == 2
    assert not (tmp_path / "none").exists()


def test_trials_that_failed_in_this_run_are_walls_and_in_the_next_are_tried_again(tmp_path):
    first = searching(tmp_path, sweep(WANTED), run="one")
    assert len(work(first, "failed")) == 5
    assert any("fewer than two betas" in line for line in first.account())
    assert len(searching(tmp_path, sweep(WANTED), run="two").next()) == 5


def test_a_batch_whose_trials_were_not_finished_is_followed_by_none(tmp_path):
    """The user stops: workers leave checkpoints, and nothing new begins."""
    search = searching(tmp_path, sweep(WANTED))
    first, *rest = search.next()
    commit(tmp_path, first)
    assert search.next() == []
    assert [t.id for t in searching(tmp_path, sweep(WANTED)).next()] == [t.id for t in rest]


def test_a_limit_bounds_what_one_run_hands_out(tmp_path):
    assert len(work(searching(tmp_path, sweep(WANTED), limit=3))) == 3
    assert len(work(searching(tmp_path, sweep(WANTED), limit=3))) == 3
    assert len(work(searching(tmp_path, sweep(WANTED)))) == 4


def test_a_done_trial_that_lacks_what_is_asked_for_is_handed_out_once_more_and_no_oftener(tmp_path):
    wanted = sweep(WANTED | {"trials": 5})
    work(searching(tmp_path, wanted))
    whole = ResultsFolder(tmp_path).finished(make_sweep())
    lacking = sorted(whole)[0]
    search = SearchRun(wanted, tmp_path, lambda: whole - {lacking})
    assert [trial.id for trial in search.next()] == [lacking]
    assert search.next() == []


def test_the_numbers_of_a_trial_are_its_test_splits_and_finite(tmp_path):
    wanted = sweep(WANTED)
    (trial, *_) = searching(tmp_path, wanted).next()
    commit(tmp_path, trial, values={"psnr": float("nan")})
    (found,) = ended.load(tmp_path).values()
    assert found.values["rate"] == predicted(trial).values["rate"]
    assert found.values["elbo_half"] == predicted(trial).values["elbo_optimal"]
    assert "psnr" not in found.values
    assert found.seconds == 2.0
    assert ended.load(tmp_path / "nothing") == {}


def test_what_another_version_trained_is_no_result_of_this_one(tmp_path, monkeypatch):
    work(searching(tmp_path, sweep(WANTED)))
    assert len(ended.load(tmp_path)) == 10
    monkeypatch.setattr("rdbench.spec.plan.RECIPE", 99)
    assert ended.load(tmp_path) == {}


def test_metrics_are_those_that_the_sweep_asks_for_by_the_names_of_their_values(tmp_path):
    wanted = sweep(WANTED, metrics=["prdc", {"name": "iwae", "samples": 20}])
    (trial, *_) = searching(tmp_path, wanted).next()
    commit(tmp_path, trial)
    tables = ResultsFolder(tmp_path).trial_tables(trial.id)
    prdc, iwae = (each.settings() for each in wanted.metrics)
    rows = [
        {"name": name, "value": value, "settings": json.dumps(settings), "protocol": "clean"}
        for name, value, settings in [
            ("prdc", 0.5, prdc | {"quantity": "recall"}),
            ("prdc", None, prdc | {"quantity": "density", "error": "why"}),
            ("iwae", -3.0, iwae | {"reading": "half"}),
            ("iwae", -9.0, iwae | {"reading": "half", "samples": 10}),  # of a former spec
        ]
    ]
    ResultsFolder(tmp_path).commit(trial.id, tables | {"metrics": rows})
    (found,) = ended.load(tmp_path, wanted.metrics).values()
    assert (found.values["prdc_recall"], found.values["iwae_half"]) == (0.5, -3.0)
    assert "prdc_density" not in found.values
    (found,) = ended.load(tmp_path).values()
    assert "prdc_recall" not in found.values


def test_a_damaged_record_of_searches_is_an_error_with_its_mend(tmp_path):
    (tmp_path / running.NAME).write_text("[1, 2]")
    with pytest.raises(ResultsError, match=r"search.json: is not a valid record of searches; move it away"):
        running.begin(sweep(WANTED), tmp_path, ())


@pytest.mark.parametrize(
    "content",
    ['{"a": [{}]}', '{"a": {"there": []}}', '{"a": {"there": [], "batches": [[{}]]}}', '{"a": 1}', "no"],
)
def test_any_other_damage_is_told_so_too(tmp_path, content):
    (tmp_path / running.NAME).write_text(content)
    with pytest.raises(ResultsError, match="is not a valid record of searches"):
        running.begin(sweep(WANTED), tmp_path, ())


def test_what_failed_and_is_tried_again_costs_no_other_trial(tmp_path):
    """The search goes on from what it chose, though it might choose otherwise now."""
    first = searching(tmp_path, sweep(WANTED), run="one")
    while batch := first.next():
        for trial in batch:
            commit(tmp_path, trial, "failed" if trial.beta == 0.316228 else "done", "one")
    chosen = set(load_results(tmp_path, ()).trials["trial"])
    again = searching(tmp_path, sweep(WANTED), run="two")
    assert [trial.beta for trial in again.next()] == [0.316228]
    work(searching(tmp_path, sweep(WANTED), run="two"))
    assert set(load_results(tmp_path, ()).trials["trial"]) == chosen


def test_what_a_trial_is_judged_by_does_not_hang_on_when_the_driver_was_killed(tmp_path):
    search = searching(tmp_path, sweep(WANTED | {"at_a_time": 3}))
    for trial in search.next():
        commit(tmp_path, trial)
    batch = search.next()
    undisturbed = search.peers()
    assert len(undisturbed) == 5
    commit(tmp_path, batch[0])
    resumed = searching(tmp_path, sweep(WANTED | {"at_a_time": 3}))
    assert [trial.id for trial in resumed.next()] == [trial.id for trial in batch[1:]]
    assert resumed.peers() == undisturbed


@pytest.mark.parametrize("search", [WANTED, {"name": "optuna", "objective": "mse", "trials": 6}])
def test_a_metric_that_is_added_later_is_measured_and_chooses_no_other_trials(tmp_path, search):
    wanted = sweep(search, beta=[0.01, 1, 100])
    work(searching(tmp_path, wanted))
    before = ResultsFolder(tmp_path).finished(make_sweep())
    more = sweep(search, beta=[0.01, 1, 100], metrics=["latents"])
    handed = []
    lacking = SearchRun(more, tmp_path, lambda: set())
    assert lacking.plan().at_most == len(before)
    while batch := lacking.next():
        handed += [trial.id for trial in batch]
    assert sorted(handed) == sorted(before)


def test_a_trial_that_was_stopped_is_trained_to_its_end_once_nothing_stops_it(tmp_path):
    stopping = sweep(WANTED, stop="plateau")
    work(searching(tmp_path, stopping), "stopped")
    assert len(load_results(tmp_path, ()).trials) == 5
    assert len(work(searching(tmp_path, sweep(WANTED)))) == 10


def test_what_a_search_varies_tells_its_trials_apart():
    over = {"lr": [1e-4, 1e-2], "channels": {"choices": [[8, 16], [16]]}, "dof": [1.0, 9.0]}
    wanted = sweep(
        {"name": "optuna", "over": over},
        dataset="digits", variants=["student_t"], model={}, beta=[1],
    )  # fmt: skip
    (trial,) = searching_in_memory(wanted)
    has = trial.variant.options["dof"]
    channels = list(trial.model.channels)
    assert trial_name_in(wanted, trial) == (
        f"student_t beta 1 lr {trial.train.lr:g} channels {channels} dof {has:g} seed 0"
    )


def searching_in_memory(wanted):
    from rdbench.search.studies import Study

    return Study(begun(wanted), wanted.search, Path("nowhere"), "a").propose({})


def test_a_metric_measured_otherwise_is_another_search_where_it_rests_on_it():
    rests = {"name": "optuna", "over": {"lr": [1e-4, 1e-2]}, "objective": "iwae_half"}
    few, many = (running.key(sweep(rests, metrics=[{"name": "iwae", "samples": n}])) for n in (10, 100))
    assert few != many
    few, many = (running.key(sweep(WANTED, metrics=[{"name": "iwae", "samples": n}])) for n in (10, 100))
    assert few == many


def test_trials_of_another_search_in_the_folder_are_no_peers(tmp_path):
    search = searching(tmp_path, sweep(WANTED))
    for trial in search.next():
        commit(tmp_path, trial)
    search.next()
    undisturbed = search.peers()
    work(searching(tmp_path, sweep(WANTED | {"plane": ["rate", "mse"]})))
    resumed = searching(tmp_path, sweep(WANTED))
    resumed.next()
    assert resumed.peers() == undisturbed


def test_what_failed_counts_as_ended_for_whoever_only_looks(tmp_path):
    work(searching(tmp_path, sweep(WANTED), run="one"), "failed")
    assert len(ended.load(tmp_path, failed_in=None)) == 5
    assert ended.load(tmp_path) == {}


def test_what_does_not_change_a_searchs_choices_does_not_make_it_another():
    assert running.key(sweep(WANTED)) == running.key(sweep(WANTED | {"trials": 99, "gap": 0.5}))
    assert running.key(sweep(WANTED)) == running.key(sweep(WANTED, name="other", readings=["half"]))
    for other in (
        sweep(WANTED | {"at_a_time": 3}),
        sweep(WANTED, seeds=2),
        sweep(WANTED, train={"epochs": 2}),
    ):
        assert running.key(sweep(WANTED)) != running.key(other)


def test_an_optuna_search_in_a_folder_goes_on_from_its_journal(tmp_path):
    over = {"name": "optuna", "over": {"lr": [1e-4, 1e-2]}, "trials": 9, "objective": "mse", "at_a_time": 2}
    wanted = sweep(over)
    whole = work(searching(tmp_path / "a", wanted))
    for _ in range(7):
        for trial in searching(tmp_path / "b", wanted).next()[:1]:
            commit(tmp_path / "b", trial)
    work(searching(tmp_path / "b", wanted))
    assert set(load_results(tmp_path / "b", ()).trials["beta"]) == set(whole)
    assert len(whole) == 9
    assert searching(tmp_path / "a", wanted).account()[0].startswith("search optuna: mse ")
