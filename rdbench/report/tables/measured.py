"""From a section's rows to the report's tables and sentences; no HTML here."""

from collections import Counter
from collections.abc import Iterable, Iterator

from rdbench.numerics.likelihood import OWN
from rdbench.report.numbers import ABSENT, Estimate, count, interval, plain
from rdbench.report.sections import VARIES, Section, records
from rdbench.report.statistics import series
from rdbench.report.statistics.series import (
    BETA_HALF,
    READING_NAMES,
    Key,
    Series,
    of_points,
    proxies,
    remarks,
)
from rdbench.report.tables.bold import MARKED, marked_cell
from rdbench.report.tables.table import Cell, Column, Table, numbered, texts

POINT_COLUMNS = (
    ("test ELBO", "test", "elbo"),
    ("train ELBO", "train", "elbo"),
    ("test rate", "test", "rate"),
    ("test distortion", "test", "distortion"),
    ("test MSE", "test", "mse"),
    ("test PSNR, dB", "test", "psnr"),
    ("test bits/dim", "test", "bits_per_dim"),
)
"""Columns of a reading's table of points: heading, split, measure."""

NO_OWN = "has no likelihood of its own"

ABSENT_BECAUSE = dict.fromkeys(("psnr", "bits_per_dim"), "defined for images in [0, 1] only")

WITHOUT_ERROR = {"done": "its table of points is not there or cannot be read"}

LONG = 24
"""Rows from which on a table starts folded."""

KEYS = (Column("variant", kind="key"), Column("β", kind="key"))


def key_cells(key: Key) -> tuple[Cell, Cell]:
    """Return the cells of the columns :data:`KEYS`."""
    return Cell(key[0]), Cell(plain(key[1]))


def keys(section: Section) -> list[Key]:
    """Return every (variant, beta) that was trained or asked for, sorted."""
    found = set(asked(section))
    if len(section.points):
        rows = section.points[["variant", "beta"]].drop_duplicates()
        found |= set(zip(rows["variant"].tolist(), rows["beta"].tolist(), strict=True))
    return sorted(found)


def of_trials(section: Section) -> Iterator[tuple[Key, int, str]]:
    """Yield (variant, beta), seed and status of each trial; one of many betas comes at each of them."""
    trials = section.trials
    if not len(trials):
        return
    columns = [trials[name].tolist() for name in ("variant", "beta", "seed", "status")]
    curves = trials["betas"].tolist() if "betas" in trials else [None] * len(trials)
    for variant, beta, seed, status, betas in zip(*columns, curves, strict=True):
        for each in betas if isinstance(betas, list) else [beta]:
            yield (variant, each), int(seed), str(status)


def asked(section: Section) -> dict[Key, set[int]]:
    """Return the seeds that were trained or asked for at each (variant, beta)."""
    seeds: dict[Key, set[int]] = {}
    for key, seed, _ in of_trials(section):
        seeds.setdefault(key, set()).add(seed)
    for row in records(section.missing):
        seeds.setdefault((row["variant"], row["beta"]), set()).add(int(row["seed"]))
    return seeds


def losses(section: Section) -> dict[Key, str]:
    """Return, by (variant, beta), what keeps it from all its seeds: "2 diverged, 1 missing"."""
    lost: dict[Key, Counter[str]] = {}
    for key, _, status in of_trials(section):
        if status != "done":
            lost.setdefault(key, Counter())[status] += 1
    for variant, beta in zip(section.missing["variant"], section.missing["beta"], strict=True):
        lost.setdefault((variant, beta), Counter())["not trained yet"] += 1
    return {
        key: ", ".join(f"{amount} {what}" for what, amount in sorted(counts.items()))
        for key, counts in lost.items()
    }


def seed_counts(columns: Iterable[Series]) -> set[int]:
    """Return the numbers of seeds that the means of some columns rest on."""
    return {mean.n for series in columns for mean in series.estimates.values()}


def over_seeds(counts: set[int]) -> str:
    """Say what an interval in a table stands for, given how many seeds its cells have."""
    if not counts:
        return "No value yet; each cell says why."
    if counts == {1}:
        return "n = 1: one training a cell, so there is no interval over seeds."
    if len(counts) == 1:
        return f"Mean ± 95% t-interval over n = {min(counts)} seeds."
    return "Mean ± 95% t-interval over the n seeds a cell names, the value alone where n = 1."


