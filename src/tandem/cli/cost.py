"""`tandem cost`: what was spent, whether the bills agree, and what would have been cheaper."""

from __future__ import annotations

from pathlib import Path

import click

from tandem.cli.options import as_json, assignments, moment_of, platform
from tandem.cli.price import price
from tandem.cli.show import clean, emit, moment, pairs, table, usd
from tandem_sdk import BillLine, Cause, Forecast, Reconciliation, Saving

FILE = click.Path(path_type=Path, dir_okay=False)
SHOWN = 40
"""Lines that a table shows."""
WHY = {
    "price": "the price differs",
    "cached": "cached tokens are priced or counted differently",
    "tokens": "the provider counted other tokens",
    "estimated": "no count came (lost stream, timeout, crash): the reservation was booked",
    "failed": "failed here with nothing used, and billed",
    "retries": "billed more than once, or a retry that is not known here",
    "unrecorded": "billed, and not recorded here",
    "unbilled": "recorded, and not billed",
    "rounding": "the export's rounding",
    "unpriced": "no price is known here",
    "unexplained": "neither counts nor identities tell",
}

since_option = click.option("--since", metavar="WHEN", help="2026-11-01, an RFC 3339 time, or how long ago: 30d.")
until_option = click.option("--until", metavar="WHEN", help="The same; what lies before it counts.")


@click.group()
def cost() -> None:
    """Costs: what was spent, prices, bills beside the books, and what lies ahead."""


cost.add_command(price)


@cost.command()
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True, help="UTC days, today included.")
@as_json
def show(days: int, as_json: bool) -> None:
    """Show what was spent: day by day, and of late by team, endpoint and model."""
    with platform() as tandem:
        found = tandem.costs.show(days)
    if as_json:
        emit(found)
        return
    spending = [day for day in found.days if day.attempts]
    rows = [(day.day, usd(day.cost), day.attempts, day.unpriced or None) for day in spending]
    table(("day", f"spent by {found.scope}", "attempts", "without a price"), rows, empty="Nothing was spent.")
    if found.spent:
        click.echo(f"\nThe last {found.traced} days with calls:")
        by_target = [(each.team, each.endpoint, each.target, usd(each.cost), each.attempts) for each in found.spent[:SHOWN]]
        table(("team", "endpoint", "model", "spent", "attempts"), by_target)


@cost.command()
@click.argument("file", type=FILE)
@click.option("--provider", metavar="NAME", help="Whose bill it is. [default: the only provider]")
@since_option
@until_option
@click.option(
    "--columns",
    metavar="NAME=COLUMN,…",
    help="What the columns of another export say: date, model, key, call, attempt, requests, input (cached tokens included) or"
    " uncached, cached, output, cost (dollars).",
)
@click.option("--apply", is_flag=True, help="Correct attempts that were booked as estimated; the file must name calls.")
@as_json
def reconcile(
    file: Path, provider: str | None, since: str | None, until: str | None, columns: str | None, apply: bool, as_json: bool
) -> None:
    """Lay the usage export FILE of a provider beside the books.

    Known are the exports of OpenAI (usage, costs) and Anthropic (usage, cost), and the bill of `tandem mock`. Each
    difference is told with its likely cause. Where the file names calls, --apply corrects what had to be estimated.
    """
    named = None if columns is None else {name: str(column) for name, column in assignments(columns.split(",")).items()}
    with platform() as tandem:
        found = tandem.costs.reconcile(
            file, provider=provider, since=moment_of(since), until=moment_of(until), columns=named, apply=apply
        )
    if as_json:
        emit(found)
        return
    _reconciled(found)


@cost.command()
@click.option("--since", required=True, metavar="WHEN", help="2026-11-01, an RFC 3339 time, or how long ago: 30d.")
@until_option
@click.option("--apply", is_flag=True, help="Book what it costs now, as corrections.")
@as_json
def reprice(since: str, until: str | None, apply: bool, as_json: bool) -> None:
    """Price a past period by the rows that are known now, each attempt by the row of its own day and team."""
    began = moment_of(since)
    assert began is not None
    with platform() as tandem:
        found = tandem.costs.reprice(began, moment_of(until), apply=apply)
    if as_json:
        emit(found)
        return
    rows = [
        (each.target, usd(each.booked), usd(each.cost), usd(each.difference), each.attempts, each.changed, each.estimated or None,
         each.unpriced or None)
        for each in found.models
    ]  # fmt: skip
    headings = ("model", "booked", "now", "difference", "attempts", "changed", "estimated", "without a price")
    table(headings, rows, empty="No model was asked in that time.")
    click.echo(f"\n{usd(found.booked)} is booked, {usd(found.cost)} it costs now: a difference of {usd(found.difference)}.")
    if found.applied:
        click.echo(f"{found.corrected} attempts are booked anew.")
    elif found.changed:
        click.echo(f"{found.changed} attempts cost something else now: --apply books it.")


