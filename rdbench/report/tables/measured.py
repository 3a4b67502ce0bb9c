"""From a section's rows to the report's tables and sentences; no HTML here."""

from collections import Counter
from collections.abc import Iterator

from rdbench.numerics.likelihood import OWN
from rdbench.report.numbers import ABSENT, Estimate, count, interval, plain
from rdbench.report.sections import VARIES, Section, records
from rdbench.report.statistics import series
from rdbench.report.statistics.curves import estimate
from rdbench.report.statistics.series import (
    BETA_HALF,
    READING_NAMES,
    Key,
    Series,
    of_points,
    proxies,
    remarks,
)
from rdbench.report.tables.table import Cell, Column, Mark, Table, estimate_cell, texts

DETAILS = (
    ("test ELBO", "test", "elbo"),
    ("train ELBO", "train", "elbo"),
    ("test rate", "test", "rate"),
    ("test distortion", "test", "distortion"),
    ("test MSE", "test", "mse"),
    ("test PSNR, dB", "test", "psnr"),
    ("test bits/dim", "test", "bits_per_dim"),
)
"""Columns of a reading's table of details: heading, split, measure."""

NO_OWN = "has no likelihood of its own"

ABSENT_BECAUSE = dict.fromkeys(("psnr", "bits_per_dim"), "defined for images in [0, 1] only")

WITHOUT_ERROR = {"done": "its table of points is not there or cannot be read"}

LONG = 24
"""Rows from which on a table starts folded."""

KEYS = (Column("variant", kind="key"), Column("β", kind="key"))

MARKED = (
    "Bold: the best mean. ≈: not distinguishable from it over seeds (t-test at 5%, paired where the seeds"
    " are the same, else Welch's; with a single seed, or seeds that do not differ, nothing is known of the"
    " spread, and nothing is marked)."
)


def keys(section: Section) -> list[Key]:
    """Return every (variant, beta) that was trained or asked for, sorted."""
    found = {key for key, _, _ in of_trials(section)}
    for frame in (section.missing, section.points):
        if len(frame):
            own = frame[["variant", "beta"]].drop_duplicates()
            found |= set(zip(own["variant"].tolist(), own["beta"].tolist(), strict=True))
    return sorted(found)


def of_trials(section: Section) -> Iterator[tuple[Key, int, str]]:
    """Yield (variant, beta), seed and status of each trial; one of many betas comes at each of them."""
    trials = section.trials
    if not len(trials):
        return
    columns = [trials[name].tolist() for name in ("variant", "beta", "seed", "status")]
    betas = trials["betas"].tolist() if "betas" in trials else [None] * len(trials)
    for variant, beta, seed, status, many in zip(*columns, betas, strict=True):
        for own in many if isinstance(many, list) else [beta]:
            yield (variant, own), int(seed), str(status)


def asked(section: Section) -> dict[Key, set[int]]:
    """Return the seeds that were trained or asked for at each (variant, beta)."""
    found: dict[Key, set[int]] = {}
    for key, seed, _ in of_trials(section):
        found.setdefault(key, set()).add(seed)
    for row in records(section.missing):
        found.setdefault((row["variant"], row["beta"]), set()).add(int(row["seed"]))
    return found


def losses(section: Section) -> dict[Key, str]:
    """Return, by (variant, beta), what keeps it from all its seeds: "2 diverged, 1 missing"."""
    found: dict[Key, Counter[str]] = {}
    for key, _, status in of_trials(section):
        if status != "done":
            found.setdefault(key, Counter())[status] += 1
    for variant, beta in zip(section.missing["variant"], section.missing["beta"], strict=True):
        found.setdefault((variant, beta), Counter())["not trained yet"] += 1
    return {
        key: ", ".join(f"{amount} {what}" for what, amount in sorted(counter.items()))
        for key, counter in found.items()
    }


def mark(own: Series, key: Key) -> Mark:
    """Tell whether a (variant, beta) is the best of a series, or not distinguishable from it."""
    top = own.top
    if top is None or key not in own.values or key[0] in own.silent:
        return ""
    if own.estimates[key].mean == own.estimates[top].mean:
        return "best"
    return "close" if own.tells_apart(key, top) is False else ""


def over_seeds(numbers: set[int]) -> str:
    """Say what an interval in a table stands for, given how many seeds its cells have."""
    if not numbers:
        return "No value yet; each cell says why."
    if numbers == {1}:
        return "n = 1: one training a cell, so there is no interval over seeds."
    if len(numbers) == 1:
        return f"Mean ± 95% t-interval over n = {min(numbers)} seeds."
    return "Mean ± 95% t-interval over the n seeds a cell names, the value alone where n = 1."


