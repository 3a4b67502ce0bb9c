"""What Kim & Lee, "Beta-Sigma VAE", ICPR 2024, claim, held against the trials of a section."""

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from rdbench.report.numbers import interval, number, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.curves import finite_points, lowest_shares, mean_points
from rdbench.report.statistics.series import READING_NAMES, UNTESTED, Key, Series, of_points, proxies
from rdbench.report.tables.measured import keys, losses
from rdbench.report.tables.sources import data_remarks
from rdbench.report.tables.table import Cell, Column, Table
from rdbench.report.tables.table1 import published

OURS, CONSTANT = "bs_vae", "beta_vae"
NAMED = 5
"""Of the betas that decide a claim, so many are named, the closest calls first."""
PROXY = "fd_classifier"

Verdict = Literal["held", "did not hold", "not tested"]
Outcome = tuple[Verdict, str]

TOLD_APART = {
    True: "told apart by a t-test at 5%",
    False: "not distinguishable by a t-test at 5%",
    None: f"no test, {UNTESTED}",
}


@dataclass(frozen=True)
class Claim:
    """One claim: what the paper says, what became of it, and the figures that decide or what is missing."""

    text: str
    verdict: Verdict
    figures: str


def claims(section: Section) -> list[Claim]:
    """Return the paper's claims with their verdicts, which go by means over seeds.

    A stand-in for FID has lines of its own and never answers for FID. Empty where the section holds neither
    of the paper's variants.
    """
    every = keys(section)
    present = {variant for variant, _ in every} & {OURS, CONSTANT}
    if not present:
        return []
    if section.dataset == "gaussian":
        untested = "the claims are about images, and this source is Gaussian"
    else:
        untested = "".join(f"{other} is not in these trials" for other in {OURS, CONSTANT} - present)
    lost = losses(section)
    asked = [beta for variant, beta in every if variant == OURS]
    likelihood = Series("", "", "", "higher", values=of_points(section, "elbo", "optimal"))
    distances = _distances(section)
    found = [
        ("BS-VAE, at the optimal σ², lies below both constant readings at every rate.", _below_both(section))
    ]
    found += [
        (f"At equal β BS-VAE has the better {each.noun} than constant variance, at every β.",
         each.outcome(_better_at_each(each.values)))
        for each in distances
    ]  # fmt: skip
    text = "BS-VAE has its best test likelihood, at the optimal σ², at β = 1, of the β of Table 1."
    found.append((text, _best_at(likelihood, 1, asked, lost)))
    found += [
        (
            f"BS-VAE has its best {each.noun} at β = 10, of the β of Table 1.",
            each.outcome(_best_at(each.values, 10, asked, lost)),
        )
        for each in distances
    ]
    if untested:
        return [Claim(text, "not tested", untested) for text, _ in found]
    return [Claim(text, *outcome) for text, outcome in found]


def table(section: Section) -> Table | None:
    """Return the checklist; None where the section holds neither of the paper's variants."""
    found = claims(section)
    if not found:
        return None
    caption = (
        "What Kim & Lee (ICPR 2024) claim of BS-VAE (bs_vae) and constant variance (beta_vae), held against"
        f" these trials: {section.dataset}{_remarks(section)}, protocol {section.protocol}. Verdicts go by"
        " means over seeds; the figures say where the seeds cannot tell two of them apart."
    )
    rows = tuple(
        (Cell(each.text), Cell(each.verdict, mark="warning" if each.verdict == "did not hold" else ""),
         Cell(each.figures)) for each in found
    )  # fmt: skip
    columns = (Column("claim", kind="key"), Column("verdict", kind="text"), Column("figures", kind="text"))
    return Table("claims", "The paper's claims", caption, columns, rows)


def _remarks(section: Section) -> str:
    found = data_remarks(section) if section.dataset in published() else []
    return f" (not the paper's data: {'; '.join(found)})" if found else ""


@dataclass(frozen=True)
class _Distance:
    """FID or a stand-in for it: what it is called, its values, and how it was measured where that tells."""

    noun: str
    values: Series
    how: str = ""
    missing: str = ""

    def outcome(self, found: Outcome) -> Outcome:
        """Return what was found, with how it was measured; where there is no value, why."""
        return ("not tested", self.missing) if self.missing else (found[0], found[1] + self.how)


def _distances(section: Section) -> list[_Distance]:
    """Return FID, measured or not, then what stands in for it; each way of measuring by itself."""
    measured = [each for each in proxies(section) if each.metric in ("fid", PROXY)]
    ways: dict[str, list[Series]] = {}
    for each in measured:
        ways.setdefault(_noun(each), []).append(each)
    found = []
    if "FID" not in ways:
        others = " and ".join(noun.rstrip(",") for noun in ways)
        beside = f"; what was: {others}" if others else ""
        found.append(_Distance("FID", Series("", "", "", "lower"), missing=f"FID was not measured{beside}"))
    for noun in sorted(ways, key=lambda noun: noun != "FID"):
        several = len(ways[noun]) > 1
        for place, each in enumerate(ways[noun], start=1):
            why = "" if each.values else next(iter(each.reasons.values()), "it has no value")
            name = f"{noun} ({place})" if several else noun
            found.append(_Distance(name, each, f"; measured with {each.how}" if several else "", why))
    return found


def _noun(own: Series) -> str:
    if own.metric == PROXY:
        return f"{PROXY} distance, which is not FID,"
    return "FID" if own.title == "fid" else f"{own.title.replace('fid', 'FID', 1)},"


