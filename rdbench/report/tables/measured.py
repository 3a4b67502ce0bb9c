"""From a section's rows to the report's tables and sentences; no HTML here."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from rdbench.numerics.likelihood import FITTED, LIKELIHOOD, OWN, READING_NAMES
from rdbench.report.numbers import ABSENT, count, plain
from rdbench.report.once import once
from rdbench.report.sections import VARIES, Section, records
from rdbench.report.statistics import series
from rdbench.report.statistics.series import (
    BETA_HALF,
    Key,
    Series,
    beta_half,
    proxies,
    remarks,
    values_by_seed,
)
from rdbench.report.statistics.weights import weights
from rdbench.report.tables.bold import MARKED, marked_cell
from rdbench.report.tables.table import Cell, Column, Table, numbered, texts

POINT_COLUMNS = (
    ("test ELBO", "test", "elbo"), ("train ELBO", "train", "elbo"), ("test rate", "test", "rate"),
    ("test distortion", "test", "distortion"), ("test MSE", "test", "mse"),
    ("test PSNR of the MSE, dB", "test", "psnr_of_mse"),
    ("test bits/dim of the density", "test", "density_bits_per_dim"),
)  # fmt: skip
"""Columns of a reading's table of points: heading, split, measure."""

NO_OWN = "has no likelihood of its own"

BINNED = (("test bits/dim of 8-bit pixels", "test", "binned_bits_per_dim"),)
"""Under the reading whose variance it is measured at."""

PSNR = (
    " PSNR is that of the mean squared error over images, each at one sample of q(z|x), unclipped. The mean"
    " of the images' PSNR, which is higher, is the metric reconstruction's. Its psnr is at a sample, its"
    " psnr_at_mean at the mean of q(z|x), as most papers have it."
)

PIXELS = (
    " Bits/dim are those of a density, which may be negative. Those of 8-bit pixels are of the same Gaussian,"
    " integrated over the bins of the 256 levels. They compare with a file."
)

_OF_PIXELS = "defined for images in [0, 1] only"
ABSENT_BECAUSE = {
    "psnr_of_mse": _OF_PIXELS,
    "density_bits_per_dim": _OF_PIXELS,
    "binned_bits_per_dim": "not measured: it is of images as stored in 8 bits, by this version or later",
}

BOUNDS = " ≥ and ≤: a number known as a bound only, so without an interval; a note says why."

WITHOUT_ERROR = {"done": "its table of points is not there or cannot be read"}

LONG = 24
"""Rows from which on a table starts folded."""

KEYS = (Column("variant", kind="key"), Column("β", kind="key"))


@once
def keys(section: Section) -> list[Key]:
    """Return every (variant, beta) that was trained or asked for, sorted."""
    keys = set(asked(section))
    if len(section.points):
        pairs = section.points[["variant", "beta"]].drop_duplicates()
        keys |= set(zip(pairs["variant"].tolist(), pairs["beta"].tolist(), strict=True))
    return sorted(keys)


def trials_asked_for(section: Section) -> Iterator[tuple[Key, int, str]]:
    """Yield (variant, beta), seed and status of each trial; one of many betas comes at each of them."""
    trials, missing = section.trials, section.missing
    columns = [trials[name].tolist() if len(trials) else [] for name in (*VARIES, "status")]
    curves = trials["betas"].tolist() if "betas" in trials else [None] * len(trials)
    for variant, beta, seed, status, betas in zip(*columns, curves, strict=True):
        for value in betas if isinstance(betas, list) else [beta]:
            yield (variant, value), int(seed), str(status)
    for variant, beta, seed in zip(*(missing[name].tolist() for name in VARIES if len(missing)), strict=True):
        yield (variant, beta), int(seed), "not trained yet"


@once
def asked(section: Section) -> dict[Key, set[int]]:
    """Return the seeds that were trained or asked for at each (variant, beta)."""
    seeds: dict[Key, set[int]] = {}
    for key, seed, _ in trials_asked_for(section):
        seeds.setdefault(key, set()).add(seed)
    return seeds


