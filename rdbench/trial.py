"""A trial, or a pack of them, from settings to tables: train, evaluate, and account for both."""

import contextlib
import datetime
import json
import math
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from rdbench import metrics, nets, provenance, variants
from rdbench.allocator import keep_freed_memory
from rdbench.batches import Images
from rdbench.datasets import Dataset
from rdbench.errors import DatasetError
from rdbench.evaluation import Measurement, measure, picture_rows, point_rows
from rdbench.metrics import MetricOptions, TrainedModel
from rdbench.plan import Trial
from rdbench.precision import exact_float32
from rdbench.seeding import generator
from rdbench.training import Epoch, steps_per_epoch, train

Rows = list[dict[str, Any]]
Tables = dict[str, Rows]


def check_fits(trial: Trial, data: Dataset) -> None:
    """Refuse, before anything is trained, a trial that its dataset is too small for.

    Raises:
        DatasetError: there is not one whole batch of training images, or, under the paper's protocol,
            which drops the last partial batch there too, of test images.
    """
    steps_per_epoch(len(data.train.images), trial.train.batch_size)
    test = len(data.test.images)
    if trial.protocol == "paper" and test < trial.train.batch_size:
        raise DatasetError(
            f"protocol paper drops the last partial batch, and {test} test images do not fill one batch of"
            f" {trial.train.batch_size}; set train.batch_size to {test} or less, or use protocol: clean"
        )


class PeakMemory:
    """Peak memory since construction: of the GPU, or the resident memory of this process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            # A worker is reused, and the kernel's high-water mark would be that of its largest trial.
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def bytes(self) -> int:
        """Return the peak so far."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        try:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere but on macOS


def _trial_row(trial: Trial, status: str, error: str | None, started: datetime.datetime) -> dict[str, Any]:
    """Return the part of a ``trials`` row that every trial has, however it ended."""
    return {
        "status": status,
        "error": error,
        "dataset": trial.dataset.name,
        "variant": trial.variant.name,
        "beta": trial.beta,
        "seed": trial.seed,
        "protocol": trial.protocol,
        "epochs": trial.train.epochs,
        "host": platform.node(),
        "versions": json.dumps(provenance.versions()),
        "commit": provenance.commit(),
        "started": started,
        "spec": trial.to_json(),
    }


def failure_tables(trial: Trial, error: str, started: datetime.datetime) -> Tables:
    """Return the tables of a trial that raised an exception or lost its worker."""
    return {"trials": [_trial_row(trial, "failed", error, started)]}


def _why_not_finite(measured: dict[str, Measurement]) -> str | None:
    for split, values in measured.items():
        if not (math.isfinite(values.sse.sum()) and math.isfinite(values.rate.sum())):
            return f"rate or squared error on the {split} split is not finite"
    return None


def _trained(
    network: nets.GaussianNetwork, trial: Trial, data: Dataset, measured: Measurement, device: torch.device
) -> TrainedModel:
    """Return what metrics may look at; ``measured`` is of the test split."""
    images = Images(data.test, device)
    return TrainedModel(
        encode=network.encode,
        decode=network.decode,
        latent=trial.model.latent,
        data=data,
        test_images=lambda index: images.batch(index).contiguous(memory_format=torch.channels_last),
        n_test=len(images),
        test_sse=measured.sse,
        beta=trial.beta,
        seed=trial.seed,
        protocol=trial.protocol,
        device=device,
    )


def _measured_tables(
    network: nets.GaussianNetwork,
    trial: Trial,
    data: Dataset,
    measured: dict[str, Measurement],
    device: torch.device,
    keep_per_image: bool,
    asked: Sequence[MetricOptions],
) -> Tables:
    """Return the tables of one trained network with finite measurements."""
    pixels = data.train.images.dtype == "uint8"
    n = math.prod(data.shape)
    native = variants.get(trial.variant.name).native
    tables: Tables = {
        "points": [
            _key(trial) | row
            for split, values in measured.items()
            for row in point_rows(values, split, trial.beta, n, native, pixels)
        ]
    }
    if pixels:
        tables["images"] = picture_rows(network, trial, data, device)
    if keep_per_image:
        test = measured["test"]
        tables["per_image"] = [
            {"index": index, "sse": sse, "rate": rate}
            for index, (sse, rate) in enumerate(zip(test.sse, test.rate, strict=True))
        ]
    if asked:
        tables["metrics"] = metrics.rows(asked, _trained(network, trial, data, measured["test"], device))
    return tables


