"""What a model version says about itself beyond metrics, ready to be drawn: weak slices, groups, what it answers by."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from tandem.console.scale import Line, line
from tandem.core.score import Estimate
from tandem.evaluation.about.card import About as Told
from tandem.evaluation.about.nouns import Fairness, Feature, Importance, Point, Slices, WeakSlice

ROWS = 5
"""Rows of an answer whose explanation a page shows."""
MOST = 12
"""Columns that a page tells of, those that count most."""


class _Tensor(msgspec.Struct):
    name: str
    data: object = None
    parameters: dict[str, object] = {}


class _Answer(msgspec.Struct):
    outputs: tuple[_Tensor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What one range or value adds."""

    point: Point
    percent: float
    """Of the largest, whatever its sign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What one column of a row added to the answer."""

    column: str
    value: float
    percent: float
    """Of the largest, whatever its sign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One column, on the axes of all."""

    feature: Feature
    added: Line | None
    lost: Line | None
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The three members, where a version has them in the expected form."""

    slices: Slices | None
    weak: tuple[tuple[WeakSlice, Line], ...]
    """Its slices, with the difference on an axis from 0."""
    fairness: tuple[Fairness, ...]
    importance: Importance | None
    counted: tuple[Counted, ...]
    """Its columns."""
    left: int
    """Columns that are not told of."""


def about(told: Told) -> About:
    """What is told of a version."""
    slices, importance = told.slices, told.importance
    found = () if slices is None else slices.found
    features = () if importance is None else importance.features
    weak = _axis([each.difference for each in found])
    added, lost = _axis([each.added for each in features[:MOST]]), _axis([each.lost for each in features[:MOST]])
    return About(
        slices=slices,
        weak=tuple((each, drawn) for each, drawn in zip(found, weak, strict=True) if drawn is not None),
        fairness=told.fairness,
        importance=importance,
        counted=tuple(
            Counted(feature=each, added=ours, lost=theirs, bars=_bars(each.points))
            for each, ours, theirs in zip(features[:MOST], added, lost, strict=True)
        ),
        left=len(features[MOST:]),
    )


def contributions(answer: str) -> tuple[tuple[Added, ...], ...]:
    """What columns added to the first rows of an answer by the Open Inference Protocol, the largest first; empty of any other."""
    try:
        outputs = msgspec.json.decode(answer, type=_Answer).outputs
        told = next((each for each in outputs if each.name == "contributions"), None)
        columns = [] if told is None else msgspec.json.decode(str(told.parameters.get("columns", "[]")), type=list[str])
        values = [] if told is None else msgspec.convert(told.data, list[float])
    except msgspec.DecodeError:
        return ()
    width = len(columns)
    starts = range(0, len(values), width)[:ROWS] if width else ()
    return tuple(_row(columns, values[start : start + width]) for start in starts)


def _row(columns: list[str], values: list[float]) -> tuple[Added, ...]:
    top = max(map(abs, values), default=0.0) or 1.0
    found = [
        Added(column=column, value=value, percent=round(100 * abs(value) / top, 2))
        for column, value in zip(columns, values, strict=False)
    ]
    return tuple(sorted(found, key=lambda each: (-each.percent, each.column))[:MOST])


def _axis(estimates: list[Estimate | None]) -> list[Line | None]:
    """Intervals on one axis that begins at 0."""
    top = max((each.high for each in estimates if each is not None), default=0.0)
    return [None if each is None else line(each, [(0.0, "0")], bounds=(0.0, top)) for each in estimates]


def _bars(points: tuple[Point, ...]) -> tuple[Bar, ...]:
    top = max((abs(each.mean) for each in points), default=0.0) or 1.0
    return tuple(Bar(point=each, percent=round(100 * abs(each.mean) / top, 2)) for each in points)
