"""Environment variables that change what rdbench does, and whether Ray starts."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator

from rdbench.commands.doctor.finding import Finding
from rdbench.storage.scratch import Scratch

RAY_SECONDS = 120
RAY_TASK = """
import ray, sys
ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL",
         object_store_memory=128 << 20, _temp_dir=sys.argv[1])
print("node", ray.get(ray.remote(ray.util.get_node_ip_address).remote()))
"""

NAMES = re.compile(
    r"RDBENCH_\w+|RAY_\w+|CUDA_\w+|NVIDIA_\w+|CUBLAS_\w+|CUDNN_\w+|PYTORCH_\w+|TORCH_\w+|TORCHDYNAMO_\w+|"
    r"AWS_\w+|GOOGLE_APPLICATION_CREDENTIALS|PYTHONPATH|PYTHONHASHSEED|LD_PRELOAD|LD_LIBRARY_PATH|"
    r"(?:https?|all|no)_proxy",
    re.IGNORECASE,
)
SECRETS = re.compile(r"TOKEN(?!_PATH)|SECRET|PASSWORD|ACCESS_KEY|CREDENTIALS$", re.IGNORECASE)
WORTH_A_NOTE = {
    "NVIDIA_TF32_OVERRIDE": "overrules train.precision: unset it",
    "CUDA_LAUNCH_BLOCKING": "makes a GPU wait after every kernel: unset it when you do not debug",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "makes a GPU slow: unset it when you do not debug",
    "PYTHONPATH": "workers import from there too",
    "LD_PRELOAD": "is loaded into every process: unset it if that is not meant",
}
_PASSWORD = re.compile(r"(?<=://)[^/@]*@")


def environment() -> Iterator[Finding]:
    """Yield each variable that is set and changes what rdbench does; secrets are not shown."""
    variables = {name: value for name, value in sorted(os.environ.items()) if NAMES.fullmatch(name)}
    for name, value in variables.items():
        shown = "set" if SECRETS.search(name) else _PASSWORD.sub("...@", value)
        fix = WORTH_A_NOTE.get(name, "") if value else ""
        yield Finding(name, shown or "empty, which counts as not set", "note" if fix else "ok", fix)
    if not variables:
        yield Finding("environment", "no variable changes anything")


def ray(start: bool) -> Iterator[Finding]:
    """Yield whether a cluster is named, and, if ``start``, whether Ray runs a task here (some 10 seconds)."""
    if address := os.environ.get("RAY_ADDRESS"):
        fix = "a sweep joins it by --address auto; without, it starts Ray on this machine"
        yield Finding("Ray", f"RAY_ADDRESS names a cluster: {address}", fix=fix)
    if not start:
        yield Finding("Ray", "not tried; --ray starts it on this machine to see that it can")
    else:
        yield _try_ray()


def _try_ray() -> Finding:
    from rdbench.tune.session import LOOPBACK, end_session

    # In another process: one that hangs can be ended, and leaves nothing in this one.
    # It asks for a token, which Ray would else write into the user's home; and listens on loopback alone.
    variables = {
        **LOOPBACK,
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else "uv run" builds another environment for the worker
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    fix = "'ray start --head' says more, and its logs in /tmp/ray/session_latest/logs"
    with Scratch() as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", RAY_TASK, str(folder)],
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=RAY_SECONDS)
        except subprocess.TimeoutExpired:
            fix += "; too few cores or a firewall can be why"
            return Finding("Ray", f"does not start within {RAY_SECONDS} s", "problem", fix)
        finally:
            end_session(process.pid)
            process.communicate()
    if process.returncode:
        last = (err.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        return Finding("Ray", f"does not start: {last}", "problem", fix)
    return Finding("Ray", f"starts here, and ran a task: {out.strip()}")
