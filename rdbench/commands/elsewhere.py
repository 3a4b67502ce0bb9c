"""``rdbench.evaluate``: measure networks that were trained elsewhere, as those of a sweep are measured."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from rdbench import datasets
from rdbench.commands.api import PathLike, torch_as_it_was
from rdbench.commands.plan import open_plan
from rdbench.commands.results import Results, load_results
from rdbench.commands.status import default_results
from rdbench.datasets import Dataset
from rdbench.errors import ResultsError, SpecError
from rdbench.registry import copies
from rdbench.registry.imports import alone
from rdbench.results.store import ResultsFolder
from rdbench.spec.sweep import Sweep
from rdbench.storage import paths
from rdbench.storage.places import is_file, place
from rdbench.trial.scheduler import RunOptions

if TYPE_CHECKING:
    import torch

    from rdbench.vae.elsewhere import Network
    from rdbench.vae.models import Model

TRIED_IMAGES = 64
"""Test images that a network is tried on before it is measured."""

_OF_DATA = (
    "dataset",
    "protocol",
    "train",
    "model",
    "readings",
)  # what results that stand beside others share


class EvaluateOptions(TypedDict, total=False):
    """The further keywords of :func:`evaluate`."""

    protocol: str
    metrics: Sequence[Any]
    keep_per_image: bool
    value_range: tuple[float, float]
    latent: int
    native: str | None
    beta_rate: bool
    data: str | os.PathLike[str] | None
    device: str


def evaluate(
    model: "Network | Mapping[float, Network | Sequence[Network]]",
    dataset: "str | Mapping[str, Any] | Sweep | Results",
    *,
    name: str,
    beta: float = 1.0,
    results: PathLike | None = None,
    **options: Unpack[EvaluateOptions],
) -> Results:
    """Measure networks that were trained elsewhere, and return results that stand beside a sweep's.

    ``rdbench.write_report([sweeps_results, mine])`` draws both in one section, where dataset and protocol are
    the same; so do comparisons and tables. Nothing is trained.

    Args:
        model: a module whose forward pass gives (reconstruction, mean, log variance), as VAEs often have it;
            or a pair (encode, decode): ``encode(images)`` gives mean and log variance of q(z|x), each
            (batch, latent), ``decode(latents)`` the reconstruction; or (None, decode), a decoder alone, for
            metrics of samples and of the decoder. Images are (batch, channels, height,
            width), float32 in [0, 1]. The posterior is taken for a diagonal Gaussian, the prior for standard
            normal, the decoder's output for its mean. A :class:`rdbench.Model` may differ in all of these.
            For a curve give networks by beta, ``{0.1: a, 1: b}``, each a list with one for each seed.
        dataset: its name, or a dict with its options; or a sweep or results to stand beside, whose dataset,
            protocol and readings are taken.
        name: what tables and charts call it: letters, digits and _, a letter first.
        beta: that it was trained with, where ``model`` does not say: the position on charts over beta, and
            the sigma^2 of the reading ``beta_half``. No other number depends on it.
        results: the results folder or its address; default: ``results/<name>``.
        options: ``protocol`` ("clean" or "paper"); ``metrics`` and ``keep_per_image`` as in a sweep file;
            ``latent``, how many values a latent of a decoder alone has; ``value_range`` in which the network
            has images, default (0, 1); ``native``, the reading of sigma^2 whose distortion its loss
            minimised, and ``beta_rate=True`` if that loss was this distortion + beta rate; ``data``, folder
            of the raw data; ``device``, default: the network's.

    Returns:
        The results. The same networks are not measured twice. The networks themselves are not stored.

    Raises:
        UserError: in one line, what is wrong with the network, the dataset or the folder, and the fix.
    """
    networks, betas, seeds = _by_beta(model, beta)
    settings = _settings(dataset, options) | {"name": name, "beta": betas, "seeds": seeds}
    asked = Sweep(**settings | {"variants": ["beta_vae"]})
    root = default_results(asked) if results is None else place(results)
    _refuse_a_sweeps(root)
    _measured(networks, asked, settings, root, options)
    measured = load_results(root)
    failed = measured.trials[measured.trials["status"] != "done"]
    for error in failed["error"]:
        raise ResultsError(f"rdbench.evaluate: {name}: {str(error).strip().splitlines()[-1]}")
    return measured


def _measured(
    networks: Mapping[tuple[float, int], Any],
    asked: Sweep,
    settings: dict[str, Any],
    root: Any,
    options: EvaluateOptions,
) -> None:
    """Measure networks into a results folder; ``settings`` are the keywords of the sweep ``asked``."""
    from rdbench.commands.sweep import run_sweep
    from rdbench.trial.elsewhere import SYMBOL, offered
    from rdbench.trial.notebook import told
    from rdbench.trial.serial import SerialScheduler

    folder = options.get("data")
    chosen = None if folder is None else paths.local(folder)
    data = datasets.load(asked.dataset, paths.chosen_data_root(chosen))
    with torch_as_it_was(), _tried(networks, asked, data, options) as tried:
        variant = {"name": f"{_file(asked.name, tried.digest, options)}:{SYMBOL}", "trained": "elsewhere"}
        size = {"batch_size": min(asked.train.batch_size, len(data.train.images))}
        settings |= {"model": {**asked.model.model_dump(mode="json"), "latent": tried.latent}}
        settings |= {"train": {**asked.train.model_dump(mode="json"), **size}}
        whole = open_plan(root, Sweep(**settings | {"variants": [variant]}))
        with offered(tried.digest, tried.models), told() as console:
            run_sweep(whole, root, console, RunOptions(chosen), SerialScheduler(tried.device))


def _by_beta(model: Any, beta: float) -> tuple[dict[tuple[float, int], Any], list[float], int]:
    """Return networks by (beta, seed), the betas, and how many seeds each has."""
    if not isinstance(model, Mapping):
        return {(float(beta), 0): model}, [beta], 1
    lists = {key: list(value) if isinstance(value, list) else [value] for key, value in model.items()}
    counts = {len(value) for value in lists.values()}
    if not lists or len(counts) > 1 or counts == {0}:
        raise SpecError(
            "rdbench.evaluate: every beta needs as many networks, a list with one for each seed, as in"
            " {0.1: [a, b], 1: [c, d]}"
        )
    networks = {
        (float(key), seed): network for key, value in lists.items() for seed, network in enumerate(value)
    }
    return networks, list(lists), counts.pop()


def _settings(
    dataset: "str | Mapping[str, Any] | Sweep | Results", options: EvaluateOptions
) -> dict[str, Any]:
    """Return the keywords of a sweep that say on what, and how, is measured."""
    asked: Mapping[str, Any] = options
    unknown = asked.keys() - EvaluateOptions.__annotations__.keys()
    if unknown:
        known = ", ".join(sorted(EvaluateOptions.__annotations__))
        raise SpecError(f"rdbench.evaluate: {sorted(unknown)[0]}: unknown keyword; choose from {known}")
    given = {key: asked[key] for key in ("protocol", "metrics", "keep_per_image") if key in asked}
    beside = dataset.sweep if isinstance(dataset, Results) else dataset
    if not isinstance(beside, Sweep):
        return {"dataset": dict(beside) if isinstance(beside, Mapping) else beside, **given}
    if beside.protocol != given.get("protocol", beside.protocol):
        raise SpecError(
            f"rdbench.evaluate: protocol: the results to stand beside are of protocol {beside.protocol};"
            " leave the keyword out"
        )
    return {key: getattr(beside, key) for key in _OF_DATA} | given


def _refuse_a_sweeps(root: Any) -> None:
    """Refuse a folder that holds a sweep's results, whose sweep file this one would replace."""
    from rdbench.trial.elsewhere import SYMBOL

    if is_file(root / "sweep.yaml"):
        variants = ResultsFolder(root).sweep().variants
        if not all(variant.source.endswith(f":{SYMBOL}") for variant in variants):
            raise ResultsError(
                f"{root} holds the results of a sweep; give another results folder: write_report([a, b])"
                " shows both in one section"
            )


