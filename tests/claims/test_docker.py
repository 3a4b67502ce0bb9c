"""The files in docker/ are well formed, fit the project's versions, and name commands that there are."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
import typer.main
import yaml

from rdbench.cli.app import app
from rdbench.spec.sweep import load_sweep

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
FILES = sorted(path for path in DOCKER.iterdir() if path.name != "ray_token")
TEXTS = {path.name: path.read_text() for path in FILES}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINNED = dict(line.split("==") for line in PROJECT["tool"]["uv"]["constraint-dependencies"])


def documents(name):
    return list(yaml.safe_load_all(TEXTS[name]))


def commands(text, program):
    """Every command line of ``program`` in a text, without quotes around it or commands that follow."""
    joined = re.sub(r"\\\n", " ", text.replace("$$", "$"))
    # A multi-line YAML scalar goes on as long as it is indented deeper; options alone make a line of theirs.
    joined = re.sub(r"\n +(--)", r" \1", joined)
    found = re.findall(rf"(?:^|[\s'\"`]){program} [^\n`']+", joined)
    found = [
        re.sub(r"\$\([^)]*\)", "x", line).strip().strip("`'\"" if line[0] == '"' else "`'") for line in found
    ]
    return [re.split(r" (?:&&|\|\||&|>|\||2>)", line)[0] for line in found]


RDBENCH = [
    (name, line)
    for name, text in TEXTS.items()
    for line in commands(text, "rdbench")
    if re.match(r"rdbench ((sweep|status|report) .|doctor)", line)
]
RAY_START = [(name, line) for name, text in TEXTS.items() for line in commands(text, "ray start")]


def test_commands_are_found_at_all():
    assert {name for name, _ in RDBENCH} >= {"compose.yaml", "kuberay.yaml", "slurm.sh", "README.md"}
    assert {name for name, _ in RAY_START} >= {"compose.yaml", "ray-cluster.yaml", "slurm.sh", "README.md"}


@pytest.mark.parametrize(("name", "line"), RDBENCH)
def test_every_rdbench_command_is_one_that_there_is(name, line):
    verb, *arguments = shlex.split(line.replace('"$@"', "sweeps/quickstart.yaml"))[1:]
    command = typer.main.get_command(app).commands[verb]
    with command.make_context(verb, arguments) as context:
        spec = context.params.get("spec")
    if spec is not None and "$" not in str(spec) and str(spec) != "SPEC":
        load_sweep(ROOT / spec)


@pytest.mark.parametrize(("name", "line"), RAY_START)
def test_every_ray_command_has_options_that_ray_has(name, line):
    from ray.scripts.scripts import start

    arguments = [re.sub(r"\$\w+|\"\$\w+\"", "1", each) for each in shlex.split(line)[2:]]
    start.make_context("start", arguments, resilient_parsing=False).close()


@pytest.mark.parametrize("name", TEXTS)
def test_no_file_names_a_package_registry_or_a_host_but_examples(name):
    assert not re.search(
        r"https?://|index-url|pypi|ghcr|docker\.io|quay\.|nvcr|pytorch\.org", TEXTS[name], re.I
    )


def test_versions_are_those_of_the_project():
    (job, *_) = documents("kuberay.yaml")
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == PINNED["ray"]
    (python,) = re.findall(r"PYTHON_IMAGE=python:(\d\.\d+)-slim-\w+$", TEXTS["Dockerfile"], re.M)
    assert f">={python}," in PROJECT["project"]["requires-python"]  # the oldest: what the tests run with
    assert re.search(r"^ARG UV_VERSION=\d+\.\d+\.\d+$", TEXTS["Dockerfile"], re.M)


def stages(text):
    """{stage: its instructions}, in order."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.M))
    found = {}
    for line in filter(None, map(str.strip, joined.splitlines())):
        if line.startswith("FROM "):
            found[line.split()[-1]] = []
        elif found:
            found[list(found)[-1]].append(line)
    return found


