"""A sweep of one short trial on digits that asks for metrics of the user's own."""

import json

import torch

from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep
from rdbench.trial.job import Outputs
from rdbench.trial.run import run_trial

SPEC = """
name: test
dataset: {name: digits, train_images: 256, test_images: 100}
variants: [bs_vae]
beta: [1]
train: {epochs: 1, batch_size: 64}
model: {latent: 4, channels: [8]}
metrics: [%s]
"""


def sweep_of(folder, *asked, **changes):
    """The sweep that a folder's file asks for, with some metrics and changes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s.yaml").write_text(SPEC % ", ".join(asked))
    return load_sweep(folder / "s.yaml", [f"{key}={value}" for key, value in changes.items()])


def rows_of(folder, data, source, *asked, **changes):
    """The rows that metrics of a source, ``mine.py``, leave of its trial; their settings as a dict."""
    (folder / "mine.py").write_text(source)
    sweep = sweep_of(folder, *asked, **changes)
    tables = run_trial(plan(sweep).trials[0], data, torch.device("cpu"), outputs=Outputs(sweep.metrics))
    return [row | {"settings": json.loads(row["settings"])} for row in tables["metrics"]]
