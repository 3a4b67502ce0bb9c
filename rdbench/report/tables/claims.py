"""The nine claims of Kim & Lee, "Beta-Sigma VAE", ICPR 2024, tested on the trials of a page."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from rdbench.numerics.likelihood import READING_NAMES
from rdbench.report import headline
from rdbench.report.numbers import ABSENT, count
from rdbench.report.sections import Section
from rdbench.report.statistics.bd_rate import LEAST_RATE
from rdbench.report.statistics.claims import (
    CONSTANT,
    LIKELIHOOD,
    OURS,
    Evidence,
    below,
    best_at,
    better_at_each,
    better_than_all,
    error_grows_less,
    gap_grows,
    p_value,
    reading_matters_less,
    rises_as_beta_falls,
)
from rdbench.report.statistics.series import Series, proxies, values_by_seed
from rdbench.report.statistics.verdict import LEVEL, Finding, Judgement, Verdict, judge
from rdbench.report.tables import linear_coder
from rdbench.report.tables.measured import keys, losses
from rdbench.report.tables.sources import data_remarks
from rdbench.report.tables.table import Cell, Column, Table, numbered
from rdbench.report.tables.table1 import published

PROXY = "fd_classifier"

EQUATION_5 = (
    "an identity of gradients, not of trainings: one trained model is read at both variances, so there are no"
    " two to compare"
)


@dataclass(frozen=True)
class Claim:
    """One claim: its number, its place in the paper and its text, the verdict, the reason and the figures."""

    number: str
    where: str
    text: str
    verdict: Verdict
    reason: str
    figures: str
    p: float | None = None


def claims(section: Section) -> list[Claim]:
    """Return the paper's claims with their verdicts, as :func:`page_claims` does of this section alone."""
    return page_claims([section])[0][0]


def page_claims(
    sections: Sequence[Section], further: Sequence[Finding] = (), floor: float = LEAST_RATE
) -> tuple[list[list[Claim]], list[Judgement]]:
    """Return the claims of each section, the central one first, and the verdicts of the page's further
    findings.

    One correction is made over the verdicts of all. A stand-in for FID has lines of its own and never answers
    for FID. Empty where a section holds neither of the paper's variants.
    """
    found = [list(_findings(section, floor)) for section in sections]
    judgements = iter(judge([*(finding for lines in found for *_, finding in lines), *further]))
    return [[_claim(*line, next(judgements)) for line in lines] for lines in found], [*judgements]


def _claim(name: tuple[str, str], text: str, finding: Finding, judged: Judgement) -> Claim:
    return Claim(*name, text, judged.verdict, judged.reason, finding.figures, judged.p)


def _findings(section: Section, floor: float) -> Iterator[tuple[tuple[str, str], str, Finding]]:
    """Yield (number and place, text, finding) of each line of the checklist."""
    present = {variant for variant, _ in keys(section)} & {OURS, CONSTANT}
    if not present:
        return
    if section.dataset == "gaussian":
        untested = "the claims are about images, and this source is Gaussian"
    else:
        untested = "".join(f"{other} is not in these trials" for other in {OURS, CONSTANT} - present)
    evidence = _evidence(section, floor)
    for number, where, text, quantity, decide in CLAIMS:
        for measured in evidence[quantity]:
            finding = Finding(None, reason=untested or measured.missing)
            if not finding.reason:
                finding = decide(measured)
            yield (number, where), text.format(noun=measured.noun), finding


def _evidence(section: Section, floor: float) -> dict[str, list[Evidence]]:
    """Return what there is of each quantity that :data:`CLAIMS` names."""
    betas = frozenset(beta for rows in published().values() for _, beta in rows)
    elbo = Series("", "", "", "higher", values=values_by_seed(section, "elbo", LIKELIHOOD))
    error = Series("", "", "", "lower", values=values_by_seed(section, "mse", "half"))
    missing = "" if elbo.values else "no point is read at the σ² that is fitted on the training images"
    likelihood = Evidence(section, "likelihood", elbo, betas, missing=missing)
    return {
        "likelihood": [likelihood],
        "distance": _distances(section, betas),
        "error": [Evidence(section, "test MSE", error, betas)],
        "": [Evidence(section, "", elbo, betas, floor=floor)],
    }


