"""What makes a score a share: Platt's curve or isotonic steps for probabilities, and how rare a score is. Plain Python.

All of them are learned from rows that were held out.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import Self

import msgspec

from tandem.serving.base import member

FILE = "calibration.json"
"""The member that holds it; most models have none."""
NEAR = 1e-5
"""How far below a held-out score one counts as the same, as a share of it: runtimes sum in other orders."""
EDGE = 1e-12
"""Scores are kept this far from 0 and 1 before a logarithm."""


class Platt(msgspec.Struct, frozen=True, tag="platt", tag_field="is"):
    """sigmoid(slope x log-odds of the score + shift) (Platt 1999)."""

    slope: float
    shift: float

    def of(self, score: float) -> float:
        kept = min(1 - EDGE, max(EDGE, score))
        odds = self.slope * math.log(kept / (1 - kept)) + self.shift
        return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0


class Isotonic(msgspec.Struct, frozen=True, tag="isotonic", tag_field="is"):
    """Rising, between the points in straight lines (Zadrozny & Elkan 2002)."""

    scores: tuple[float, ...]
    """Rising."""
    chances: tuple[float, ...]

    def of(self, score: float) -> float:
        if score <= self.scores[0]:
            return self.chances[0]
        if score >= self.scores[-1]:
            return self.chances[-1]
        right = bisect_right(self.scores, score)
        left = right - 1
        share = (score - self.scores[left]) / (self.scores[right] - self.scores[left])
        return self.chances[left] + share * (self.chances[right] - self.chances[left])


class Rarity(msgspec.Struct, frozen=True, tag="rarity", tag_field="is"):
    """1 - the conformal p-value: (1 + held-out scores that are at least as high) / (1 + held-out scores) (Vovk et al. 2005)."""

    scores: tuple[float, ...]
    """Rising."""

    def of(self, score: float) -> float:
        near = score - NEAR * max(1.0, abs(score))
        return 1 - (1 + len(self.scores) - bisect_left(self.scores, near)) / (1 + len(self.scores))


Curve = Platt | Isotonic | Rarity


class Calibration(msgspec.Struct, frozen=True):
    """The curve of a model of two classes, or of anomalies."""

    curve: Curve

    @classmethod
    def load(cls, members: Path) -> Self | None:
        """That of a directory of members; None where scores are taken as they are.

        Raises:
            Broken: the file is not one.
        """
        return member(members, FILE, cls)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    def rows(self, outputs: list[list[float]]) -> list[list[float]]:
        """Scores as probabilities, one per row."""
        of = self.curve.of
        return [[of(row[0])] for row in outputs]
