"""The report of a search: what it found in words, its proposals, and in the curves what belongs there."""

import csv
import io
import math
import re
import shutil

import pytest
from report_builders import without_terms
from search_builders import commit, searching, sweep, work

from rdbench.report import export as exports
from rdbench.report import make_report
from rdbench.report.charts.search import search_chart
from rdbench.report.contents import contents
from rdbench.report.export import as_data, export, shown_views
from rdbench.report.searches import CHOSEN, Proposal, SearchView, StudyView
from rdbench.report.sections import gather
from rdbench.report.tables.proposals import SHOWN
from rdbench.report.tables.write import to_csv, to_json
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.labels import variant_name
from rdbench.spec.sweep import VariantSpec

OVER = {"name": "optuna", "over": {"lr": [1e-4, 1e-1]}, "trials": 12, "at_a_time": 4, "objective": "mse"}
ONE_BY_ONE = OVER | {"at_a_time": 1}
CONV = {"dataset": {"name": "digits"}, "beta": [1.0]}


def off(trial):
    """How far a learning rate is from the best one, in decades."""
    return abs(math.log10(trial.train.lr) + 2)


def found(root, wanted):
    """A folder in which a search ran to its end; its trials' numbers depend on beta and lr."""
    search = searching(root, wanted)
    while batch := search.next():
        for trial in batch:
            own = {"mse": abs(math.log10(trial.beta)) + 0.01 * off(trial), "rate": 10 / trial.beta}
            commit(root, trial, "diverged" if trial.beta > 300 else "done", values=own)
    return contents([root])


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A folder with the search OVER, and its report's contents."""
    root = tmp_path_factory.mktemp("searched")
    return root, found(root, sweep(OVER))


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """A folder with a search that has two objectives, and its report's contents."""
    root = tmp_path_factory.mktemp("front")
    return root, found(root, sweep(OVER | {"objective": ["rate", "mse"], "trials": 15}))


def chart_of(page):
    (section,) = page.sections
    (search,) = section.searches
    return section, search.chart


def test_a_search_has_a_chart_with_its_best(searched):
    root, page = searched
    _, chart = chart_of(page)
    rows = chart.data["tried"]
    (best,) = [row for row in rows if row["best"]]
    assert best["v0"] == min(row["v0"] for row in rows)
    assert f"is {best['v0']:.4f}"[:7] in chart.finding
    assert chart.finding.endswith(f"at {best['about']}.")
    lost = len(ResultsFolder(root).trial_ids()) - len(rows)
    assert bool(chart.notes) == bool(lost)