def _distances(section: Section, betas: frozenset[float]) -> list[Evidence]:
    """Return FID, measured or not, then what stands in for it; each way of measuring by itself."""
    by_noun: dict[str, list[Series]] = {}
    for series in proxies(section):
        if series.metric in ("fid", PROXY):
            by_noun.setdefault(_noun(series), []).append(series)
    distances = []
    if "FID" not in by_noun:
        others = " and ".join(noun.rstrip(",") for noun in by_noun)
        missing = f"FID was not measured{f'; what was: {others}' if others else ''}"
        distances.append(Evidence(section, "FID", Series("", "", "", "lower"), betas, missing=missing))
    for noun in sorted(by_noun, key=lambda noun: noun != "FID"):
        ways = by_noun[noun]
        for name, series in zip(numbered([noun] * len(ways)), ways, strict=True):
            how = f"; measured with {series.how}" if len(ways) > 1 else ""
            missing = "" if series.values else next(iter(series.reasons.values()), "it has no value")
            distances.append(Evidence(section, name, series, betas, how, missing))
    return distances


def _noun(series: Series) -> str:
    if series.metric == PROXY:
        return f"{PROXY} distance, which is not FID,"
    return "FID" if series.title == "fid" else f"{series.title.replace('fid', 'FID', 1)},"


def _equation_5(evidence: Evidence) -> Finding:
    return Finding(None, reason=EQUATION_5)


def _best_at(claimed: float, evidence: Evidence) -> Finding:
    """Call :func:`best_at` with the reasons why betas of Table 1 have no value."""
    lost, values = losses(evidence.section), evidence.of(OURS)
    gone = {
        beta: evidence.series.reasons.get((OURS, beta)) or lost.get((OURS, beta)) or "not measured"
        for variant, beta in keys(evidence.section)
        if variant == OURS and beta not in values and evidence.in_table_1(beta)
    }
    return best_at(claimed, gone, evidence)


BY_CONSTRUCTION = " Nearly true by construction: at equal error a fitted variance beats a constant one."

BETTER_THAN_ALL = "At β = 1 BS-VAE has the better {noun} than constant variance at every β."
BETTER_AT_EACH = "At equal β BS-VAE has the better {noun} than constant variance, at every β."

CLAIMS: tuple[tuple[str, str, str, str, Callable[[Evidence], Finding]], ...] = (
    ("C2", "Fig. 3, the central claim",
     "At every rate BS-VAE lies below constant variance, at the σ² fitted on the training images: the"
     " likelihood of a model.", "", partial(below, LIKELIHOOD, LIKELIHOOD)),
    ("C2", "Fig. 3",
     "At every rate BS-VAE lies below constant variance, at the paper's σ², optimal for each image: the"
     " likelihood of no model.", "", partial(below, "optimal", "optimal")),
    ("C2", "Fig. 3", "At every rate BS-VAE, at the optimal σ², lies below constant variance at σ² = 1/2."
     + BY_CONSTRUCTION, "", partial(below, "optimal", "half")),
    ("C2", "Fig. 3", "At every rate BS-VAE, at the optimal σ², lies below constant variance at σ² = β/2."
     + BY_CONSTRUCTION, "", partial(below, "optimal", "beta_half")),
    ("C1", "Eq. 5",
     "By its gradients constant variance at C and β is the plain VAE at σ² = βC.", "", _equation_5),
    ("C3", "section 4.2",
     "The gap of BS-VAE to constant variance at σ² = β/2 grows from each third of the common rates to the one"
     " below.", "", gap_grows),
    ("C4", "section 4.2", BETTER_THAN_ALL, "likelihood", better_than_all),
    ("C4", "section 4.2", BETTER_THAN_ALL, "distance", better_than_all),
    ("C5", "Table 1", BETTER_AT_EACH, "likelihood", better_at_each),
    ("C5", "Table 1", BETTER_AT_EACH, "distance", better_at_each),
    ("C6", "Table 1",
     "BS-VAE has its best {noun} at β = 1, of the β of Table 1.", "likelihood", partial(_best_at, 1)),
    ("C6", "Table 1",
     "BS-VAE has its best {noun} at β = 10, of the β of Table 1.", "distance", partial(_best_at, 10)),
    ("C7", "section 4.2",
     "The {noun} of constant variance keeps rising as β falls, over the β of Table 1.",
     "likelihood", rises_as_beta_falls),
    ("C8", "Fig. 4",
     "BS-VAE's reconstructions stay good whatever β is: over the common β its {noun} grows by a smaller"
     " factor than that of constant variance.", "error", error_grows_less),
    ("C9", "section 3.2, Fig. 2",
     "At every β the reading of σ² changes the ELBO of constant variance by more than that of BS-VAE.", "",
     reading_matters_less),
)  # fmt: skip
"""Number, place in the paper, claim, of which quantity ({noun}; a line for each way of measuring it; "" for
none by itself), and what decides it."""


