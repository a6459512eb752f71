"""`tandem limit`: how many tokens, calls, and calls at once a scope may use."""

from __future__ import annotations

import click

from tandem.cli.options import WindowText, as_json, platform
from tandem.cli.show import emit, table
from tandem_sdk import Limit

HEADINGS = ("scope", "unit", "window", "limit", "used", "held", "left", "")
UNITS = ("requests", "tokens", "calls")
WINDOW = "minute, hour, day, week, month, quarter, year, total; day@Europe/Berlin; rolling-60s. Calls at once have none."


@click.group()
def limit() -> None:
    """Limits: caps in tokens, calls, and calls at once. They hold over all workers together."""


@limit.command("set")
@click.argument("scope")
@click.option("--unit", type=click.Choice(UNITS), required=True, help="Calls let in, tokens in and out, or calls at once.")
@click.option("--cap", type=click.IntRange(0), required=True, help="How many.")
@click.option("--window", type=WindowText(), default="minute", show_default=True, metavar="WINDOW", help=WINDOW)
@click.option("--soft", is_flag=True, help="Only tell when it is reached; refuse nothing.")
@click.option("--fair", is_flag=True, help="Leave each key that uses it its even share.")
@click.option("--alert", "alerts", type=click.IntRange(1, 1000), multiple=True, help="Percent at which the audit notes it.")
@as_json
def set_limit(
    scope: str, unit: str, cap: int, window: str, soft: bool, fair: bool, alerts: tuple[int, ...], as_json: bool
) -> None:
    """Limit what SCOPE may use in a window.

    SCOPE is org, team/NAME, person/NAME, key/NAME, endpoint/NAME or tag/NAME.
    """
    with platform() as tandem:
        stored = tandem.limits.set(
            scope, unit, cap, window, mode="soft" if soft else None, fair=fair or None, alerts=alerts or None
        )
    if as_json:
        emit(stored)
        return
    table(HEADINGS, [_row(stored)])


@limit.command("list")
@as_json
def list_limits(as_json: bool) -> None:
    """List limits with what stands against them now."""
    with platform() as tandem:
        limits = tandem.limits.list()
    if as_json:
        emit(limits)
        return
    hint = "No limit is set: `tandem limit set key/NAME --unit requests --cap 60 --window minute`."
    table(HEADINGS, [_row(each) for each in limits], empty=hint)


@limit.command()
@click.argument("scope")
@click.option("--unit", type=click.Choice(UNITS), required=True, help="Which of its limits.")
@click.option("--window", type=WindowText(), default="minute", show_default=True, metavar="WINDOW", help="Over which it was set.")
@as_json
def drop(scope: str, unit: str, window: str, as_json: bool) -> None:
    """Lift one limit of SCOPE."""
    with platform() as tandem:
        tandem.limits.drop(scope, unit, window)
    if as_json:
        emit({"scope": scope, "unit": unit, "window": window, "dropped": True})
        return
    click.echo(f"{scope} has no limit of {unit} {'at once' if unit == 'calls' else f'a {window}'} any more.")


def _row(each: Limit) -> tuple[object, ...]:
    told = [word for word, so in ((each.mode, each.mode != "hard"), ("fair", each.fair)) if so]
    window = "at once" if each.unit == "calls" else each.window
    left = each.cap - each.settled - each.reserved
    return (each.scope, each.unit, window, each.cap, each.settled, each.reserved, left, ", ".join(told))
