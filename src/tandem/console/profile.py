"""A dataset's profile as drawings: a card for each column, and the correlations as a grid. Pure; reads leniently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from tandem.console.scale import heights
from tandem.console.words import number

QUANTILES = ("p01", "p05", "p25", "p50", "p75", "p95", "p99")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bin or one frequent text; its size in percent of the largest."""

    label: str
    size: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One column."""

    name: str
    dtype: str
    figures: tuple[tuple[str, str], ...]
    """What it is called, and what it is, for people."""
    bins: tuple[Bar, ...] = ()
    """A histogram, from the smallest value to the largest."""
    texts: tuple[Bar, ...] = ()
    """The most frequent texts or truth values."""
    low: str = ""
    high: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One correlation."""

    label: str
    value: str
    strength: float
    """0 to 1."""
    falls: bool
    """Whether one falls as the other rises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Correlations of every pair of numeric columns."""

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Counted(msgspec.Struct):
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()


class Often(msgspec.Struct):
    value: str
    count: int


class Seen(msgspec.Struct):
    """A column as its profile tells it."""

    name: str
    dtype: str = ""
    count: int = 0
    nulls: int = 0
    distinct: int = 0
    min: float | str | None = None
    max: float | str | None = None
    mean: float | None = None
    std: float | None = None
    quantiles: dict[str, float] | None = None
    histogram: Counted | None = None
    top: tuple[Often, ...] = ()


class _Profile(msgspec.Struct):
    rows: int = 0
    columns: tuple[Seen, ...] = ()


class _Correlations(msgspec.Struct):
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[float | None, ...], ...] = ()


def cards(meta: Mapping[str, object]) -> tuple[Card, ...]:
    """A card for each column of a profile; none where there is no profile."""
    try:
        found = msgspec.convert(meta.get("profile"), _Profile)
    except msgspec.ValidationError:
        return ()
    return tuple(_card(column, found.rows) for column in found.columns)


def grid(meta: Mapping[str, object]) -> Grid | None:
    """The correlations; None where there are none."""
    try:
        found = msgspec.convert(meta.get("correlations"), _Correlations)
    except msgspec.ValidationError:
        return None
    rows = tuple(
        tuple(_cell(name, other, r) for other, r in zip(found.columns, row, strict=False))
        for name, row in zip(found.columns, found.rows, strict=False)
    )
    return Grid(names=found.columns, rows=rows)


def _card(column: Seen, rows: int) -> Card:
    share = f" ({column.nulls / rows:.1%})" if rows and column.nulls else ""
    figures = [("missing", f"{number(column.nulls)}{share}"), ("distinct", number(column.distinct))]
    if column.min is not None and column.max is not None:
        figures.append(("range", f"{number(column.min)} … {number(column.max)}"))
    figures += [(name, number(value)) for name, value in (("mean", column.mean), ("deviation", column.std)) if value is not None]
    quantiles = column.quantiles or {}
    figures += [(name, number(quantiles[name])) for name in QUANTILES if name in quantiles]
    bins = _bins(column.histogram) if column.histogram is not None else ()
    return Card(
        name=column.name,
        dtype=column.dtype,
        figures=tuple(figures),
        bins=bins,
        texts=_texts(column.top),
        low=number(column.min) if bins and column.min is not None else "",
        high=number(column.max) if bins and column.max is not None else "",
    )


def _bins(found: Counted) -> tuple[Bar, ...]:
    spans = zip(found.edges, found.edges[1:], found.counts, heights(found.counts), strict=False)
    return tuple(Bar(label=f"{number(low)} – {number(high)}", size=size, count=count) for low, high, count, size in spans)


def _texts(found: tuple[Often, ...]) -> tuple[Bar, ...]:
    sizes = heights([top.count for top in found])
    return tuple(Bar(label=top.value, size=size, count=top.count) for top, size in zip(found, sizes, strict=True))


def _cell(name: str, other: str, r: float | None) -> Cell:
    value = "none" if r is None else f"{r:+.2f}"
    return Cell(label=f"{name} and {other}: {value}", value=value, strength=abs(r or 0.0), falls=(r or 0.0) < 0)
