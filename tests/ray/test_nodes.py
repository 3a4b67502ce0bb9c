"""A sweep on a cluster that others keep: several nodes, here on one machine, that come and go."""

import io
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
from conftest import DIGITS
from rich.console import Console

import rdbench
from rdbench.errors import ClusterError
from rdbench.results.lease import Lease
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Resources, load_sweep
from rdbench.storage.places import write_atomically
from rdbench.trial.job import Job
from rdbench.trial.progress import SweepProgress
from rdbench.tune.cluster import told_of_niceness
from rdbench.tune.session import end_session
from rdbench.tune.supervisor import RayScheduler

DONE = {"status": "done", "error": None, "seconds": 0, "elbo": 0, "rate": 0, "mse": 0, "reading": "-"}
EPOCHS = 12
IMPORTS = os.pathsep.join([str(Path(__file__).parent), str(Path(rdbench.__file__).parent.parent)])


def in_epochs(pack, job, device, on_progress):
    """Note each epoch with the node it ran on, and go on after those that are noted.

    The fifth trial waits for the sixth, so that a second node has to be there in the end.
    """
    file = job.results / f"{pack[0].seed}.epochs"
    node = os.getppid()
    done = len(file.read_text().splitlines()) if file.exists() else 0
    (job.results / f"{pack[0].seed}.niceness").write_text(str(os.getpriority(os.PRIO_PROCESS, 0)))
    assert pack[0].seed != 4 or until(lambda: epochs(job.results, 5))
    for _ in range(done, EPOCHS):
        time.sleep(0.5)
        with file.open("a") as notes:
            notes.write(f"{node}\n")
    return [DONE]


def epochs(root, seed):
    file = root / f"{seed}.epochs"
    return file.read_text().split() if file.exists() else []


def is_in_the_middle(root, seed, node):
    """Whether a trial runs on a node, neither just begun nor nearly done."""
    noted = epochs(root, seed)
    return 2 <= len(noted) < EPOCHS - 4 and noted[-1] == str(node)


def until(condition, seconds=240.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Nodes:
    """A Ray cluster of nodes on this machine, each started as on a machine of its own."""

    def __init__(self, folder):
        self.folder, self.started, self.port, self.client = folder, [], free_port(), free_port()
        ports = [f"--port={self.port}", f"--ray-client-server-port={self.client}"]
        self.head = self.start("--head", *ports, "--num-cpus=0", "--include-dashboard=false")
        self.address = f"127.0.0.1:{self.port}"

    def start(self, *options, **environment):
        """Start a node; return when it has joined: of two that join at once Ray sometimes loses one."""
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"]
        command += [*options, "--num-gpus=0", f"--object-store-memory={80 << 20}"]
        says = self.folder / f"node{len(self.started)}.log"
        with says.open("wb") as log:
            node = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True
            )
        self.started.append(node)
        assert until(lambda: "Ray runtime started" in says.read_text()), says.read_text()
        return node

    def add(self, **environment):
        """Add a node with room for one trial."""
        return self.start(f"--address=127.0.0.1:{self.port}", "--num-cpus=1", **environment)


def raylet(node):
    """The raylet of a node."""
    return next(process for process in psutil.Process(node.pid).children() if process.name() == "raylet")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head that runs nothing, with a server for Ray clients, and two nodes for one trial each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", IMPORTS)
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # Not pytest's folder: Ray's socket names are long, and may not be.
        patch.setenv("RAY_TMPDIR", scratch := tempfile.mkdtemp(prefix="rd-"))
        nodes = Nodes(tmp_path_factory.mktemp("nodes"))
        nodes.pair = [nodes.add(), nodes.add()]
        yield nodes
        for node in nodes.started:
            end_session(node.pid)
            node.wait()
        shutil.rmtree(scratch, ignore_errors=True)


