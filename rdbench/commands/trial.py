"""One trial in the foreground: no Ray, nothing caught, nothing stored. For whoever writes a variant."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rdbench import datasets
from rdbench.commands import preflight
from rdbench.metrics import stored
from rdbench.metrics.failures import is_failure
from rdbench.results.readings import likelihood_rows
from rdbench.spec.labels import trial_name
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep
from rdbench.storage.paths import DataRoot
from rdbench.text import duration

Row = dict[str, Any]


def run(sweep: Sweep, data_root: Path | DataRoot, device: str, say: Callable[[str], None]) -> str:
    """Train and measure the first trial of a sweep in this process.

    Whatever its variant raises goes through, with the whole stack. The ``device`` is "cpu", "cuda", or "auto"
    for the GPU if there is one; ``say`` gets a line for each epoch and measurement.

    Returns:
        The trial's status, "done" or "diverged"; "metric failed" where it is done without one.

    Raises:
        SpecError: a metric cannot be measured here, or there is no such device.
    """
    trials = plan(sweep.model_copy(update={"search": None})).trials
    trial, others = trials[0], len(trials) - 1
    say(f"{trial_name(trial)}{f', the first of {len(trials)} trials of {sweep.name}' if others else ''}")
    data = datasets.load(sweep.dataset, data_root)
    for remark in data.notes:
        say(f"{data.name}: {remark}")
    preflight.need(sweep.metrics, data, sweep.protocol)

    import torch

    from rdbench.numerics.precision import resolve_device
    from rdbench.trial.job import Outputs
    from rdbench.trial.run import run_trial

    torch.set_num_threads(sweep.resources.cpus)
    tables = run_trial(
        trial,
        data,
        torch.device(resolve_device(device)),
        lambda epoch: say(_epoch_line(asdict(epoch), trial.train.epochs)),
        outputs=Outputs(sweep.metrics),
    )
    row = tables["trials"][0]
    if row["status"] == "diverged":
        say(f"diverged: {row['error']}")
        return "diverged"
    measured = tables.get("metrics", [])
    for line in (*_point_lines(tables["points"]), *map(_metric_line, measured)):
        say(line)
    failed = [metric["name"] for metric in measured if is_failure(metric)]
    lacking = f" without {', '.join(failed)}" if failed else ""
    say(f"done{lacking} in {duration(row['seconds'])}; nothing was stored")
    return "metric failed" if failed else "done"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _epoch_line(row: Row, epochs: int) -> str:
    figures = ", ".join(f"{name} {_number(row[name])}" for name in ("loss", "rate", "sse"))
    return f"epoch {row['epoch']}/{epochs}: {figures}, {row['images_per_second']:,.0f} images/s"


def _point_lines(points: Sequence[Row]) -> list[str]:
    """Return the test split's measurements, at every beta and under every reading."""
    lines, beta = [], None
    test = [row for row in (*points, *likelihood_rows(points)) if row["split"] == "test"]
    betas = list(dict.fromkeys(row["beta"] for row in test))
    for row in sorted(test, key=lambda row: betas.index(row["beta"])):
        if row["beta"] != beta:
            beta = row["beta"]
            lines.append(
                f"test at beta {beta:g}: rate {_number(row['rate'])} nats, mse {_number(row['mse'])}"
            )
        lines.append(
            f"  {row['reading']}: ELBO {_number(row['elbo'])}, distortion {_number(row['distortion'])}"
        )
    return lines


def _metric_line(row: Row) -> str:
    settings = stored.settings(row)
    words = dict.fromkeys((row["name"], settings.get("quantity"), settings.get("reading")))
    name = " ".join(word for word in words if word)
    if row["value"] is None:
        return f"{name}: {settings.get('error', 'no value')}"
    return f"{name}: {_number(row['value'])}"