@once
def losses(section: Section) -> dict[Key, str]:
    """Return, by (variant, beta), what keeps it from all its seeds: "2 diverged, 1 not trained yet"."""
    lost: dict[Key, Counter[str]] = {}
    for key, _, status in trials_asked_for(section):
        if status != "done":
            lost.setdefault(key, Counter())[status] += 1
    return {
        key: ", ".join(f"{amount} {what}" for what, amount in sorted(counts.items()))
        for key, counts in lost.items()
    }


def most_seeds(columns: Iterable[Series]) -> int:
    """Return the largest number of seeds that a mean of some columns rests on; 0 without a mean."""
    return max((mean.n for series in columns for mean in series.estimates.values()), default=0)


def over_seeds(columns: Iterable[Series]) -> str:
    """Say what an interval in these columns stands for, given how many seeds their cells have."""
    counts = {mean.n for series in columns for mean in series.estimates.values()}
    if not counts:
        return "No value yet; each cell says why."
    if counts == {1}:
        return "n = 1: one training a cell, so there is no interval over seeds."
    fewer = "; a cell of fewer says so" if len(counts) > 1 else ""
    return f"Mean ± 95% t-interval over n = {max(counts)} seeds{fewer}."


def key_cells(key: Key) -> tuple[Cell, Cell]:
    """Return the cells of the columns :data:`KEYS`."""
    return Cell(key[0]), Cell(plain(key[1]))


def rows_by_key(
    rows: Iterable[Key], columns: Sequence[Series], why: Callable[[Series, Key], tuple[str, str]]
) -> list[tuple[Cell, ...]]:
    """Return a row a (variant, beta) of the columns' means; ``why`` gives a cell's (absent, lost)."""
    most = most_seeds(columns)
    return [
        (*key_cells(key), *(marked_cell(column, key, *why(column, key), most=most) for column in columns))
        for key in rows
    ]


def lost_at(key: Key, column: Series, lost: dict[Key, str], beside: Iterable[Series]) -> str:
    """Return what lost a cell its seeds: nothing where the columns beside it were measured and it was not."""
    measured = any(key in other.values for other in beside)
    return "" if measured and key not in column.values else lost.get(key, "")


def elbo(section: Section) -> Table:
    """Return the table of test ELBO (nats per image) by beta, reading and variant.

    Values under different readings are bounds on different likelihoods and are not compared.
    """
    asked_for, lost = set(keys(section)), losses(section)
    columns = [series.elbo(section, reading) for reading in section.readings]
    most = most_seeds(columns)
    native = set()
    if len(section.points):
        rows = section.points[section.points["native"].astype(bool)]
        native = set(zip(rows["reading"], rows["variant"], strict=True))
    variants = sorted({name for name, _ in asked_for})
    heads = [(column, name) for column in columns for name in variants if name not in column.silent]

    def cell(column: Series, key: Key) -> Cell:
        if key not in asked_for:
            return Cell(ABSENT, "not asked for")
        return marked_cell(column, key, NO_OWN if column.reading == OWN else "", lost.get(key, ""), most=most)

    method = (
        f"A lower bound of log p(x), given the σ² of the reading. {MARKED} Each reading by itself. Native:"
        " the reading whose distortion the variant's loss minimises, up to constants."
    )
    if LIKELIHOOD in section.readings:
        method += (
            f" {READING_NAMES[LIKELIHOOD]}: one number, their mean squared error. It is the likelihood to"
            " compare variants by, as it is fitted to no test image."
        )
    if any(reading in FITTED for reading in section.readings):
        method += (
            " An optimal σ² that is fitted to the images it scores is the likelihood of no model. One for all"
            " of them bounds every constant σ² from above in the mean. One for each image bounds it image by"
            " image."
        )
    method += (
        " A row is one β, which is not one weight w = 2σ²β of the rate. The table at equal weight has that"
        f" comparison.{beta_half(section)}"
    )
    betas = sorted({beta for _, beta in asked_for})
    badges = ["native" if (column.reading, variant) in native else "" for column, variant in heads]
    return Table(
        "test_elbo", "Test ELBO by reading", f"Nats per image, higher is better. {over_seeds(columns)}",
        (Column("β", kind="key"), *(Column(variant, READING_NAMES[column.reading], badge=badge)
                                    for (column, variant), badge in zip(heads, badges, strict=True))),
        tuple((Cell(plain(beta)), *(cell(column, (variant, beta)) for column, variant in heads))
              for beta in betas),
        method=method, folded=len(betas) >= LONG,
    )  # fmt: skip