@pytest.fixture
def drive(tmp_path):
    """Run a sweep on a cluster; return what was said, and how many trials finished."""
    (tmp_path / "sweep.yaml").write_text(DIGITS)
    root = tmp_path / "results"
    root.mkdir()

    def run(address, count, **resources):
        sweep = load_sweep(tmp_path / "sweep.yaml", [f"seeds={count}", "variants=[bs_vae]"])
        write_atomically(root / "sweep.yaml", b"")  # without it a results folder counts as gone
        job = Job(root, root, resources=Resources(gpus=0, **resources), run="12345678")
        said = io.StringIO()
        progress = SweepProgress(count, Console(file=said))
        with Lease(root, "rdbench sweep") as lease, progress:
            RayScheduler(address, function=in_epochs).run(plan(sweep).trials, job, progress, lease)
        return said.getvalue(), progress.finished

    run.root = root
    return run


def test_a_node_that_dies_in_mid_sweep_and_one_that_joins_lose_no_trial(cluster, drive):
    joined = []

    def kill_and_add():
        victim = raylet(cluster.pair[0])
        until(lambda: any(is_in_the_middle(drive.root, seed, victim.pid) for seed in range(6)))
        victim.kill()
        joined.append(cluster.add())

    kept = raylet(cluster.pair[1]).pid
    weather = threading.Thread(target=kill_and_add)
    weather.start()
    said, finished = drive(cluster.address, 6)
    weather.join()
    assert finished == 6
    assert said.count("its worker was lost with its node; starting it again") == 1
    run = [epochs(drive.root, seed) for seed in range(6)]
    assert all(len(each) >= EPOCHS for each in run)
    assert sum(len(each) for each in run) == 6 * EPOCHS, "an epoch was run twice, or not at all"
    nodes = {node for each in run for node in each}
    assert {str(kept), str(raylet(joined[0]).pid)} <= nodes
    assert len(nodes) == 3
    assert raylet(cluster.head), "the cluster, which is not ours, was ended"
    assert raylet(cluster.pair[1]).pid == kept


def test_a_ray_client_drives_from_the_head_node(cluster, drive):
    said, finished = drive(f"ray://127.0.0.1:{cluster.client}", 2)
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    found = {int(file.read_text()) for file in drive.root.glob("*.niceness")}
    assert found == {ours} or f"workers cannot have niceness {ours} on node 127.0.0.1 (15): " in said
    assert finished == 2
    assert said.count(": done") == 2
    assert all(len(epochs(drive.root, seed)) == EPOCHS for seed in range(2))


def test_a_pack_that_no_node_has_room_for_is_refused(cluster, drive):
    with pytest.raises(ClusterError) as refused:
        drive(cluster.address, 1, cpus=64)
    assert str(refused.value) == (
        "resources: a pack asks for 64 CPUs and 0 GPUs; no node of the cluster has as much; at most there are"
        " 1 CPUs and 0 GPUs"
    )


def test_a_node_with_another_rdbench_is_refused(cluster, drive, tmp_path):
    shutil.copytree(Path(rdbench.__file__).parent, tmp_path / "other" / "rdbench")
    with (tmp_path / "other" / "rdbench" / "likelihood.py").open("a") as edited:
        edited.write("# edited\n")
    cluster.add(PYTHONPATH=str(tmp_path / "other"))
    with pytest.raises(ClusterError, match=r"has rdbench .* and this machine .*; install the same on every"):
        drive(cluster.address, 1)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:{port}", "no Ray cluster answers there (Connection refused)"),
        ("ray://127.0.0.1:{port}", "no Ray cluster answers there (Connection refused)"),
        ("head.cluster", "use auto, HOST:PORT or ray://HOST:PORT"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(drive, address, says):
    address = address.format(port=free_port())
    with pytest.raises(ClusterError) as refused:
        drive(address, 1)
    assert str(refused.value) == f"--address {address}: {says}"


def test_nodes_whose_workers_give_way_to_other_processes_are_told_with_the_mend():
    assert told_of_niceness({"10.0.0.1": 0, "10.0.0.2": 0}, 0) == []
    (line,) = told_of_niceness({"10.0.0.1": 0, "10.0.0.2": 15, "10.0.0.3": 15}, 0)
    assert line.startswith("workers cannot have niceness 0 on node 10.0.0.2 (15), 10.0.0.3 (15): ")
    assert line.endswith("start its Ray with RAY_worker_niceness=0")
