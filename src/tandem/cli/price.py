"""`tandem cost price`: what models cost, beside the packaged catalogue."""

from __future__ import annotations

from pathlib import Path

import click

from tandem.cli.options import as_json, assignments, platform
from tandem.cli.show import emit, table
from tandem_sdk import Price

HEADINGS = ("model", "team", "from", "in $/M", "out $/M", "other rates", "in force", "source")
FILE = click.Path(path_type=Path, dir_okay=False)
team_option = click.option("--team", help="Whose price it is. [default: everybody's]")


@click.group()
def price() -> None:
    """Prices: dated rows beside the packaged catalogue."""


@price.command("list")
@as_json
def list_prices(as_json: bool) -> None:
    """List rows that were set or imported, and the price in force of every model that an endpoint leads to."""
    with platform() as tandem:
        found = tandem.prices.list()
    if as_json:
        emit(found)
        return
    table(HEADINGS, [_row(each) for each in found], empty="No endpoint leads to a model yet: `tandem endpoint set`.")


@price.command("set")
@click.argument("target", metavar="PROVIDER/MODEL")
@click.option("--input", "input_rate", required=True, metavar="USD", help="Dollars per million input tokens.")
@click.option("--output", required=True, metavar="USD", help="Dollars per million output tokens; 0 for embeddings.")
@click.option("--cache-read", metavar="USD", help="Of tokens read from a prompt cache. [default: as input]")
@click.option("--cache-write", metavar="USD", help="Of tokens written to one. [default: as input]")
@click.option("--rate", "more", multiple=True, metavar="NAME=USD", help="Another rate, such as reasoning=3 or request=0.01.")
@team_option
@click.option("--from", "since", metavar="DATE", help="The UTC day from which it holds, 2026-01-31. [default: today]")
@as_json
def set_price(
    target: str,
    input_rate: str,
    output: str,
    cache_read: str | None,
    cache_write: str | None,
    more: tuple[str, ...],
    team: str | None,
    since: str | None,
    as_json: bool,
) -> None:
    """Set what PROVIDER/MODEL costs from a day on. It stands before the catalogue, a team's own before everybody's."""
    rates = {"input": input_rate, "output": output, "cache_read": cache_read, "cache_write": cache_write}
    given = {name: rate for name, rate in rates.items() if rate is not None} | {
        name: str(rate) for name, rate in assignments(more).items()
    }
    with platform() as tandem:
        kept = tandem.prices.set(target, given, team=team, since=since)
    if as_json:
        emit(kept)
        return
    table(HEADINGS, [_row(kept)])


@price.command()
@click.argument("target", metavar="PROVIDER/MODEL")
@team_option
@click.option("--from", "since", metavar="DATE", help="Only the row of that day. [default: every row set by hand]")
@as_json
def drop(target: str, team: str | None, since: str | None, as_json: bool) -> None:
    """Take back what was set by hand for PROVIDER/MODEL."""
    with platform() as tandem:
        gone = tandem.prices.drop(target, team=team, since=since)
    if as_json:
        emit({"target": target, "team": team, "rows": gone, "dropped": True})
        return
    click.echo(f"{gone} of the prices of {target} are gone; what stood behind them holds again.")


@price.command("import")
@click.argument("file", type=FILE)
@as_json
def import_prices(file: Path, as_json: bool) -> None:
    """Put the rows of the JSON FILE in the place of those imported before. A file with a fault changes nothing."""
    with platform() as tandem:
        done = tandem.prices.load(file)
    if as_json:
        emit(done)
        return
    click.echo(f"{done.rows} rows hold from their days on." if done.changed else f"Nothing changed: {done.rows} rows as before.")


def _row(price: Price) -> tuple[object, ...]:
    rates = dict(price.rates)
    given, said = rates.pop("input", None), rates.pop("output", None)
    other = ", ".join(f"{name} {rate}" for name, rate in rates.items())
    whose = price.team or "everybody"
    return (
        price.target,
        whose,
        price.since,
        given,
        said,
        other,
        "yes" if price.holds else "no",
        price.source or "no price is known",
    )