def _below_both(section: Section) -> Outcome:
    """Hold BS-VAE's curve against both of constant variance, as Fig. 3 draws them: all means, joined."""
    if not len(section.points):
        return "not tested", "no trial has points"

    def means(variant: str, reading: str) -> pd.DataFrame:
        found = mean_points(finite_points(section.points, "test", reading))
        return found[found["variant"] == variant].assign(variant=f"{variant}, {reading}")

    figures: list[str] = []
    held: list[bool | None] = []
    for reading in ("half", "beta_half"):
        both = pd.concat([means(OURS, "optimal"), means(CONSTANT, reading)])
        found = lowest_shares(both, "distortion", as_drawn=True)
        if found is None:
            held.append(None)
            figures.append(f"{READING_NAMES[reading]}: there are not two curves that span rates in common")
            continue
        share = 1 - found.shares[f"{CONSTANT}, {reading}"]  # lower, not as low
        held.append(share == 1)
        figures.append(
            f"{READING_NAMES[reading]}: below it over {_share(share)} of the rates both span,"
            f" {number(found.low)} to {number(found.high)} nats"
        )
    verdict: Verdict = "did not hold" if False in held else "not tested" if None in held else "held"
    # A variance fitted to each image lies below any constant one of the same error: that alone may decide.
    found = lowest_shares(
        pd.concat([means(OURS, "optimal"), means(CONSTANT, "optimal")]), "distortion", as_drawn=True
    )
    if found is not None:
        same = _share(1 - found.shares[f"{CONSTANT}, optimal"])
        figures.append(f"and with both at the optimal σ², which no claim is about, over {same}")
    return verdict, "; ".join(figures)


def _share(share: float) -> str:
    """Return a share in per cent: only all of it is 100%, only nothing 0%."""
    return f"{number(100 * (share if share in (0, 1) else min(0.999, max(0.001, share))), 1)}%"


def _better_at_each(own: Series) -> Outcome:
    """Hold BS-VAE's distance against constant variance's at each beta that both have."""
    found = own.estimates
    betas = {name: {beta for variant, beta in found if variant == name} for name in (OURS, CONSTANT)}
    shared, single = betas[OURS] & betas[CONSTANT], betas[OURS] ^ betas[CONSTANT]
    rest = f"; not compared, as one of the two has no value: β = {_listed(single)}" if single else ""
    if not shared:
        return "not tested", f"there is no β at which both have a value{rest}"
    leads = {beta: found[CONSTANT, beta].mean - found[OURS, beta].mean for beta in shared}
    failed = {beta for beta in shared if not leads[beta] > 0}
    decisive = sorted(failed or shared, key=lambda beta: (abs(leads[beta]), beta))
    parts = [
        f"β = {plain(beta)}: {interval(found[OURS, beta])} against {interval(found[CONSTANT, beta])}"
        f" ({TOLD_APART[own.tells_apart((OURS, beta), (CONSTANT, beta))]})"
        for beta in sorted(decisive[:NAMED])
    ]
    more = f"; and {len(decisive) - NAMED} more" if len(decisive) > NAMED else ""
    head = f"better at {len(shared) - len(failed)} of {len(shared)} β"
    return "did not hold" if failed else "held", f"{head}; {'; '.join(parts)}{more}{rest}"


def _best_at(own: Series, claimed: float, asked: list[float], lost: dict[Key, str]) -> Outcome:
    """Tell whether BS-VAE's best mean is the one at the claimed beta, of those the paper compares.

    A grid of many more betas, often of one seed each, would try the claim by its luckiest trial.

    Args:
        own: the values.
        claimed: the beta.
        asked: the betas of BS-VAE that were asked for.
        lost: what keeps a (variant, beta) from its seeds.
    """
    every = {beta: value for (variant, beta), value in own.estimates.items() if variant == OURS}
    found = {beta: value for beta, value in every.items() if _in_table_1(beta)}
    gone = {
        beta: own.reasons.get((OURS, beta)) or lost.get((OURS, beta))
        for beta in asked
        if beta not in found and _in_table_1(beta)
    }
    place = next((beta for beta in [*found, *gone] if math.isclose(beta, claimed, rel_tol=1e-9)), None)
    if place is None:
        return "not tested", f"β = {plain(claimed)} is not in the sweep"
    if place in gone:
        return "not tested", f"β = {plain(claimed)} has no value ({gone[place] or 'not measured'})"
    if len(found) < 2:
        return (
            "not tested",
            f"of the β of Table 1 only {plain(claimed)} has a value, and a single β has no best",
        )
    sign = 1 if own.better == "higher" else -1
    rival = max((beta for beta in found if beta != place), key=lambda beta: (sign * found[beta].mean, -beta))
    told = TOLD_APART[own.tells_apart((OURS, place), (OURS, rival))]
    here, there = (f"β = {plain(beta)}: {interval(found[beta])}" for beta in (place, rival))
    held = sign * (found[place].mean - found[rival].mean) > 0
    figures = f"best {here}, next {there}" if held else f"best {there}, while {here}"
    rest = f"; no value at β = {_listed(gone)}" if gone else ""
    top = max(every, key=lambda beta: (sign * every[beta].mean, -beta))
    if top not in found:
        rest += f"; not of Table 1, β = {plain(top)} has {interval(every[top])}"
    return "held" if held else "did not hold", f"{figures} ({told}), of {len(found)} β of Table 1{rest}"


def _in_table_1(beta: float) -> bool:
    return any(math.isclose(beta, other, rel_tol=1e-9) for own in published().values() for _, other in own)


def _listed(betas: set[float] | dict[float, str | None]) -> str:
    return ", ".join(map(plain, sorted(betas)))