def test_a_change_of_the_source_installs_no_dependency_anew():
    found = stages(TEXTS["Dockerfile"])
    for target in ("cpu", "cuda"):
        copied = [line for line in found["uv"] if line.startswith("COPY")]
        assert copied == ["COPY pyproject.toml ./"]
        assert len(found[f"packages-{target}"]) == 1
        assert f"COPY --from=packages-{target} /opt/venv /opt/venv" in found[target]
    assert "--torch-backend=cpu" in found["packages-cpu"][0]


def test_images_run_as_an_ordinary_user_and_keep_no_token():
    for target in ("cpu", "cuda"):
        assert "USER 1000" in stages(TEXTS["Dockerfile"])[target]
    assert not re.search(r"AUTH_TOKEN\b", TEXTS["Dockerfile"])


def test_the_build_is_sent_what_it_copies_and_nothing_else():
    lines = TEXTS["Dockerfile.dockerignore"].splitlines()
    assert "*" in lines
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for instructions in stages(TEXTS["Dockerfile"]).values()
        for line in instructions
        if line.startswith("COPY") and "--from" not in line
        for source in [part for part in line.split()[1:-1] if not part.startswith("--")]
    }
    assert sent == copied
    assert all((ROOT / name).exists() for name in sent)
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["packages"], *wheel["force-include"], PROJECT["project"]["readme"]} <= sent


def test_each_node_of_compose_asks_for_the_token_and_publishes_no_port():
    (compose,) = documents("compose.yaml")
    assert set(compose["services"]) == {"head", "worker", "sweep"}
    for service in compose["services"].values():
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert service["secrets"] == ["ray_token"]
        assert service["shm_size"] == "2gb"
        assert "ports" not in service
        assert "container_name" not in service  # which --scale could not multiply
    assert set(compose["volumes"]) == {"results", "data", "cache"}
    assert "ray_token" in TEXTS[".gitignore"].splitlines()


def test_the_cluster_launcher_takes_its_file():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(documents("ray-cluster.yaml")[0])
    validate_config(config)
    broken = documents("ray-cluster.yaml")[0] | {"head_start": []}
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(broken))
    for line in config["head_start_ray_commands"][1:] + config["worker_start_ray_commands"][1:]:
        assert line.startswith("RAY_AUTH_MODE=token ray start ")
    assert any(path.endswith(".ray/auth_token") for path in config["file_mounts"])


def test_the_kubernetes_job_has_a_token_shared_memory_and_claims_that_are_made():
    job, *claims = documents("kuberay.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    made = {claim["metadata"]["name"] for claim in claims}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())  # Kubernetes insists
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["shared-memory"]["emptyDir"]["medium"] == "Memory"
        assert {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in volumes.values()
            if "persistentVolumeClaim" in volume
        } == made
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        assert pod["securityContext"]["runAsNonRoot"]
        assert set(container["resources"]) == {"requests", "limits"}


SHIMS = {
    "scontrol": 'echo "scontrol $*" >> calls\n[ "$1" != show ] || printf "one\\ntwo\\n"',
    "srun": 'echo "srun $*" >> calls; exec sleep 60',
    "ray": '[ "$1" != start ] || { echo "ray $*" >> calls; exec sleep 60; }',
    "python": "echo 0123",
    # A sweep, which a signal stops with exit code 130, and which lasts as long as the test says.
    "rdbench": "trap 'echo stopped >> calls; exit 130' TERM\n"
    'echo "rdbench $* $RAY_AUTH_MODE $RAY_AUTH_TOKEN" >> calls\n'
    'for _ in $(seq "$LASTS"); do sleep 0.1; done; exit "${CODE:-0}"',
}


def slurm(folder, lasts, **environment):
    """Start slurm.sh where Slurm, Ray and rdbench are scripts that write down how they were called."""
    for name, body in SHIMS.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "SLURM_JOB_ID": "12",
        "SLURM_JOB_NODELIST": "[one-two]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "3",
        "LASTS": str(lasts),
        **environment,
    }
    command = ["bash", str(DOCKER / "slurm.sh"), "my.yaml", "--results", "a folder"]
    return subprocess.Popen(command, cwd=folder, env=environment)


def calls(folder):
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


needs_bash = pytest.mark.skipif(sys.platform == "win32", reason="a script for bash")


