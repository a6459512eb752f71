"""`tandem trace`: why did the system say that, what did it cost, who allowed it?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click

from tandem.cli.options import as_json, platform
from tandem.cli.show import UNKNOWN, clean, emit, interval, moment, pairs, table, usd
from tandem.cli.waterfall import Line, bar, bounds, lines
from tandem_sdk import Attempt, Call, Content, Routed, Trace, Verdict
from tandem_sdk.shape import Mismatch, read

WIDTH = 100
"""Columns of the drawing where no terminal tells its own."""
STYLES = {"predict": "cyan", "chat": "magenta", "embed": "blue", "rerank": "blue", "decide": "yellow"}
EXPLAINED = ("versions", "error", "guards", "snapshot", "tandem.route", "tandem.route.strategy")
"""Attributes of a call that have a place of their own."""


@click.group()
def trace() -> None:
    """Traces: one call and all it did."""


@trace.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@click.option("--endpoint", metavar="NAME", help="Only calls of this endpoint.")
@click.option("--outcome", metavar="WORD", help="Only calls that ended so: ok, gone, or an error's code.")
@as_json
def list_traces(limit: int, endpoint: str | None, outcome: str | None, as_json: bool) -> None:
    """List the newest traces."""
    with platform() as tandem:
        rows = tandem.traces.list(limit=limit, endpoint=endpoint, outcome=outcome)
    if as_json:
        emit(rows)
        return
    shown = [
        (
            row.trace,
            moment(row.start),
            row.kind,
            row.endpoint,
            row.outcome,
            (row.end - row.start) / 1000,
            usd(row.cost),
            row.principal,
        )
        for row in rows
    ]
    table(("trace", "when", "kind", "endpoint", "outcome", "ms", "cost", "key"), shown)


@trace.command()
@click.argument("id")
@click.option("--content", is_flag=True, help="Also show what was asked and answered.")
@as_json
def show(id: str, content: bool, as_json: bool) -> None:
    """Explain one call: its stages, versions, gate and approver, guards, errors and cost."""
    with platform() as tandem:
        found = tandem.traces.show(id, content=content)
        chosen = any("tandem.route" in call.attributes for call in found.calls)
        routes = tandem.traces.route(id) if chosen and not as_json else ()
    if as_json:
        emit(found)
        return
    _head(found)
    _draw(lines(found))
    _attempts(found)
    show_routes(routes)
    for call in found.calls:
        _explain(call)
    _scores(found)
    if found.content is not None:
        show_content(found, found.content)


def show_routes(routes: Sequence[Routed]) -> None:
    """Prints where calls could have gone, where there was a choice."""
    for routed in routes:
        if len(routed.targets) < 2:
            continue
        click.echo(f"\nRoute of {routed.endpoint} ({routed.strategy})")
        rows = [
            (
                each.place,
                each.target,
                each.state,
                each.why,
                each.expected,
                usd(each.cost) if each.state in ("answered", "failed") else None,
                usd(each.would_cost),
            )
            for each in routed.targets
        ]
        table(("", "target", "", "why", "expected", "cost", "would have cost"), rows)


def _head(trace: Trace) -> None:
    click.echo(trace.id)
    if trace.calls:
        first = trace.calls[0]
        end = max(call.end for call in trace.calls)
        when = datetime.fromtimestamp(first.start / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
        pairs(
            [
                ("outcome", f"{first.outcome} ({first.status})"),
                ("when", f"{when}, {(end - first.start) / 1000:.1f} ms"),
                ("who", f"key {first.principal}, team {first.team}" if first.principal else "nobody that is known"),
                ("for", first.subject),
                ("cost", usd(trace.cost) if trace.cost is not None else f"{UNKNOWN}: an attempt has no known price"),
                ("policy", f"snapshot {first.attributes['snapshot']}" if "snapshot" in first.attributes else None),
            ]
        )


def _draw(drawn: list[Line]) -> None:
    """The waterfall. Colours only where a terminal looks."""
    if not drawn:
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    width = console.width if console.is_terminal else WIDTH
    labels = [f"{'  ' * line.depth}{clean(line.label)}" for line in drawn]
    longest = min(max(map(len, labels)), max(20, width - 40))
    first, last = bounds(drawn)
    click.echo(f"\n{'STAGE'.ljust(longest)}  {'MS'.rjust(9)}")
    for line, label in zip(drawn, labels, strict=True):
        text = Text(f"{label[:longest].ljust(longest)}  {line.milliseconds:9.2f}  ")
        style = "red" if line.failed else STYLES.get(line.kind, "dim" if line.kind == "stage" else "")
        text.append(bar(line, first, last, max(10, width - longest - 14)), style)
        console.print(text, soft_wrap=True)


def _attempts(trace: Trace) -> None:
    kinds = {call.call: call.kind for call in trace.calls}
    rows = [(kinds[call.call], *_attempt(attempt)) for call in trace.calls for attempt in call.attempts]
    rows += [("never closed", *_attempt(attempt)) for attempt in trace.orphans]
    if rows:
        click.echo()
        table(("attempt", "target", "outcome", "tokens in", "tokens out", "counted by", "held", "cost"), rows)
    if trace.corrections:
        click.echo()
        righted = [
            (f"{each.call} {each.attempt}", usd(each.booked), usd(each.cost), moment(each.at), each.by, each.why)
            for each in trace.corrections
        ]
        table(("corrected attempt", "booked", "now", "when", "by", "because"), righted)


def _attempt(attempt: Attempt) -> tuple[object, ...]:
    used = attempt.usage
    counted = used.source != "none"
    tokens_in = used.total_input if counted else None
    tokens_out = used.total_output if counted else None
    by = used.source if counted else ""
    return (attempt.target, attempt.outcome, tokens_in, tokens_out, by, usd(attempt.reserved), usd(attempt.cost))


def _explain(call: Call) -> None:
    """What stands in the attributes of one call."""
    title = f"{call.kind or 'call'} {call.endpoint}".strip()
    versions = call.attributes.get("versions")
    for ref, told in versions.items() if isinstance(versions, Mapping) else ():
        click.echo(f"\n{clean(title)} used {clean(str(ref))}")
        pairs([(f"  {name}", value) for name, value in _version(told if isinstance(told, Mapping) else {})])
    guards = call.attributes.get("guards")
    if guards:
        click.echo(f"\n{clean(title)} guards")
        pairs([(f"  {name}", _text(value)) for name, value in _named(guards)])
    more = [(f"  {name}", _text(value)) for name, value in call.attributes.items() if name not in EXPLAINED]
    if more:
        click.echo(f"\n{clean(title)} also")
        pairs(more)
    _error(title, call)


def _scores(trace: Trace) -> None:
    """What people and scorers said of the trace's calls."""
    if not trace.scores:
        return
    names = {call.call: f"{call.kind} {call.endpoint}" for call in trace.calls}
    rows = [
        (names.get(str(each.detail.get("call"))), each.scorer, each.label or each.value, each.created_by, moment(each.created_at))
        for each in trace.scores
    ]
    click.echo()
    table(("score of", "scorer", "says", "by", "when"), rows)


