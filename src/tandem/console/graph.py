"""Lineage as a drawing: layers from left to right, few crossings, curves between. Pure; it draws nothing.

Method: the layered drawing of Sugiyama, Tagawa and Toda (1981): longest-path layers, a stand-in on every
layer that an edge passes, order inside a layer by the mean place of the neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT, ACROSS, DOWN, EDGE = 190, 46, 64, 18, 8
"""Of a box, of the gaps between boxes, and of the margin, in pixels."""
SWEEPS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Where one version stands."""

    ref: str
    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """From a parent to a child: an SVG path."""

    parent: str
    child: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A drawing of `width` by `height` pixels."""

    boxes: tuple[Box, ...]
    curves: tuple[Curve, ...]
    width: int
    height: int


def layout(refs: Sequence[str], edges: Sequence[tuple[str, str]]) -> Graph:
    """Places every ref right of all it was made from.

    Args:
        refs: the versions, each once.
        edges: (parent, child); what names anything else, or closes a circle, is left out.
    """
    known = list(dict.fromkeys(refs))
    layer, kept = _layers(known, edges)
    columns, chains = _columns(known, layer, kept)
    _order(columns, chains)
    tallest = max((len(column) for column in columns), default=0)
    height = max(HEIGHT, tallest * (HEIGHT + DOWN) - DOWN) + 2 * EDGE
    places: dict[str, tuple[int, int]] = {}
    for number, column in enumerate(columns):
        top = (height - len(column) * (HEIGHT + DOWN) + DOWN) // 2
        for row, name in enumerate(column):
            places[name] = (EDGE + number * (WIDTH + ACROSS), top + row * (HEIGHT + DOWN))
    return Graph(
        boxes=tuple(Box(ref=ref, x=places[ref][0], y=places[ref][1]) for ref in known),
        curves=tuple(Curve(parent=chain[0], child=chain[-1], path=_path([places[name] for name in chain])) for chain in chains),
        width=max(0, len(columns) * (WIDTH + ACROSS) - ACROSS) + 2 * EDGE,
        height=height,
    )


def _layers(refs: Sequence[str], edges: Sequence[tuple[str, str]]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The longest way from a root to each ref, and the edges that count."""
    kept = [(a, b) for a, b in dict.fromkeys(edges) if a != b and a in refs and b in refs]
    layer = dict.fromkeys(refs, 0)
    waiting = {ref: sum(child == ref for _, child in kept) for ref in refs}
    ready = [ref for ref in refs if not waiting[ref]]
    done: set[str] = set()
    while len(done) < len(refs):
        # Versions make no circles; data that does is still drawn, with the edge that closes one left out.
        ref = ready.pop(0) if ready else next(ref for ref in refs if ref not in done)
        done.add(ref)
        kept = [(a, b) for a, b in kept if not (b == ref and a not in done)]
        for parent, child in kept:
            if parent == ref and child not in done:
                layer[child] = max(layer[child], layer[ref] + 1)
                waiting[child] -= 1
                if not waiting[child] and child not in ready:
                    ready.append(child)
    return layer, [(a, b) for a, b in kept if layer[a] < layer[b]]


def _columns(
    refs: Sequence[str], layer: Mapping[str, int], edges: Sequence[tuple[str, str]]
) -> tuple[list[list[str]], list[list[str]]]:
    """Refs by layer, with a stand-in wherever an edge passes a layer; and each edge as the chain it takes."""
    columns: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for ref in refs:
        columns[layer[ref]].append(ref)
    chains: list[list[str]] = []
    for parent, child in edges:
        chain = [parent]
        for number in range(layer[parent] + 1, layer[child]):
            stand_in = f"{parent} > {child} at {number}"
            columns[number].append(stand_in)
            chain.append(stand_in)
        chains.append([*chain, child])
    return columns, chains


def _order(columns: list[list[str]], chains: Sequence[Sequence[str]]) -> None:
    left: dict[str, list[str]] = {}
    right: dict[str, list[str]] = {}
    for chain in chains:
        for a, b in pairwise(chain):
            right.setdefault(a, []).append(b)
            left.setdefault(b, []).append(a)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        near = left if forward else right
        for number in range(1, len(columns)) if forward else range(len(columns) - 2, -1, -1):
            beside = {name: row for row, name in enumerate(columns[number - 1 if forward else number + 1])}
            own = {name: row for row, name in enumerate(columns[number])}
            columns[number].sort(key=lambda name: _mean([beside[each] for each in near.get(name, [])], own[name]))


def _mean(places: Sequence[int], own: int) -> float:
    return sum(places) / len(places) if places else float(own)


def _path(corners: Sequence[tuple[int, int]]) -> str:
    """Out of the right of the first box, through the middle of each stand-in, into the left of the last."""
    (x, y), middle = corners[0], HEIGHT // 2
    at = (x + WIDTH, y + middle)
    path = f"M{at[0]} {at[1]}"
    for x, y in corners[1:]:
        to = (x, y + middle)
        bend = (at[0] + to[0]) // 2
        path += f" C{bend} {at[1]} {bend} {to[1]} {to[0]} {to[1]}"
        at = to
        if (x, y) != corners[-1]:
            at = (x + WIDTH, y + middle)
            path += f" L{at[0]} {at[1]}"
    return path