@needs_bash
@pytest.mark.parametrize("code", [0, 3])
def test_the_slurm_script_starts_the_nodes_and_ends_as_the_sweep_does(code, tmp_path):
    assert slurm(tmp_path, 1, CODE=str(code)).wait(60) == code
    found = calls(tmp_path)
    assert "rdbench sweep my.yaml --results a folder --address one:20012 token 0123" in found
    assert any(line.startswith("ray start --head --port=20012 --num-cpus=3 ") for line in found)
    (worker,) = (line for line in found if line.startswith("srun"))
    assert "--nodes=1 --ntasks=1 --exclude=one ray start --address=one:20012 --num-cpus=3" in worker
    assert not any("requeue" in line for line in found)


@needs_bash
def test_before_its_time_is_up_the_slurm_job_stops_the_sweep_and_is_queued_again(tmp_path):
    process = slurm(tmp_path, 600)
    while not any(line.startswith("rdbench") for line in calls(tmp_path)):
        assert process.poll() is None
    process.terminate()
    assert process.wait(60) == 130
    said = calls(tmp_path)  # what the other node's srun says may come late
    assert said.index("stopped") < said.index("scontrol requeue 12")


@needs_bash
def test_the_slurm_script_asks_for_a_sweep():
    command = ["bash", str(DOCKER / "slurm.sh")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("usage: sbatch")) == (2, True)


def test_slurm_warns_in_time_for_a_checkpoint():
    (signal,) = re.findall(r"^#SBATCH --signal=B:TERM@(\d+)$", TEXTS["slurm.sh"], re.M)
    assert int(signal) >= 120
    assert re.search(r"^#SBATCH --requeue$", TEXTS["slurm.sh"], re.M)


# The audit of dependencies.


@pytest.fixture
def audit(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / ".ci")
    import audit

    return audit


def package(name, *vulns, **more):
    return {"name": name, "version": "1.0", "vulns": list(vulns), **more}


MENDED = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"]}
OPEN = {"id": "PYSEC-2", "aliases": [], "fix_versions": []}


def test_the_audit_fails_where_a_release_mends_and_only_tells_of_the_rest(audit):
    report = {"dependencies": [package("a", MENDED, OPEN), package("b")]}
    mend, tell = audit.judge(report, {})
    assert mend == ["a 1.0: PYSEC-1, CVE-1: mended in 1.1"]
    assert tell == ["a 1.0: PYSEC-2: no release mends it yet"]
    mend, tell = audit.judge(report, {"CVE-1": "only on Windows"})
    assert (mend, "only on Windows" in tell[0]) == ([], True)


@pytest.mark.parametrize("report", [None, {"dependencies": [{"name": "a", "skip_reason": "not found"}]}])
def test_an_audit_that_looked_nothing_up_says_so_and_fails_nothing(report, audit, capsys, monkeypatch):
    monkeypatch.setattr(audit, "requirements", lambda: "a==1.0")
    monkeypatch.setattr(
        audit, "ask", lambda database, pinned: report if report and audit.looked_up(report) else None
    )
    assert audit.main([]) == 0
    assert capsys.readouterr().out == "audit: not done: no database of vulnerabilities could be reached\n"


def test_an_audit_is_asked_for_versions_that_databases_know(audit, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(audit, "requirements", lambda: "torch==2.15.0+cpu ; sys_platform == 'linux'\nb==1.0")
    report = {"dependencies": [package("torch", MENDED)]}
    monkeypatch.setattr(audit, "ask", lambda database, pinned: asked.append(pinned) or report)
    assert audit.main([]) == 1
    assert asked == ["torch==2.15.0 ; sys_platform == 'linux'\nb==1.0"]
    assert capsys.readouterr().out.endswith("audit: 1 of 1 packages looked up, 1 to be mended\n")


def test_what_the_audit_ignores_has_a_reason(audit):
    audit.ignored(audit.IGNORED.read_text())
    assert audit.ignored("# a\n\nPYSEC-1  for a reason\n") == {"PYSEC-1": "for a reason"}
    with pytest.raises(SystemExit, match="PYSEC-1: say after the id why"):
        audit.ignored("PYSEC-1\n")
