"""`tandem provider`: hosts of language models."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, platform
from tandem.cli.show import emit, table
from tandem_sdk import Provider

HEADINGS = ("provider", "protocol", "address", "keys", "prices", "managed by")


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
    table(HEADINGS, [_row(provider) for provider in providers], empty="None yet: `tandem provider set NAME --url …`.")


@provider.command("set")
@click.argument("name")
@click.option("--protocol", default="openai", show_default=True, help="The protocol it speaks.")
@click.option("--url", required=True, metavar="URL", help="Its address, up to and with /v1.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="REFERENCE",
    help="env:NAME, file:PATH, or the key itself, which is sealed. Several rotate.",
)
@click.option("--prices", metavar="VENDOR", help="Whose price list applies, when not the protocol's own vendor.")
@as_json
def set_provider(name: str, protocol: str, url: str, keys: tuple[str, ...], prices: str | None, as_json: bool) -> None:
    """Make or replace the provider NAME. env: and file: are read where the platform runs."""
    with platform() as tandem:
        stored = tandem.providers.set(name, protocol=protocol, base_url=url, keys=keys, prices=prices)
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
