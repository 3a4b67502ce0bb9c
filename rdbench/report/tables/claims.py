"""The claims of Kim & Lee, "Beta-Sigma VAE", ICPR 2024, tested on the trials of a section."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pandas as pd

from rdbench.numerics.likelihood import READING_NAMES
from rdbench.report.numbers import interval, number, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.curves import finite_points, lowest_shares, mean_points
from rdbench.report.statistics.series import UNTESTED, Series, proxies, values_by_seed
from rdbench.report.tables.measured import keys, losses
from rdbench.report.tables.sources import data_remarks
from rdbench.report.tables.table import Cell, Column, Table, numbered
from rdbench.report.tables.table1 import published

OURS, CONSTANT = "bs_vae", "beta_vae"
NAMED = 5
"""Of the betas that decide a claim, so many are named, the closest calls first."""
PROXY = "fd_classifier"

Verdict = Literal["held", "did not hold", "not tested"]
Outcome = tuple[Verdict, str]

TOLD_APART = {True: "told apart by a t-test at 5%", False: "not distinguishable by a t-test at 5%",
              None: f"no test, {UNTESTED}"}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """One claim: what the paper says, what became of it, and the figures that decide or what is missing."""

    text: str
    verdict: Verdict
    figures: str


@dataclass(frozen=True)
class _Evidence:
    """What a claim is tested on: trials, and a quantity of theirs, named as in the claim.

    ``how`` it was measured, where others have its name; ``missing``: why it has no value at all.
    """

    section: Section
    noun: str
    series: Series
    how: str = ""
    missing: str = ""


def claims(section: Section) -> list[Claim]:
    """Return the paper's claims with their verdicts, which go by means over seeds.

    A stand-in for FID has lines of its own and never answers for FID. Empty where the section holds neither
    of the paper's variants.
    """
    present = {variant for variant, _ in keys(section)} & {OURS, CONSTANT}
    if not present:
        return []
    if section.dataset == "gaussian":
        untested = "the claims are about images, and this source is Gaussian"
    else:
        untested = "".join(f"{other} is not in these trials" for other in {OURS, CONSTANT} - present)
    elbo = Series("", "", "", "higher", values=values_by_seed(section, "elbo", "optimal"))
    likelihood = _Evidence(section, "test likelihood, at the optimal σ²,", elbo)
    evidence = {"likelihood": [likelihood], "distance": _distances(section)}
    results = []
    for text, quantity, predicate in CLAIMS:
        for measured in evidence[quantity]:
            claim = text.format(noun=measured.noun)
            if missing := untested or measured.missing:
                results.append(Claim(claim, "not tested", missing))
            else:
                verdict, figures = predicate(measured)
                results.append(Claim(claim, verdict, figures + measured.how))
    return results


def table(section: Section) -> Table | None:
    """Return the checklist; None where the section holds neither of the paper's variants."""
    results = claims(section)
    if not results:
        return None
    remarks = data_remarks(section) if section.dataset in published() else []
    data = section.dataset + (f" (not the paper's data: {'; '.join(remarks)})" if remarks else "")
    caption = (
        "What Kim & Lee (ICPR 2024) claim of BS-VAE (bs_vae) and constant variance (beta_vae), held against"
        f" these trials: {data}, protocol {section.protocol}. Verdicts go by means over seeds; the figures"
        " say where the seeds cannot tell two of them apart."
    )
    rows = tuple(
        (Cell(claim.text), Cell(claim.verdict, mark="warning" if claim.verdict == "did not hold" else ""),
         Cell(claim.figures)) for claim in results
    )  # fmt: skip
    columns = (Column("claim", kind="key"), Column("verdict", kind="text"), Column("figures", kind="text"))
    return Table("claims", "The paper's claims", caption, columns, rows)


def _distances(section: Section) -> list[_Evidence]:
    """Return FID, measured or not, then what stands in for it; each way of measuring by itself."""
    by_noun: dict[str, list[Series]] = {}
    for series in proxies(section):
        if series.metric in ("fid", PROXY):
            by_noun.setdefault(_noun(series), []).append(series)
    distances = []
    if "FID" not in by_noun:
        others = " and ".join(noun.rstrip(",") for noun in by_noun)
        missing = f"FID was not measured{f'; what was: {others}' if others else ''}"
        distances.append(_Evidence(section, "FID", Series("", "", "", "lower"), missing=missing))
    for noun in sorted(by_noun, key=lambda noun: noun != "FID"):
        ways = by_noun[noun]
        for name, series in zip(numbered([noun] * len(ways)), ways, strict=True):
            how = f"; measured with {series.how}" if len(ways) > 1 else ""
            missing = "" if series.values else next(iter(series.reasons.values()), "it has no value")
            distances.append(_Evidence(section, name, series, how, missing))
    return distances


def _noun(series: Series) -> str:
    if series.metric == PROXY:
        return f"{PROXY} distance, which is not FID,"
    return "FID" if series.title == "fid" else f"{series.title.replace('fid', 'FID', 1)},"


