"""A sweep on a cluster that others keep: several nodes, here on one machine, that come and go."""

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest
import ray_starts
import trials_that
from ports import free_port
from ray_sweeps import drive, until
from trials_that import EPOCHS, epochs, note_epochs_and_go_on_after_them

import rdbench
from rdbench.errors import ClusterError
from rdbench.tune import cluster as cluster_of_ray
from rdbench.tune.cluster import niceness_lines
from rdbench.tune.session import end_session

IMPORTS = os.pathsep.join([str(Path(trials_that.__file__).parent), str(Path(rdbench.__file__).parent.parent)])


def is_in_the_middle(root, seed, node):
    """Whether a trial runs on a node, neither just begun nor nearly done."""
    noted = epochs(root, seed)
    return 2 <= len(noted) < EPOCHS - 4 and noted[-1] == str(node)


class Nodes:
    """A Ray cluster of nodes on this machine, each with room for one trial, started as on one of its own."""

    def __init__(self, folder):
        self.folder, self.started, self.port, self.client = folder, [], free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for node in self.started:
            end_session(node.pid)
            node.wait()

    def start_head(self):
        ports = [f"--port={self.port}", f"--ray-client-server-port={self.client}"]
        return self.start("--head", *ports, "--include-dashboard=false")

    def start(self, *options):
        """Start a node; return when it has joined: of two that join at once Ray sometimes loses one."""
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"]
        command += [*options, "--num-cpus=1", "--num-gpus=0", f"--object-store-memory={80 << 20}"]
        says = self.folder / f"node{len(self.started)}.log"
        ray_starts.note()
        with says.open("wb") as log:
            node = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.started.append(node)
        until(lambda: node.poll() is not None or "Ray runtime started" in says.read_text())
        assert "Ray runtime started" in says.read_text(), says.read_text()
        return node

    def add(self):
        return self.start(f"--address={self.address}")


def raylet(node):
    """The raylet of a node."""
    return next(process for process in psutil.Process(node.pid).children() if process.name() == "raylet")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head, with a server for Ray clients, and another node."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", IMPORTS)
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # The server of a client imports for longer than 30 s where tests keep every core busy.
        patch.setenv("RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S", "240")
        # Not pytest's folder: Ray's socket names are long, and may not be.
        patch.setenv("RAY_TMPDIR", scratch := tempfile.mkdtemp(prefix="rd-"))
        with Nodes(tmp_path_factory.mktemp("nodes")) as nodes:
            nodes.head, nodes.other = nodes.start_head(), nodes.add()
            yield nodes
        shutil.rmtree(scratch, ignore_errors=True)


@pytest.fixture
def run(tmp_path):
    """Run a sweep on a cluster."""

    def on(address, count, **resources):
        return drive(
            tmp_path, note_epochs_and_go_on_after_them, count, address=address, concurrency=None, **resources
        )

    return on


def test_a_node_that_dies_in_mid_sweep_and_one_that_joins_lose_no_trial(cluster, run, tmp_path):
    root, joined = tmp_path / "results", []

    def kill_and_add():
        victim = raylet(cluster.other)
        until(lambda: any(is_in_the_middle(root, seed, victim.pid) for seed in range(6)))
        victim.kill()
        joined.append(cluster.add())

    kept = raylet(cluster.head).pid
    weather = threading.Thread(target=kill_and_add)
    weather.start()
    driven = run(cluster.address, 6)
    weather.join()
    assert driven.error is None
    assert driven.finished == 6
    assert driven.said.count("its worker was lost with its node; starting it again") == 1
    ran = [epochs(root, seed) for seed in range(6)]
    assert all(len(nodes) >= EPOCHS for nodes in ran)
    assert sum(len(nodes) for nodes in ran) == 6 * EPOCHS, "an epoch was run twice, or not at all"
    nodes = {node for nodes in ran for node in nodes}
    assert {str(kept), str(raylet(joined[0]).pid)} <= nodes
    assert len(nodes) == 3
    assert raylet(cluster.head).pid == kept, "the cluster, which is not ours, was ended"


def test_a_ray_client_drives_from_the_head_node(cluster, run, tmp_path):
    driven = run(f"ray://127.0.0.1:{cluster.client}", 2)
    root = tmp_path / "results"
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    reached = {int(file.read_text()) for file in root.glob("*.niceness")}
    assert reached == {ours} or f"workers cannot have niceness {ours} on node 127.0.0.1 (15): " in driven.said
    assert driven.finished == 2
    assert driven.said.count(": done") == 2
    assert all(len(epochs(root, seed)) == EPOCHS for seed in range(2))


def test_a_pack_that_no_node_has_room_for_is_refused(cluster, run):
    driven = run(cluster.address, 1, cpus=64)
    assert isinstance(driven.error, ClusterError)
    assert str(driven.error) == (
        "resources: a pack asks for 64 CPUs and 0 GPUs; no node of the cluster has as much; at most there are"
        " 1 CPUs and 0 GPUs"
    )


def test_nodes_with_another_rdbench_are_refused(cluster, run, tmp_path, monkeypatch):
    shutil.copytree(Path(rdbench.__file__).parent, tmp_path / "other" / "rdbench")
    with (tmp_path / "other" / "rdbench" / "errors.py").open("a") as edited:
        edited.write("# edited\n")
    monkeypatch.syspath_prepend(tmp_path / "other")  # which the driver imports, and the nodes do not
    error = str(run(cluster.address, 1).error)
    assert re.search(r"has rdbench .* and this machine .*; install the same on every", error)


def test_a_cluster_that_is_not_there_is_one_line_of_a_sweep(run):
    address = f"127.0.0.1:{free_port()}"
    error = run(address, 1).error
    assert isinstance(error, ClusterError)
    assert str(error) == f"--address {address}: no Ray cluster answers there (Connection refused)"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ray://127.0.0.1:{port}", "no Ray cluster answers there (Connection refused)"),
        ("head.cluster", "use auto, HOST:PORT or ray://HOST:PORT"),
    ],
)
def test_an_address_where_no_cluster_answers_is_one_line(address, says):
    address = address.format(port=free_port())
    with pytest.raises(ClusterError) as refused:
        cluster_of_ray.join(address)
    assert str(refused.value) == f"--address {address}: {says}"


def test_nodes_whose_workers_give_way_to_other_processes_are_told_with_the_mend():
    assert niceness_lines({"10.0.0.1": 0, "10.0.0.2": 0}, 0) == []
    (line,) = niceness_lines({"10.0.0.1": 0, "10.0.0.2": 15, "10.0.0.3": 15}, 0)
    assert line.startswith("workers cannot have niceness 0 on node 10.0.0.2 (15), 10.0.0.3 (15): ")
    assert line.endswith("start its Ray with RAY_worker_niceness=0")
