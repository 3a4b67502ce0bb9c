"""Group the trials of results folders into sections: only what may be compared shares one."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd

from rdbench import datasets
from rdbench.errors import ResultsError, SpecError, UserError
from rdbench.numerics.likelihood import OWN, READINGS
from rdbench.registry.source import find
from rdbench.report.searches import SearchView, search_view, tried
from rdbench.report.statistics import states
from rdbench.results.load import Results
from rdbench.results.model_states import State
from rdbench.spec.labels import variant_name
from rdbench.spec.plan import Trial, flat, plan
from rdbench.spec.sweep import Sweep, VariantSpec

# What may differ between the trials of a section; all other settings are the same.
VARIES = ("variant", "beta", "seed")
# Of a trial in several folders, the row of the lowest rank counts.
_RANKS = {"done": 0, "diverged": 1, "stopped": 2, "failed": 3}


@dataclass
class Section:
    """Trials that may share a table: one dataset with one checksum, one protocol, one set of settings.

    The frames are the tables of the results folders, of these trials, with their variant (a label with its
    options), beta and seed. All but ``trials`` are of finished ones only; its ``betas`` lists those that one
    training gives points at, else it is null. ``missing`` are the trials asked for that have no row. In
    ``points``, ``beta_rate`` tells whether the trial's variant declares such a loss.

    ``searches`` are those of the folders. Of trials that one by Optuna gave other settings than its sweep's,
    the best alone are among the section's trials, with the differences in the variant's name.
    """

    settings: dict[str, Any]  # that all trials share: the fields of a trial but for VARIES
    checksum: str | None  # the dataset's; None where no trial got as far as loading it
    readings: tuple[str, ...] = ()  # those of sigma^2 asked for, in the order of READINGS
    points: pd.DataFrame = field(default_factory=pd.DataFrame)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    trials: pd.DataFrame = field(default_factory=pd.DataFrame)
    images: pd.DataFrame = field(default_factory=pd.DataFrame)
    metrics: pd.DataFrame = field(default_factory=pd.DataFrame)
    per_image: pd.DataFrame = field(default_factory=pd.DataFrame)
    missing: pd.DataFrame = field(default_factory=pd.DataFrame)
    searches: list[SearchView] = field(default_factory=list)
    varied: tuple[str, ...] = ()  # settings, "train.epochs", that are part of the variants' names instead
    parts: list[tuple[str, "Section"]] = field(default_factory=list)  # where some are: each combination

    @functools.cached_property
    def splits(self) -> dict[tuple[str, str], pd.DataFrame]:
        """The ``points`` rows of each (split, reading); there is none without rows."""
        if not len(self.points):
            return {}
        groups = self.points.groupby(["split", "reading"], sort=False)
        return {cast(tuple[str, str], key): rows for key, rows in groups}

    @functools.cached_property
    def states(self) -> dict[states.Key, State]:
        """Which (variant, beta) collapsed or are unstable: marked, nobody's best, in no curve."""
        return states.point_states(self.points, self.trials)

    @functools.cached_property
    def computed(self) -> dict[tuple[Any, ...], Any]:
        """What functions decorated by :func:`rdbench.report.once.once` have returned of this section."""
        return {}

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return str(self.settings["dataset"]["name"])

    @functools.cached_property
    def pixels(self) -> int:
        """The number of pixels of an image, 1 of data that are no images."""
        options = datasets.make_options(self.dataset, self.settings["dataset"])
        _, height, width = datasets.of(options).shape(options)
        return height * width

    @property
    def protocol(self) -> str:
        """The evaluation protocol."""
        return str(self.settings["protocol"])


@dataclass(frozen=True)
class _Known:
    """A committed trial of a folder, with what a section needs to know about it."""

    id: str
    settings: str
    checksum: str | None
    readings: Sequence[str]
    row: dict[str, Any]
    source: int
    elsewhere: bool = False  # trained elsewhere: its settings of training and network are not known

    @property
    def rank(self) -> int:
        return _RANKS.get(self.row["status"], len(_RANKS))


