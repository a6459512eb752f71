"""Verdicts out of effects and p-values, the same for columns and for scores. Pure; it knows no trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tandem.core.monitor import Change, Finding
from tandem.scorers.fdr import benjamini_yekutieli


def control(findings: Sequence[Finding], *, level: float) -> tuple[Finding, ...]:
    """The findings with adjusted p-values and verdicts.

    One has drifted when its p-value, adjusted over all findings of the check, is at most `level`, *and* its effect reaches
    its threshold; it is inconclusive when the effect does but the p-value does not. What has no p-value stays as it is.
    """
    tested = [finding for finding in findings if finding.p is not None]
    adjusted = iter(benjamini_yekutieli([finding.p for finding in tested if finding.p is not None]))
    return tuple(finding if finding.p is None else _judged(finding, next(adjusted), level) for finding in findings)


def _judged(finding: Finding, adjusted: float, level: float) -> Finding:
    large = finding.effect is not None and _size(finding) >= finding.threshold
    verdict: Change = "stable" if not large else "drifted" if adjusted <= level else "inconclusive"
    return replace(finding, adjusted=adjusted, verdict=verdict)


def _size(finding: Finding) -> float:
    """How large the effect is, whichever way it goes."""
    assert finding.effect is not None
    value = finding.effect.value
    if finding.measure == "ratio":
        return max(value, 1 / value) if value > 0 else float("inf")
    return abs(value)


def overall(findings: Sequence[Finding]) -> Change:
    """The report's verdict: a change that is certain counts most, then what is missing for a verdict."""
    verdicts = {finding.verdict for finding in findings}
    if "drifted" in verdicts:
        return "drifted"
    if not findings or verdicts == {"not-enough-data"}:
        return "not-enough-data"
    return "inconclusive" if "inconclusive" in verdicts else "stable"
