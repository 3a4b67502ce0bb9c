"""Verdicts: what trials say of a claim, after one correction for the number of verdicts on a page.

A claim has a direction ("lower", "above all others"). Its finding is what the means say, and the p-value of
the test that would show it, or its opposite where the means contradict it. All tests are two-sided at 5%, so
that a verdict and the 95% interval beside it agree where a page has a single verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rdbench.report.statistics.difference import Difference, holm

LEVEL = 0.05
"""Of the whole family of tests on a page, after Holm's correction."""

Verdict = Literal["held", "in the mean only", "did not hold", "not tested"]


@dataclass(frozen=True)
class Finding:
    """What trials say of a claim, before the correction for the number of verdicts.

    Attributes:
        agrees: whether the means are as claimed; None where there is nothing to compare.
        p: two-sided; of a test that would show the claim where the means agree with it, and that would show
            it false where they do not; None without a test.
        figures: the numbers behind it, for a reader.
        reason: why there is nothing to compare, or no test; "" where there is a test.
    """

    agrees: bool | None
    p: float | None = None
    figures: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Judgement:
    """A verdict with its reason in words; ``p`` is the corrected one, None without a test."""

    verdict: Verdict
    reason: str
    p: float | None = None


def judge(findings: Sequence[Finding]) -> list[Judgement]:
    """Return the verdicts of all findings of a page, with Holm's correction over those that have a test.

    ================  =====================================================================================
    held              the means agree, and p <= 5% after the correction
    in the mean only  the means agree, and the test does not show it, or there is none
    did not hold      the means do not agree; the reason says whether that is shown
    not tested        there is nothing to compare
    ================  =====================================================================================
    """
    tested = [finding.p for finding in findings if finding.agrees is not None and finding.p is not None]
    corrected = iter(holm(tested))
    judgements = []
    for finding in findings:
        if finding.agrees is None:
            judgements.append(Judgement("not tested", finding.reason))
            continue
        p = None if finding.p is None else next(corrected)
        judgements.append(_judgement(finding, p))
    return judgements


def _judgement(finding: Finding, p: float | None) -> Judgement:
    if p is None:
        verdict: Verdict = "in the mean only" if finding.agrees else "did not hold"
        return Judgement(verdict, f"no test: {finding.reason}")
    shown = p <= LEVEL
    if finding.agrees:
        return Judgement("held" if shown else "in the mean only",
                         "shown over seeds" if shown else "the seeds do not show it", p)  # fmt: skip
    return Judgement("did not hold", "its opposite is shown over seeds" if shown
                     else "the means say the opposite, which the seeds do not show", p)  # fmt: skip


def every(differences: Mapping[float, Difference]) -> tuple[bool, float | None, str]:
    """Test that all of some differences are positive: the weakest of them decides.

    The p-value is the largest of the single ones: that a claim about all is shown where each is shown needs
    no correction (the intersection-union test; Berger, Technometrics 24, 1982). So a rival that was chosen by
    looking at the values, as a runner-up is, is tested as what it is, one of all. Where some differences are
    not positive, p is that of the clearest one of those, times their number (Bonferroni over all).

    Args:
        differences: at least one, each oriented so that the claim says "positive".

    Returns:
        (whether all means are positive, p, why there is none).
    """
    opposite = [difference for difference in differences.values() if not difference.mean > 0]
    deciding = opposite or [*differences.values()]
    known = [difference.p for difference in deciding if difference.p is not None]
    reason = next((difference.reason for difference in deciding if difference.p is None), "")
    if opposite:
        return False, min(1.0, len(differences) * min(known)) if known else None, "" if known else reason
    return True, max(known) if not reason else None, reason
