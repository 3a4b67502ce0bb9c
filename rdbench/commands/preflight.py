"""Checks before anything is trained: a sweep that cannot end well is refused at no cost.

A sweep runs all of them once its data are prepared; a dry run, which imports no torch and prepares no data,
those that need neither.
"""

import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rdbench import datasets, metrics
from rdbench.datasets import Dataset, PluggedDataset
from rdbench.datasets.plugged import found as plugged_dataset
from rdbench.errors import ResultsError, SpecError
from rdbench.metrics.base import MetricOptions, value_name
from rdbench.registry import plugins, variants
from rdbench.registry.imports import Files
from rdbench.registry.source import find
from rdbench.results.parquet import STANDING
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import Plan, Trial, check_fits
from rdbench.spec.search_options import needed_measures, needed_metrics
from rdbench.spec.sweep import Sweep, VariantSpec
from rdbench.storage.paths import DataRoot
from rdbench.storage.places import Place
from rdbench.text import in_words


def check_same_data(root: Place, data: Dataset) -> None:
    """Refuse to train on other data than the folder's trials: one curve must not mix them."""
    before = set(ResultsFolder(root).frame("trials", STANDING)["dataset_checksum"].dropna())
    if before - {data.checksum}:
        raise ResultsError(
            f"{root} holds trials of other data: the files of dataset {data.name} have changed since"
            " (their checksum differs); give this sweep another --results folder"
        )


def data_lines(data: Dataset, augment: bool) -> list[str]:
    """Return what there is to say of the data of a sweep: a line, and one for each remark."""
    train, test = len(data.train.images), len(data.test.images)
    held_out = f", {len(data.validation.images):,} validation" if data.validation else ""
    shape = "x".join(map(str, data.shape))
    skipped = f", {len(data.skipped)} files skipped" if data.skipped else ""
    changed = augment and data.augmentation != "none"
    augmented = f"; training images are {datasets.AUGMENTATIONS[data.augmentation]}" if changed else ""
    return [
        f"{data.name}: {train:,} training{held_out} and {test:,} test images, {shape}{skipped}{augmented}",
        *(f"  {remark}" for remark in (*data.notes, *(f"skipped {file}" for file in data.skipped[:5]))),
    ]


def look_ahead(whole: Plan, data_root: Path | DataRoot, allow_missing_metrics: bool) -> Iterator[str]:
    """Check what is left of a sweep without preparing data or importing torch.

    Yields:
        Remarks on the data, and a line for each metric that would be left out.

    Raises:
        DatasetError: the data are too small, or cannot be had as the options say.
        SpecError: a metric cannot be measured here.
    """
    todo = whole.todo
    data = datasets.known(whole.sweep.dataset, data_root) if todo else None
    if data is not None:
        yield from (f"{data.name}: {remark}" for remark in data.notes)
        check_sizes(whole.sweep, todo, data)
        yield from measurable(whole.sweep, data, allow_missing_metrics)[1]


def check_sizes(sweep: Sweep, todo: Sequence[Trial], data: Dataset) -> None:
    """Refuse data that are too small for a batch, of every size that a search may come to as well.

    Raises:
        DatasetError: they are.
    """
    sizes = [trial.train.batch_size for trial in todo]
    over = sweep.searched.get("batch_size", [])
    sizes += over["choices"] if isinstance(over, dict) else over
    recipe = todo[0].train.model_copy(update={"batch_size": max(sizes)})
    check_fits(todo[0].model_copy(update={"train": recipe}), data)


def unmeasurable(
    asked: Iterable[MetricOptions], data: Dataset, protocol: str, *, open_weights: bool = False
) -> dict[MetricOptions, str]:
    """Return those metrics that cannot be measured on this machine, each with the reason and what to do.

    ``open_weights`` also checks that files of weights can be opened; it imports torch.
    """
    reasons = {}
    for options in asked:
        reason = metrics.missing(options, data, protocol)
        own = metrics.own_features(options)
        if reason is None and open_weights and (own or metrics.needs_inception(options)):
            from rdbench.metrics.features import comparison

            weights = getattr(options, "weights", None)
            reason = comparison.unusable(own or "inception", data, protocol, weights)
        if reason:
            reasons[options] = f"{options.name}: {reason}"
    return reasons


def need(asked: Iterable[MetricOptions], data: Dataset, protocol: str) -> None:
    """Raise SpecError where a metric cannot be measured on this machine."""
    if without := unmeasurable(asked, data, protocol, open_weights=True):
        raise SpecError("; ".join(without.values()))


