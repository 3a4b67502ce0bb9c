"""Sections: what may be compared shares one, and nothing else."""

from report_builders import make_sweep, point_rows, report, section_of, visible, write

from rdbench import store
from rdbench.likelihood import READINGS
from rdbench.plan import plan
from rdbench.report import gather, sources


def test_protocols_and_settings_and_data_never_share_a_section(tmp_path):
    roots = [
        write(tmp_path / "clean", make_sweep()),
        write(tmp_path / "paper", make_sweep(protocol="paper")),
        write(tmp_path / "short", make_sweep(train={"epochs": 2})),
        write(tmp_path / "other_data", make_sweep(), dataset_checksum="bad"),
        write(tmp_path / "more", make_sweep(seeds=[5])),
    ]
    # The same trials on other data have the same ids: the first folder's are shown, the others named.
    sections, problems = gather.gather([store.load_results(root) for root in roots])
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
    sections, _ = gather.gather([store.load_results(root) for root in roots])
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
    store.commit(root, "0123456789abcdef", {"trials": [row], "points": point_rows(old)})
    store.commit(root, "fedcba9876543210", {"trials": [{"status": "done", "spec": "{"}]})
    text = report(tmp_path, root)
    assert "trial 0123456789abcdef left out, an earlier recipe made it" in visible(text)
    assert "trial fedcba9876543210 left out, its settings cannot be read" in visible(text)
    assert 3.0 not in section_of(root).points["beta"].to_numpy()
