"""A results folder: its sweep, its tables, and the trials that are committed to it.

It holds one folder a table and one file a trial in it (schemas: :mod:`rdbench.results.parquet`)::

    results/<sweep>/
      sweep.yaml                  the resolved spec
      variants/                   the author's files that its variants run from
      points/<trial>.parquet      a row per split x reading
      history/<trial>.parquet     a row per epoch
      images/<trial>.parquet      PNG bytes: originals, reconstructions, prior samples
      metrics/<trial>.parquet     a row per proxy metric
      per_image/<trial>.parquet   a row per test image: sse and rate (keep_per_image: true)
      checkpoints/<trial>.safetensors   the trained network (keep_weights: true)
      classifier/                 the classifier of fd_classifier, the same for all its trials
      trials/<trial>.parquet      one row: settings, status, timing, provenance; written last, the commit

(beside them ``resume/``, ``driver.json``, ``search.json`` and ``optuna.journal``, which belong to
:mod:`rdbench.vae.checkpoints`, :mod:`rdbench.results.lease` and :mod:`rdbench.search`, and ``set_aside/``
with damaged files).

A file is written under a temporary name and renamed, so a reader never sees half of one, and a trial
without its ``trials`` row does not exist. A number that was not measured is null, never 0. Any Parquet
reader opens a table whole: ``pandas.read_parquet("results/x/points")``.

Whatever reads or writes a folder raises StorageError where that is not possible now.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdbench.datasets.plugged import PluggedDataset
from rdbench.datasets.plugged import found as plugged_dataset
from rdbench.errors import ResultsError, SpecError, StorageError
from rdbench.metrics import answers, is_measured, own_features, plugin_of
from rdbench.metrics.base import MetricOptions
from rdbench.metrics.failures import added_up
from rdbench.registry import copies
from rdbench.registry.imports import Files
from rdbench.registry.plugins import Plugin
from rdbench.registry.source import find
from rdbench.results import parquet
from rdbench.results.parquet import STANDING, TABLES, Row
from rdbench.results.table_files import Table
from rdbench.spec.sweep import Sweep, dump_sweep, load_sweep
from rdbench.storage import paths, places
from rdbench.storage.places import Place, write_atomically

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ResultsFolder:
    """A results folder, which need not exist: then there is no trial in it."""

    root: Place

    def refuse_others(self) -> None:
        """Raise ResultsError where this is not a results folder."""
        if not places.is_file(self.root / "sweep.yaml"):
            raise ResultsError(f"{self.root}: not a results folder (no sweep.yaml in it); give the folder"
                               " that 'rdbench sweep' wrote, results/<name>")  # fmt: skip

    def sweep(self, overrides: Sequence[str] = ()) -> Sweep:
        """Return the resolved spec.

        Raises:
            ResultsError: it is not a results folder.
            SpecError: its spec, or an override, is not valid.
        """
        self.refuse_others()
        root, file = self.root, self.root / "sweep.yaml"
        if isinstance(root, Path):
            return load_sweep(file, overrides, stored=True)
        near = paths.cache_root() / "remote"
        for kept in (copies.FOLDER, copies.PLUGINS):
            for stem, files in copies.found(root, kept).items():
                with contextlib.suppress(StorageError):  # no cache: then the variant is known by name alone
                    copies.save(near, stem[:-17], files, kept)
        return load_sweep(file, overrides, stored=True, folders=[near])

    def variant_sources(self) -> dict[str, Files]:
        """Return the files of variants and all else that is plugged in, by hash; edited copies left out."""
        both = copies.found(self.root) | copies.found(self.root, copies.PLUGINS)
        return {stem[-16:]: files for stem, files in both.items()}

    def save_sweep(self, sweep: Sweep) -> None:
        """Write the resolved spec, and copies of the authors' files that it names.

        Raises:
            SpecError: one of them was edited since the sweep was read.
        """
        variants = []
        for variant in sweep.variants:
            if variant.source and (source := find(variant.source)).files:
                if source.code != variant.code:
                    raise SpecError(f"{source.path} was edited just now; run the same command again")
                copy = copies.save(self.root, variant.name, source.files)
                variant = variant.model_copy(update={"source": f"{copy}:{source.declaration.symbol}"})
            variants.append(variant)
        metrics = tuple(self._kept(asked) for asked in sweep.metrics)
        changed: dict[str, Any] = {"variants": tuple(variants), "metrics": metrics}
        if isinstance(sweep.dataset, PluggedDataset) and sweep.dataset.source:
            copy = self.keep_files(plugged_dataset(sweep.dataset))
            changed["dataset"] = sweep.dataset.model_copy(update={"source": copy})
        stored = sweep.model_copy(update=changed)
        write_atomically(self.root / "sweep.yaml", dump_sweep(stored).encode())

    def keep_files(self, plugin: Plugin) -> str:
        """Copy the files of what is plugged in; return by what to name it in this folder."""
        if not plugin.files:
            return plugin.source
        return f"{copies.save(self.root, plugin.symbol, plugin.files, copies.PLUGINS)}:{plugin.symbol}"

    def _kept(self, asked: MetricOptions) -> MetricOptions:
        if (plugin := plugin_of(asked)) is None:
            return asked
        changed = {"source": self.keep_files(plugin)}
        if own := own_features(asked):
            return asked.model_copy(update={"features": own.model_copy(update=changed)})
        return asked.model_copy(update=changed)

    def table(self, name: str) -> Table:
        """Return one of :data:`TABLES`."""
        return Table(self.root / name)

    def frame(self, table: str, columns: Sequence[str] = ()) -> "pd.DataFrame":
        """Return all rows of a table, committed or not, in the given columns; by default in all."""
        return parquet.to_pandas(self.table(table).read(columns=columns))

    def commit(self, trial: str, tables: Mapping[str, Iterable[Row]]) -> None:
        """Write the rows of one trial by table; its ``trials`` row, written last, makes the trial exist.

        A table that is not given is left unchanged. A failure never replaces a trial that is done.

        Raises:
            ValueError: there is no ``trials`` row, or a row names a column the table does not have.
        """
        if "trials" not in tables:
            raise ValueError("a trial is committed by its row in 'trials', which is missing")
        if any(row["status"] in ("failed", "stopped") for row in tables["trials"]) and self.is_done(trial):
            return
        self.write(trial, tables)

    def write(self, trial: str, tables: Mapping[str, Iterable[Row]]) -> None:
        """Write tables of one trial in the order of a commit.

        Raises:
            ValueError: a row names a column the table does not have.
        """
        for name in [name for name in TABLES if name in tables]:
            values = tables[name]
            if name == "metrics":
                values = added_up(values, lambda: self.table("metrics").read_one(trial).to_pylist())
            rows = parquet.from_rows(name, trial, values)
            if not len(rows):  # a file without rows would name no trial: what is solved has no history
                continue
            write_atomically(self.table(name).file(trial), parquet.encode(name, trial, rows))

    def trial_tables(self, trial: str) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of one trial's tables that exist and can be read."""
        tables = {name: self.table(name).read_one(trial).to_pylist() for name in TABLES}
        return {name: rows for name, rows in tables.items() if rows}

    def is_done(self, trial: str) -> bool:
        """Tell whether a trial is committed with status done."""
        row = self.trial_row(trial)
        return row is not None and row["status"] == "done"

    def trial_row(self, trial: str) -> dict[str, Any] | None:
        """Return the ``trials`` row of a trial; None where it is not committed."""
        rows: list[dict[str, Any]] = self.table("trials").read_one(trial).to_pylist()
        return rows[0] if rows else None

    def committed_in(self, run: str, trial: str) -> bool:
        """Tell, by reading its own file, whether a trial was committed in this run of a driver."""
        return bool(run) and self.table("trials").read_own(trial)["run"].to_pylist() == [run]

    def ended_in(self, run: str) -> set[str]:
        """Return the ids of the trials that were committed in one run of a driver."""
        if not run:
            return set()
        rows = self.table("trials").read(columns=("trial", "run"), keep=False).to_pylist()
        return {row["trial"] for row in rows if row["run"] == run}

    def weights_file(self, trial: str) -> Place:
        """Return where a trial's trained network lies, if it was kept."""
        return self.root / "checkpoints" / f"{trial}.safetensors"

    @property
    def classifier(self) -> Place:
        """Where the classifier lies whose features metrics of this sweep share, if one needed it."""
        return self.root / "classifier"

    def add_metrics(self, trial: str, asked: Sequence[MetricOptions], rows: Iterable[Row]) -> None:
        """Add rows of ``metrics`` to a committed trial, in place of those that answer ``asked``.

        Raises:
            ValueError: the trial does not exist.
        """
        if self.trial_row(trial) is None:
            raise ValueError(f"no trial {trial} is committed in {self.root}")
        before = self.table("metrics").read_one(trial).to_pylist()
        others = [row for row in before if not any(answers(options, row) for options in asked)]
        self.write(trial, {"metrics": [*others, *rows]})

    def trial_ids(self) -> list[str]:
        """Return the ids of the trials, sorted."""
        return sorted(self.table("trials").sound())

    def finished(self, sweep: Sweep, failed_metrics: bool = True) -> set[str]:
        """Return the ids of the trials that hold all that a sweep asks for, or all that is to be had.

        These need not be trained again: their status is done, diverged or, where the sweep has trials
        stopped early, stopped. A trial whose files cannot be read, or are another's, is not finished, nor is,
        without ``failed_metrics``, one that lacks a metric which failed for good.
        """
        if not self.table("trials").stamps():
            return set()  # quickly, without importing a Parquet reader
        rows = self.table("trials").read(columns=STANDING)
        ids, statuses, parameters = (rows[name].to_pylist() for name in ("trial", "status", "parameters"))
        needed = ("points", "per_image") if sweep.keep_per_image else ("points",)
        whole = set(ids).intersection(*(self.table(name).sound() for name in needed))
        if sweep.metrics:
            measured: dict[str, list[dict[str, Any]]] = {}
            for row in self.table("metrics").read(ids).to_pylist():
                measured.setdefault(row["trial"], []).append(row)
            for asked in sweep.metrics:
                whole = {name for name in whole if is_measured(asked, measured.get(name, []), failed_metrics)}
        if sweep.keep_weights:
            kept = places.entries(self.weights_file("").parent)
            # A trial function that returned measurements alone has no weights to keep.
            weightless = {name for name, count in zip(ids, parameters, strict=True) if count is None}
            whole = {name for name in whole if name in weightless or self.weights_file(name).name in kept}
        ended = {"diverged", "stopped"} if sweep.stop else {"diverged"}
        return {
            name
            for name, status in zip(ids, statuses, strict=True)
            if status in ended or (status == "done" and name in whole)
        }
