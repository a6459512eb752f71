"""Signals for tests: machines that hum at one of two frequencies, each with an offset of its own."""

from __future__ import annotations

import numpy as np
import polars as pl

from tandem.serving.signals import FEATURES, Plan

SLOW, FAST = 0.06, 0.17
"""Cycles per sample."""


def machines(count: int, *, length: int = 192, seed: int = 5, shuffled: bool = False) -> pl.DataFrame:
    """Long rows of `unit`, `at`, `x`, `y` and `fault`; every second machine is faulty, and hums faster in `x`.

    Shuffled, faults have nothing to do with humming.
    """
    draw = np.random.default_rng(seed)
    faults = np.arange(count) % 2 == 1
    told = draw.permutation(faults) if shuffled else faults
    at = np.arange(length)
    parts = []
    for unit in range(count):
        hum = np.sin(2 * np.pi * (FAST if faults[unit] else SLOW) * at + draw.uniform(0, 6))
        parts.append(
            pl.DataFrame(
                {
                    "unit": [f"m{unit:02d}"] * length,
                    "at": at,
                    "x": hum + draw.normal(0, 0.4, length) + draw.normal(0, 5),
                    "y": draw.normal(0, 1, length),
                    "fault": ["bad" if told[unit] else "good"] * length,
                }
            )
        )
    return pl.concat(parts)


def plan(*channels: str, window: int, stride: int) -> Plan:
    """Of `machines`, all features taken."""
    kept = tuple(range(len(channels) * len(FEATURES)))
    return Plan(unit="unit", at="at", channels=channels, window=window, stride=stride, kept=kept)
