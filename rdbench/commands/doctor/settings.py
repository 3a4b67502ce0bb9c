"""Environment variables that change what rdbench does."""

import os
import re
from collections.abc import Iterator

from rdbench.commands.doctor.finding import Finding

NAMES = re.compile(
    r"RDBENCH_\w+|RAY_\w+|CUDA_\w+|NVIDIA_\w+|CUBLAS_\w+|CUDNN_\w+|PYTORCH_\w+|TORCH_\w+|TORCHDYNAMO_\w+|"
    r"AWS_\w+|GOOGLE_APPLICATION_CREDENTIALS|PYTHONPATH|PYTHONHASHSEED|LD_PRELOAD|LD_LIBRARY_PATH|"
    r"(?:https?|all|no)_proxy",
    re.IGNORECASE,
)
SECRETS = re.compile(r"TOKEN(?!_PATH)|SECRET|PASSWORD|ACCESS_KEY|CREDENTIALS$", re.IGNORECASE)
WORTH_A_NOTE = {
    "RAY_ADDRESS": "a sweep joins that cluster by --address auto; without, it starts Ray on this machine",
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
