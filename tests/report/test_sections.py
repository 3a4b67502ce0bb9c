"""Sections: what may be compared shares one, and nothing else."""

import report_builders
from report_builders import make_sweep, point_rows, report, section_of, visible, write

from rdbench.numerics.likelihood import READINGS
from rdbench.report import sections as gather
from rdbench.report.statistics import series
from rdbench.report.tables import measured, sources
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan


def test_protocols_and_settings_and_data_never_share_a_section(tmp_path):
    roots = [
        write(tmp_path / "clean", make_sweep()),
        write(tmp_path / "paper", make_sweep(protocol="paper")),
        write(tmp_path / "short", make_sweep(train={"epochs": 2})),
        write(tmp_path / "other_data", make_sweep(), dataset_checksum="bad"),
        write(tmp_path / "more", make_sweep(seeds=[5])),
    ]
    # The same trials on other data have the same ids: the first folder's are shown, the others named.
    sections, problems = gather.gather([load_results(root) for root in roots])
    assert sum("was trained on other data" in problem for problem in problems) == 4
    assert [(s.protocol, s.settings["train"]["epochs"], len(s.trials)) for s in sections] == [
        ("clean", 2, 4),
        ("clean", 50, 8),
        ("paper", 50, 4),
    ]
    headings = [heading for heading, _ in sources.headings(sections)]
    assert len(set(headings)) == 3
    assert "train.epochs 2" in headings[0]
    assert all(s.points["protocol"].nunique() == 1 for s in sections)


def test_one_setting_on_two_states_of_a_data_folder_makes_two_sections(tmp_path):
    roots = [
        write(tmp_path / "a", make_sweep()),
        write(tmp_path / "b", make_sweep(seeds=[1]), dataset_checksum="f00d"),
    ]
    sections, _ = gather.gather([load_results(root) for root in roots])
    assert {s.checksum for s in sections} == {"c0ffee" * 8, "f00d"}
    assert any("data f00d" in heading for heading, _ in sources.headings(sections))


def test_a_trial_in_two_folders_counts_once_and_the_finished_one_wins(tmp_path):
    failed = write(tmp_path / "a", make_sweep(), lost=lambda trial: ("failed", "boom"))
    done = write(tmp_path / "b", make_sweep(seeds=[0, 1]))
    for roots in ((failed, done), (done, failed)):
        section = section_of(*roots)
        assert section.trials["status"].tolist() == ["done"] * 8
        assert len(section.points) == 8 * 2 * len(READINGS)


def test_a_trial_of_an_earlier_recipe_is_left_out_by_name(tmp_path):
    root = write(tmp_path / "a", make_sweep())
    old = plan(make_sweep(beta=[3])).trials[0]
    row = {"status": "done", "spec": old.to_json()}
    ResultsFolder(root).commit("0123456789abcdef", {"trials": [row], "points": point_rows(old)})
    ResultsFolder(root).commit("fedcba9876543210", {"trials": [{"status": "done", "spec": "{"}]})
    text = report(tmp_path, root)
    assert "trial 0123456789abcdef left out, an earlier recipe made it" in visible(text)
    assert "trial fedcba9876543210 left out, its settings cannot be read" in visible(text)
    assert 3.0 not in section_of(root).points["beta"].to_numpy()


CURVE = 'import rdbench\n@rdbench.variant("curve", curve=True)\ndef curve(trial, data): ...\n'


def test_two_trainings_of_a_whole_curve_are_not_taken_for_seeds_of_one_another(tmp_path, monkeypatch):
    monkeypatch.setitem(report_builders.NATIVE, "curve", "half")
    (tmp_path / "curve.py").write_text(CURVE)
    root = tmp_path / "a"
    for shift, betas in ((0.0, [1, 10]), (300.0, [1, 10, 100])):
        sweep = make_sweep(beta=betas, variants=[f"{tmp_path}/curve.py:curve"])
        ResultsFolder(root).save_sweep(sweep)
        (trial,) = plan(sweep).trials
        row = {"status": "done", "variant": "curve", "beta": 1.0, "seed": 0, "protocol": "clean"}
        points = [
            point | {"beta": beta, "elbo": point["elbo"] - shift}
            for beta in trial.variant.options["betas"]
            for point in point_rows(trial.model_copy(update={"beta": beta}))
        ]
        ResultsFolder(root).commit(trial.id, {"trials": [row | {"spec": trial.to_json()}], "points": points})
    (section,), problems = gather.gather([load_results(root)])
    found = series.values_by_seed(section, "elbo", "half")
    (name,) = {variant for variant, _ in found}
    assert found[name, 1.0] == {0: -401.0}  # the training that the sweep asks for
    assert len(section.missing) == 0
    assert any("was trained for another list of betas" in problem for problem in problems)


def test_a_metric_of_a_whole_curve_says_at_which_beta_it_was_measured(tmp_path, monkeypatch):
    monkeypatch.setitem(report_builders.NATIVE, "curve", "half")
    (tmp_path / "curve.py").write_text(CURVE)
    sweep = make_sweep(beta=[1, 10, 100], variants=[f"{tmp_path}/curve.py:curve", "beta_vae"])
    root = write(tmp_path / "a", sweep)
    for trial in plan(sweep).trials:
        content = ResultsFolder(root).trial_tables(trial.id)
        value = {"name": "fid", "value": 5.0, "settings": "{}", "protocol": "clean"}
        if trial.beta == 1:
            ResultsFolder(root).commit(trial.id, {"metrics": [value], "trials": content["trials"]})
    rows = measured.proxy_metrics(section_of(root)).rows
    assert [(row[0].text[:5], row[1].text, row[2].text, row[2].note) for row in rows] == [
        ("beta_", "1", "5.000", ""),
        ("curve", "1", "5.000", ""),
        ("curve", "10", "–", "measured at β = 1 only: one training gives the whole curve"),
        ("curve", "100", "–", "measured at β = 1 only: one training gives the whole curve"),
    ]


def test_a_curve_that_diverged_is_lost_at_each_of_its_betas(tmp_path):
    (tmp_path / "curve.py").write_text(CURVE)
    sweep = make_sweep(beta=[1, 10], variants=[f"{tmp_path}/curve.py:curve"])
    section = section_of(write(tmp_path / "a", sweep, lost=lambda trial: ("diverged", "NaN")))
    assert [(beta, lost) for (_, beta), lost in measured.losses(section).items()] == [
        (1.0, "1 diverged"),
        (10.0, "1 diverged"),
    ]
    assert len(measured.keys(section)) == 2
