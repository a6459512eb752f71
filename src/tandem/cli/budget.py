"""`tandem budget`: hard caps on what one scope may spend."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, platform
from tandem.cli.show import emit, table, usd
from tandem_sdk import Budget

WINDOWS = ("minute", "hour", "day", "month", "total")
HEADINGS = ("scope", "window", "cap", "spent", "held", "left")


@click.group()
def budget() -> None:
    """Budgets: hard caps, exact to the nano-dollar."""


@budget.command("set")
@click.argument("scope")
@click.option("--cap", required=True, metavar="USD", help="Dollars, such as 0.002.")
@click.option("--window", type=click.Choice(WINDOWS), default="day", show_default=True, help="Of the UTC calendar.")
@as_json
def set_budget(scope: str, cap: str, window: str, as_json: bool) -> None:
    """Cap what SCOPE (org, team/NAME or key/NAME) may spend in a window."""
    with platform() as tandem:
        stored = tandem.budgets.set(scope, cap, window)
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
@click.option("--window", type=click.Choice(WINDOWS), default="day", show_default=True)
@as_json
def drop(scope: str, window: str, as_json: bool) -> None:
    """Lift the cap of SCOPE in one window."""
    with platform() as tandem:
        tandem.budgets.drop(scope, window)
    if as_json:
        emit({"scope": scope, "window": window, "dropped": True})
        return
    click.echo(f"{scope} has no cap a {window} any more." if window != "total" else f"{scope} has no total cap any more.")


def _row(budget: Budget) -> tuple[object, ...]:
    left = budget.cap - budget.settled - budget.reserved
    return (budget.scope, budget.window, usd(budget.cap), usd(budget.settled), usd(budget.reserved), usd(left))
