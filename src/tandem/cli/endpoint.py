"""`tandem endpoint`: addresses that answer, and how they are routed."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, platform, wrong
from tandem.cli.show import emit, table
from tandem_sdk import Endpoint, Target

HEADINGS = ("endpoint", "kind", "route", "strategy", "team", "retries", "managed by")


@click.group()
def endpoint() -> None:
    """Endpoints: addresses that answer."""


@endpoint.command("list")
@as_json
def list_endpoints(as_json: bool) -> None:
    """List endpoints, the ones that a promotion made too."""
    with platform() as tandem:
        endpoints = tandem.endpoints.list()
    if as_json:
        emit(endpoints)
        return
    table(HEADINGS, [_row(endpoint) for endpoint in endpoints])


@endpoint.command("set")
@click.argument("name")
@click.option("--kind", required=True, type=click.Choice(["chat", "embed", "predict", "decide"]), help="What it answers.")
@click.option(
    "--target",
    "targets",
    required=True,
    multiple=True,
    metavar="TARGET[,weight=W][,priority=P]",
    help="provider/model, or model/, decision/ or index/NAME@ALIAS. Repeat it; lower priorities are asked first.",
)
@click.option("--team", help="Whose it is; the team 'default' is everybody's.")
@click.option(
    "--strategy",
    type=click.Choice(["weighted", "cheapest", "fastest"]),
    help="Which target of the same priority is asked first. [default: weighted]",
)
@click.option("--retries", type=click.IntRange(0, 10), help="Further attempts after the first.")
@click.option("--max-output-tokens", type=click.IntRange(1), help="For requests that declare no bound of their own.")
@click.option("--record-content/--no-record-content", default=None, help="Whether prompts and answers are kept, encrypted.")
@click.option("--guards", metavar="policy/NAME@ALIAS", help="The policy that looks at what comes in and goes out.")
@click.option("--model", metavar="MODEL", help="Who writes answers from index/NAME@ALIAS: provider/model or a chat endpoint.")
@as_json
def set_endpoint(
    name: str,
    kind: str,
    targets: tuple[str, ...],
    team: str | None,
    strategy: str | None,
    retries: int | None,
    max_output_tokens: int | None,
    record_content: bool | None,
    guards: str | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Make or replace the endpoint NAME."""
    with platform() as tandem:
        stored = tandem.endpoints.set(
            name,
            kind=kind,
            route=[target_of(word) for word in targets],
            team=team,
            strategy=strategy,
            retries=retries,
            max_output_tokens=max_output_tokens,
            record_content=record_content,
            guards=guards,
            model=model,
        )
    if as_json:
        emit(stored)
        return
    table(HEADINGS, [_row(stored)])


@endpoint.command()
@click.argument("name")
@as_json
def drop(name: str, as_json: bool) -> None:
    """Remove the endpoint NAME."""
    with platform() as tandem:
        tandem.endpoints.drop(name)
    if as_json:
        emit({"name": name, "dropped": True})
        return
    click.echo(f"The endpoint '{name}' is gone.")


def target_of(word: str) -> Target:
    """A target out of `mock/gpt-4o-mini,weight=0.9,priority=1`.

    Raises:
        click.UsageError: an option of it makes no sense.
    """
    target, *options = word.split(",")
    weight, priority = 1.0, 0
    for option in options:
        name, _, value = option.partition("=")
        try:
            if name == "weight":
                weight = float(value)
            elif name == "priority":
                priority = int(value)
            else:
                raise ValueError
        except ValueError:
            raise wrong(f"'{option}' is no option of a target; use weight=W or priority=P.") from None
    return Target(target=target, weight=weight, priority=priority)


def _row(endpoint: Endpoint) -> tuple[object, ...]:
    single = len(endpoint.route) == 1
    route = [t.target if single else f"{t.target} (weight {t.weight:g}, priority {t.priority})" for t in endpoint.route]
    strategy = None if single else endpoint.strategy
    return (endpoint.name, endpoint.kind, route, strategy, endpoint.team, endpoint.retries, endpoint.managed)
