"""Who gets what: scores of items from the items that somebody has had. Loaded by hosts, not doors.

A row names a user, the items just seen, or both; what is just seen counts instead of what is remembered of the user. Of a user of
whom nothing is known the answer is what most users have had, and it says so.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Broken, Invalid
from tandem.scorers.sample import Floats, Truths
from tandem.serving.series import called
from tandem.serving.signature import Cell, Field, FieldType, Output, Signature

NAMES, NUMBERS = "behaviour.json", "behaviour.npz"
"""The members that hold a model: names, and arrays of plain numbers."""
USUAL, MOST = 10, 100
"""Items that a row is answered with, unless it asks for another number; and at most."""
BEHAVIOUR, POPULARITY = "behaviour", "popularity"
"""What an answer was made from."""
OPTIONS = ("k", "repeat", "candidates")
"""Fields that a call may give once for all its rows."""

Kind = Literal["popularity", "neighbours", "als"]
Places = NDArray[np.int64]


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """`behaviour.json`."""

    kind: Kind
    users: tuple[str, ...]
    items: tuple[str, ...]
    """Those that most users have had first."""
    confidence: float = 0.0
    """Of factors: how much one unit of weight counts, as alpha of Hu, Koren & Volinsky (2008)."""
    regularisation: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Items that users have had: those of user `n` stand from `starts[n]` to `starts[n + 1]`."""

    starts: Places
    items: Places
    weights: Floats

    def of(self, user: int) -> tuple[Places, Floats]:
        """The items of one user, and how much each counts."""
        here = slice(int(self.starts[user]), int(self.starts[user + 1]))
        return self.items[here], self.weights[here]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The answer to one row."""

    items: tuple[str, ...]
    """The best first."""
    scores: tuple[float, ...]
    by: str
    """`behaviour` or `popularity`."""


@dataclass(frozen=True, kw_only=True)
class Recommender:
    """A loaded model of behaviour."""

    names: Names
    history: History
    counts: Floats
    """Users that have had each item."""
    neighbours: Places
    """Items x k: the items that each is likest to; -1 where there are fewer."""
    likeness: Floats
    """Items x k: how like."""
    factors: Floats
    """Items x factors."""

    explains: ClassVar[bool] = False
    cells: ClassVar[bool] = True

    @classmethod
    def load(cls, members: Path) -> Self:
        try:
            names = msgspec.json.decode((members / NAMES).read_bytes(), type=Names)
            with np.load(members / NUMBERS, allow_pickle=False) as found:
                made = cls(
                    names=names,
                    history=History(starts=found["starts"], items=found["items"], weights=found["weights"]),
                    counts=found["counts"],
                    neighbours=found["neighbours"],
                    likeness=found["likeness"],
                    factors=found["factors"],
                )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Broken(f"The model's file {NUMBERS} or {NAMES} cannot be read: {error}.", hint="Train it again.") from None
        made.check()
        return made

    def check(self) -> None:
        """Raises:
        Broken: the arrays do not fit each other.
        """
        items, starts = len(self.names.items), self.history.starts
        shapes = (
            self.counts.shape == (items,)
            and len(starts) == len(self.names.users) + 1
            and self.history.items.shape == self.history.weights.shape == (int(starts[-1]),)
            and self.neighbours.shape == self.likeness.shape
            and len(self.neighbours) == len(self.factors) == items
        )
        pointed = all(
            (each >= low).all() and (each < items).all() for each, low in ((self.history.items, 0), (self.neighbours, -1))
        )
        if not (shapes and pointed and (np.diff(starts) >= 0).all() and starts[0] == 0):
            raise Broken(f"The model's files {NUMBERS} and {NAMES} do not fit each other.", hint="Train it again.")

    @cached_property
    def users(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names.users)}

    @cached_property
    def items(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names.items)}

    @cached_property
    def _squared(self) -> Floats:
        """Factors' products, and what keeps users' factors small."""
        return self.factors.T @ self.factors + self.names.regularisation * np.eye(self.factors.shape[1])

    def score(self, items: Places, weights: Floats) -> tuple[Floats, bool]:
        """The score of every item for somebody who has had these, each counted by its weight; and whether that is of behaviour.

        Neighbours: the sum of likenesses to what was had. Factors: those that fit these items best (the user's half of a step
        of alternating least squares), times each item's. Where that says nothing: how many users have had it.
        """
        if self.names.kind == "popularity" or not len(items):
            return self.counts.copy(), False
        if self.names.kind == "als":
            return self.factors @ solved(self._squared, self.factors[items], weights, self.names.confidence), True
        found, near, added = np.zeros(len(self.counts)), self.neighbours[items], self.likeness[items] * weights[:, None]
        np.add.at(found, near[near >= 0], added[near >= 0])
        return (found, True) if found.any() else (self.counts.copy(), False)

    def predict(self, rows: Any) -> Floats:
        """Rows x 1 + 2k, k being the most that a row asks for: whether behaviour was known, numbers of items (-1 where there
        are fewer), their scores; see `told`.

        Args:
            rows: the user, what was just seen, k, whether to repeat, candidates; NaN where a value is missing.
        """
        most = max([int(_or(row[2], USUAL)) for row in rows], default=USUAL)
        found = np.zeros((len(rows), 1 + 2 * most))
        found[:, 1 : 1 + most] = -1
        for place, (user, seen, k, repeat, candidates) in enumerate(rows):
            items, weights = self._had(user, seen)
            scores, known = self.score(items, weights)
            allowed = np.ones(len(scores), dtype=np.bool_)
            if isinstance(candidates, str):
                allowed = np.isin(np.arange(len(scores)), self._known(candidates))
            if not _or(repeat, 0.0):
                allowed[items] = False
            best = leading(scores, allowed, int(_or(k, USUAL)))
            found[place, 0] = known
            found[place, 1 : 1 + len(best)] = best
            found[place, 1 + most : 1 + most + len(best)] = scores[best]
        return found

    def told(self, outputs: Floats) -> list[Told]:
        """What `predict` has found, by name."""
        most = (outputs.shape[1] - 1) // 2
        told = []
        for row in outputs:
            best = row[1 : 1 + most][row[1 : 1 + most] >= 0].astype(np.int64)
            told.append(
                Told(
                    items=tuple(self.names.items[item] for item in best),
                    scores=tuple(row[1 + most : 1 + most + len(best)].tolist()),
                    by=BEHAVIOUR if row[0] else POPULARITY,
                )
            )
        return told

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        raise Invalid("A recommendation does not explain itself.", field="explain", hint="Leave it out.")

    def ranks(self, users: Sequence[str], items: Sequence[str]) -> Floats:
        """The place of each item, from 1, in what its user would be told; one that is not known comes after all others."""
        found = np.full(len(items), len(self.counts) + 1.0)
        asked: dict[str, list[int]] = {}
        for row, (user, item) in enumerate(zip(users, items, strict=True)):
            if item in self.items:
                asked.setdefault(user, []).append(row)
        for user, rows in asked.items():
            found[rows] = places(self.order(*self._had(user, None)))[[self.items[items[row]] for row in rows]]
        return found

    def order(self, had: Places, weights: Floats) -> Places:
        """All items, the best first, and last those that were had."""
        scores, _ = self.score(had, weights)
        scores[had] = -np.inf
        return np.argsort(-scores, kind="stable")

    def _had(self, user: Cell, seen: Cell | None) -> tuple[Places, Floats]:
        """What is known of a row: what it says was seen, else what is remembered of the user."""
        if isinstance(seen, str):
            items = self._known(seen)
            return items, np.ones(len(items))
        place = None if user is None or user != user else self.users.get(called(user))
        return self.history.of(place) if place is not None else (np.zeros(0, dtype=np.int64), np.zeros(0))

    def _known(self, listed: str) -> Places:
        """The items of a list that the model knows, each once."""
        places = (self.items.get(name) for name in json.loads(listed))
        return np.array(sorted({place for place in places if place is not None}), dtype=np.int64)


def leading(scores: Floats, allowed: Truths, k: int) -> Places:
    """The places of the `k` largest scores among those allowed; of equal ones the first.

    >>> leading(np.array([1.0, 3.0, 2.0, 3.0]), np.array([True, True, True, True]), 3)
    array([1, 3, 2])
    """
    kept = np.flatnonzero(allowed)
    return np.asarray(kept[np.argsort(-scores[kept], kind="stable")[:k]])


def places(order: Places) -> Places:
    """The place of each item in an order of all of them, from 1.

    >>> places(np.array([2, 0, 1]))
    array([2, 3, 1])
    """
    return np.argsort(order) + 1


def solved(squared: Floats, factors: Floats, weights: Floats, confidence: float) -> Floats:
    """The factors of one side that fit what it met of the other (Hu, Koren & Volinsky 2008, equation 4).

    Args:
        squared: the other side's factors, transposed times themselves, and the regularisation; factors x factors.
        factors: of what was met; rows x factors.
        weights: how often; rows.
        confidence: alpha.
    """
    trust = confidence * weights
    return np.asarray(np.linalg.solve(squared + (factors.T * trust) @ factors, factors.T @ (1 + trust)))


def signature(user: str, kind: FieldType) -> Signature:
    """What a model of behaviour takes and gives; the order of its fields is that of `Recommender.predict`."""
    return Signature(
        fields=(
            Field(name=user, dtype=kind, nullable=True),
            Field(name="seen", dtype="list", nullable=True),
            Field(name="k", dtype="int", low=1, high=MOST, nullable=True),
            Field(name="repeat", dtype="bool", nullable=True),
            Field(name="candidates", dtype="list", nullable=True),
        ),
        outputs=(
            Output(name="items", dtype="string", width=USUAL),
            Output(name="scores", dtype="float", width=USUAL),
            Output(name="by", dtype="string"),
        ),
        options=OPTIONS,
    )


def _or(cell: Any, usual: float) -> float:
    """The number of a cell, or the usual one where it is missing."""
    return usual if cell is None or cell != cell else float(cell)