def elbo(section: Section) -> Table:
    """Return the table of test ELBO (nats per image) by beta, reading and variant.

    Values under different readings are bounds on different likelihoods and are not compared.
    """
    every = set(keys(section))
    variants = sorted({variant for variant, _ in every})
    lost = losses(section)
    found = {reading: series.elbo(section, reading) for reading in section.readings}
    seeds = {value.n for each in found.values() for value in each.estimates.values()}
    native = set()
    if len(section.points):
        own = section.points[section.points["native"].astype(bool)]
        native = set(zip(own["reading"], own["variant"], strict=True))
    heads = [(reading, variant) for reading in section.readings for variant in variants]
    columns = [
        Column(variant, READING_NAMES[reading], badge="native" if (reading, variant) in native else "")
        for reading, variant in heads
    ]

    def cell(reading: str, key: Key) -> Cell:
        if key not in every:
            return Cell(ABSENT, "not asked for")
        return estimate_cell(
            found[reading].estimates.get(key),
            lost=lost.get(key, ""),
            absent=NO_OWN if reading == OWN else "",
            mark=mark(found[reading], key),
            show_n=len(seeds) > 1,
        )

    betas = sorted({beta for _, beta in every})
    rows = [
        (Cell(plain(beta)), *(cell(reading, (variant, beta)) for reading, variant in heads)) for beta in betas
    ]
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
    if any(each.silent for each in found.values()):
        caption += f" {BETA_HALF}"
    head = Column("β", kind="key")
    return Table("test_elbo", "Test ELBO", caption, (head, *columns), tuple(rows), folded=len(rows) >= LONG)


def everything(section: Section, reading: str) -> Table:
    """Return everything measured under a reading, a row a (variant, beta)."""
    columns = [
        {
            key: estimate(list(own.values()))
            for key, own in of_points(section, measure, reading, split).items()
        }
        for _, split, measure in DETAILS
    ]
    seeds = {value.n for values in columns for value in values.values() if value is not None}
    lost = losses(section)
    rows = []
    for key in keys(section):
        measured = any(key in values for values in columns)
        cells = [
            estimate_cell(
                values.get(key),
                # Where the others were measured, a lost seed is not why this one was not.
                lost="" if measured and key not in values else lost.get(key, ""),
                show_n=len(seeds) > 1,
                absent=NO_OWN if reading == OWN else ABSENT_BECAUSE.get(measure, ""),
            )
            for values, (_, _, measure) in zip(columns, DETAILS, strict=True)
        ]
        rows.append((Cell(key[0]), Cell(plain(key[1])), *cells))
    caption = f"ELBO, rate and distortion in nats per image. {over_seeds(seeds)}"
    heads = (*KEYS, *(Column(heading) for heading, _, _ in DETAILS))
    return Table(f"measured_{reading}", READING_NAMES[reading], caption, heads, tuple(rows), folded=True)


def proxy_metrics(section: Section) -> Table | None:
    """Return the proxy metrics, a column a way of measuring; None where there is none.

    A value that could not be measured shows the last line of its reason.
    """
    found = proxies(section)
    if not found:
        return None
    titles = Counter(each.title for each in found)
    seen: Counter[str] = Counter()
    columns = []
    for each in found:
        seen[each.title] += 1
        columns.append(f"{each.title} ({seen[each.title]})" if titles[each.title] > 1 else each.title)
    estimates = [each.estimates for each in found]
    seeds = {value.n for own in estimates for value in own.values()}
    rows = []
    for key in sorted({key for each in found for key in (*each.values, *each.reasons)}):
        cells = [
            estimate_cell(
                own.get(key),
                absent=each.reasons.get(key, "not measured"),
                # A seed without this metric beside seeds with it: its reason is worth knowing too.
                lost=each.reasons.get(key, "") if key in own else "",
                mark=mark(each, key),
                show_n=len(seeds) > 1,
            )
            for each, own in zip(found, estimates, strict=True)
        ]
        rows.append((Cell(key[0]), Cell(plain(key[1])), *cells))
    arrows = {"higher": "higher is better", "lower": "lower is better"}
    notes = [
        f"{column}: {', '.join(filter(None, (arrows.get(each.better or ''), each.how)))}"
        for column, each in zip(columns, found, strict=True)
    ]
    caption = (
        "A column holds only what was measured in the same way, which the list below it tells."
        f" {over_seeds(seeds)} {MARKED}"
    )
    return Table(
        "proxy_metrics",
        "Proxy metrics",
        caption,
        (*KEYS, *map(Column, columns)),
        tuple(rows),
        (*notes, *(f"Note. {line}" for line in remarks(section))),
        folded=len(rows) >= LONG,
    )


def failures(section: Section) -> Table | None:
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


def missing(section: Section) -> Table | None:
    """Return the trials the sweep asked for that are not there; None where all are."""
    seeds: dict[Key, list[int]] = {}
    for variant, beta, seed in sorted(zip(*(section.missing[name] for name in VARIES), strict=True)):
        seeds.setdefault((variant, beta), []).append(seed)
    if not seeds:
        return None
    rows = [texts((key[0], plain(key[1]), ", ".join(map(str, own)))) for key, own in seeds.items()]
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
        own = series.elbo(section, reading)
        if (top := own.best()) is not None:
            value = own.estimates[top]
            mean = interval(value).partition(" ±")[0]
            sentences.append(
                f"{READING_NAMES[reading]}: best test ELBO {mean} nats per image,"
                f" {top[0]} at β = {plain(top[1])} ({of_seeds(value)})."
            )
    return sentences