def elbo(section: Section) -> Table:
    """Return the table of test ELBO (nats per image) by beta, reading and variant.

    Values under different readings are bounds on different likelihoods and are not compared.
    """
    asked_for = set(keys(section))
    variants = sorted({variant for variant, _ in asked_for})
    lost = losses(section)
    columns = {reading: series.elbo(section, reading) for reading in section.readings}
    seeds = seed_counts(columns.values())
    native = set()
    if len(section.points):
        rows = section.points[section.points["native"].astype(bool)]
        native = set(zip(rows["reading"], rows["variant"], strict=True))
    heads = [(reading, variant) for reading in section.readings for variant in variants]

    def cell(reading: str, key: Key) -> Cell:
        if key not in asked_for:
            return Cell(ABSENT, "not asked for")
        absent = NO_OWN if reading == OWN else ""
        return marked_cell(
            columns[reading], key, absent=absent, lost=lost.get(key, ""), show_n=len(seeds) > 1
        )

    caption = (
        "Nats per image, higher is better: a lower bound of log p(x), given the σ² of the reading."
        f" {over_seeds(seeds)} {MARKED} Each reading by itself. Native: the reading whose distortion the"
        " variant's loss minimises, up to constants."
    )
    if any(reading.startswith("optimal") for reading in section.readings):
        caption += (
            " An optimal σ² is fitted to the split it scores: one number for all its images, which a model"
            " could have, or one for each image, which no one model has; the latter bounds every constant σ²"
            " from above."
        )
    if any(column.silent for column in columns.values()):
        caption += f" {BETA_HALF}"
    betas = sorted({beta for _, beta in asked_for})
    return Table(
        "test_elbo", "Test ELBO", caption,
        (Column("β", kind="key"), *(Column(variant, READING_NAMES[reading],
                                           badge="native" if (reading, variant) in native else "")
                                    for reading, variant in heads)),
        tuple((Cell(plain(beta)), *(cell(reading, (variant, beta)) for reading, variant in heads))
              for beta in betas),
        folded=len(betas) >= LONG,
    )  # fmt: skip


def points(section: Section, reading: str) -> Table:
    """Return the points under a reading: ELBO, rate, distortion and errors, a row a (variant, beta)."""
    columns = [
        (measure, Series(measure, heading, "", None, values=of_points(section, measure, reading, split)))
        for heading, split, measure in POINT_COLUMNS
    ]
    seeds = seed_counts(column for _, column in columns)
    lost = losses(section)
    rows = []
    for key in keys(section):
        measured = any(key in column.values for _, column in columns)
        cells = [
            marked_cell(
                column,
                key,
                # Where the others were measured, a lost seed is not why this one was not.
                lost="" if measured and key not in column.values else lost.get(key, ""),
                absent=NO_OWN if reading == OWN else ABSENT_BECAUSE.get(measure, ""),
                show_n=len(seeds) > 1,
            )
            for measure, column in columns
        ]
        rows.append((*key_cells(key), *cells))
    caption = f"ELBO, rate and distortion in nats per image. {over_seeds(seeds)}"
    heads = (*KEYS, *(Column(column.title) for _, column in columns))
    return Table(f"measured_{reading}", READING_NAMES[reading], caption, heads, tuple(rows), folded=True)


def proxy_metrics(section: Section) -> Table | None:
    """Return the proxy metrics, a column a way of measuring; None where there is none.

    A value that could not be measured shows the last line of its reason.
    """
    columns = proxies(section)
    if not columns:
        return None
    heads = numbered([column.title for column in columns])
    seeds = seed_counts(columns)

    def cell(column: Series, key: Key) -> Cell:
        reason = column.reasons.get(key)
        # A seed without this metric beside seeds with it: its reason is worth knowing too.
        lost = reason or "" if key in column.values else ""
        return marked_cell(
            column,
            key,
            absent="not measured" if reason is None else reason,
            lost=lost,
            show_n=len(seeds) > 1,
        )

    rows = [
        (*key_cells(key), *(cell(column, key) for column in columns))
        for key in sorted({key for column in columns for key in (*column.values, *column.reasons)})
    ]
    notes = [
        f"{head}: {', '.join(filter(None, (column.better and f'{column.better} is better', column.how)))}"
        for head, column in zip(heads, columns, strict=True)
    ]
    caption = (
        "A column holds only what was measured in the same way, which the list below it tells."
        f" {over_seeds(seeds)} {MARKED}"
    )
    return Table(
        "proxy_metrics", "Proxy metrics", caption, (*KEYS, *map(Column, heads)), tuple(rows),
        (*notes, *(f"Note. {line}" for line in remarks(section))), folded=len(rows) >= LONG,
    )  # fmt: skip


