"""The command line: exit codes, one clear line for a mistake, and a sweep from YAML to its report."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, in_a_process, refused
from malformed import MALFORMED, written

from rdbench.cli import app


def test_a_sweep_runs_from_yaml_to_report_and_once_only(sweep_file, tmp_path, rdbench):
    first = in_a_process("sweep", sweep_file, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "2 done in results/test" in first.stdout
    assert first.stdout.strip().splitlines()[-1] == "report written to results/test/report.html"
    assert "bs_vae" in (tmp_path / "results/test/report.html").read_text()

    again = rdbench("sweep", sweep_file)
    assert again.returncode == 0
    assert "2 done" in again.stdout.splitlines()[0]
    assert "[1/" not in again.stdout

    assert "2 done in results/test" in rdbench("status", "results/test").stdout
    report = rdbench("report", "--out", "page.html")
    assert report.stdout.strip() == "report written to page.html"
    assert (tmp_path / "page.html").stat().st_size > 100_000

    mixed = rdbench("sweep", sweep_file, "--set", "train.epochs=3")
    assert "results/test holds trials of other settings (train.epochs: 2 -> 3)" in refused(mixed)


def test_a_dry_run_shows_the_plan_and_writes_nothing(tmp_path, rdbench):
    done = rdbench("sweep", ROOT / "sweeps/celeba_rd.yaml", "--dry-run", "--allow-missing-metrics")
    assert done.returncode == 0
    assert "57 betas x 3 variants x 5 readings: 171 trainings, 855 points; 0 done" in done.stdout
    assert "57 trainings saved" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_malformed_sweep_is_refused_in_one_line_and_nothing_is_written(sweep_file, tmp_path):
    sweep_file.write_text(sweep_file.read_text().replace("epochs", "epoch"))
    line = refused(in_a_process("sweep", sweep_file, cwd=tmp_path))
    assert "test.yaml:6: train.epoch: " in line
    assert "epochs" in line.split("epoch:")[1]
    assert [path.name for path in tmp_path.iterdir()] == ["test.yaml"]


@pytest.mark.parametrize(("replaced", "text", "line", "key", "fix"), MALFORMED)
def test_no_malformed_sweep_gets_past_the_command_line(
    replaced, text, line, key, fix, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(written(replaced, text))
    monkeypatch.setattr(sys, "argv", ["rdbench", "sweep", "sweep.yaml"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: sweep.yaml:{line}: ")
    assert printed.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_missing_data_is_an_error_that_says_which_files_to_put_where(tmp_path, sweep_file, rdbench):
    sweep_file.write_text("{name: faces, dataset: celeba, variants: [bs_vae], beta: [1]}")
    line = refused(rdbench("sweep", sweep_file, "--data", tmp_path / "raw"))
    assert "img_align_celeba" in line
    assert "list_eval_partition.txt" in line
    assert str(tmp_path / "raw") in line


def test_a_batch_larger_than_the_data_is_refused_before_training(sweep_file, rdbench):
    done = rdbench("sweep", sweep_file, "--set", "train.batch_size=512")
    assert "train.batch_size is 512 but there are only 256 training images" in refused(done)


def test_a_results_folder_that_is_something_else_is_refused(sweep_file, tmp_path, rdbench):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
    done = rdbench("sweep", sweep_file, "--results", "thesis")
    assert "thesis is not a results folder and is not empty" in refused(done)
    assert "no results folder below results/" in refused(rdbench("report"))
    assert "not a results folder" in refused(rdbench("status", "thesis"))
    assert "not a results folder" in refused(rdbench("report", "nowhere"))  # not: its page cannot be written


def test_variants_and_datasets_are_listed(tmp_path, rdbench, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    listed = rdbench("variants")
    assert re.search(r"^bs_vae: n/2 \(ln\(2 pi sse/n \+ eps\) \+ 1\) \+ beta rate", listed.stdout, re.M)
    assert re.search(r"^student_t: .*\n +{name: student_t, dof: 0.0, .*native reading: own; model, packs\]\n"
                     " +dof: degrees of freedom", listed.stdout, re.M)  # fmt: skip
    assert "Kim & Lee, ICPR 2024, Eq. 6; native reading: optimal" in listed.stdout
    listed = rdbench("data", "list", "--data", tmp_path)
    assert "celeba" in listed.stdout
    assert "raw data missing" in listed.stdout


def test_a_dataset_is_prepared_and_verified(tmp_path, rdbench, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))
    assert "nothing is prepared yet" in rdbench("data", "verify", "digits").stdout
    assert "digits: prepared in" in rdbench("data", "prepare", "digits").stdout
    assert "digits: OK" in rdbench("data", "verify", "digits").stdout
    array = next((tmp_path / "cache").rglob("train_images.npy"))
    array.chmod(0o644)
    with array.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    damaged = rdbench("data", "verify", "digits")
    assert damaged.returncode == 1
    assert "train_images.npy is not what was written" in damaged.stdout
    assert "delete that folder" in damaged.stdout


def test_version_and_help_and_usage_errors(tmp_path, rdbench):
    assert in_a_process("--version", cwd=tmp_path).stdout == "rdbench 0.2.0\n"
    assert "rdbench sweep quickstart" in rdbench("--help").stdout
    assert rdbench("sweep").returncode == 2
    assert rdbench("swep").returncode == 2


@pytest.mark.parametrize("arguments", [["--help"], ["sweep", "--help"]])
def test_help_starts_without_the_heavy_libraries(arguments, tmp_path):
    code = f"""
import sys
sys.argv = ["rdbench", *{arguments!r}]
from rdbench.cli.app import main
try:
    main()
finally:
    heavy = ("torch", "ray", "numpy", "pandas", "pyarrow", "sklearn", "scipy")
    print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
