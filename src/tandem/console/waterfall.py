"""The waterfall of a trace: calls and their stages as bars on one time scale. Pure; it draws nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tandem.console.words import lasted
from tandem.core.trace import Span, Trace
from tandem.observability.traces import is_shadow

LAW = frozenset({"identify", "resolve", "admit"})
"""Stages that ask the law, not a model."""
KINDS = frozenset({"chat", "embed", "rerank", "predict", "decide"})
THIN = 0.4
"""The narrowest bar that can be seen, in percent."""
DEEPEST = 8
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row: a whole call, or one stage of it."""

    depth: int
    """How deep it is nested; the opening call is 0."""
    kind: str
    """`chat`, `embed`, `rerank`, `predict`, `decide`, `law`, or `other`."""
    name: str
    call: Trace | None
    """The call, where the row is a whole one."""
    start: int
    """Microseconds after the trace began."""
    length: int
    """Microseconds."""
    left: float
    width: float
    """Both in percent of the whole."""
    first: float | None = None
    """Where the first piece of a stream came, in percent of the whole."""
    error: str | None = None
    attributes: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark of the time scale."""

    at: float
    """Percent of the whole."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """All bars, top to bottom, and their scale."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    length: int
    """Microseconds from the first start to the last end."""


@dataclass(frozen=True, slots=True)
class _Scale:
    start: int
    length: int

    def at(self, micros: int) -> float:
        return round(min(100.0, max(0.0, 100 * (micros - self.start) / self.length)), 3)


def waterfall(calls: Sequence[Trace]) -> Waterfall:
    """Lays out the calls of one trace: every call above its stages, nested calls below the stage that made them.

    A call whose parent is not among them (another team's, or lost) stands at the top by itself.
    """
    if not calls:
        return Waterfall(bars=(), ticks=(), length=0)
    start = min(call.start for call in calls)
    length = max(1, max(call.end for call in calls) - start)
    scale = _Scale(start, length)
    known = {call.call for call in calls}
    children: dict[str | None, list[Trace]] = {}
    for call in sorted(calls, key=lambda call: call.start):
        children.setdefault(call.parent if call.parent in known else None, []).append(call)
    bars = [bar for call in children.get(None, []) for bar in _call(call, 0, children, scale)]
    return Waterfall(bars=tuple(bars), ticks=ticks(length), length=length)


def _call(call: Trace, depth: int, children: Mapping[str | None, Sequence[Trace]], scale: _Scale) -> Iterator[Bar]:
    error = call.attributes.get("error")
    told = error.get("message") if isinstance(error, dict) else None
    kind = call.kind if call.kind in KINDS else "other"
    name = call.endpoint or "(never resolved)"
    if is_shadow(call):
        name += ", a shadow"
    yield _bar(depth, kind, name, call.start, call.end, {}, scale, call=call, error=None if told is None else str(told))
    spans = sorted(call.spans, key=lambda span: span.start)
    below: dict[int, list[Trace]] = {}
    for child in children.get(call.call, ()):
        below.setdefault(_maker(spans, child, call.end), []).append(child)
    for place, span in enumerate(spans):
        yield _stage(span, depth + 1, kind, call.end, scale)
        for child in below.get(place, ()):
            yield from _call(child, depth + 2, children, scale)
    for child in below.get(-1, ()):
        yield from _call(child, depth + 1, children, scale)


def _maker(spans: Sequence[Span], child: Trace, end: int) -> int:
    """The place of the last stage that was under way when the child began; -1 when none was."""
    under_way = [place for place, span in enumerate(spans) if span.start <= child.start <= (span.end or end)]
    return under_way[-1] if under_way else -1


def _stage(span: Span, depth: int, kind: str, end: int, scale: _Scale) -> Bar:
    chunk = span.attributes.get(FIRST_CHUNK)
    first = scale.at(span.start + round(chunk * 1e6)) if isinstance(chunk, int | float) and 0 <= chunk < 1e9 else None
    owner = "law" if span.name in LAW else kind
    return _bar(depth, owner, span.name, span.start, span.end or end, span.attributes, scale, first=first, error=span.error)


def _bar(
    depth: int,
    kind: str,
    name: str,
    start: int,
    end: int,
    attributes: Mapping[str, object],
    scale: _Scale,
    *,
    call: Trace | None = None,
    first: float | None = None,
    error: str | None = None,
) -> Bar:
    width = max(THIN, round(scale.at(max(start, end)) - scale.at(start), 3))
    return Bar(
        depth=min(depth, DEEPEST),
        kind=kind,
        name=name,
        call=call,
        start=start - scale.start,
        length=max(0, end - start),
        left=min(scale.at(start), 100 - width),
        width=width,
        first=first,
        error=error,
        attributes=attributes,
    )


def ticks(length: int) -> tuple[Tick, ...]:
    """Three to six marks at round times, from 0, none of them past the end.

    >>> [tick.text for tick in ticks(9_000)]
    ['0', '2.00 ms', '4.00 ms', '6.00 ms', '8.00 ms']
    """
    step = 1
    while length / step > 5:  # 1, 2, 5, 10, 20, 50…
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return tuple(Tick(at=round(100 * at / length, 3), text=lasted(at) if at else "0") for at in range(0, length + 1, step))