@dataclass(frozen=True)
class _Tried:
    """Networks that fit the data, as models by beta and seed."""

    models: "Mapping[tuple[float, int], Model]"
    digest: str  # of all of them
    latent: int
    device: str


@contextmanager
def _tried(
    networks: Mapping[tuple[float, int], Any], sweep: Sweep, data: Dataset, options: EvaluateOptions
) -> Iterator[_Tried]:
    """Have networks as models, in evaluation mode; SpecError names the one that does not fit the data."""
    import hashlib

    import torch

    from rdbench.vae.batches import Images
    from rdbench.vae.elsewhere import ValueRange, evaluating, modules_of
    from rdbench.vae.models import About

    owners = {id(owner): owner for network in networks.values() for owner in modules_of(network)}
    places = {value.device for owner in owners.values() for value in owner.parameters()}
    device = torch.device(options.get("device") or (str(places.pop()) if len(places) == 1 else "cpu"))
    count = min(TRIED_IMAGES, len(data.test.images))
    images = Images(data.test, device).batch(torch.arange(count))
    values = ValueRange(*_range(options))
    models: dict[tuple[float, int], Model] = {}
    code = hashlib.sha256()
    with evaluating(list(networks.values())):
        for (beta, seed), network in networks.items():
            at = f" at beta {beta:g}, seed {seed}" if len(networks) > 1 else ""
            try:
                latent = _latent(network, options) or sweep.model.latent
                about = About(data.shape, latent, beta, len(data.train.images), sweep.model, seed)
                models[beta, seed], code_of_one = _one(network, about, images, values)
            except SpecError as error:
                raise SpecError(f"rdbench.evaluate: {sweep.name}{at}: {error}") from None
            code.update(f"{beta} {seed} {code_of_one}\n".encode())
        latents = {model.about.latent for model in models.values()}
        if len(latents) > 1:
            raise SpecError(f"rdbench.evaluate: {sweep.name}: latents of several sizes, {sorted(latents)}; "
                            "measure those of each size by a name of their own")  # fmt: skip
        if sweep.metrics and not all(model.decodes for model in models.values()):
            raise SpecError(
                "rdbench.evaluate: metrics: they need encoder and decoder apart; give the pair (encode,"
                " decode)"
            )
        yield _Tried(models, code.hexdigest()[:16], latents.pop(), device.type)


