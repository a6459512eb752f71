"""Verdicts out of effects and p-values, the same for columns and for scores. Pure; it knows no trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tandem.core.monitor import Change, Finding
from tandem.scorers.family import holm

LEAST_WEIGHT = 0.1
"""Of the mean weight: a column that the model hardly uses is still judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a window turned out to be."""

    findings: tuple[Finding, ...] = ()
    n: int = 0
    """Rows, calls, or rows whose label has come."""
    coverage: Mapping[str, int] = field(default_factory=dict)
    until: int = 0
    """UTC microseconds; 0 where the window is not over."""
    reference: str = ""
    """In words."""
    frozen: bytes
    """The reference, or the state, to keep."""
    key: str
    """What it was made from."""
    first: bool = False
    """Whether this window has become the reference."""
    note: str = ""
    over: bool = False
    """Whether the next check goes on behind this window even where there was no verdict."""


def control(findings: Sequence[Finding], *, level: float, weights: Mapping[str, float] | None = None) -> tuple[Finding, ...]:
    """The findings with adjusted p-values and verdicts.

    One has drifted when its p-value, adjusted over all findings of the check, is at most `level`, *and* its effect reaches
    its threshold; it is inconclusive when the effect does but the p-value does not. What has no p-value stays as it is.

    Args:
        level: the chance of any false finding in this check.
        weights: subject → how important it is, not below zero: more of the level is spent on what matters more to the
            model. What is not named counts as the mean.
    """
    tested = [finding for finding in findings if finding.p is not None]
    adjusted = iter(holm([finding.p for finding in tested if finding.p is not None], _weights(tested, weights or {})))
    return tuple(finding if finding.p is None else _judged(finding, next(adjusted), level) for finding in findings)


def _weights(tested: Sequence[Finding], weights: Mapping[str, float]) -> list[float]:
    mean = sum(weights.values()) / len(weights) if weights else 0.0
    if mean <= 0:
        return [1.0] * len(tested)
    return [max(LEAST_WEIGHT, weights.get(finding.subject, mean) / mean) for finding in tested]


def _judged(finding: Finding, adjusted: float, level: float) -> Finding:
    better = finding.what == "performance" and finding.p == 1.0
    large = finding.effect is not None and not better and _size(finding) >= finding.threshold
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