def _split_settings(trial: Trial, further: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """Return (the shared settings as canonical JSON, what names the trial within them).

    ``further`` settings are part of the variant's name, as its options are.
    """
    content = json.loads(trial.to_json())
    shared = {key: value for key, value in content.items() if key not in VARIES}
    variant = trial.variant
    if further:
        variant = variant.model_copy(update={"options": variant.options | dict(further)})
    names = {"variant": variant_name(variant), "beta": trial.beta, "seed": trial.seed}
    return json.dumps(shared, sort_keys=True), names | {"betas": trial.variant.options.get("betas")}


def is_elsewhere(trial: Trial) -> bool:
    """Tell whether a trial's network was trained elsewhere, and only measured by ``rdbench.evaluate``."""
    return bool(trial.variant.code) and trial.variant.options.get("trained") == "elsewhere"


def is_labelled_elsewhere(variant: str) -> bool:
    """Tell by a variant's name in the report whether :func:`is_elsewhere` holds of its trials."""
    return "trained=elsewhere" in variant


def _beta_rate(variant: VariantSpec) -> bool:
    """Tell whether the code that a trial ran declares a loss of distortion + beta rate; not if it is gone."""
    try:
        source = find(variant.source or variant.name)
    except SpecError:
        return False
    return source.declaration.beta_rate and source.code == variant.code


def _reread(row: dict[str, Any], root: str, problems: list[str]) -> Trial | None:
    """Return the trial of a row that the sweep does not ask for (any more); None if it is unusable."""
    try:
        trial = Trial.from_json(row["spec"])
    except (ValueError, TypeError, UserError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        reason = f"its settings cannot be read ({first_line})"
    else:
        if trial.id == row["trial"]:
            return trial
        reason = f"an earlier recipe made it; its settings now mean trial {trial.id}"
    problems.append(f"{root}: trial {row['trial']} left out, {reason}")
    return None


def _as_searched(trial: Trial, sweep: Sweep) -> tuple[Trial, dict[str, Any]]:
    """Return (a trial with the sweep's settings of training and network, its own settings that differ).

    The options of its variant that the search varies count among the latter; its variant keeps them.
    """
    as_searched = trial.model_copy(update={"train": sweep.train, "model": sweep.model})
    differing = {
        name: value
        for now, asked in ((trial.train, sweep.train), (trial.model, sweep.model))
        for name, value in now.model_dump().items()
        if value != getattr(asked, name)
    }
    if trial.variant not in sweep.variants:
        options = trial.variant.options
        differing |= {name: value for name, value in options.items() if name in sweep.searched}
    return as_searched, differing


def _known(
    results: Results, source: int, problems: list[str], search: SearchView | None
) -> tuple[list[_Known], dict[str, Trial]]:
    """Return (the committed trials of a folder, the trials its sweep asks for by id)."""
    searched = tried(search)
    planned = {trial.id: trial for trial in plan(results.sweep).trials}
    committed = []
    beta_rates: dict[VariantSpec, bool] = {}  # finding a variant's source takes half a millisecond
    for row in records(results.trials):
        trial = planned.get(row["trial"]) or _reread(row, str(results.root), problems)
        if trial is None:
            continue
        differing: dict[str, Any] = {}
        if row["trial"] in searched:
            trial, differing = _as_searched(trial, results.sweep)
        if differing and not searched[row["trial"]]:
            continue  # shown in the chart of the search alone
        settings, names = _split_settings(trial, differing)
        checksum = row["dataset_checksum"] if isinstance(row["dataset_checksum"], str) else None
        readings = results.sweep.readings
        if trial.variant not in beta_rates:
            beta_rates[trial.variant] = _beta_rate(trial.variant)
        names["beta_rate"] = beta_rates[trial.variant]
        elsewhere = is_elsewhere(trial)
        committed.append(_Known(row["trial"], settings, checksum, readings, row | names, source, elsewhere))
    return committed, planned


def _search(results: Results, problems: list[str]) -> SearchView | None:
    """Return the search of a folder, if there is one; that it cannot be read is a problem."""
    try:
        return search_view(results)
    except (ResultsError, SpecError) as error:
        problems.append(str(error))
        return None


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def gather(loaded: Sequence[Results]) -> tuple[list[Section], list[str]]:
    """Return (the sections of some results folders, a line for each file or trial that was left out).

    Sections are sorted by dataset, protocol and settings, numbers by size. A trial that lies in several
    folders counts once, a finished one before a failed.
    """
    problems = [problem for results in loaded for problem in results.problems]
    searches = [_search(results, problems) for results in loaded]
    best, asked = _collect(loaded, searches, problems)
    problems += _superseded(best, asked)
    groups: dict[tuple[str, str | None], _Group] = {}
    # Trials with a checksum first: those without one then join an existing section.
    trained = [known for known in best.values() if not known.elsewhere]
    for known in sorted(trained, key=lambda known: (known.checksum is None, known.settings)):
        _group(groups, known.settings, known.checksum, known.readings).members.append(known)
    _join(groups, [known for known in best.values() if known.elsewhere])
    for name, (trial, readings) in asked.items():
        if name not in best:
            settings, names = _split_settings(trial)
            # A variant that trains once for all betas misses them all.
            missing = [names | {"beta": beta} for beta in names["betas"] or [trial.beta]]
            _group(groups, settings, None, readings).missing.extend(missing)
    for results, search in zip(loaded, searches, strict=True):
        if search is not None:
            any_trial = plan(results.sweep.model_copy(update={"search": None})).trials[0]
            group = _group(groups, _split_settings(any_trial)[0], None, results.sweep.readings)
            group.section.searches.append(search)
    for group in groups.values():
        _fill(group, loaded)
    return sorted((group.section for group in groups.values()), key=_place), problems


def _place(section: Section) -> tuple[Any, ...]:
    """Return what sections are sorted by: dataset, protocol, then each setting, numbers by size."""
    values = [(key, _by_size(value)) for key, value in sorted(flat(section.settings).items())]
    return section.dataset, section.protocol, values, str(section.checksum)


def _by_size(value: Any) -> tuple[Any, ...]:
    """Return what values of any kind are sorted by: numbers by size, before lists of them and text."""
    if isinstance(value, bool | int | float):
        return 0, value
    if isinstance(value, list | tuple):
        return 1, [_by_size(item) for item in value]
    return 2, str(value)


def _collect(
    loaded: Sequence[Results], searches: Sequence[SearchView | None], problems: list[str]
) -> tuple[dict[str, _Known], dict[str, tuple[Trial, Sequence[str]]]]:
    """Return (the committed trials, the trials that sweeps ask for with their readings), both by id."""
    best: dict[str, _Known] = {}
    asked: dict[str, tuple[Trial, Sequence[str]]] = {}
    for source, results in enumerate(loaded):
        committed, planned = _known(results, source, problems, searches[source])
        for known in committed:
            rival = best.get(known.id)
            if rival and rival.checksum and known.checksum and rival.checksum != known.checksum:
                problems.append(
                    f"{results.root}: trial {known.id} was trained on other data than that of"
                    f" {loaded[rival.source].root}, which is shown; report the folders apart"
                )
            elif rival is None or known.rank < rival.rank:
                best[known.id] = known
        asked |= {name: (trial, results.sweep.readings) for name, trial in planned.items()}
    return best, asked


@dataclass
class _Group:
    """A section, and what it is yet to be filled with."""

    section: Section
    members: list[_Known] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)


def _group(
    groups: dict[tuple[str, str | None], _Group], settings: str, checksum: str | None, readings: Sequence[str]
) -> _Group:
    """Return the group of a trial, made if need be; one without a checksum joins any of its settings."""
    key = settings, checksum
    if checksum is None:
        key = next((other for other in groups if other[0] == settings), key)
    if key not in groups:
        groups[key] = _Group(Section(json.loads(settings), checksum))
    section = groups[key].section
    section.readings = _union(section.readings, readings)
    return groups[key]


def _join(groups: dict[tuple[str, str | None], _Group], elsewhere: Sequence[_Known]) -> None:
    """Add networks trained elsewhere to each section of their data and protocol; else to their own."""
    sections = {key: _measured_on(*key) for key in groups}
    for known in sorted(elsewhere, key=lambda known: known.settings):
        mine = _measured_on(known.settings, known.checksum)
        joined = [key for key, of_section in sections.items() if of_section == mine]
        for settings, checksum in joined or [(known.settings, known.checksum)]:
            _group(groups, settings, checksum, known.readings).members.append(known)


def _measured_on(settings: str, checksum: str | None) -> tuple[Any, ...]:
    """Return what the numbers of a network depend on besides itself: data, protocol, and what this uses."""
    content = json.loads(settings)
    train = content["train"]
    # Under ``paper`` the last partial batch is dropped, and images are augmented if training ones are.
    recipe = (train["batch_size"], train["augment"]) if content["protocol"] == "paper" else ()
    return content["dataset"], checksum, content["protocol"], recipe


def _superseded(best: dict[str, _Known], asked: dict[str, Any]) -> list[str]:
    """Keep one training of a whole curve, and drop and name those for another list of betas.

    Their points would be taken for seeds of one another. The one that a sweep asks for stays.
    """
    rivals: dict[tuple[Any, ...], list[_Known]] = {}
    for known in best.values():
        if known.row["betas"] is not None:
            name = (known.settings, known.checksum, known.row["variant"], known.row["seed"])
            rivals.setdefault(name, []).append(known)
    lines = []
    for trained in rivals.values():
        kept, *rest = sorted(trained, key=lambda known: (known.id not in asked, known.rank, known.id))
        for known in rest:
            del best[known.id]
            asked.pop(known.id, None)  # nor is it missing
            lines.append(
                f"trial {known.id} left out: {known.row['variant']}, seed {known.row['seed']}, was trained"
                f" for another list of betas than trial {kept.id}, which is shown"
            )
    return lines


def _union(left: Sequence[str], right: Sequence[str]) -> tuple[str, ...]:
    return tuple(reading for reading in (*READINGS, OWN) if reading in left or reading in right)


def _fill(group: _Group, loaded: Sequence[Results]) -> None:
    section, members = group.section, group.members
    columns = [*loaded[0].trials.columns, "betas"]
    section.trials = pd.DataFrame([known.row for known in members], columns=columns)
    section.missing = pd.DataFrame(group.missing, columns=[*VARIES])
    done = (known for known in members if known.row["status"] == "done")
    rows = [known.row | {"trial": known.id, "source": known.source} for known in done]
    named = pd.DataFrame(rows, columns=["trial", *VARIES, "source", "beta_rate"])
    names = named.drop(columns="beta_rate")
    # A point has a beta of its own: a trial may give one at each of many.
    section.points = _rows_of(named.drop(columns="beta"), [results.points for results in loaded])
    if OWN in set(section.points["reading"]):
        section.readings = _union(section.readings, (OWN,))
    section.history = _rows_of(names, [results.history for results in loaded])
    section.images = _rows_of(names, [results.images for results in loaded])
    section.metrics = _rows_of(names, [results.metrics for results in loaded])
    section.per_image = _rows_of(names, [results.per_image for results in loaded])


def _rows_of(names: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of the named trials, each from the folder it was taken from, with the trial's names."""
    parts = []
    for source, table in enumerate(tables):
        named = names[names["source"] == source].drop(columns="source")
        bare = table.drop(columns=[name for name in VARIES if name in table.columns and name in named])
        parts.append(bare.merge(named, on="trial"))
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else parts[0]
