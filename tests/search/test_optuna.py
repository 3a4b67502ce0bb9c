"""The search ``optuna``: proposals that repeat, in a journal that survives."""

import math
import signal
import subprocess
import sys
import time

import optuna
import pytest
from search_builders import begun, run, sweep

from rdbench.errors import ResultsError, SpecError
from rdbench.search.ended import FinishedTrial
from rdbench.search.journal import NAME, Journal
from rdbench.search.space import Space
from rdbench.search.studies import Study, sampler
from rdbench.spec.search_options import OptunaSearch
from rdbench.spec.sweep import Sweep

OVER = {"beta": [1e-2, 1e2], "lr": [1e-4, 1e-1]}


def wanted(**search) -> Sweep:
    settings = {"name": "optuna", "trials": 12, "objective": "mse", "over": OVER} | search
    return sweep(settings, **settings.pop("sweep", {}))


def study(root, wish: Sweep, there=None) -> Study:
    return Study(begun(wish, there), wish.search, root, "a")


def bowl(trial) -> FinishedTrial:
    """Least at beta 1 and lr 1e-2."""
    mse = 1 + math.log10(trial.beta) ** 2 + (math.log10(trial.train.lr) + 2) ** 2
    return FinishedTrial(trial, "done", {"mse": mse, "rate": 10 / trial.beta}, seconds=1.0)


def chosen(found) -> list[tuple[float, float]]:
    return [(each.trial.beta, each.trial.train.lr) for each in found.values()]


def test_variants_have_the_names_that_journals_on_disk_have():
    """All their options, also those that are the same in both: a search that began before must go on."""
    two = [{"name": "student_t", "dof": 3.0}, {"name": "student_t", "dof": 5.0}]
    over = {"lr": [1e-4, 1e-1]}
    settings = {"dataset": "digits", "model": {}, "beta": [1], "variants": two}
    wish = wanted(over=over, sweep=settings)
    assert list(Space(wish, wish.search).labels) == [
        "student_t (dof=3.0, initial_scale=1.0, per_value=False)",
        "student_t (dof=5.0, initial_scale=1.0, per_value=False)",
    ]


def test_it_spends_its_trials_and_tells_the_best(tmp_path):
    search = study(tmp_path, wanted(trials=30))
    found = run(search, bowl)
    assert len(found) == 30
    best = min(each.values["mse"] for each in found.values())
    assert best < 1.3
    first, last = search.account(found)
    assert first.startswith(f"search optuna: mse {best:.6g} at beta ")
    assert last == "search optuna: 30 of at most 30 trials, 30 s of training; done: the trials are spent"


@pytest.mark.parametrize("name", ["tpe", "random", "nsgaii", "qmc"])
def test_a_search_repeats_and_another_seed_is_another(tmp_path, name):
    runs = [
        chosen(run(study(tmp_path / str(i), wanted(sampler=name, seed=seed)), bowl))
        for i, seed in enumerate((0, 0, 1))
    ]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("at_a_time", [1, 3])
def test_killed_anywhere_and_resumed_it_proposes_what_it_would_have_proposed(tmp_path, at_a_time):
    """A new driver after every single trial, with or without the last choice in the journal."""
    wish = wanted(at_a_time=at_a_time)
    whole = run(study(tmp_path / "whole", wish), bowl)
    ended: dict[str, FinishedTrial] = {}
    for turn in range(1000):
        search = study(tmp_path / "killed", wish)
        todo = search.propose(ended)
        if not todo:
            break
        if turn % 3:  # else killed before the journal was written
            search.keep()
        ended[todo[-1].id] = bowl(todo[-1])
    assert set(chosen(ended)) == set(chosen(whole))


def test_results_are_told_in_the_order_of_the_proposals(tmp_path):
    one, other = (study(tmp_path / name, wanted(at_a_time=4)) for name in "ab")
    straight = run(one, bowl)

    ended: dict[str, FinishedTrial] = {}
    while todo := other.propose(ended):
        for trial in reversed(todo):
            ended[trial.id] = bowl(trial)
    assert set(chosen(ended)) == set(chosen(straight))


