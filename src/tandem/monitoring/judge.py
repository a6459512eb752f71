"""Are the rows of a window those a model was trained on? Schema first, then missing values, then each column's values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tandem.core.monitor import Finding
from tandem.core.score import Estimate
from tandem.monitoring.counts import Pair
from tandem.monitoring.findings import control
from tandem.scorers import drift
from tandem.scorers.bins import Bins
from tandem.scorers.drift import Tally
from tandem.scorers.sample import Floats
from tandem.scorers.tails import binomial_at_least
from tandem.scorers.twosample import Rate, difference, fisher

TOLERATED = 0.05
"""The share of refused calls, and the change in the share of missing values, that nobody is called for."""


def judge(
    reference: Sequence[Bins],
    rows: Sequence[Sequence[float]] | Floats,
    *,
    calls: int,
    refused: Mapping[str, int],
    minimum: int,
    threshold: float,
    level: float,
    weights: Mapping[str, float] | None = None,
    seed: int = 1,
    sparse: bool = False,
) -> tuple[Finding, ...]:
    """Every finding of one window of rows.

    Args:
        reference: the frozen bins, one per column, in the order of the rows' values.
        rows: rows x columns, NaN where a value is missing; fastest where each column lies in one piece.
        calls: calls that were answered or refused by the contract.
        refused: column → calls refused because of it.
        minimum: rows below which a column has no verdict, and calls below which the contract has none.
        threshold: the population stability index that matters.
        level: the chance of any false finding in this check.
        weights: column → its importance to the model: how the level is spent.
        seed: of permutations.
        sparse: whether a missing value says nothing, and is left out.
    """
    table: Floats = np.asarray(rows, dtype=np.float64).reshape(len(rows), len(reference))
    tallies = [drift.tally(bins, table[:, place]) for place, bins in enumerate(reference)]
    if sparse:
        tallies = [replace(each, missing=0) for each in tallies]
    found = [_schema(calls, refused, minimum)]
    for finding in compared(reference, tallies, minimum=minimum, threshold=threshold, seed=seed):
        place = next(place for place, bins in enumerate(reference) if bins.name == finding.subject)
        seen = finding.what == "values" and finding.p is not None
        found.append(replace(finding, now=_mean(table[:, place])) if seen else finding)
    return control(found, level=level, weights=weights)


def judge_counts(
    pairs: Sequence[Pair],
    *,
    calls: int,
    refused: Mapping[str, int],
    minimum: int,
    threshold: float,
    level: float,
    weights: Mapping[str, float] | None = None,
    seed: int = 1,
) -> tuple[Finding, ...]:
    """Every finding of one window of hours: arguments as `judge`, counts in the place of rows."""
    found = [_schema(calls, refused, minimum)]
    for place, pair in enumerate(pairs):
        *counts, missing, outside = pair.now
        tally = Tally(counts=np.asarray(counts), missing=missing, outside=outside)
        for finding in compared([pair.bins], [tally], minimum=minimum, threshold=threshold, seed=seed + place):
            found.append(replace(finding, against=pair.against, segment=pair.segment))
    return control(found, level=level, weights=weights)


def compared(
    reference: Sequence[Bins], tallies: Sequence[Tally], *, minimum: int, threshold: float, seed: int = 1
) -> tuple[Finding, ...]:
    """Each column's finding from counts alone, before control over all of them.

    Args:
        reference: as `judge`.
        tallies: what the window counted, column by column.
        minimum: as `judge`.
        threshold: as `judge`.
        seed: as `judge`.
    """
    found: list[Finding] = []
    for place, (bins, tally) in enumerate(zip(reference, tallies, strict=True)):
        if tally.n < minimum or bins.n < minimum:
            found.append(_too_few(bins, tally, threshold))
            continue
        if tally.missing or bins.missing:
            found.append(_missing(bins, tally.missing, tally.n))
        if tally.n - tally.missing >= minimum:
            found.append(_values(bins, tally, threshold, seed + place))
    return tuple(found)


def _schema(calls: int, refused: Mapping[str, int], minimum: int) -> Finding:
    rate = Rate(hits=sum(refused.values()), n=calls)
    often = sorted(refused.items(), key=lambda row: (-row[1], row[0]))[:5]
    return Finding(
        subject="contract",
        what="schema",
        verdict="not-enough-data",
        n=calls,
        reference_n=0,
        measure="rate",
        threshold=TOLERATED,
        effect=rate.estimate if calls else None,
        p=binomial_at_least(rate.hits, calls, TOLERATED) if calls >= minimum else None,
        now=rate.estimate if calls else None,
        note=f"Refused because of {', '.join(f'{name} ({count})' for name, count in often)}." if often else "",
    )


def _too_few(bins: Bins, tally: Tally, threshold: float) -> Finding:
    return Finding(
        subject=bins.name,
        what="values",
        verdict="not-enough-data",
        n=tally.n,
        reference_n=bins.n,
        measure="psi",
        threshold=threshold,
        histogram=drift.histogram(bins, tally.counts, tally.missing),
    )


def _missing(bins: Bins, missing: int, n: int) -> Finding:
    now, before = Rate(hits=missing, n=n), Rate(hits=bins.missing, n=bins.n)
    return Finding(
        subject=bins.name,
        what="missing",
        verdict="stable",
        n=n,
        reference_n=bins.n,
        measure="difference of rates",
        threshold=TOLERATED,
        effect=difference(now, before),
        p=fisher(now, before),
        now=now.estimate,
        before=before.estimate,
    )


def _values(bins: Bins, tally: Tally, threshold: float, seed: int) -> Finding:
    compared = drift.compare(bins.counts, tally.counts, seed=seed)
    parts = [f"total variation {compared.variation:.3f}"]
    if tally.outside:
        parts.append(f"{tally.outside} values outside [{bins.low:.4g}, {bins.high:.4g}], the reference's range")
    return Finding(
        subject=bins.name,
        what="values",
        verdict="stable",
        n=tally.n - tally.missing,
        reference_n=sum(bins.counts),
        measure="psi",
        threshold=threshold,
        effect=compared.effect,
        p=compared.p,
        histogram=drift.histogram(bins, tally.counts, tally.missing),
        note="; ".join(parts),
    )


def _mean(values: Floats) -> Estimate:
    """The mean of what is not missing, with its normal interval."""
    total = float(values.sum())
    seen = values if math.isfinite(total) else values[~np.isnan(values)]
    value, n = total / len(seen) if len(seen) == len(values) else float(seen.mean()), len(seen)
    apart = (seen[start : start + drift.CHUNK] - value for start in range(0, n, drift.CHUNK))
    half = 1.96 * math.sqrt(math.fsum(float(np.square(part).sum()) for part in apart) / (n - 1) / n)
    return Estimate(value=value, low=value - half, high=value + half, n=n)
