"""`tandem login`, `tandem whoami`: keys on this machine."""

from __future__ import annotations

import sys

import click

from tandem.cli.options import as_json, platform, wrong
from tandem.cli.show import emit, moment, pairs
from tandem_sdk import Client, credentials
from tandem_sdk.credentials import Credentials


@click.command()
@click.option("--url", help="The platform's address.  [default: TANDEM_URL, else http://127.0.0.1:8400]")
@as_json
def login(url: str | None, as_json: bool) -> None:
    """Check a key with the platform and keep it for later commands.

    The key is asked for without echo, or read from standard input when that is no terminal. It is kept in
    ~/.config/tandem/credentials.json, readable by you alone, and sent to no other address.
    """
    address = credentials.find(url).url
    asked = sys.stdin.isatty()
    key = str(click.prompt(f"Key for {address}", hide_input=True, err=True)) if asked else sys.stdin.readline()
    if not key.strip():
        raise wrong("No key was given.")
    with Client(address, key.strip()) as tandem:
        principal = tandem.whoami()
    file = credentials.store(Credentials(url=address, key=key.strip()))
    if as_json:
        emit({"url": address, "principal": principal, "file": str(file)})
        return
    click.echo(f"You are '{principal.name}' ({principal.role}, team {principal.team}) at {address}.")
    click.echo(f"The key is kept in {file}.")


@click.command()
@as_json
def whoami(as_json: bool) -> None:
    """Tell whom the platform takes you for."""
    with platform() as tandem:
        principal, url = tandem.whoami(), tandem.url
    if as_json:
        emit(principal)
        return
    pairs(
        [
            ("name", principal.name),
            ("team", principal.team),
            ("role", principal.role),
            ("endpoints", principal.endpoints or "all"),
            ("scopes", principal.scopes),
            ("expires", moment(principal.expires_at)),
            ("at", url),
        ]
    )