def _below_both(evidence: _Evidence) -> Outcome:
    """Compare BS-VAE's curve with both of constant variance, as Fig. 3 draws them: all means, joined."""
    points = evidence.section.points
    if not len(points):
        return "not tested", "no trial has points"

    def means(variant: str, reading: str) -> pd.DataFrame:
        every = mean_points(finite_points(points, "test", reading))
        return every[every["variant"] == variant].assign(variant=f"{variant}, {reading}")

    below: list[bool | None] = []
    figures: list[str] = []
    for reading in ("half", "beta_half", "optimal"):
        both = pd.concat([means(OURS, "optimal"), means(CONSTANT, reading)])
        compared = lowest_shares(both, "distortion", as_drawn=True)
        if compared is None:
            if reading != "optimal":
                figures.append(
                    f"{READING_NAMES[reading]}: there are not two curves that span rates in common"
                )
                below.append(None)
            continue
        share = 1 - compared.shares[f"{CONSTANT}, {reading}"]  # lower, not as low
        over = f"over {_percent(share)}"
        if reading == "optimal":
            # A variance fitted to each image lies below any constant one of the same error: that may decide.
            figures.append(f"and with both at the optimal σ², which no claim is about, {over}")
        else:
            rates = f"{number(compared.low)} to {number(compared.high)} nats"
            figures.append(f"{READING_NAMES[reading]}: below it {over} of the rates both span, {rates}")
            below.append(share == 1)
    verdict: Verdict = "did not hold" if False in below else "not tested" if None in below else "held"
    return verdict, "; ".join(figures)


def _percent(share: float) -> str:
    """Return a share in per cent: only all of it is 100%, only nothing 0%."""
    return f"{number(100 * (share if share in (0, 1) else min(0.999, max(0.001, share))), 1)}%"


def _better_at_each(evidence: _Evidence) -> Outcome:
    """Compare BS-VAE's distance with constant variance's at each beta that both have."""
    series, means = evidence.series, evidence.series.estimates
    betas = {name: {beta for variant, beta in means if variant == name} for name in (OURS, CONSTANT)}
    shared, single = betas[OURS] & betas[CONSTANT], betas[OURS] ^ betas[CONSTANT]
    rest = f"; not compared, as one of the two has no value: β = {_listed(single)}" if single else ""
    if not shared:
        return "not tested", f"there is no β at which both have a value{rest}"
    leads = {beta: means[CONSTANT, beta].mean - means[OURS, beta].mean for beta in shared}
    failed = {beta for beta in shared if not leads[beta] > 0}
    decisive = sorted(failed or shared, key=lambda beta: (abs(leads[beta]), beta))
    parts = [
        f"β = {plain(beta)}: {interval(means[OURS, beta])} against {interval(means[CONSTANT, beta])}"
        f" ({TOLD_APART[series.tells_apart((OURS, beta), (CONSTANT, beta))]})"
        for beta in sorted(decisive[:NAMED])
    ]
    more = f"; and {len(decisive) - NAMED} more" if len(decisive) > NAMED else ""
    head = f"better at {len(shared) - len(failed)} of {len(shared)} β"
    return "did not hold" if failed else "held", f"{head}; {'; '.join(parts)}{more}{rest}"


def _best_at(claimed: float, evidence: _Evidence) -> Outcome:
    """Tell whether BS-VAE's best mean is at the claimed beta, of the paper's: among many more betas, often of
    one seed each, the luckiest trial would decide.
    """
    series = evidence.series
    every = {beta: mean for (variant, beta), mean in series.estimates.items() if variant == OURS}
    means = {beta: mean for beta, mean in every.items() if _in_table_1(beta)}
    lost = losses(evidence.section)
    gone = {
        beta: series.reasons.get((OURS, beta)) or lost.get((OURS, beta)) or "not measured"
        for variant, beta in keys(evidence.section)
        if variant == OURS and beta not in means and _in_table_1(beta)
    }
    ours = next((beta for beta in (*means, *gone) if math.isclose(beta, claimed, rel_tol=1e-9)), None)
    if ours is None:
        return "not tested", f"β = {plain(claimed)} is not in the sweep"
    if ours in gone:
        return "not tested", f"β = {plain(claimed)} has no value ({gone[ours]})"
    if len(means) < 2:
        figures = f"of the β of Table 1 only {plain(claimed)} has a value, and a single β has no best"
        return "not tested", figures
    sign = 1 if series.better == "higher" else -1

    def rank(beta: float) -> tuple[float, float]:
        return sign * every[beta].mean, -beta

    rival = max((beta for beta in means if beta != ours), key=rank)
    apart = TOLD_APART[series.tells_apart((OURS, ours), (OURS, rival))]
    here, there = (f"β = {plain(beta)}: {interval(means[beta])}" for beta in (ours, rival))
    held = sign * (means[ours].mean - means[rival].mean) > 0
    figures = f"best {here}, next {there}" if held else f"best {there}, while {here}"
    rest = f"; no value at β = {_listed(gone)}" if gone else ""
    top = max(every, key=rank)
    if top not in means:
        rest += f"; not of Table 1, β = {plain(top)} has {interval(every[top])}"
    return "held" if held else "did not hold", f"{figures} ({apart}), of {len(means)} β of Table 1{rest}"


def _in_table_1(beta: float) -> bool:
    return any(math.isclose(beta, other, rel_tol=1e-9) for rows in published().values() for _, other in rows)


def _listed(betas: Iterable[float]) -> str:
    return ", ".join(map(plain, sorted(betas)))


CLAIMS: tuple[tuple[str, str, Callable[[_Evidence], Outcome]], ...] = (
    ("BS-VAE, at the optimal σ², lies below both constant readings at every rate.",
     "likelihood", _below_both),
    ("At equal β BS-VAE has the better {noun} than constant variance, at every β.",
     "distance", _better_at_each),
    ("BS-VAE has its best {noun} at β = 1, of the β of Table 1.", "likelihood", partial(_best_at, 1)),
    ("BS-VAE has its best {noun} at β = 10, of the β of Table 1.", "distance", partial(_best_at, 10)),
)  # fmt: skip
"""What is claimed, of which quantity ({noun}; a line for each way of measuring it), and what decides it."""