def points(section: Section, reading: str) -> Table | None:
    """Return the points under a reading: ELBO, rate, distortion and errors, a row a (variant, beta); None
    where it says nothing of any variant.
    """
    found, unknown = weights(section)
    columns = [
        Series("weight", "w = 2σ²β", "", None, values=found, reasons=unknown),
        *(Series(measure, heading, "", None, values=values_by_seed(section, measure, reading, split))
          for heading, split, measure in (*POINT_COLUMNS, *(BINNED if reading == LIKELIHOOD else ()))),
    ]  # fmt: skip
    lost, silent = losses(section), series.not_compared_under(section, reading)

    def why(column: Series, key: Key) -> tuple[str, str]:
        absent = NO_OWN if reading == OWN else ABSENT_BECAUSE.get(column.name, "")
        absent = column.reasons.get(key, absent)
        return absent, lost_at(key, column, lost, columns)

    rows = rows_by_key([key for key in keys(section) if key[0] not in silent], columns, why)
    if not rows:
        return None
    method = (
        "w is the effective weight, with σ² of the native reading as the training ended, whatever the reading"
        f" of the table.{PSNR}{PIXELS if reading == LIKELIHOOD else ''}{f' {BETA_HALF}' if silent else ''}"
    )
    caption = f"ELBO, rate and distortion in nats per image. {over_seeds(columns)}"
    heads = (*KEYS, *(Column(column.title) for column in columns))
    return Table(f"measured_{reading}", READING_NAMES[reading], caption, heads, tuple(rows), method=method,
                 folded=True)  # fmt: skip


def proxy_metrics(section: Section) -> Table | None:
    """Return the proxy metrics, a column a way of measuring; None where there is none.

    A value that could not be measured shows the last line of its reason.
    """
    columns = proxies(section)
    if not columns:
        return None
    heads = numbered([column.title for column in columns])

    def why(column: Series, key: Key) -> tuple[str, str]:
        # A seed without this metric beside seeds with it: its reason is worth knowing too.
        lost = column.reasons.get(key, "") if key in column.values else ""
        return column.reasons.get(key, NO_OWN if column.reading == OWN else "not measured"), lost

    shown = sorted({key for column in columns for key in (*column.values, *column.reasons)})
    rows = rows_by_key(shown, columns, why)
    notes = [
        f"{head}: {', '.join(filter(None, (column.better and f'{column.better} is better', column.how)))}"
        for head, column in zip(heads, columns, strict=True)
    ]
    method = (
        "A column holds only what was measured in the same way, which the list tells."
        f" {MARKED}{BOUNDS if any(column.signs for column in columns) else ''}"
    )
    return Table(
        "proxy_metrics", "Proxy metrics", over_seeds(columns), (*KEYS, *map(Column, heads)), tuple(rows),
        (*notes, *(f"Note. {line}" for line in remarks(section))), method=method, folded=len(rows) >= LONG,
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
    title, caption = (
        f"{count(len(rows), 'trial')} without a result",
        "They have no place in any curve or mean.",
    )
    return Table("failures", title, caption, columns, tuple(rows), folded=len(rows) >= LONG)


def _prose(text: str) -> Cell:
    """Return a cell of prose; of a long or many-lined one the last line is the summary."""
    if len(text) <= 300 and "\n" not in text:
        return Cell(text)
    last = text.strip().splitlines()[-1]
    return Cell(last if len(last) <= 200 else f"{last[:199]}…", long=text)


def missing_trials(section: Section) -> Table | None:
    """Return the trials that the sweep asks for and lacks; None where it has all."""
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
    amounts = dict(sorted(Counter(section.trials["status"]).items()))
    amounts |= {"not trained yet": len(section.missing)} if len(section.missing) else {}
    total, done = count(sum(amounts.values()), "training"), amounts.pop("done", 0)
    parts = [f"{done:,} of {total} done", *(f"{amount:,} {what}" for what, amount in amounts.items())]
    return ", ".join(parts)
