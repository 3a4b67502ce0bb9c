"""``rdbench evaluate``: measure metrics on trained networks that were kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rdbench import datasets, metrics
from rdbench.commands import preflight
from rdbench.commands.sample import finished, load_network
from rdbench.errors import ResultsError, SpecError
from rdbench.machine import limit_threads
from rdbench.metrics import is_measured, stored
from rdbench.metrics.base import MetricOptions
from rdbench.metrics.failures import reason
from rdbench.registry import running
from rdbench.results.lease import Lease
from rdbench.results.load import Results, load_results
from rdbench.results.parquet import Row
from rdbench.results.store import ResultsFolder
from rdbench.storage.paths import DataRoot
from rdbench.storage.places import Place


@dataclass(frozen=True)
class Measured:
    """What became of the trials of a results folder."""

    measured: int  # have new values
    already: int  # had all that was asked for
    without_weights: int  # are done, but their networks were not kept
    failed: tuple[str, ...]  # lines, each naming a trial and why a metric has no value

    def __str__(self) -> str:
        counts = {
            "measured": self.measured,
            "had it already": self.already,
            "without weights (train them with keep_weights: true)": self.without_weights,
            "failed": len(self.failed),
        }
        return (
            ", ".join(f"{count} {words}" for words, count in counts.items() if count) or "no finished trials"
        )


def evaluate(
    root: Place,
    asked: Sequence[MetricOptions],
    data_root: Path | DataRoot,
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
) -> Measured:
    """Measure metrics on the kept networks of a results folder, and add them to its tables.

    The ``device`` is "cpu", "cuda", or "auto" for the GPU if there is one; ``say`` gets a line for each
    trial.

    Raises:
        ResultsError: the folder is none, another driver is at work in it, or its trials were trained on
            other data.
        SpecError: a metric cannot be measured here, or there is no such device.
        DatasetError: the dataset is not there, or not what it should be.
    """
    results = load_results(root)
    with Lease(root, "rdbench evaluate", say):
        return _evaluate(results, asked, data_root, device, say)


def _evaluate(
    results: Results,
    asked: Sequence[MetricOptions],
    data_root: Path | DataRoot,
    device: str,
    say: Callable[[str], None],
) -> Measured:
    root, folder = results.root, ResultsFolder(results.root)
    data = _data_of(results, asked, data_root)

    import torch

    from rdbench.numerics.precision import resolve_device
    from rdbench.trial.job import kept
    from rdbench.trial.run import metric_rows
    from rdbench.vae import metric_states
    from rdbench.vae.checkpoints import Keeping

    torch_device = torch.device(resolve_device(device))
    limit_threads()
    running.ship(folder.variant_sources())
    keep_metrics(folder, asked)
    measured = already = without = 0
    failed: list[str] = []
    begun = metric_states.left(root)
    keeping = Keeping(root, data.checksum, results.sweep.resources.checkpoint_minutes)
    done = finished(results.sweep, results.trials)
    for number, (trial, name) in enumerate(done, start=1):
        tables = folder.trial_tables(trial.id)
        stored = tables.get("metrics", [])
        lacking = [options for options in asked if not is_measured(options, stored, complete=True)]
        if not lacking:
            already += 1
            if trial.id in begun:  # an earlier attempt ended between its commit and this
                metric_states.discard(root, [trial.id], asked)
            continue
        if not folder.weights_file(trial.id).exists():
            without += 1
            continue
        try:
            model = load_network(root, trial, name, data_root, device)
        except (ResultsError, SpecError) as error:
            failed.append(f"{name}: {error}")
            continue
        known = replace(kept(root, tables.get("points", [])), say=say, keeping=keeping)
        rows = metric_rows(model, trial, data, torch_device, lacking, known)
        folder.add_metrics(trial.id, lacking, rows)
        metric_states.discard(root, [trial.id], lacking)
        problems = _without_value(rows)
        failed += [f"{name}: {row['name']}: {reason(row)}" for row in problems]
        measured += not problems
        say(f"[{number}/{len(done)}] {name}: " + ", ".join(_shown(row) for row in rows))
    return Measured(measured, already, without, tuple(failed))


def _data_of(
    results: Results, asked: Sequence[MetricOptions], data_root: Path | DataRoot
) -> datasets.Dataset:
    """Return the data that the trials were trained on, after a look at what the metrics need."""
    if not asked:
        raise SpecError(f"{results.root}: its sweep asks for no metric; name one: --metrics fd_classifier")
    data = datasets.load(results.sweep.dataset, data_root)
    preflight.need(asked, data, results.sweep.protocol)
    if set(results.trials["dataset_checksum"].dropna()) - {data.checksum}:
        raise ResultsError(
            f"{results.root} was trained on other files of {data.name}; give the data it was trained on"
        )
    return data


def keep_metrics(folder: ResultsFolder, asked: Sequence[MetricOptions]) -> None:
    """Run the files of metrics of the user's own once, and keep them beside what they will have measured.

    Raises SpecError: they cannot be run.
    """
    for options in asked:
        if preflight.plugged_files(options) and (plugin := metrics.plugin_of(options)):
            folder.keep_files(plugin)


def _without_value(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without a value, but for quantities without a meaning beside others that have one."""
    with_values = {row["name"] for row in rows if row["value"] is not None}
    return [
        row
        for row in rows
        if row["value"] is None
        and not (row["name"] in with_values and stored.settings(row).get("undefined", False))
    ]


def _shown(row: Row) -> str:
    settings = stored.settings(row)
    quantity, value = settings.get("quantity", row["name"]), row["value"]
    if value is None:
        return f"{quantity} not defined" if settings.get("undefined", False) else f"{quantity} failed"
    sign = metrics.sign(row["name"], settings, row["standard_error"])
    return " ".join(filter(None, (quantity, sign, f"{value:.4g}")))
