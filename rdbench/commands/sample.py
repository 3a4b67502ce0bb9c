"""Images drawn from the prior of a trained network that was kept."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rdbench import datasets
from rdbench.errors import ResultsError
from rdbench.machine import limit_threads
from rdbench.registry import running
from rdbench.results.store import ResultsFolder
from rdbench.spec.labels import trial_name, trial_name_in, variant_names
from rdbench.spec.plan import Trial
from rdbench.spec.sweep import Sweep
from rdbench.storage.outputs import write_output
from rdbench.storage.paths import DataRoot
from rdbench.storage.places import Place

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from rdbench.vae.models import Model


def finished(sweep: Sweep, rows: "pd.DataFrame") -> list[tuple[Trial, str]]:
    """Return the trials of a sweep that are done, by its ``trials`` rows, and what the console calls each."""
    done = [Trial.from_json(text) for text in rows.loc[rows["status"] == "done", "spec"]]
    if sweep.search or sweep.grid:
        return [(trial, trial_name_in(sweep, trial)) for trial in done]
    variants = variant_names(tuple(dict.fromkeys(trial.variant for trial in done)))
    return [(trial, trial_name(trial, variants[trial.variant])) for trial in done]


def find(root: Place, wanted: str) -> tuple[Trial, str]:
    """Return the done trial of a results folder that a user means, and what the console calls it.

    ``wanted`` is its id or the beginning of it, or what the console calls it: ``bs_vae beta 1 seed 0``, with
    or without the seed.

    Raises:
        ResultsError: it is none of them, or several; or the folder is no results folder.
    """
    folder = ResultsFolder(root)
    done = finished(folder.sweep(), folder.frame("trials", ("status", "spec")))
    words = " ".join(wanted.split())
    matches = [
        (trial, name)
        for trial, name in done
        if trial.id.startswith(words) or words in (name, name.partition(" seed ")[0])
    ]
    if len(matches) == 1:
        return matches[0]
    if not done:
        raise ResultsError(f"{root}: has no finished trial yet; run its sweep first")
    listed = "; ".join(f"{trial.id} {name}" for trial, name in (matches or done)[:8])
    more = f"; and {len(matches or done) - 8} more" if len(matches or done) > 8 else ""
    what = f"{len(matches)} trials are" if matches else "no finished trial is"
    raise ResultsError(f"{root}: {what} {wanted!r}; name one of: {listed}{more}")


def _train_images(folder: ResultsFolder, trial: Trial) -> int | None:
    """Return how many images a trial was trained on, as its results have it; None where they do not."""
    row = folder.trial_row(trial.id)
    if row and row["train_images"]:
        return int(row["train_images"])
    if trial.dataset.train_images:
        return trial.dataset.train_images
    if trial.protocol == "paper":
        return None  # whose points leave the last partial batch out
    points = folder.trial_tables(trial.id).get("points", [])
    return next((int(point["n_images"]) for point in points if point["split"] == "train"), None)


def load_network(
    root: Place, trial: Trial, name: str, data_root: Path | DataRoot, device: str = "auto"
) -> "Model":
    """Return a trial's kept network, in evaluation mode; the errors call the trial ``name``.

    Raises:
        ResultsError: the network was not kept or is damaged.
        SpecError: there is no such device, or only the trial function could build the network.
        DatasetError: the dataset is needed and not there, or not what it should be.
    """
    folder = ResultsFolder(root)
    file = folder.weights_file(trial.id)
    if not file.exists():
        raise ResultsError(
            f"{root}: the network of {name} was not kept; sweep again with --set keep_weights=true"
        )
    dataset = datasets.of(trial.dataset)
    train_images = _train_images(folder, trial) or len(datasets.load(trial.dataset, data_root).train.images)

    import torch

    from rdbench.numerics.precision import resolve_device
    from rdbench.vae.models import from_bytes

    place = torch.device(resolve_device(device))
    running.ship(folder.variant_sources())
    try:
        return from_bytes(trial, dataset.shape(trial.dataset), train_images, file.read_bytes(), place)
    except ValueError as error:
        raise ResultsError(f"{file}: {error}; delete it and run the sweep again") from None


@dataclass(frozen=True)
class KeptNetwork:
    """A trained network of a results folder, with its trial and what the console calls that."""

    trial: Trial
    name: str
    model: "Model"
    shape: tuple[int, int, int]
    digest: str  # SHA-256 of its values, as they are stored
    device: "torch.device"


def kept_network(root: Place, wanted: str, data_root: Path | DataRoot, device: str) -> KeptNetwork:
    """Return the kept network of a trial, in evaluation mode; arguments and errors as of :func:`sample`."""
    trial, name = find(root, wanted)
    dataset = datasets.of(trial.dataset)
    if dataset.source is None:
        raise ResultsError(f"{root}: {dataset.name} has no images; name results of a dataset of images")
    model = load_network(root, trial, name, data_root, device)
    limit_threads()
    content = ResultsFolder(root).weights_file(trial.id).read_bytes()
    on = next(model.parameters()).device
    digest = hashlib.sha256(content).hexdigest()
    return KeptNetwork(trial, name, model, dataset.shape(trial.dataset), digest, on)


@dataclass(frozen=True)
class Draw:
    """How to draw: ``count`` images, the ``seed``, and the ``device``: "cpu", "cuda", or "auto"."""

    count: int
    seed: int = 0
    device: str = "auto"


def sample(root: Place, wanted: str, out: Place, data_root: Path | DataRoot, draw: Draw) -> str:
    """Draw images from a kept network's prior and write them as one PNG, a square grid.

    Args:
        root: the results folder of a sweep with ``keep_weights: true``.
        wanted: the trial, see :func:`find`.
        out: the file to write.
        data_root: where raw data lies; read only for results of an older rdbench that do not say how many
            images they were trained on.
        draw: how many images, and how.

    Returns:
        What the console calls the trial.

    Raises:
        ResultsError: there is no such trial, or its network was not kept or is damaged.
        SpecError: there is no such device, or only the trial function could build the network.
        DatasetError: the dataset is needed and not there, or not what it should be.
        StorageError: the PNG cannot be written.
    """
    kept = kept_network(root, wanted, data_root, draw.device)

    import torch
    from torchvision.utils import save_image

    from rdbench.numerics.seeding import generator

    model = kept.model
    if model.rate_free:
        raise ResultsError(f"{kept.name} has no prior to draw from; name a trial of a variant that has one")
    with torch.no_grad():
        latents = model.prior(draw.count, generator(draw.seed, "samples", kept.device))
        images = model.mean(model.decode(latents)).float().cpu().clamp(0, 1)  # clipped, never stretched
    png = io.BytesIO()
    save_image(images, png, format="png", nrow=max(1, round(draw.count**0.5)), padding=1)
    write_output(out, png.getvalue())
    return kept.name
