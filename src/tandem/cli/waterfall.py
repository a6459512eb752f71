"""A trace as lines of a waterfall: which stage, inside which call, from when to when. Pure; it draws nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tandem_sdk import Call, Span, Trace

FULL, SLIVER = "█", "▏"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One stage of a call, or a call as a whole."""

    depth: int
    label: str
    start: int
    """UTC microseconds."""
    end: int
    kind: str
    """The call's kind; `stage` for a stage."""
    failed: bool = False

    @property
    def milliseconds(self) -> float:
        return max(0, self.end - self.start) / 1000


def lines(trace: Trace) -> list[Line]:
    """The trace from top to bottom: each call, its stages, and nested calls under the stage that made them."""
    known = {call.call for call in trace.calls}
    nested: dict[str | None, list[Call]] = {}
    for call in trace.calls:
        nested.setdefault(call.parent if call.parent in known else None, []).append(call)
    return [line for call in nested.get(None, ()) for line in _call(call, nested, 0)]


def bounds(drawn: Sequence[Line]) -> tuple[int, int]:
    """The earliest start and the latest end, in UTC microseconds."""
    return min((line.start for line in drawn), default=0), max((line.end for line in drawn), default=0)


def bar(line: Line, first: int, last: int, width: int) -> str:
    """The line's place in the whole, as `width` characters at most.

    >>> bar(Line(depth=0, label="", start=50, end=100, kind="stage"), 0, 100, 10)
    '     █████'
    """
    whole = max(1, last - first)
    start = min(width - 1, (line.start - first) * width // whole)
    size = (max(line.start, line.end) - line.start) * width / whole
    return " " * start + (FULL * min(width - start, max(1, round(size))) if size >= 0.5 else SLIVER)


def _call(call: Call, nested: dict[str | None, list[Call]], depth: int) -> Iterator[Line]:
    failed = call.outcome not in ("ok", "")
    label = f"{call.kind or 'call'} {call.endpoint}".strip()
    if call.attributes.get("tandem.route.role") == "shadow":
        label += ", a shadow"
    yield Line(depth=depth, label=label, start=call.start, end=call.end, kind=call.kind, failed=failed)
    waiting = sorted(nested.get(call.call, ()), key=lambda inner: inner.start)
    spans = sorted(call.spans, key=lambda span: (span.start, -span.end))
    for span in spans:
        yield Line(depth=depth + 1, label=span.name, start=span.start, end=span.end, kind="stage", failed=span.error is not None)
        for inner in [inner for inner in waiting if _holder(inner, spans) is span]:
            yield from _call(inner, nested, depth + 2)
    for inner in waiting:
        if _holder(inner, spans) is None:
            yield from _call(inner, nested, depth + 1)


def _holder(inner: Call, spans: Sequence[Span]) -> Span | None:
    """The shortest stage that was under way when the nested call began."""
    around = [span for span in spans if span.start <= inner.start <= max(span.start, span.end)]
    return min(around, key=lambda span: span.end - span.start, default=None)
