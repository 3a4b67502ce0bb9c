"""Ray started on this machine, or a cluster joined: with its nodes checked, and its faults in one line."""

import hashlib
import logging
import os
import platform
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray

import rdbench
from rdbench.errors import ClusterError
from rdbench.machine import usable_cores
from rdbench.spec.sweep import Resources
from rdbench.tune.ray_internals import dead_daemons
from rdbench.tune.session import DAEMONS, Request

CONNECT_SECONDS = 10.0
LOOK_SECONDS = 0.5
STORE_BYTES = 128 << 20  # only settings pass through it


def start(request: Request) -> None:
    """Start Ray on this machine alone, listening on the loopback address."""
    if request.niceness > 0:
        # Linux may weigh whole sessions against each other, and this process leads one of its own.
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(request.niceness))
    ray.init(
        "local",
        num_cpus=max(usable_cores(), request.resources.cpus * (request.concurrency or 1)),
        include_dashboard=False,
        object_store_memory=STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        _temp_dir=request.scratch,
    )


def watch(on_death: Callable[[str], None]) -> None:
    """Call ``on_death`` with the name of a daemon of our own Ray that has died, from a thread."""

    def look() -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            dead = dead_daemons()
            for kind in DAEMONS:
                if kind in dead:
                    on_death(f"its {kind} was ended")

    threading.Thread(target=look, name="watch", daemon=True).start()


def join(address: str) -> None:
    """Join a running cluster.

    Raises:
        ClusterError: there is none, it does not answer, or it is of another version or closed to us.
    """
    _check_answers(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:
        raise ClusterError(f"--address {address}: {_why_not_joined(error, address)}") from None


def _why_not_joined(error: Exception, address: str) -> str:
    text = str(error)
    if "ersion mismatch" in text or "versions" in text.lower():
        return (
            f"the cluster runs another Ray or Python than Ray {ray.__version__} with"
            f" Python {platform.python_version()} here; both must be the same"
        )
    if isinstance(error, ray.exceptions.AuthenticationError) or "oken" in text:
        return (
            "the cluster asks for its token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or"
            " RAY_AUTH_TOKEN_PATH"
        )
    if isinstance(error, ConnectionError) and address == "auto":
        return "no Ray cluster runs on this machine; start one by 'ray start --head', or leave --address out"
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    return f"cannot be joined ({first})"


def _check_answers(address: str) -> None:
    """Probe the address first: Ray blocks for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not colon or not port.isdigit():
        raise ClusterError(f"--address {address}: use auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ClusterError(f"--address {address}: no Ray cluster answers there ({reason})") from None


def check_room(resources: Resources, share: float, address: str) -> None:
    """Refuse packs that no node has room for: Ray would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(node.get("CPU", 0) >= resources.cpus and node.get("GPU", 0) >= share for node in nodes):
        return
    where = (
        "this machine has" if address == "local" else "no node of the cluster has as much; at most there are"
    )
    cpus, gpus = (max((node.get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU"))
    raise ClusterError(
        f"resources: a pack asks for {resources.cpus} CPUs and {share:g} GPUs; {where} {cpus:g} CPUs and"
        f" {gpus:g} GPUs"
    )


def fingerprint() -> str:
    """Return what tells one rdbench from another: its version and a hash of its code."""
    package = Path(rdbench.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(str(file.relative_to(package)).encode() + b"\0" + file.read_bytes())
    return f"{rdbench.__version__} ({digest.hexdigest()[:8]})"


def take_niceness(niceness: int) -> None:
    """Give this process a niceness, where it may; on a cluster it may not, see :func:`check_nodes`."""
    threads = Path("/proc/self/task")  # Linux keeps it for each thread
    for thread in threads.iterdir() if threads.is_dir() else [Path("0")]:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)


def check_nodes(niceness: int) -> list[str]:
    """Refuse a cluster one of whose nodes has no rdbench, or another: its numbers would not be ours.

    Returns:
        A line to print, where some node does not let workers have the niceness.

    Raises:
        ClusterError: names the node, and what it has.
    """

    # Defined here so that Ray sends its code: a node without rdbench could not import it.
    def look() -> tuple[str, int]:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
        try:
            from rdbench.tune.cluster import fingerprint as theirs
        except ImportError:
            return "none", niceness
        return theirs(), os.getpriority(os.PRIO_PROCESS, 0)

    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ours = fingerprint()
    answers: list[tuple[str, Any]] = []
    reached: dict[str, int] = {}
    for node in ray.nodes():
        if node["Alive"]:
            on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            answer = ray.remote(num_cpus=0)(look).options(scheduling_strategy=on_node).remote()
            answers.append((node["NodeManagerAddress"], answer))
    for name, answer in answers:
        try:
            theirs, reached[name] = ray.get(answer, timeout=120)
        except ray.exceptions.GetTimeoutError:
            raise ClusterError(
                f"node {name} of the cluster does not answer; see to it, or remove it"
            ) from None
        except ray.exceptions.RayError:
            continue  # it left just now; its trials would go elsewhere
        if theirs != ours:
            raise ClusterError(
                f"node {name} of the cluster has rdbench {theirs}, and this machine {ours}; install the same"
                " on every node"
            )
    return niceness_lines(reached, niceness)


def niceness_lines(reached: dict[str, int], wanted: int) -> list[str]:
    """Return a line where workers of some nodes do not reach the niceness that is wanted."""
    others = [f"{node} ({niceness})" for node, niceness in reached.items() if niceness != wanted]
    if not others:
        return []
    return [
        f"workers cannot have niceness {wanted} on node {', '.join(others)}: other processes there go before"
        " them; start its Ray with RAY_worker_niceness=0"
    ]