@exact_float32()
def run_pack(
    pack: Sequence[Trial],
    data: Dataset,
    device: torch.device,
    on_epoch: Callable[[int, Epoch], None] = lambda member, epoch: None,
    *,
    keep_per_image: bool = False,
    asked: Sequence[MetricOptions] = (),
    fuse: bool | None = None,
    on_network: Callable[[Trial, nets.GaussianNetwork], None] = lambda trial, network: None,
) -> list[Tables]:
    """Train and evaluate trials side by side.

    Args:
        pack: trials that differ in variant, beta and seed only; one is a pack too.
        data: their dataset.
        device: where to run.
        on_epoch: told the member and its figures as each epoch ends.
        keep_per_image: also return squared error and rate of every test image.
        asked: the metrics to measure. One that raises leaves a row that says so.
        fuse: into one network; by default on a GPU. Else the trials run one after another, each bit for
            bit as alone: a CPU gains nothing from wider layers.
        on_network: given each trained network whose measurements are finite, to keep it.

    Returns:
        For each trial its rows by table, ready for :func:`rdbench.store.commit`, as if it had been trained
        alone. A trial whose loss is not finite has status ``diverged``, its history up to there, and no
        points. Times are each trial's share of the pack's.

    Raises:
        DatasetError: the dataset is too small for a batch.
        SpecError: the device has not got the arithmetic asked for.
    """
    fuse = device.type == "cuda" if fuse is None else fuse
    if len(pack) > 1 and not fuse:
        return [
            run_trial(
                trial,
                data,
                device,
                lambda epoch, member=member: on_epoch(member, epoch),  # type: ignore[misc]
                keep_per_image=keep_per_image,
                asked=asked,
                on_network=on_network,
            )
            for member, trial in enumerate(pack)
        ]
    check_fits(pack[0], data)
    keep_freed_memory()
    started = datetime.datetime.now(datetime.UTC)
    start = time.perf_counter()
    memory = PeakMemory(device)
    model, shape = pack[0].model, data.shape
    built = [nets.build(model, shape, generator(trial.seed, "init")) for trial in pack]
    network = nets.pack(model, shape, built)
    results: list[Tables] = [{"history": []} for _ in pack]

    def record(member: int, epoch: Epoch) -> None:
        results[member]["history"].append(epoch.row())
        on_epoch(member, epoch)

    reasons = train(network, pack, data, device, record)
    if None in reasons:
        splits = {split: measure(network, pack, data, split, device) for split in ("train", "test")}
    for member, single in enumerate(nets.unpack(model, shape, network)):
        if reasons[member] is not None:
            continue
        measured = {split: values[member] for split, values in splits.items()}
        reasons[member] = _why_not_finite(measured)
        if reasons[member] is None:
            on_network(pack[member], single)
            results[member] |= _measured_tables(
                single, pack[member], data, measured, device, keep_per_image, asked
            )

    common = {
        "parameters": nets.count_parameters(network) // len(pack),
        "seconds": (time.perf_counter() - start) / len(pack),
        "pack": len(pack),
        "peak_memory_bytes": memory.bytes(),
        "device": provenance.device_name(device),
        "dataset_checksum": data.checksum,
        "skipped_files": len(data.skipped),
    }
    for trial, reason, tables in zip(pack, reasons, results, strict=True):
        row = _trial_row(trial, "diverged" if reason else "done", reason, started)
        tables["trials"] = [row | common | {"images_per_second": _speed(tables["history"])}]
    return results


def run_trial(
    trial: Trial,
    data: Dataset,
    device: torch.device,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    *,
    keep_per_image: bool = False,
    asked: Sequence[MetricOptions] = (),
    on_network: Callable[[Trial, nets.GaussianNetwork], None] = lambda trial, network: None,
) -> Tables:
    """Train and evaluate one trial: :func:`run_pack` with a pack of one."""
    return run_pack(
        [trial],
        data,
        device,
        lambda member, epoch: on_epoch(epoch),
        keep_per_image=keep_per_image,
        asked=asked,
        on_network=on_network,
    )[0]


@exact_float32()
def metric_rows(
    network: nets.GaussianNetwork,
    trial: Trial,
    data: Dataset,
    device: torch.device,
    asked: Sequence[MetricOptions],
) -> Rows:
    """Return rows of the ``metrics`` table of a network that was trained before, as its trial would."""
    (measured,) = measure(network, [trial], data, "test", device)
    return metrics.rows(asked, _trained(network, trial, data, measured, device))


def _speed(history: Rows) -> float | None:
    """Return training images a second over all epochs."""
    seconds = sum(row["seconds"] for row in history)
    images = sum(row["seconds"] * row["images_per_second"] for row in history)
    return images / seconds if seconds else None


def _key(trial: Trial) -> dict[str, Any]:
    """Return the columns that name a trial in the ``points`` table."""
    return {
        "dataset": trial.dataset.name,
        "variant": trial.variant.name,
        "beta": trial.beta,
        "seed": trial.seed,
        "protocol": trial.protocol,
    }