def test_importance_is_the_last_view_and_says_which_setting_matters_most(tmp_path):
    page = found(tmp_path, sweep(OVER | {"trials": 20, "at_a_time": 5}))
    _, chart = chart_of(page)
    assert list(chart.views)[-1] == "mse/importance"
    shares = {row["setting"]: row["share"] for row in chart.data["importance_0"]}
    assert shares["beta"] > shares["lr"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    spec = chart.views["mse/importance"]
    assert spec["description"].startswith("mse: beta matters most, with ")
    title = spec["layer"][0]["encoding"]["x"]["title"]
    assert title == ["importance (PED-ANOVA)", "for mse"]  # and not a share of variance
    assert chart.first == "mse/over_beta"


@pytest.mark.parametrize("changes", [{"trials": 9}, {"trials": 20, "over": {}, "at_a_time": 5}])
def test_of_few_results_or_a_single_setting_nothing_is_said_to_matter(tmp_path, changes):
    page = found(tmp_path, sweep(OVER | changes))
    _, chart = chart_of(page)
    assert chart.first == "mse/over_beta"
    assert not any("importance" in key for key in (*chart.views, *chart.data))
    assert "matters" not in without_terms(make_report([tmp_path], tmp_path / "report.html").read_text())


def test_importance_is_of_being_good_whichever_way_that_is(tmp_path):
    """Of an objective that is to be high, what makes it high counts, not what makes it low."""
    page = found(tmp_path, sweep(OVER | {"objective": "psnr", "trials": 30, "at_a_time": 10}))
    (search,) = page.sections[0].searches
    study = search.view.study
    assert set(study.importance[0]) == {"beta", "lr"}
    good = sorted((each for each in study.proposals if each.values), key=lambda each: -each.values[0])
    assert good[0].best
    assert [row[3].value for row in search.table.rows[: len(good)]] == [each.values[0] for each in good]


def test_of_other_settings_the_best_alone_have_a_place_in_the_curves(searched):
    section, _ = chart_of(searched[1])
    assert len(section.variants) == 1
    (name,) = section.variants
    assert name.startswith("beta_vae (lr=")
    assert section.section.points["trial"].nunique() == 1


def test_a_searched_option_of_a_variant_is_a_setting_like_any(tmp_path):
    over = {"dof": [1.0, 50.0], "channels": {"choices": [[8], [16]]}}
    wanted = sweep(OVER | {"over": over, "trials": 8}, **CONV, variants=["student_t"],
                   model={"name": "conv", "latent": 4, "channels": [8, 16]})  # fmt: skip
    search = searching(tmp_path, wanted)
    while batch := search.next():
        for trial in batch:
            dof = trial.variant.options["dof"]
            commit(tmp_path, trial, values={"mse": abs(math.log(dof / 5)) - 0.01 * trial.model.channels[0]})
    section, chart = chart_of(contents([tmp_path]))
    (name,) = section.variants
    assert re.fullmatch(r"student_t \(channels=\[(8|16)\], dof=[\d.]+\)", name)
    assert len(chart.data["tried"]) == 8
    (best,) = [row for row in chart.data["tried"] if row["best"]]
    assert re.fullmatch(r"dof [\d.]+, channels \[(8|16)\]", best["about"])


def test_a_label_names_a_list_in_brackets():
    assert (
        variant_name(VariantSpec.model_construct(name="none", options={"channels": (16,)}))
        == "none (channels=[16])"
    )


def test_a_search_over_beta_alone_is_a_curve_like_any(tmp_path):
    section, chart = chart_of(found(tmp_path, sweep(OVER | {"over": {}})))
    assert section.variants == ("beta_vae",)
    assert section.section.points["trial"].nunique() == len(chart.data["tried"]) > 5


def test_several_objectives_have_a_front(front):
    _, page = front
    _, chart = chart_of(page)
    best = [row for row in chart.data["tried"] if row["best"]]
    assert 1 < len(best) < len(chart.data["tried"])
    for one in best:
        assert not any(o["v0"] < one["v0"] and o["v1"] < one["v1"] for o in chart.data["tried"])
    assert {"rate/front", "mse/front"} <= set(chart.views)
    assert "make the front, with rate from" in chart.finding
    rows = page.sections[0].searches[0].table.rows
    assert [row[4].mark for row in rows] == ["best"] * len(best) + [""] * (len(rows) - len(best))


def test_every_view_a_reader_can_choose_is_there(front):
    _, chart = chart_of(front[1])
    for objective, _ in chart.controls[0].options:
        for shown, _ in chart.controls[1].options:
            assert f"{objective}/{shown}" in chart.views


def test_no_point_lies_on_the_frame(tmp_path):
    """A ring of nine pixels needs room also on a phone, where the plot is 250 wide."""
    over = {"lr": [1e-4, 1e-1], "weight_decay": [0.0, 0.1], "latent": [2, 9]}
    _, chart = chart_of(found(tmp_path, sweep(OVER | {"over": over, "objective": ["rate", "mse"]})))
    kinds = set()
    for spec in (spec for key, spec in chart.views.items() if "importance" not in key):
        for axis in ("x", "y"):
            encoding = spec["layer"][0]["encoding"][axis]
            kinds.add(encoding["scale"]["type"] if axis == "x" else "linear")
            log = encoding["scale"].get("type") == "log"
            low, high = (math.log(end) if log else end for end in encoding["scale"]["domain"])
            for row in chart.data["tried"]:
                value = row[encoding["field"]]
                share = ((math.log(value) if log else value) - low) / (high - low)
                assert 0.05 < share < 0.95
    assert kinds == {"log", "linear"}


def test_an_export_writes_every_view_of_a_search_and_all_its_proposals(front, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "draw_svg", lambda chart, key: "<svg/>")
    root, page = front
    (search,) = page.sections[0].searches
    assert set(shown_views(search.chart)) == set(search.chart.views)
    files = {path.name for path in export([root], tmp_path / "out", ("svg", "csv", "json"))}
    assert {"search_rate_front.svg", "search_mse_over_lr.svg", "proposals.csv"} <= files
    (told,) = as_data(page)["sections"][0]["searches"]
    assert told["amounts"] == search.view.amounts
    assert told["account"] == list(search.view.account)


def made(count):
    """A study of so many proposals, as the report sees it; every third has no result."""
    proposals = [
        Proposal(n + 1, {"lr": 10.0**-n}, None if n % 3 == 0 else (float((n * 7) % 31),), (), n == 9,
                 "stopped" if n % 3 == 0 else "done", 2.0, (f"id{n}",))
        for n in range(count)
    ]  # fmt: skip
    return StudyView("many", ("mse",), {"lr": "log"}, tuple(proposals), ({},))


def test_the_page_shows_fifty_proposals_and_an_export_all(tmp_path):
    page = found(tmp_path, sweep(OVER | {"trials": 60, "sampler": "random", "at_a_time": 60}))
    table = page.sections[0].searches[0].table
    assert len(table.rows) == 60
    text = without_terms(make_report([tmp_path], tmp_path / "report.html").read_text())
    ids = [row[-1].text for row in table.rows]
    shown = text[text.index("<h3>Search</h3>") : text.index("<h3>Pictures</h3>")]
    assert [name for name in ids if name in shown] == ids[:SHOWN]
    assert f"The first {SHOWN} of 60 rows" in text
    assert len(list(csv.reader(io.StringIO(to_csv(table))))) == 61
    assert len(to_json(table)["rows"]) == 60


def test_a_proposal_has_its_settings_its_objective_its_fate_and_its_cost(tmp_path):
    page = found(tmp_path, sweep(OVER | {"constraints": ["rate < 50"]}))
    (search,) = page.sections[0].searches
    heads = [column.heading for column in search.table.columns]
    assert heads == ["proposal", "beta", "lr", "test mse", "status", "time, s", "trial"]
    trials = load_results(tmp_path, ()).trials.set_index("trial")
    for row in search.table.rows:
        own = trials.loc[row[-1].text]
        assert row[1].value == own["beta"]  # as it was trained, to the last digit
        assert row[4].text == own["status"]
        assert row[5].value == 2.0
    results = [row for row in search.table.rows if row[3].value is not None]
    kept = [row for row in results if not row[4].note]
    assert search.table.rows[: len(results)] == tuple(results)
    assert results[: len(kept)] == kept
    assert {row[4].note for row in results[len(kept) :]} == {"breaks rate < 50"}
    assert [row[3].value for row in kept] == sorted(row[3].value for row in kept)
    assert [row[3].mark for row in kept] == ["best"] + [""] * (len(kept) - 1)


def test_a_search_without_a_result_has_no_chart_and_the_page_is_still_made(tmp_path):
    searching(tmp_path, sweep(ONE_BY_ONE)).next()
    for trial in searching(tmp_path, sweep(ONE_BY_ONE)).next():
        commit(tmp_path, trial, "diverged")
    page = contents([tmp_path])
    (search,) = page.sections[0].searches
    assert search.chart is None
    assert search.view.amounts == "1 proposal: 1 diverged"
    assert make_report([tmp_path], tmp_path / "report.html").is_file()


@pytest.mark.parametrize("wanted", [OVER, {"name": "curve"}, {"name": "target", "rate": 5.0}])
def test_a_search_that_has_not_begun_has_a_page(tmp_path, wanted):
    ResultsFolder(tmp_path).save_sweep(sweep(wanted))
    (section,) = contents([tmp_path]).sections
    assert "0 of at most" in section.searches[0].view.account[-1]
    assert make_report([tmp_path], tmp_path / "report.html").is_file()


def test_the_page_shows_the_search(searched, tmp_path):
    root, _ = searched
    text = without_terms(make_report([root], tmp_path / "report.html").read_text())
    assert "<h3>Search</h3>" in text
    assert "The search of try:" in text


def test_a_search_for_a_curve_needs_no_chart_of_its_own(tmp_path):
    work(searching(tmp_path, sweep({"name": "curve", "trials": 7})))
    (section,), _ = gather([load_results(tmp_path)])
    (search,) = section.searches
    assert search.study is None
    assert search.amounts == "7 trainings: 7 done"
    assert section.points["trial"].nunique() == 7
    assert len(section.missing) == 0


@pytest.mark.parametrize("wanted", [{"name": "curve", "trials": 7}, {"name": "target", "rate": 5.0}, OVER])
def test_the_page_says_of_a_search_what_the_console_says(tmp_path, wanted):
    search = searching(tmp_path, sweep(wanted))
    work(search)
    text = without_terms(make_report([tmp_path], tmp_path / "report.html").read_text())
    lines = [line.removeprefix(f"search {wanted['name']}: ") for line in search.account()]
    for line in lines:
        assert f"<li>{line.replace('>', '&gt;').replace(chr(39), '&#39;')}</li>" in text
    assert "not done yet" not in lines[-1]


# Searches that are under way, or were interrupted


def test_what_ended_since_the_last_choice_counts(tmp_path):
    """Nobody has told the journal of the last batch: its trials are tried, and one of them is the best."""
    wanted = sweep(
        OVER
        | {
            "trials": 8,
            "at_a_time": 4,
        },
        beta=[1.0],
    )
    search = searching(tmp_path, wanted)
    for trial in search.next():
        commit(tmp_path, trial, values={"mse": 1 + off(trial)})
    last = search.next()
    commit(tmp_path, last[1], values={"mse": 0.5})
    commit(tmp_path, last[2], "stopped")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    section, chart = chart_of(contents([tmp_path]))
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert section.section.trials["trial"].tolist() == [last[1].id]
    (search,) = section.searches
    assert search.view.amounts == "8 proposals: 5 done, 1 stopped early, 2 not in yet"
    assert search.view.account[-1].endswith("not done yet")
    assert [row["v0"] for row in chart.data["tried"] if row["best"]] == [0.5]
    assert search.table.rows[0][-1].text == last[1].id
    assert [row[3].text for row in search.table.rows[-3:]] == ["stopped early", "not in yet", "not in yet"]


def test_what_a_search_chose_is_said_to_be_chosen_by_the_number_that_is_shown(searched, tmp_path):
    root, page = searched
    (search,) = page.sections[0].searches
    assert CHOSEN["test"] in search.table.caption
    text = without_terms(make_report([root], tmp_path / "report.html").read_text())
    assert text.count("Retrain it under fresh seeds before comparing") == 1
    views = [SearchView("study", kind, "", ()) for kind in ("optuna", "target", "curve")]
    assert [view.caution for view in views] == [CHOSEN["test"], CHOSEN["test"], ""]


def test_every_fate_is_named(tmp_path):
    (first, *others) = searching(tmp_path, sweep(OVER | {"at_a_time": 5}, beta=[1.0])).next()
    commit(tmp_path, first)
    for trial, status in zip(others, ("stopped", "diverged", "failed"), strict=False):
        commit(tmp_path, trial, status)
    text = without_terms(make_report([tmp_path], tmp_path / "report.html").read_text())
    told = "5 proposals: 1 done, 1 stopped early, 1 diverged, 1 failed, 1 not in yet."
    assert text.count(told) == 2  # beside the section's own totals, and in its part on the search


def test_a_proposal_fares_as_the_worst_of_its_seeds(tmp_path):
    wanted = sweep(OVER | {"at_a_time": 2}, beta=[1.0], seeds=2)
    trials = searching(tmp_path, wanted).next()
    for trial, status in zip(trials, ("done", "stopped", "done", "done"), strict=True):
        commit(tmp_path, trial, status)
    (search,) = contents([tmp_path]).sections[0].searches
    assert search.view.amounts == "2 proposals of 2 seeds each: 1 done, 1 stopped early"
    assert [row[-1].text for row in search.table.rows] == [
        f"{trials[2].id}, {trials[3].id}", f"{trials[0].id}, {trials[1].id}",
    ]  # fmt: skip
    assert [row[-2].value for row in search.table.rows] == [4.0, 4.0]


def test_a_proposal_that_was_stopped_and_is_done_after_all_is_one(tmp_path):
    wanted = sweep(ONE_BY_ONE | {"trials": 3}, beta=[1.0])
    search = searching(tmp_path, wanted)
    (first,) = search.next()
    commit(tmp_path, first, "diverged")
    for _ in range(2):
        commit(tmp_path, *search.next(), values={"mse": 1.0})
    search.next()  # the first was told as it stood; now it is done after all
    commit(tmp_path, first, values={"mse": 0.1})
    (search,) = contents([tmp_path]).sections[0].searches
    assert search.view.amounts == "3 proposals: 3 done"
    assert [row[0].text for row in search.table.rows] == ["1", "2", "3"]
    assert search.table.rows[0][2].value == pytest.approx(0.1)


def test_what_was_known_before_is_told_from_proposals(tmp_path):
    found(tmp_path, sweep(OVER | {"trials": 5, "over": {}}))
    page = found(tmp_path, sweep(OVER | {"trials": 3, "over": {}, "seed": 1}))
    (search,) = page.sections[0].searches
    assert search.view.amounts.startswith("3 proposals: ")
    asked = [row[0].text for row in search.table.rows]
    assert sorted(name for name in asked if name != "known before") == ["1", "2", "3"]
    assert "known before" in asked


# Records that cannot be read


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """A folder in which a search of four trials ran to its end."""
    root = tmp_path_factory.mktemp("four") / "results"
    work(searching(root, sweep(OVER | {"trials": 4}, beta=[1.0])))
    return root


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("optuna.journal", b"no journal\n{}\n"),
        ("optuna.journal", b'{"op_code": 99}\n{"x": 1}\n'),
        ("search.json", b"[1, 2"),
        ("search.json", b'{"a": 3}'),
    ],
)
def test_a_record_that_cannot_be_read_is_left_out_and_named(four, tmp_path, name, content):
    root = shutil.copytree(four, tmp_path / "results")
    (root / name).write_bytes(content)
    page = contents([root])
    (problem,) = page.problems
    assert name in problem
    assert all(section.searches == () for section in page.sections)
    assert sum(len(section.section.points["trial"].unique()) for section in page.sections) == 4


def test_records_that_cannot_be_read_are_named_on_the_page(four, tmp_path):
    root = shutil.copytree(four, tmp_path / "results")
    (root / "optuna.journal").write_bytes(b"no journal\n{}\n")
    assert "optuna.journal" in without_terms(make_report([root], tmp_path / "report.html").read_text())


def test_a_chart_is_told_by_its_kind_and_not_by_its_name():
    chart = search_chart(made(30), "anything")
    assert chart.kind == "search"
    assert shown_views(chart) == list(chart.views)
    assert chart.notes == ("10 proposals gave no result and are not drawn.",)
