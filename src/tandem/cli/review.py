"""`tandem review`: calls that wait for a person, what people say of them, and datasets of it."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, bare, content, platform
from tandem.cli.show import clean, emit, interval, moment, pairs, table
from tandem.cli.trace import show_content
from tandem_sdk import Review


@click.group()
def review() -> None:
    """Reviews: calls that wait for a person."""


@review.command("list")
@click.option("--state", type=click.Choice(["open", "done"]), help="Only these.")
@click.option("--endpoint", metavar="NAME", help="Only calls of this endpoint.")
@click.option("--source", metavar="WHO", help="Only what this asked for: decision, monitor/NAME, key/NAME.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many.")
@as_json
def list_reviews(state: str | None, endpoint: str | None, source: str | None, limit: int, as_json: bool) -> None:
    """List what waits, in the order of the queue; then what was decided, newest first."""
    with platform() as tandem:
        found = tandem.reviews.list(state=state, endpoint=endpoint, source=source, limit=limit)
    if as_json:
        emit(found)
        return
    rows = [(each.id, moment(each.called_at), each.kind, each.endpoint, each.source, _state(each)) for each in found]
    empty = "Nothing waits for anybody: a decision marks a call, a monitor draws some, or `tandem review add TRACE`."
    table(("review", "called", "kind", "endpoint", "asked by", "state"), rows, empty=empty)


@review.command()
@click.argument("trace")
@click.option("--call", metavar="ID", help="Which call of the trace.  [default: the one that opened it]")
@as_json
def add(trace: str, call: str | None, as_json: bool) -> None:
    """Put a call before a person."""
    with platform() as tandem:
        made = tandem.reviews.add(trace, call=call)
    if as_json:
        emit(made)
        return
    click.echo(f"{made.id}: {made.kind} {made.endpoint} waits for a person.")


@review.command("next")
@click.option("--endpoint", metavar="NAME", help="Only calls of this endpoint.")
@click.option("--after", metavar="ID", help="Let this one go, and take what follows it.")
@as_json
def next_review(endpoint: str | None, after: str | None, as_json: bool) -> None:
    """Take the next review, for ten minutes."""
    with platform() as tandem:
        found = tandem.reviews.next(endpoint=endpoint, after=after)
    if as_json:
        emit(found)
    elif found is None:
        click.echo("Nothing waits for anybody.")
    else:
        _show(found)


@review.command()
@click.argument("id")
@as_json
def show(id: str, as_json: bool) -> None:
    """Show one review: what was asked, what was answered, and what was said of it."""
    with platform() as tandem:
        found = tandem.reviews.show(id)
    if as_json:
        emit(found)
        return
    _show(found)


@review.command()
@click.argument("id")
@click.argument("opinion", type=click.Choice(["right", "wrong", "unsure"]))
@click.option("--correction", default="", metavar="TEXT", help="What would have been right; @FILE reads it.")
@click.option("--note", default="", metavar="TEXT", help="Why.")
@as_json
def decide(id: str, opinion: str, correction: str, note: str, as_json: bool) -> None:
    """Say whether the answer was right; what is said later replaces it."""
    with platform() as tandem:
        done = tandem.reviews.decide(id, opinion, correction=content(correction), note=note)
    if as_json:
        emit(done)
        return
    click.echo(f"{done.id}: {done.opinion}. `tandem trace show {done.trace}` has the Score.")


@review.command()
@as_json
def tally(as_json: bool) -> None:
    """Tell what people said of each endpoint, with intervals."""
    with platform() as tandem:
        found = tandem.reviews.tally()
    if as_json:
        emit(found)
        return
    rows = [
        (
            each.endpoint,
            each.source,
            each.open,
            each.right,
            each.wrong,
            each.unsure,
            interval(each.share) if each.share.n else None,
        )
        for each in found
    ]
    headings = ("endpoint", "asked by", "open", "right", "wrong", "unsure", "share right [95 % interval]")
    table(headings, rows, empty="Nobody said anything yet: `tandem review next`.")


@review.command()
@click.argument("endpoint")
@click.option("--dataset", required=True, metavar="NAME", help="Which dataset gets the next version.")
@as_json
def export(endpoint: str, dataset: str, as_json: bool) -> None:
    """Make what people said of an endpoint's calls a dataset, to train on or to ask as a suite."""
    with platform() as tandem:
        done = tandem.reviews.export(endpoint, bare(dataset, "dataset"))
    if as_json:
        emit(done)
        return
    left = ", ".join(f"{count} {why}" for why, count in sorted(done.left_out.items()))
    click.echo(f"{done.ref}\n  {done.rows} rows" + (f"; left out: {left}" if left else ""))


def _state(found: Review) -> str:
    if found.state == "done":
        return f"{found.opinion}, by {found.decided_by}"
    return f"{found.held_by} looks at it" if found.held_by else "waits"


def _show(found: Review) -> None:
    said = found.said
    pairs(
        [
            ("review", found.id),
            ("call", f"{found.kind} {found.endpoint}, {moment(found.called_at)}"),
            ("trace", found.trace),
            ("asked by", found.source),
            ("state", _state(found)),
            ("correction", None if said is None else clean(said.correction)),
            ("note", None if said is None else clean(said.note)),
        ]
    )
    if found.explained is not None and found.explained.content is not None:
        show_content(found.explained, found.explained.content)