@cost.command()
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True, help="How far back calls are looked at.")
@as_json
def audit(days: int, as_json: bool) -> None:
    """Tell what recorded chats would have saved: answers from memory, cheaper targets, warm prompts, shorter answers."""
    with platform() as tandem:
        found = tandem.costs.audit(days)
    if as_json:
        emit(found)
        return
    spent = f"{found.calls} chats in {found.hours} hours cost {usd(found.cost)}"
    click.echo(f"{spent}; of {found.unread} the content is not kept.\n" if found.unread else f"{spent}.\n")
    headings = ("measure", "would have saved", "95 %", "of the cost", "calls", "of")
    table(headings, [_saving(each) for each in found.measures])
    click.echo("\nThey overlap and are not to be added up. Each assumes that")
    for each in found.measures:
        click.echo(f"  {each.measure}: {clean(each.assumed)}")


@cost.command()
@as_json
def forecast(as_json: bool) -> None:
    """Tell when each budget runs out in its window, from what was spent day by day."""
    with platform() as tandem:
        found = tandem.costs.forecast()
    if as_json:
        emit(found)
        return
    headings = ("scope", "window", "spent", "cap", "forecast", "between (80 %)", "chance", "days", "today")
    table(headings, [_foretold(each) for each in found], empty="No cap is set: `tandem budget set key/NAME --cap 1`.")
    if found:
        click.echo(f"\nBy {found[0].method}.")


@cost.command()
@as_json
def history(as_json: bool) -> None:
    """List bills that were laid beside the books, newest first."""
    with platform() as tandem:
        found = tandem.costs.reconciliations()
    if as_json:
        emit(found)
        return
    table(
        ("when", "provider", "from", "to", "billed", "booked", "difference", "corrected", "by"),
        [
            (moment(f.at), f.provider, moment(f.since), moment(f.until), usd(f.billed), usd(f.booked), usd(f.difference),
             f.corrected, f.by)
            for f in found
        ],
        empty="No bill was compared yet: `tandem cost reconcile FILE.csv`.",
    )  # fmt: skip


def _reconciled(found: Reconciliation) -> None:
    pairs(
        [
            ("provider", found.provider),
            ("export", f"{found.form}, {found.rows} rows"),
            ("from", moment(found.since)),
            ("to", moment(found.until)),
            (
                "billed",
                usd(found.billed) + (" (tokens at the platform's prices; the export has no amounts)" if found.priced else ""),
            ),
            ("booked", usd(found.booked)),
            ("difference", usd(found.difference)),
            ("agreeing", f"{found.same} of {found.same + found.differing} lines (day, model, key)"),
        ]
    )
    if found.causes:
        click.echo("")
        table(("because", "difference", "attempts", ""), [_cause(cause) for cause in found.causes])
    if found.lines:
        click.echo("")
        rows = [
            (line.day, line.model, _keys(line), usd(line.billed), usd(line.booked), usd(line.difference), line.requests,
             line.attempts, [cause.why for cause in line.causes])
            for line in found.lines[:SHOWN]
        ]  # fmt: skip
        table(("day", "model", "key", "billed", "booked", "difference", "requests", "attempts", "because"), rows)
        if found.differing > SHOWN:
            click.echo(f"… and {found.differing - SHOWN} more; --json shows them.")
    click.echo("")
    if found.missing:
        click.echo(f"The bill lacks {found.missing} attempts that the provider counted: it is not whole.")
    if found.applied:
        click.echo(f"{found.corrected} attempts that were booked as estimated are corrected.")
    elif found.estimated:
        click.echo(f"{found.estimated} attempts that were booked as estimated are known better now: --apply corrects them.")
    elif not found.difference:
        click.echo("Bill and books agree to the nano-dollar.")


def _keys(line: BillLine) -> str:
    return line.key or ", ".join(f"{each.key or '(none)'} {usd(each.billed)}" for each in line.keys)


def _saving(each: Saving) -> tuple[object, ...]:
    if not each.enough:
        return (each.measure, "not enough data", "", "", "", each.n)
    share = f"{each.share:.1%} [{each.share_low:.1%}, {each.share_high:.1%}]"
    return (each.measure, usd(each.amount), f"{usd(each.low)} to {usd(each.high)}", share, each.touched, each.n)


def _foretold(each: Forecast) -> tuple[object, ...]:
    verdict = f"{each.verdict} {each.day}" if each.verdict == "runs out" and each.day else each.verdict
    between = f"{each.low} to {each.high or 'after the window'}" if each.low else ""
    chance = "" if each.chance is None else f"{each.chance:.0%}"
    today = "rises as it never did" if each.abnormal else ""
    return (each.scope, each.window, usd(each.settled), usd(each.cap), verdict, between, chance, each.days, today)


def _cause(cause: Cause) -> tuple[object, ...]:
    return (cause.why, usd(cause.amount), cause.count, clean(WHY.get(cause.why, "")))