def _version(told: Mapping[str, object]) -> list[tuple[str, object]]:
    known = ("digest", "made_from", "data_digest", "gate", "ungated", "approved_by", "alias", "created_by", "run")
    rows: list[tuple[str, object]] = [
        ("digest", told.get("digest")),
        ("made from", told.get("made_from") or None),
        ("data digest", told.get("data_digest")),
        ("gate", _gate(told)),
        ("approved by", told.get("approved_by")),
        ("alias", told.get("alias")),
        ("made by", told.get("created_by")),
        ("run", told.get("run")),
    ]
    return rows + [(name, _text(value)) for name, value in told.items() if name not in known]


def _gate(told: Mapping[str, object]) -> str | None:
    """The gate's verdict on the version that answered; None when the version holds no alias."""
    if "gate" not in told and "ungated" not in told:
        return None
    if told.get("ungated"):
        return "none applied"
    if told.get("gate") is None:
        return "passed; there was no champion to compare with"
    try:
        verdict = read(Verdict, told["gate"])
    except Mismatch:
        return _text(told["gate"])
    by = f" by {interval(verdict.difference, sign=True)} against the champion" if verdict.difference is not None else ""
    return f"{verdict.outcome} in {verdict.metric}: {interval(verdict.candidate)}{by} ({verdict.method})"


def _error(title: str, call: Call) -> None:
    error = call.attributes.get("error")
    if isinstance(error, Mapping):
        message, code, field, hint = (clean(str(error.get(name) or "")) for name in ("message", "code", "field", "hint"))
        click.echo(f"\n{clean(title)} failed: {message} [{code}]" + (f" (at {field})" if field else ""))
        if hint:
            click.echo(f"  → {hint}")
    for span in call.spans:
        if span.error is not None:
            click.echo(f"\n{clean(title)}, stage {clean(span.name)}: {clean(span.error)}")


def show_content(trace: Trace, content: Mapping[str, Content]) -> None:
    """What each call of a trace was asked and answered."""
    for call in trace.calls:
        kept = content.get(call.call)
        title = f"\n{call.kind or 'call'} {call.endpoint}"
        if kept is None:
            click.echo(f"{clean(title)}: no content was kept")
        elif kept.erased:
            click.echo(f"{clean(title)}: the content was erased with its end user's key")
        else:
            click.echo(f"{clean(title)} was asked{' (cut)' if kept.cut else ''}\n{clean(_pretty(kept.request))}")
            click.echo(f"{clean(title)} answered\n{clean(_pretty(kept.answer))}")
            if kept.notes:
                click.echo(f"{clean(title)} noted")
                pairs([(name, _text(value)) for name, value in kept.notes.items()])


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _named(value: object) -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [(str(name), item) for name, item in value.items()]
    items = value if isinstance(value, list | tuple) else [value]
    return [(str(index + 1), item) for index, item in enumerate(items)]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