def measurable(
    sweep: Sweep, data: Dataset, allow_missing: bool, *, open_weights: bool = False
) -> tuple[tuple[MetricOptions, ...], list[str]]:
    """Return the metrics of a sweep that can be measured here, and a line for each of the others.

    Raises:
        SpecError: there are others, and they must not be left out.
    """
    without = unmeasurable(sweep.metrics, data, sweep.protocol, open_weights=open_weights)
    measures = needed_measures(sweep.search)
    for options in sweep.metrics:
        for quantity, reason in metrics.of(options).left_out(options, data).items():
            if (measure := value_name(options.name, quantity, None)) in measures:
                raise SpecError(f"search: {measure}: {reason}; let it rest on another measure")
    needed = needed_metrics(sweep.search) & {options.name for options in without}
    if without and (needed or not allow_missing):
        advice = "or go on without it by --allow-missing-metrics"
        advice = f"the search rests on {', '.join(sorted(needed))}" if needed else advice
        raise SpecError("; ".join(f"metrics: {line}" for line in without.values()) + f"; {advice}")
    measurable_here = tuple(options for options in sweep.metrics if options not in without)
    return measurable_here, [f"left out: metrics: {line}" for line in without.values()]


def runnable(sweep: Sweep) -> dict[str, Files]:
    """Import every variant and metric once, to find mistakes before anything is trained.

    Returns:
        The author's files they run from, by hash, for workers that do not have them.

    Raises:
        SpecError: a variant cannot be imported.
    """
    sources = {}
    for variant in sweep.variants:
        try:
            variants.get(variant)
        except SpecError:
            raise
        except (Exception, SystemExit) as error:
            raise _authors_mistake(variant, "imported", error) from None
        if variant.code and (files := find(variant.source).files):
            sources[variant.code] = files
    for asked in sweep.metrics:
        sources |= plugged_files(asked)
    if isinstance(sweep.dataset, PluggedDataset):
        plugin = plugged_dataset(sweep.dataset)
        sources |= {plugin.code: plugin.files} if plugin.files else {}
    return sources


def plugged_files(asked: MetricOptions) -> dict[str, Files]:
    """Run the files of a metric, or feature network, of the author's own once, and return them by hash.

    Raises:
        SpecError: they cannot be run.
    """
    if (plugin := metrics.plugin_of(asked)) is None:
        return {}
    try:
        plugins.runnable(plugin)
    except SpecError as error:
        raise SpecError(f"metrics: {asked.name} cannot be imported: {error}") from None
    return {plugin.code: plugin.files} if plugin.files else {}


def _authors_mistake(variant: VariantSpec, done: str, error: BaseException) -> SpecError:
    name = variant.source or variant.name
    what = f"variants: {name} cannot be {done}: {_in_brief(error, variant)}"
    return SpecError(f"{what}; 'rdbench check {name}' looks closer")


def _in_brief(error: BaseException, variant: VariantSpec) -> str:
    """Return the line of an author's file that an exception came from, its type and first line of text."""
    frames = traceback.extract_tb(error.__traceback__)
    source = find(variant.source) if variant.source else None
    names = {file.path: f"{file.name} " for file in source.files} | {str(source.path): ""} if source else {}
    last = ([frame for frame in frames if frame.filename in names] or frames)[-1]
    return f"{names.get(last.filename, '')}line {last.lineno}: {in_words(error)}"


def check_models(todo: Sequence[Trial], data: Dataset) -> None:
    """Build the networks of each setting once, and each variant that is a model, at the data's shape.

    Raises:
        SpecError: one cannot be built.
    """
    from rdbench.vae.models import about, build

    images = len(data.train.images)
    for trial in {trial.model: trial for trial in todo}.values():
        try:
            about(trial, data.shape, images).network()
        except Exception as error:  # memory, most of all
            shape, sizes = "x".join(map(str, data.shape)), trial.model.model_dump(exclude={"name"})
            raise SpecError(
                f"model: {sizes} cannot be built for images of {shape}: {in_words(error)}; use smaller ones"
            ) from None
    for trial in {(trial.variant, trial.model): trial for trial in todo}.values():
        if variants.get(trial.variant).declaration.kind == "model":
            try:
                build(trial, data.shape, images)
            except (SpecError, ValueError) as error:  # as is said of an option that is refused
                raise SpecError(f"variants: {trial.variant.name} cannot be built: {error}") from None
            except Exception as error:  # an author's code may raise anything
                raise _authors_mistake(trial.variant, "built", error) from None
