"""`tandem provider`: hosts of language models."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, platform
from tandem.cli.show import emit, table
from tandem_sdk import Provider

HEADINGS = ("provider", "protocol", "address", "keys", "prices", "managed by")
KNOWN_HEADINGS = ("name", "protocol", "address", "key in", "priced models", "note")
MODEL_HEADINGS = ("model", "input $/M", "output $/M", "cached $/M", "context")


@click.group()
def provider() -> None:
    """Providers: hosts of language models."""


@provider.command("list")
@as_json
def list_providers(as_json: bool) -> None:
    """List providers; keys are shown as references only."""
    with platform() as tandem:
        providers = tandem.providers.list()
    if as_json:
        emit(providers)
        return
    table(
        HEADINGS,
        [_row(provider) for provider in providers],
        empty="None yet: `tandem provider known` lists hosts, `tandem provider set NAME` takes one.",
    )


@provider.command()
@as_json
def known(as_json: bool) -> None:
    """List the hosts that are known by name, and how many of their models have a price."""
    with platform() as tandem:
        hosts = tandem.providers.known()
    if as_json:
        emit(hosts)
        return
    table(KNOWN_HEADINGS, [(host.name, host.protocol, host.base_url, host.variable, host.models, host.note) for host in hosts])


@provider.command()
@click.argument("name")
@as_json
def models(name: str, as_json: bool) -> None:
    """List the models of NAME that have a price, in US dollars per million tokens.

    NAME is a provider, or a host that is known by name.
    """
    with platform() as tandem:
        rows = tandem.providers.models(name)
    if as_json:
        emit(rows)
        return
    shown = [(row.model, row.input, row.output, row.cache_read, row.context) for row in rows]
    table(MODEL_HEADINGS, shown, empty="No price list is known for it; a model still answers by its name, without a price.")


@provider.command("set")
@click.argument("name")
@click.option("--protocol", help="The protocol it speaks. [default: the known host's, else openai]")
@click.option("--url", metavar="URL", help="Its address, up to and with /v1. [default: the known host's]")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="REFERENCE",
    help="env:NAME, file:PATH, or the key itself, which is sealed. Several rotate. [default: the known host's variable]",
)
@click.option(
    "--prices", metavar="VENDOR", help="Whose price list applies. [default: the known host's, else that of the protocol's vendor]"
)
@click.option("--region", help="Where it keeps and processes what it is sent, in your own words, such as eu.")
@click.option("--hour-price", metavar="USD", help="Of a machine of your own: dollars an hour, by which tokens are priced.")
@click.option(
    "--tokens-per-second", type=float, help="Input and output tokens it does in a second when busy. [default: as measured]"
)
@click.option("--collects/--no-collects", default=None, help="Whether it may keep what it is sent, or learn from it.")
@as_json
def set_provider(
    name: str,
    protocol: str | None,
    url: str | None,
    keys: tuple[str, ...],
    prices: str | None,
    region: str | None,
    collects: bool | None,
    hour_price: str | None,
    tokens_per_second: float | None,
    as_json: bool,
) -> None:
    """Make or replace the provider NAME. env: and file: are read where the platform runs.

    Of a known host (see `tandem provider known`) the name is enough, once its key is in its variable.
    """
    with platform() as tandem:
        stored = tandem.providers.set(
            name,
            protocol=protocol,
            base_url=url,
            keys=keys or None,
            prices=prices,
            region=region,
            collects=collects,
            hour_price=hour_price,
            tokens_per_second=tokens_per_second,
        )
    if as_json:
        emit(stored)
        return
    table(HEADINGS, [_row(stored)])


@provider.command()
@click.argument("name")
@as_json
def drop(name: str, as_json: bool) -> None:
    """Remove the provider NAME."""
    with platform() as tandem:
        tandem.providers.drop(name)
    if as_json:
        emit({"name": name, "dropped": True})
        return
    click.echo(f"The provider '{name}' is gone.")


@provider.command()
@click.argument("name")
@click.option("--model", required=True, help="The model to try.")
@as_json
@click.pass_context
def test(ctx: click.Context, name: str, model: str, as_json: bool) -> None:
    """Try a model of the provider NAME with a few short calls: reply, usage, stream, tools.

    It costs a handful of tokens. Exits with 1 when something does not work.
    """
    with platform() as tandem:
        checks = tandem.providers.test(name, model)
    if as_json:
        emit(checks)
    else:
        table(("check", "works", "detail"), [(check.check, check.ok, check.detail) for check in checks])
    if not all(check.ok for check in checks):
        ctx.exit(1)


def _row(provider: Provider) -> tuple[object, ...]:
    return (provider.name, provider.protocol, provider.base_url, provider.keys, provider.prices, provider.managed)
