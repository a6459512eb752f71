"""Are the rows of a window those a model was trained on? Schema first, then missing values, then each column's values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tandem.core.monitor import Finding
from tandem.core.score import Estimate
from tandem.monitoring.findings import control
from tandem.scorers import drift
from tandem.scorers.drift import Bins
from tandem.scorers.sample import Floats
from tandem.scorers.tails import binomial_at_least
from tandem.scorers.twosample import Rate, difference, fisher

TOLERATED = 0.05
"""The share of refused calls, and the change in the share of missing values, that nobody is called for."""


def judge(
    reference: Sequence[Bins],
    rows: Sequence[Sequence[float]],
    *,
    calls: int,
    refused: Mapping[str, int],
    minimum: int,
    threshold: float,
    level: float,
    seed: int = 1,
) -> tuple[Finding, ...]:
    """Every finding of one window.

    Args:
        reference: the frozen bins, one per column, in the order of the rows' values.
        rows: rows x columns, NaN where a value is missing.
        calls: calls that were answered or refused by the contract.
        refused: column → calls refused because of it.
        minimum: rows below which a column has no verdict, and calls below which the contract has none.
        threshold: the population stability index that matters.
        level: the chance of any false finding in this check.
        seed: of permutations and resamples.
    """
    table: Floats = np.asarray(rows, dtype=np.float64).reshape(len(rows), len(reference))
    found = [_schema(calls, refused, minimum)]
    for place, bins in enumerate(reference):
        values = table[:, place]
        if len(values) < minimum or bins.n < minimum:
            found.append(_too_few(bins, values, threshold))
            continue
        missing = int(np.isnan(values).sum())
        if missing or bins.missing:
            found.append(_missing(bins, missing, len(values)))
        if len(values) - missing >= minimum:
            found.append(_values(bins, values, missing, threshold, seed + place))
    return control(found, level=level)


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


def _too_few(bins: Bins, values: Floats, threshold: float) -> Finding:
    return Finding(
        subject=bins.name,
        what="values",
        verdict="not-enough-data",
        n=len(values),
        reference_n=bins.n,
        measure="psi",
        threshold=threshold,
        histogram=drift.histogram(bins, drift.count(bins, values), int(np.isnan(values).sum())),
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


def _values(bins: Bins, values: Floats, missing: int, threshold: float, seed: int) -> Finding:
    counts = drift.count(bins, values)
    compared = drift.compare(bins.counts, counts, seed=seed)
    beyond = drift.outside(bins, values)
    parts = [f"total variation {compared.variation:.3f}"]
    if beyond:
        parts.append(f"{beyond} values outside [{bins.low:.4g}, {bins.high:.4g}], the reference's range")
    seen = values[~np.isnan(values)]
    return Finding(
        subject=bins.name,
        what="values",
        verdict="stable",
        n=len(seen),
        reference_n=sum(bins.counts),
        measure="psi",
        threshold=threshold,
        effect=compared.effect,
        p=compared.p,
        now=_mean(seen),
        histogram=drift.histogram(bins, counts, missing),
        note="; ".join(parts),
    )


def _mean(values: Floats) -> Estimate:
    """The mean with its normal interval."""
    value, half = float(values.mean()), 1.96 * float(values.std(ddof=1)) / float(np.sqrt(len(values)))
    return Estimate(value=value, low=value - half, high=value + half, n=len(values))