def failed_trials(section: Section) -> Table | None:
    """Return every trial without points, and why; None where there is none.

    A finished trial whose points cannot be read is among them: it has no place in any curve either.
    """
    trials = section.trials
    with_points = set(section.points["trial"]) if len(section.points) else set()
    bad = trials[(trials["status"] != "done") | ~trials["trial"].isin(with_points)]
    rows = []
    for row in records(bad.sort_values(["variant", "beta", "seed"])):
        status = str(row["status"])
        error = row["error"] if isinstance(row["error"], str) and row["error"].strip() else None
        reason = error or WITHOUT_ERROR.get(status, "no reason was recorded")
        names = texts((row["variant"], plain(row["beta"]), str(row["seed"]), status))
        rows.append((*names, _prose(reason), Cell(row["trial"])))
    if not rows:
        return None
    columns = (*KEYS, Column("seed"), Column("status"), Column("reason", kind="text"), Column("trial"))
    caption = "They have no place in any curve or mean."
    title = f"{count(len(rows), 'trial')} without a result"
    return Table("failures", title, caption, columns, tuple(rows), folded=len(rows) >= LONG)


def _prose(text: str) -> Cell:
    """Return a cell of prose; of a long or many-lined one the last line is the summary."""
    if len(text) <= 300 and "\n" not in text:
        return Cell(text)
    last = text.strip().splitlines()[-1]
    return Cell(last if len(last) <= 200 else f"{last[:199]}…", long=text)


def missing_trials(section: Section) -> Table | None:
    """Return the trials the sweep asked for that are not there; None where all are."""
    seeds: dict[Key, list[int]] = {}
    for variant, beta, seed in sorted(zip(*(section.missing[name] for name in VARIES), strict=True)):
        seeds.setdefault((variant, beta), []).append(seed)
    if not seeds:
        return None
    rows = [(*key_cells(key), Cell(", ".join(map(str, values)))) for key, values in seeds.items()]
    title = f"{count(len(section.missing), 'trial')} not trained yet"
    caption = (
        "The sweep asks for them and there is no row of theirs; running it again trains what is missing."
    )
    columns = (*KEYS, Column("seeds", kind="text"))
    return Table("missing", title, caption, columns, tuple(rows), folded=len(rows) > 12)


def progress(section: Section) -> str:
    """Say how many trainings were asked for and what became of them."""
    amounts = Counter(section.trials["status"])
    done = amounts.pop("done", 0)
    total = len(section.trials) + len(section.missing)
    parts = [f"{done:,} of {count(total, 'training')} done"]
    parts += [f"{amount:,} {status}" for status, amount in sorted(amounts.items())]
    if len(section.missing):
        parts.append(f"{len(section.missing):,} not trained yet")
    return ", ".join(parts)


def of_seeds(value: Estimate) -> str:
    """Say what an estimate rests on."""
    if value.half_width is None:
        return "one training, n = 1"
    return f"mean of {value.n} seeds, 95% interval ± {interval(value).rpartition('± ')[2]}"


def findings(section: Section) -> list[str]:
    """Return one sentence a reading: which variant and beta has the best test ELBO, and its value.

    None where no variant has a value that the reading says something of.
    """
    sentences = []
    for reading in section.readings:
        elbos = series.elbo(section, reading)
        if (top := elbos.top) is not None:
            value = elbos.estimates[top]
            mean = interval(value).partition(" ±")[0]
            sentences.append(
                f"{READING_NAMES[reading]}: best test ELBO {mean} nats per image,"
                f" {top[0]} at β = {plain(top[1])} ({of_seeds(value)})."
            )
    return sentences
