"""The wheel, installed into an empty environment outside the repository: what a user gets."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import rdbench
from rdbench.errors import EXTRAS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
UNREACHABLE = ("Failed to fetch", "error sending request", "dns error", "network was disabled", "timed out")
UV = shutil.which("uv")
SCRIPT = """
import rdbench
sweep = rdbench.Sweep(name="tiny", dataset={"name": "digits", "train_images": 128, "test_images": 50},
                      variants=["bs_vae", "linear_coder"], beta=[0.1, 1],
                      train={"epochs": 1, "batch_size": 64}, model={"name": "linear", "latent": 2})
results = rdbench.run(sweep, scheduler="serial")
assert set(results.trials["status"]) == {"done"}, results.trials["error"].tolist()
"""


def run(*command, folder, expected=0, environment=None):
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != expected and any(words in done.stderr for words in UNREACHABLE):
        pytest.skip("no package registry can be reached, and uv's cache lacks what is needed")
    assert done.returncode == expected, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def lend_bytecode(environment):
    """Copy what is compiled here of the same files, which Python tells by their times, unless it is there.

    Else the new environment compiles torch, pandas and their like once more, ten seconds of a core.
    """
    here = Path(sysconfig.get_path("purelib"))
    (there,) = (environment / "lib").glob("python*/site-packages")
    for folder, folders, files in os.walk(here):
        target = there / Path(folder).relative_to(here)
        if (
            not (target if target.name != "__pycache__" else target.parent).is_dir()
            or target == there / "rdbench"
        ):
            folders.clear()  # not installed there
        elif target.name == "__pycache__":
            target.mkdir(exist_ok=True)
            for name in files:
                if not (target / name).exists():
                    shutil.copyfile(Path(folder) / name, target / name)


@pytest.mark.skipif(UV is None, reason="needs uv, which makes the environment")
def test_a_bare_install_trains_and_says_what_a_report_needs_and_a_whole_one_reports(tmp_path):
    inside = ("PYTHONPATH", "VIRTUAL_ENV", "UV_COMPILE_BYTECODE")  # compiling takes minutes
    environment = {name: value for name, value in os.environ.items() if name not in inside}
    environment["RDBENCH_CACHE"] = str(tmp_path / "cache")
    uv = {"folder": tmp_path, "environment": environment}
    run(UV, "build", "--wheel", "-q", "-o", tmp_path / "dist", ROOT, **uv)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run(UV, "venv", "-q", "--python", sys.executable, "env", **uv)
    python, command = tmp_path / "env/bin/python", tmp_path / "env/bin/rdbench"
    install = (UV, "pip", "install", "-q", "--python", python)
    run(*install, wheel, **uv)
    lend_bytecode(tmp_path / "env")

    run(python, "-c", SCRIPT, **uv)
    said = run(command, "report", "results/tiny", expected=2, **uv)
    assert re.fullmatch(r"error: not installed here: altair, .*; pip install 'rdbench\[report\]'\n", said), (
        said
    )
    assert "quickstart" in run(command, "sweep", "quickstart", "--dry-run", **uv)
    search = ("--set", "search={name: optuna, trials: 6}")
    said = run(command, "sweep", "quickstart", "--dry-run", *search, expected=2, **uv)
    assert "not installed here: optuna; pip install 'rdbench[search]'" in said
    said = run(command, "sweep", "quickstart", "--dry-run", "--set", "metrics=[coded]", expected=2, **uv)
    assert "coded: not installed here: constriction; pip install 'rdbench[metrics]'" in said

    run(*install, f"{wheel}[all]", **uv)
    lend_bytecode(tmp_path / "env")
    assert "report written to results/tiny/report.html" in run(command, "report", "results/tiny", **uv)
    page = (tmp_path / "results/tiny/report.html").read_text()
    assert "linear_coder" in page
    assert "vegaEmbed" in page
    assert run(command, "--version", **uv).strip() == f"rdbench {rdbench.__version__}"


def test_the_version_stands_in_one_place():
    assert PROJECT["dynamic"] == ["version"]
    assert f"version: {rdbench.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {rdbench.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_extra_is_one_that_a_message_names_and_all_holds_each():
    extras = PROJECT["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"all", "s3"}
    # Trackio would hold everybody's Pillow below 13.
    assert set(re.findall(r"\w+", extras["all"][0])) == {"rdbench", *extras} - {"all", "trackio"}
    for name, modules in EXTRAS.items():
        assert len(modules) == len(extras[name])


def test_the_workflow_tries_every_python_that_is_promised():
    promised = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line}
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    (tried,) = re.findall(r"python-version: \[(.*)\]", workflow)
    assert set(re.findall(r"3\.\d+", tried)) == promised
    low, high = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert promised == {f"3.{minor}" for minor in range(int(low), int(high))}