def _latent(network: Any, options: EvaluateOptions) -> int | None:
    """Return the values of a latent of a decoder alone; None for other networks, whose encoder tells."""
    given = options.get("latent")
    if not (isinstance(network, tuple | list) and network and network[0] is None):
        if given is not None:
            raise SpecError("latent: the network's encoder tells it; leave the keyword out")
        return None
    if not isinstance(given, int) or given < 1:
        raise SpecError(f"a decoder alone needs latent=, how many values its latent has; it is {given!r}")
    return given


def _one(network: Any, about: Any, images: "torch.Tensor", values: Any) -> "tuple[Model, str]":
    """Return a network as a model that fits the images, and its digest."""
    from rdbench.vae.elsewhere import check_values, digest, wrap

    model = wrap(network, about, images, values)
    if about.shape[1:] != (1, 1):  # pixels, which are in [0, 1]
        check_values(model, network, images)
    return model, digest(network, model, images)


def _range(options: EvaluateOptions) -> tuple[float, float]:
    given = options.get("value_range", (0, 1))
    try:
        low, high = map(float, given)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not low < high:
        raise SpecError(
            f"rdbench.evaluate: value_range: {given!r} is no range; write two numbers, such as (-1, 1)"
        )
    return low, high


def _file(name: str, digest: str, options: EvaluateOptions) -> Path:
    """Write the file of the variant that stands for the networks, and return where it is."""
    from rdbench.trial.elsewhere import source

    text = source(name, digest, options.get("native"), options.get("beta_rate", False))
    near = paths.cache_root() / "elsewhere"
    return near / copies.save(near, name, (alone(Path(f"{name}.py"), text),))
