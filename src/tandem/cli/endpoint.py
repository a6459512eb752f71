"""`tandem endpoint`: addresses that answer, and how they are routed."""

from __future__ import annotations

import json
from collections.abc import Callable

import click

from tandem.cli.canary import canary
from tandem.cli.online import online
from tandem.cli.options import as_json, platform, wrong
from tandem.cli.shadow import shadow
from tandem.cli.show import emit, moment, table
from tandem_sdk import Choosing, Endpoint, Target
from tandem_sdk.shape import read

HEADINGS = ("endpoint", "kind", "route", "strategy", "team", "retries", "managed by")
OPTIONS: dict[str, Callable[[str], object]] = {
    "weight": float,
    "priority": int,
    "role": str,
    "share": float,
    "context": int,
    "lacks": lambda value: value.split("+"),
}


@click.group()
def endpoint() -> None:
    """Endpoints: addresses that answer."""


endpoint.add_command(canary)
endpoint.add_command(online)
endpoint.add_command(shadow)


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
@click.option(
    "--kind", required=True, type=click.Choice(["chat", "embed", "rerank", "predict", "decide"]), help="What it answers."
)
@click.option(
    "--target",
    "targets",
    required=True,
    multiple=True,
    metavar="TARGET[,weight=W][,priority=P]…",
    help="provider/model, or model/, decision/ or index/NAME@ALIAS. Repeat it; lower priorities are asked first."
    " Further options: role=canary or shadow with share=0..1, context=TOKENS, lacks=vision+tools+json;"
    " or a JSON object, which takes when too.",
)
@click.option("--team", help="Whose it is; the team 'default' is everybody's.")
@click.option(
    "--strategy",
    type=click.Choice(["weighted", "cheapest", "fastest", "least_busy", "good_enough"]),
    help="Which target of the same priority is asked first. [default: weighted]",
)
@click.option("--router", metavar="router/NAME@ALIAS", help="Of good_enough: what was learned about the targets.")
@click.option("--tolerance", type=click.FloatRange(0, 1), help="Of good_enough: chance that may be given up for a lower cost.")
@click.option("--sticky/--no-sticky", default=None, help="Whether a conversation stays with the target that had it.")
@click.option("--region", "regions", multiple=True, help="Where content may go: a provider's region. Repeat it.")
@click.option("--max-cost", metavar="USD", help="Targets of which a call is expected to cost more are not asked.")
@click.option(
    "--past-refusals/--no-past-refusals", default=None, help="Whether the next target is asked when one refused for safety."
)
@click.option("--retries", type=click.IntRange(0, 10), help="Further attempts after the first.")
@click.option("--max-output-tokens", type=click.IntRange(1), help="For requests that declare no bound of their own.")
@click.option("--hour-price", metavar="USD", help="What an hour of a prediction's or decision's own work costs.")
@click.option(
    "--cache-seconds", type=click.IntRange(0), help="How long an answer may be given again to the same question of the same team."
)
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
    router: str | None,
    tolerance: float | None,
    sticky: bool | None,
    regions: tuple[str, ...],
    max_cost: str | None,
    past_refusals: bool | None,
    retries: int | None,
    max_output_tokens: int | None,
    hour_price: str | None,
    cache_seconds: int | None,
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
            choosing=Choosing(
                strategy=strategy,
                router=router,
                tolerance=tolerance,
                sticky=sticky,
                regions=regions or None,
                max_cost=max_cost,
                past_refusals=past_refusals,
                retries=retries,
            ),
            max_output_tokens=max_output_tokens,
            hour_price=hour_price,
            cache_seconds=cache_seconds,
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


@endpoint.command()
@as_json
def resting(as_json: bool) -> None:
    """List targets and keys that failed and stand behind the others, as each door worker saw it."""
    with platform() as tandem:
        found = tandem.endpoints.resting()
    if as_json:
        emit(found)
        return
    rows = [(one.name, one.worker, one.outcome, one.failures, moment(one.since), moment(one.until)) for one in found]
    table(
        ("target or key", "worker", "because of", "failures", "since", "until"),
        rows,
        empty="None: every target is asked in turn.",
    )


@endpoint.command()
@click.argument("name", required=False)
@as_json
def wake(name: str | None, as_json: bool) -> None:
    """End the rest of NAME: a target, a provider or a key, as `resting` shows it. Without NAME, of all."""
    with platform() as tandem:
        tandem.endpoints.wake(name)
    if as_json:
        emit({"name": name, "woken": True})
        return
    click.echo(f"{name or 'Everything'} is asked again.")


def target_of(word: str) -> Target:
    """A target out of `mock/gpt-4o-mini,weight=0.9,priority=1`, or out of a JSON object.

    Raises:
        click.UsageError: an option of it makes no sense.
    """
    if word.startswith("{"):
        try:
            return read(Target, json.loads(word))
        except ValueError as error:  # no JSON, or not a target's
            raise wrong(f"That is no target: {error}.") from None
    target, *options = word.split(",")
    told: dict[str, object] = {"target": target}
    for option in options:
        name, _, value = option.partition("=")
        try:
            told[name] = OPTIONS[name](value)
        except (KeyError, ValueError):
            raise wrong(f"'{option}' is no option of a target; use {', '.join(f'{each}=' for each in OPTIONS)}.") from None
    return read(Target, told)


def _row(endpoint: Endpoint) -> tuple[object, ...]:
    single = len(endpoint.route) == 1
    route = [t.target if single else _shown(t) for t in endpoint.route]
    strategy = None if single else endpoint.strategy + (", sticky" if endpoint.sticky else "")
    return (endpoint.name, endpoint.kind, route, strategy, endpoint.team, endpoint.retries, endpoint.managed)


def _shown(target: Target) -> str:
    if target.role != "serve":
        return f"{target.target} ({target.role} of {target.share:.3g})"
    when = ", conditional" if target.when else ""
    return f"{target.target} (weight {target.weight:g}, priority {target.priority}{when})"
