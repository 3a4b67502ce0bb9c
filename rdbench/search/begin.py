"""The record of searches in a results folder: what had ended when each began, and what it has chosen.

``search.json`` is written before a batch is trained. A search is known by all that its choices follow from,
without how much it may spend and what is near enough: so raising ``trials`` extends it.
"""

import hashlib
import json
from collections.abc import Collection
from typing import Any

from rdbench.errors import ResultsError
from rdbench.search.base import Search, SearchState
from rdbench.spec.plan import Trial, canonical_json
from rdbench.spec.search_options import needed_metrics
from rdbench.spec.sweep import Sweep
from rdbench.storage.places import Place, write_atomically

NAME = "search.json"


def key(sweep: Sweep) -> str:
    """Return what a search is known by: 12 hexadecimal digits."""
    kept = {"dataset", "protocol", "train", "model", "variants", "beta", "seeds"}
    settings = sweep.model_dump(mode="json", include=kept)
    assert sweep.search is not None
    for variant in settings["variants"]:
        variant.pop("source", None)
    needed = needed_metrics(sweep.search)
    settings["metrics"] = [
        # Not what an option means that older searches lack: they go by the names they had.
        {name: value for name, value in metric.settings().items() if metric.before.get(name) != value}
        for metric in sweep.metrics
        if metric.name in needed
    ]
    search = sweep.search.model_dump(mode="json", exclude={"trials", "gap", "within"})
    return hashlib.sha256(canonical_json([settings, search]).encode()).hexdigest()[:12]


def begin(sweep: Sweep, root: Place, ended: Collection[str]) -> Search:
    """Return the search a sweep asks for, as it stands in its results folder, which need not exist.

    ``ended`` are the ids of the trials that ended there. ResultsError: the folder's record of searches, or
    Optuna's journal, cannot be read.
    """
    name = key(sweep)
    begun = _read(root, sweep).get(name) or SearchState(sweep, frozenset(ended))
    search = sweep.search
    assert search is not None
    if search.name == "curve":
        from rdbench.search.curve import CurveSearcher

        return CurveSearcher(begun, search)
    if search.name == "target":
        from rdbench.search.target import TargetSearcher

        return TargetSearcher(begun, search)
    from rdbench.search.studies import Study

    return Study(begun, search, root, name)


def keep(search: Search, root: Place) -> None:
    """Record in the results folder how far a search has come, or raise ResultsError or StorageError."""
    search.keep()
    sweep = search.begun.sweep
    before = _read(root, sweep)
    record = before | {key(sweep): search.begun}
    content = {
        name: {
            "there": sorted(begun.there),
            "batches": [[json.loads(trial.to_json()) for trial in batch] for batch in begun.batches],
        }
        for name, begun in record.items()
    }
    if record != before:
        write_atomically(root / NAME, json.dumps(content, separators=(",", ":")).encode())


def _read(root: Place, sweep: Sweep) -> dict[str, SearchState]:
    file = root / NAME
    if not file.is_file():
        return {}
    try:
        record: Any = json.loads(file.read_bytes())
        return {
            name: SearchState(
                sweep,
                frozenset(map(str, begun["there"])),
                [[Trial.from_json(json.dumps(trial)) for trial in batch] for batch in begun["batches"]],
            )
            for name, begun in record.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ResultsError(
            f"{file}: is not a valid record of searches; move it away, with optuna.journal if there is"
            " one, and the search starts again from the finished trials"
        ) from None
