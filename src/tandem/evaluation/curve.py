"""The curves of a routing report as an SVG picture: cost across, quality up. Text in, text out; it draws nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from tandem.evaluation.routing import Report, Standing

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 170, 30, 60
"""Margins; the names stand in the right one."""
COLOURS = {
    "learned": "#1f4e79",
    "oracle": "#4d8c57",
    "random": "#9aa5b1",
    "mix": "#b07d2b",
    "always-cheap": "#6b7280",
    "best-single": "#a33a3a",
}
STEPS = 5
LINE = 18


def draw(report: Report) -> str:
    """The picture. The same report gives the same text."""
    points = [point for way in report.ways for point in way.points]
    banded = [point.quality for way in report.ways if way.name == "learned" for point in way.points]
    across = _bounds([point.cost for point in points])
    up = _bounds([*(point.quality.value for point in points), *(edge for each in banded for edge in (each.low, each.high))])
    title = f"{report.rows} questions; {report.weak} to {report.strong}; costs {report.costing}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *_axes(across, up),
    ]
    for number, way in enumerate(report.ways):
        if way.name == "learned":
            parts.append(_band(way, across, up))
        parts += _way(way, number, across, up)
    return "\n".join([*parts, "</svg>", ""])


def _way(way: Standing, number: int, across: tuple[float, float], up: tuple[float, float]) -> list[str]:
    """A line through the settings, or a dot, and the name."""
    colour = COLOURS.get(way.name, "#333333")
    places = [(_x(point.cost, across), _y(point.quality.value, up)) for point in way.points]
    parts = []
    if len(places) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dashes = ' stroke-dasharray="5 4"' if way.name in ("random", "mix") else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
    else:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>' for x, y in places]
    x, y = WIDTH - RIGHT + 18, TOP + 10 + number * LINE
    parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
    parts.append(f'<text x="{x + 16}" y="{y}">{escape(way.name)} {way.quality.value:.3f}</text>')
    return parts


def _band(way: Standing, across: tuple[float, float], up: tuple[float, float]) -> str:
    """The 95 % intervals around a line."""
    lows = [(point.cost, point.quality.low) for point in way.points]
    highs = [(point.cost, point.quality.high) for point in reversed(way.points)]
    path = " ".join(f"{_x(cost, across):.1f},{_y(quality, up):.1f}" for cost, quality in (*lows, *highs))
    return f'<polygon points="{path}" fill="{COLOURS[way.name]}" fill-opacity="0.12"/>'


def _axes(across: tuple[float, float], up: tuple[float, float]) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#333333"/>']
    for cost in _ticks(across):
        parts.append(f'<text x="{_x(cost, across):.1f}" y="{bottom + 18}" text-anchor="middle">{cost / 1000:g}</text>')
    for quality in _ticks(up):
        y = _y(quality, up)
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{quality:g}</text>')
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#e5e7eb"/>')
    middle = (LEFT + right) / 2
    parts.append(
        f'<text x="{middle:.0f}" y="{HEIGHT - 18}" text-anchor="middle">mean cost of a call, millionths of a dollar</text>'
    )
    parts.append(f'<text x="{LEFT}" y="{TOP - 10}">mean score</text>')
    return parts


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or abs(high) * 0.1 or 1.0
    return max(0.0, low - room) if low >= 0 else low - room, high + room


def _ticks(bounds: tuple[float, float]) -> list[float]:
    """Round numbers between the bounds, at most `STEPS` steps apart."""
    rough = (bounds[1] - bounds[0]) / STEPS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(bounds[0] / step - 1e-9), math.floor(bounds[1] / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _x(cost: float, bounds: tuple[float, float]) -> float:
    return LEFT + (cost - bounds[0]) / (bounds[1] - bounds[0]) * (WIDTH - LEFT - RIGHT)


def _y(quality: float, bounds: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - (quality - bounds[0]) / (bounds[1] - bounds[0]) * (HEIGHT - TOP - BOTTOM)
