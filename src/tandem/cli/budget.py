"""`tandem budget`: what one scope may spend, in dollars."""

from __future__ import annotations

import click

from tandem.cli.options import WindowText, as_json, platform
from tandem.cli.show import emit, moment, table, usd
from tandem_sdk import Budget

HEADINGS = ("scope", "window", "cap", "spent", "held", "left", "")
WINDOW = "minute, hour, day, week, month, quarter, year, total; day@Europe/Berlin for a zone's own; rolling-24h."
SCOPES = "org, team/NAME, person/NAME, key/NAME, endpoint/NAME or tag/NAME"


@click.group()
def budget() -> None:
    """Budgets: caps in dollars, exact to the nano-dollar."""


@budget.command("set")
@click.argument("scope")
@click.option("--cap", required=True, metavar="USD", help="Dollars, such as 0.002.")
@click.option("--window", type=WindowText(), default="day", show_default=True, metavar="WINDOW", help=WINDOW)
@click.option("--soft", is_flag=True, help="Only tell when it is reached; refuse nothing.")
@click.option("--fair", is_flag=True, help="Leave each key that spends from it its even share.")
@click.option("--alert", "alerts", type=click.IntRange(1, 1000), multiple=True, help="Percent at which the audit notes it.")
@as_json
def set_budget(scope: str, cap: str, window: str, soft: bool, fair: bool, alerts: tuple[int, ...], as_json: bool) -> None:
    """Cap what SCOPE may spend in a window.

    SCOPE is org, team/NAME, person/NAME, key/NAME, endpoint/NAME or tag/NAME.
    """
    with platform() as tandem:
        stored = tandem.budgets.set(scope, cap, window, mode="soft" if soft else None, fair=fair or None, alerts=alerts or None)
    if as_json:
        emit(stored)
        return
    table(HEADINGS, [_row(stored)])


@budget.command("list")
@as_json
def list_budgets(as_json: bool) -> None:
    """List caps with what stands against them now."""
    with platform() as tandem:
        budgets = tandem.budgets.list()
    if as_json:
        emit(budgets)
        return
    hint = "No cap is set: `tandem budget set key/NAME --cap 1 --window day`."
    table(HEADINGS, [_row(budget) for budget in budgets], empty=hint)


@budget.command()
@click.argument("scope")
@click.option("--amount", required=True, metavar="USD", help="Dollars that were paid, such as 25.")
@click.option("--reference", required=True, help="The payment's own name, such as an invoice number: it counts once.")
@as_json
def credit(scope: str, amount: str, reference: str, as_json: bool) -> None:
    """Pay into the prepaid budget of SCOPE; the first payment opens it."""
    with platform() as tandem:
        stored = tandem.budgets.credit(scope, amount, reference=reference)
    if as_json:
        emit(stored)
        return
    table(HEADINGS, [_row(stored)])


@budget.command()
@click.argument("scope", default="org")
@as_json
def spend(scope: str, as_json: bool) -> None:
    """Tell what SCOPE has spent since the beginning, priced or not."""
    with platform() as tandem:
        spent = tandem.budgets.spend(scope)
    if as_json:
        emit(spent)
        return
    table(("scope", "spent", "attempts", "without a price"), [(scope, usd(spent.cost), spent.attempts, spent.unpriced)])


@budget.command()
@click.argument("scope")
@click.option("--window", type=WindowText(), default="day", show_default=True, metavar="WINDOW", help=WINDOW)
@as_json
def drop(scope: str, window: str, as_json: bool) -> None:
    """Lift the cap of SCOPE in one window; of run/TEAM/NAME, end the run."""
    with platform() as tandem:
        tandem.budgets.drop(scope, window)
    if as_json:
        emit({"scope": scope, "window": window, "dropped": True})
        return
    if scope.startswith("run/"):
        click.echo(f"{scope} is over: calls that name it are refused.")
    else:
        click.echo(f"{scope} has no cap a {window} any more." if window != "total" else f"{scope} has no total cap any more.")


def _row(budget: Budget) -> tuple[object, ...]:
    left = budget.cap - budget.settled - budget.reserved
    told = [word for word, so in ((budget.mode, budget.mode != "hard"), ("fair", budget.fair)) if so]
    if budget.ends is not None:
        told.append(f"until {moment(budget.ends)}")
    return (
        budget.scope,
        budget.window,
        usd(budget.cap),
        usd(budget.settled),
        usd(budget.reserved),
        usd(left),
        ", ".join(told),
    )
