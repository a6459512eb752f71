"""Online: what is kept of an entity so that its features can be told at any later moment, as bytes and as values.

Merging is commutative and idempotent: the facts decide, not their order of arrival. It knows no store and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from tandem.data.features.formula import NOW, Value
from tandem.data.features.validity import EMPTY_IS_ZERO, State, expired, start
from tandem.data.features.view import FACTS, Aggregate, Service, View


class Fact(NamedTuple):
    """One version of a fact with what is computed of it."""

    event: int
    created: int
    known: int
    order: int
    id: str
    values: tuple[Value, ...]
    """In the order of the view's expressions."""

    @property
    def rank(self) -> tuple[int, int, int]:
        return (self.event, self.created, self.order)


class Cell(NamedTuple):
    """One value of a vector."""

    value: Value
    state: State
    event: int | None
    """When the newest fact behind it became true; None where there is none."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Fact])


def fact(view: View, row: Mapping[str, object], *, known: int, order: int) -> Fact:
    """What a row says, as it is kept.

    Args:
        row: columns of the view's source; times in UTC microseconds.
        known: when it arrived.
    """
    event, created = row[view.time], None if view.created is None else row.get(view.created)
    assert isinstance(event, int)  # the rim has checked it
    return Fact(
        event=event,
        created=created if isinstance(created, int) else known,
        known=known,
        order=order,
        id="\x1f".join("\0" if row.get(name) is None else str(row[name]) for name in view.id),
        values=tuple(closure(row) for closure in view.closures),
    )


def packed(facts: Sequence[Fact]) -> bytes:
    return _ENCODER.encode(facts)


def unpacked(data: bytes | None) -> list[Fact]:
    return [] if data is None else _DECODER.decode(data)


def merged(view: View, facts: Iterable[Fact], now: int) -> list[Fact]:
    """What must be kept of these facts about one entity to tell its features at `now` and later, by rank.

    That is the newest known fact, those whose time has not come, and those that still count for an aggregate: at most
    `FACTS` of the known ones, the newest.
    """
    counted: dict[tuple[int, str], Fact] = {}
    pending: list[Fact] = []
    for fact in facts:
        if start(fact.event, fact.known) > now:
            pending.append(fact)
            continue
        other = counted.get((fact.event, fact.id))
        if other is None or fact.rank > other.rank:
            counted[fact.event, fact.id] = fact
    known = sorted(counted.values(), key=lambda fact: fact.rank)
    keep = [fact for fact in known[:-1] if fact.event + view.widest > now][-FACTS + 1 :] if view.widest else []
    return sorted([*keep, *known[-1:], *_worth(pending, counted, known)], key=lambda fact: (fact.rank, fact.known))


def _worth(pending: list[Fact], counted: dict[tuple[int, str], Fact], known: list[Fact]) -> list[Fact]:
    """Of facts to come, once each, those that are not outdone already."""
    kept: dict[tuple[object, ...], Fact] = {}
    for fact in pending:
        other = counted.get((fact.event, fact.id))
        if other is None or fact.rank > other.rank:
            kept[fact.rank, fact.id, fact.known] = fact
    return list(kept.values())


def cells(view: View, facts: Sequence[Fact], t: int) -> list[Cell]:
    """The features of one entity at a moment, in the view's order; `facts` as `merged` kept them."""
    alone = len(facts) == 1 and start(facts[0].event, facts[0].known) <= t  # as most entities are
    known = facts if alone else _known(facts, t)
    if not known:
        return [Cell(None, "not-found", None)] * len(view.features)
    newest = known[-1]
    found: list[Cell] = []
    for feature, place in zip(view.features, view.places, strict=True):
        holds = view.holds(feature)
        if feature.aggregate == "last":
            if expired(newest.event, holds, t):
                found.append(Cell(None, "expired", newest.event))
            else:
                value = newest.values[place]
                found.append(Cell(value, "null" if value is None else "ok", newest.event))
            continue
        counting = [fact for fact in known if not expired(fact.event, holds, t)][-FACTS:]
        if not counting:
            found.append(Cell(0.0 if feature.aggregate in EMPTY_IS_ZERO else None, "expired", newest.event))
            continue
        values = [True] * len(counting) if place < 0 else [fact.values[place] for fact in counting]
        value = aggregated(feature.aggregate, [value for value in values if value is not None])
        found.append(Cell(value, "null" if value is None else "ok", newest.event))
    return found


def _known(facts: Sequence[Fact], t: int) -> list[Fact]:
    best: dict[tuple[int, str], Fact] = {}
    for fact in facts:
        if start(fact.event, fact.known) <= t:
            other = best.get((fact.event, fact.id))
            if other is None or fact.rank > other.rank:
                best[fact.event, fact.id] = fact
    return sorted(best.values(), key=lambda fact: fact.rank)


def aggregated(aggregate: Aggregate, values: list[Value]) -> Value:
    """One number of the values of the facts that count, nulls left out; None where there is none.

    Standard deviations are of the sample (n - 1).
    """
    match aggregate:
        case "count":
            return float(len(values))
        case "distinct":
            return float(len(set(values)))
        case "sum":
            return _finite(_sum(values))
    if not values:
        return None
    numbers: list[float] = values  # type: ignore[assignment]  # the view has checked it
    match aggregate:
        case "min":
            return min(numbers)
        case "max":
            return max(numbers)
        case "mean":
            return _finite(_sum(values) / len(values))
        case "std":
            if len(numbers) < 2:
                return None
            mean = _sum(values) / len(values)
            try:
                return _finite(math.sqrt(math.fsum((value - mean) ** 2 for value in numbers) / (len(numbers) - 1)))
            except OverflowError:
                return None
    return values[-1]


def _sum(values: list[Value]) -> float:
    try:
        return math.fsum(values)  # type: ignore[arg-type]  # numbers
    except OverflowError:
        return math.inf


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def vector(service: Service, found: Sequence[Sequence[Cell]], inputs: dict[str, object], t: int) -> list[Cell]:
    """One vector: what was picked of the views' cells, then what is computed from it, the request and the moment."""
    whole = [found[view][place] for view, place in service.picks]
    if service.computed:
        row: dict[str, object] = {**inputs, NOW: t}
        row.update(zip(service.names, (cell.value for cell in whole), strict=False))
        for computed, closure in zip(service.computed, service.closures, strict=True):
            value = closure(row)
            row[computed.name] = value
            whole.append(Cell(value, "null" if value is None else "ok", None))
    return whole