class Verdicts(NamedTuple):
    """What is tested of a section: the paper's claims, each variant against the linear coder, and what that
    says in a few sentences.
    """

    claims: Table | None = None
    linear_coder: Table | None = None
    sentences: tuple[str, ...] = ()


def verdicts(sections: Sequence[Section], floor: float = LEAST_RATE) -> list[Verdicts]:
    """Return the verdicts of each section of a page, after one correction over all of them.

    None where a section holds neither of the paper's variants; no linear coder.

    Args:
        sections: all of the page.
        floor: rates up to it are compared by no curve, nats.
    """
    coders = [linear_coder.comparisons(section, floor) for section in sections]
    said = [headline.statements(section) for section in sections]
    findings = [each.finding for found in coders for each in found]
    findings += [Finding(True, one.p, one.words, "" if one.p else headline.UNTESTED)
                 for of_section in said for one in of_section]  # fmt: skip
    judged, further = page_claims(sections, findings, floor)
    p_values = [*(claim.p for lines in judged for claim in lines), *(each.p for each in further)]
    tests = sum(p is not None for p in p_values)
    rest = iter(further)
    of_coder = [list(itertools.islice(rest, len(found))) for found in coders]
    return [
        Verdicts(
            _table(section, lines, tests, floor) if lines else None,
            linear_coder.table(found, judgements),
            headline.sentences(
                section,
                one,
                [next(rest).p for _ in one],
                [(each.rate, judged) for each, judged in zip(found, judgements, strict=True)],
            ),
        )
        for section, lines, found, judgements, one in zip(
            sections, judged, coders, of_coder, said, strict=True
        )
    ]


def _table(section: Section, lines: Sequence[Claim], tests: int, floor: float) -> Table:
    remarks = data_remarks(section) if section.dataset in published() else []
    data = section.dataset + (f" (not the paper's data: {'; '.join(remarks)})" if remarks else "")
    caption = (
        "What Kim & Lee (ICPR 2024) claim of BS-VAE (bs_vae) and constant variance (beta_vae), held against"
        f" these trials. Data: {data}, protocol {section.protocol}."
    )
    method = (
        f"Held: the means agree and a two-sided test over seeds shows it at {LEVEL:.0%}. That is after Holm's"
        f" correction for the {count(tests, 'verdict')} of this page that have a test. In the mean"
        " only: the means agree, and no test shows it. Did not hold: the means do not agree. A claim about"
        " every rate, every β, or the best of all β is tested by the weakest of all its comparisons."
        f" Rates count from {floor:g} nats on. That a claim about every rate"
        " is false somewhere is tested by a band. It holds at all common rates at once (bootstrap over seeds,"
        " max-t). The likelihood is the ELBO at"
        f" {READING_NAMES.get(LIKELIHOOD, 'the σ² fitted on the training images')}. Equal β is not equal"
        " weight, and a difference may be one of the length of training."
    )
    columns = (
        Column("no.", kind="key"), Column("claim", kind="key"), Column("verdict", kind="text"),
        Column("p, corrected"), Column("why", kind="text"), Column("figures", kind="detail"),
    )  # fmt: skip
    rows = tuple(
        (Cell(claim.number, claim.where), Cell(claim.text),
         Cell(claim.verdict, mark="warning" if claim.verdict == "did not hold" else ""),
         Cell(ABSENT if claim.p is None else p_value(claim.p).removeprefix("= "), value=claim.p),
         Cell(claim.reason), Cell(claim.figures)) for claim in lines
    )  # fmt: skip
    return Table("claims", "The paper's claims", caption, columns, rows, method=method)