def test_the_journal_is_optunas_own(tmp_path):
    search = study(tmp_path, wanted())
    found = run(search, bowl)
    search.keep()
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / NAME))
    loaded = optuna.load_study(study_name="a", storage=optuna.storages.JournalStorage(backend))
    assert len(loaded.trials) == 12
    assert loaded.best_value == min(each.values["mse"] for each in found.values())


WRITER = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from test_optuna import bowl, study, wanted
search, ended = study(Path({root!r}), wanted(trials=400, sampler="random")), {{}}
while todo := search.propose(ended):
    search.keep()
    ended |= {{trial.id: bowl(trial) for trial in todo}}
    print(len(ended), flush=True)
"""


def test_the_journal_survives_sigkill_in_the_middle_of_writes(tmp_path):
    code = WRITER.format(path=sys.path, root=str(tmp_path))
    wish = wanted(trials=400, sampler="random")
    for more in (5, 12, 25):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            for _ in range(more):
                process.stdout.readline()
            time.sleep(0.003 * more)  # somewhere within the next write or choice
            process.send_signal(signal.SIGKILL)
        content = (tmp_path / NAME).read_bytes()
        assert content.endswith(b"\n")
        survivor = study(tmp_path, wish)
        assert len(survivor.study.trials) >= more
    # What was proposed by four drivers is what one proposes undisturbed.
    undisturbed = study(tmp_path / "other", wish)
    ended: dict[str, FinishedTrial] = {}
    while len(undisturbed.study.trials) < len(survivor.study.trials):
        ended |= {trial.id: bowl(trial) for trial in undisturbed.propose(ended)}
        undisturbed.propose(ended)
    assert [t.params for t in undisturbed.study.trials] == [t.params for t in survivor.study.trials]


def test_a_torn_last_line_is_left_out_and_written_anew(tmp_path):
    search = study(tmp_path, wanted())
    first = search.propose({})
    search.keep()
    file = tmp_path / NAME
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"op_code":4,"worker')
    again = study(tmp_path, wanted())
    assert [trial.id for trial in again.propose({})] == [trial.id for trial in first]
    again.propose({trial.id: bowl(trial) for trial in first})
    again.keep()
    assert len(Journal(tmp_path).read_logs(0)) > whole.count(b"\n")
    assert file.read_bytes().startswith(whole)


def test_a_journal_damaged_elsewhere_is_an_error_that_names_the_line(tmp_path):
    (tmp_path / NAME).write_bytes(b'{"op_code":0}\nnonsense\n{"op_code":0}\n')
    with pytest.raises(ResultsError, match=r"optuna.journal: line 2 is no line of Optuna's journal; move it"):
        Journal(tmp_path)


def test_it_starts_warm_from_trials_that_were_there(tmp_path):
    wish = wanted(trials=4)
    before = run(study(tmp_path / "before", wanted(trials=20)), bowl)
    search = study(tmp_path / "after", wish, before)
    found = run(search, bowl, before)
    assert len(found) == 24
    assert len([each for each in search.study.trials if each.value is not None]) == 24
    assert "known before" in search.account(found)[-1]
    # One whose settings this search could not have proposed teaches nothing here.
    narrow = wanted(trials=4, over={"beta": [1e-2, 1e2], "lr": [9e-2, 1e-1]})
    assert len(study(tmp_path / "narrow", narrow, before).study.trials) == 0


def test_however_much_is_known_before_the_search_goes_on(tmp_path):
    before = run(study(tmp_path / "before", wanted(trials=60, sampler="random")), bowl)
    search = study(tmp_path / "after", wanted(trials=3), before)
    assert len(run(search, bowl, before)) == 63


def test_settings_of_which_only_some_seeds_are_there_do_not_warm_a_search(tmp_path):
    before = run(study(tmp_path / "before", wanted(trials=6)), bowl)
    search = study(tmp_path / "after", wanted(trials=6, sweep={"seeds": 2}), before)
    search.propose(before)
    assert {each.state.name for each in search.study.trials} == {"RUNNING"}


def test_a_constraint_keeps_the_best_within_it(tmp_path):
    search = study(tmp_path, wanted(trials=30, constraints=["rate < 1"]))
    found = run(search, bowl)
    (best,) = search.best()
    assert best.params["beta"] > 10
    assert best.value > min(each.values["mse"] for each in found.values())
    impossible = study(tmp_path / "none", wanted(trials=5, constraints=["rate < -1"]))
    lines = impossible.account(run(impossible, bowl))
    assert lines[0] == "search optuna: no proposal gave mse that keeps rate < -1"


def test_several_objectives_give_a_front(tmp_path):
    search = study(tmp_path, wanted(trials=25, objective=["rate", "mse"]))
    found = run(search, bowl)
    front = search.best()
    values = sorted((each.values[0], each.values[1]) for each in front)
    assert len(values) > 1
    assert values == sorted(values, key=lambda pair: -pair[1])
    assert search.account(found)[0] == f"search optuna: a front of {len(front)}:"


@pytest.mark.parametrize("status", ["diverged", "stopped", "failed"])
def test_trials_without_a_number_are_told_as_such_and_never_best(tmp_path, status):
    search = study(tmp_path, wanted(trials=20))
    run(search, lambda t: bowl(t) if t.beta < 1 else FinishedTrial(t, status))
    states = {each.state.name for each in search.study.trials}
    assert states == {"COMPLETE", "FAIL" if status == "failed" else "PRUNED"}
    assert search.best()[0].params["beta"] < 1


@pytest.mark.parametrize("objective", ["mse", ["rate", "mse"]])
def test_a_sampler_turns_away_from_where_trials_diverge(tmp_path, objective):
    search = study(tmp_path, wanted(trials=40, objective=objective))
    found = run(search, lambda t: bowl(t) if t.beta < 1 else FinishedTrial(t, "diverged"))
    late = list(found.values())[20:]
    assert sum(each.status == "diverged" for each in late) < len(late) / 2


def test_the_mean_over_seeds_is_what_counts_and_a_lost_seed_loses_the_proposal(tmp_path):
    wish = wanted(trials=8, sweep={"seeds": 2})

    def end(trial):
        return FinishedTrial(trial, "done", {"mse": float(trial.seed)})

    search = study(tmp_path, wish)
    found = run(search, end)
    assert len(found) == 8
    assert {each.value for each in search.study.trials} == {0.5}
    lost = study(tmp_path / "lost", wish)
    run(lost, lambda t: FinishedTrial(t, "failed") if t.seed else end(t))
    assert {each.state.name for each in lost.study.trials} == {"FAIL"}


def test_every_kind_of_setting_can_be_searched(tmp_path):
    over = {
        "latent": [2, 64],
        "batch_size": {"choices": [64, 128]},
        "channels": {"choices": [[8, 16], [16, 32]]},
        "dof": [1.0, 50.0],
        "epochs": [1, 9],
    }
    wish = wanted(
        over=over,
        trials=20,
        sampler="random",
        sweep={"dataset": "digits", "model": {}, "beta": [1], "variants": ["student_t", "bs_vae"]},
    )
    search = study(tmp_path, wish)
    found = run(search, lambda t: FinishedTrial(t, "done", {"mse": 1.0}))
    trials = [each.trial for each in found.values()]
    assert {t.variant.name for t in trials} == {"student_t", "bs_vae"}
    assert len({t.variant.options.get("dof") for t in trials}) > 5
    assert {t.model.channels for t in trials} == {(8, 16), (16, 32)}
    assert {t.train.batch_size for t in trials} == {64, 128}
    assert all(1 <= t.train.epochs <= 9 and 2 <= t.model.latent <= 64 for t in trials)
    assert all(t.beta == 1 for t in trials)
    # Each is found again by its settings, which is how a search is warmed up.
    space = Space(wish, wish.search)
    assert all(space.trials(space.params(trial))[0].id == trial.id for trial in trials)


def test_ranges_over_a_factor_of_ten_are_searched_by_logarithm():
    wish = wanted(over={"lr": [1e-4, 1e-1], "latent": [2, 12], "weight_decay": [0.0, 1.0]})
    kinds = Space(wish, wish.search).distributions(wish.variants[0])
    assert {name: kind.log for name, kind in kinds.items()} == {
        "beta": True, "lr": True, "latent": False, "weight_decay": False
    }  # fmt: skip


def test_numbers_are_proposed_as_they_read_in_a_sweep_file(tmp_path):
    (trial,) = study(tmp_path, wanted()).propose({})
    assert trial.beta == float(f"{trial.beta:.6g}")
    assert trial.train.lr == float(f"{trial.train.lr:.6g}")


def test_a_sampler_whose_package_is_not_there_is_an_error_that_names_it(monkeypatch):
    def absent(**options):
        raise ImportError("cmaes")

    monkeypatch.setattr(optuna.samplers, "CmaEsSampler", absent)
    with pytest.raises(SpecError, match="sampler: cmaes needs the package cmaes"):
        sampler(OptunaSearch(sampler="cmaes"), 0)


@pytest.mark.parametrize("line", ["{}", "5", "null", '{"op_code":0}', '{"op_code":99,"worker_id":"a"}'])
def test_a_journal_that_optuna_cannot_read_is_an_error_with_its_mend(tmp_path, line):
    search = study(tmp_path, wanted())
    search.propose({})
    search.keep()
    with (tmp_path / NAME).open("a") as journal:
        journal.write(line + "\n")
    with pytest.raises(
        ResultsError, match=r"optuna.journal: Optuna .* cannot read it .*; move it away together"
    ):
        study(tmp_path, wanted())


@pytest.mark.parametrize("name", ["tpe", "random", "gp"])
def test_settings_are_proposed_once_and_a_space_that_is_searched_through_ends_the_search(tmp_path, name):
    over = {"latent": {"choices": [2, 4, 8]}}
    wish = wanted(over=over, at_a_time=4, trials=12, sampler=name, sweep={"beta": [1]})
    search = study(tmp_path, wish)
    batches, ended = [], {}
    while todo := search.propose(ended):
        batches.append([trial.id for trial in todo])
        ended |= {
            trial.id: FinishedTrial(trial, "done", {"mse": float(trial.model.latent)}, 1.0) for trial in todo
        }
    asked = [name for batch in batches for name in batch]
    assert sorted(asked) == sorted(set(asked))
    assert len(asked) == 3
    assert search.account(ended) == [
        "search optuna: mse 2 at latent 2",
        "search optuna: 3 of at most 12 trials, 3 s of training; done: there are no other settings",
    ]
    before = len(search.study.trials)
    assert search.propose(ended) == []
    assert len(search.study.trials) == before, "it was searched through, and asks no more"


def test_a_trial_that_was_stopped_or_failed_and_has_a_result_after_all_is_told_anew(tmp_path):
    wish = wanted(trials=6)
    first = run(search := study(tmp_path, wish), lambda t: FinishedTrial(t, "failed"))
    search.keep()
    assert search.account(first)[0] == "search optuna: no proposal gave mse"
    again = {name: bowl(each.trial) for name, each in first.items()}
    search = study(tmp_path, wish)
    assert search.propose(again) == []
    search.keep()
    best = min(each.values["mse"] for each in again.values())
    for _ in range(2):  # told once
        search = study(tmp_path, wish)
        lines = search.account(again)
        assert lines[0].startswith(f"search optuna: mse {best:.6g} at beta ")
        assert lines[1] == "search optuna: 6 of at most 6 trials, 6 s of training; done: the trials are spent"


def test_the_best_so_far_is_told_though_the_batch_is_not_in(tmp_path):
    search = study(tmp_path, wanted(at_a_time=4))
    first, *_ = search.propose({})
    lines = search.account({first.id: bowl(first)})
    assert lines[0].startswith(f"search optuna: mse {bowl(first).values['mse']:.6g} at ")
    assert lines[1].endswith("; not done yet")


def test_how_a_search_begins_does_not_hang_on_how_much_it_may_spend(tmp_path):
    few, many = (chosen(run(study(tmp_path / str(n), wanted(trials=n)), bowl)) for n in (8, 16))
    assert many[:8] == few


@pytest.mark.parametrize(
    ("name", "over", "trials"),
    [
        ("tpe", {"beta": [1e-2, 1e2]}, 20),
        ("tpe", {"latent": [2, 40]}, 25),
        ("tpe", {"latent": [2, 8]}, 7),
        ("gp", {"beta": [1e-2, 1e2]}, 9),  # which repeats itself from its sixth proposal on, at 0.3 s each
        ("gp", {"latent": [2, 40]}, 9),
        ("gp", {"latent": [2, 8]}, 7),
    ],
)
def test_an_optimum_at_an_edge_does_not_end_a_search(tmp_path, name, over, trials):
    """A sampler may then propose the same again and again."""
    wish = wanted(over=over, trials=trials, sampler=name, sweep={} if "beta" in over else {"beta": [1]})
    search = study(tmp_path, wish)
    found = run(search, lambda t: FinishedTrial(t, "done", {"mse": -t.beta - t.model.latent}))
    assert len(found) == trials
    assert search.account(found)[-1].endswith("done: the trials are spent")


def test_what_is_there_without_the_objective_may_be_proposed_and_what_diverged_there_is_not(tmp_path):
    wish = wanted(over={"latent": {"choices": [2, 4, 8]}}, trials=9, sweep={"beta": [1]})
    alone = run(study(tmp_path / "alone", wish), lambda t: FinishedTrial(t, "done", {"rate": 1.0}))
    there = {
        name: FinishedTrial(each.trial, "diverged") if n == 0 else each
        for n, (name, each) in enumerate(alone.items())
    }
    search = study(tmp_path / "warm", wish, there)
    lacking = {name for name, each in there.items() if each.status == "done"}
    assert search.advance(there)
    while search.advance(there):
        pass
    assert {trial.id for trial in search.trials()} == lacking


def test_a_search_pays_for_new_trials_alone(tmp_path):
    wish = wanted(over={"latent": {"choices": [2, 4, 8, 16]}}, trials=4, sweep={"beta": [1], "seeds": 2})
    alone = run(study(tmp_path / "alone", wish), lambda t: FinishedTrial(t, "done", {"mse": 1.0}))
    both = run(
        study(
            tmp_path / "both",
            wanted(**{**wish.search.model_dump(), "trials": 8, "sweep": {"beta": [1], "seeds": 2}}),
        ),
        lambda t: FinishedTrial(t, "done", {"mse": 1.0}),
    )
    there = {name: each for name, each in both.items() if each.trial.seed == 0}
    search = study(tmp_path / "warm", wish, there)
    found = run(search, lambda t: FinishedTrial(t, "done", {"mse": 1.0}), there)
    assert len(alone) == 4
    assert 3 <= len(found) - len(there) <= 4  # a proposal may yet cost two


def test_variants_of_one_name_are_all_searched(tmp_path):
    two = [{"name": "student_t", "dof": 2.0}, {"name": "student_t", "dof": 10.0}]
    wish = wanted(
        over={"lr": [1e-4, 1e-2]},
        trials=12,
        sampler="random",
        sweep={"variants": two, "dataset": "digits", "model": {}},
    )
    found = run(study(tmp_path, wish), lambda t: FinishedTrial(t, "done", {"mse": 1.0}))
    assert {each.trial.variant.options["dof"] for each in found.values()} == {2.0, 10.0}
