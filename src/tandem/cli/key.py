"""`tandem key`: keys, shown once."""

from __future__ import annotations

import time

import click

from tandem.cli.fail import WAITS
from tandem.cli.options import as_json, bare, platform, seconds
from tandem.cli.show import emit, moment, table

ROLES = ("viewer", "editor", "approver", "admin", "auditor")


@click.group()
def key() -> None:
    """Keys: how callers prove who they are."""


@key.command()
@click.option("--name", required=True, help="What it is called in budgets, traces and the audit.")
@click.option("--team", help="The team it belongs to.  [default: default]")
@click.option("--role", type=click.Choice(ROLES), help="What it may do.  [default: viewer]")
@click.option("--endpoint", "endpoints", multiple=True, metavar="NAME", help="An endpoint it may call; none named means all.")
@click.option("--scope", "scopes", multiple=True, metavar="NAME", help="An extra right, such as any-version.")
@click.option("--expires", metavar="SPAN", help="When it ends: 90m, 12h, 30d, 2w.")
@as_json
@click.pass_context
def create(
    ctx: click.Context,
    name: str,
    team: str | None,
    role: str | None,
    endpoints: tuple[str, ...],
    scopes: tuple[str, ...],
    expires: str | None,
    as_json: bool,
) -> None:
    """Make a key and print it. It is not shown again."""
    ends = None if expires is None else time.time_ns() // 1000 + seconds(expires) * 1_000_000
    with platform() as tandem:
        made = tandem.keys.create(name, team=team, role=role, endpoints=endpoints, scopes=scopes, expires_at=ends)
    who, waiting = made.principal, made.request
    if as_json:
        emit({"key": made.key, "principal": who, **({} if waiting is None else {"request": waiting})})
    else:
        click.echo(made.key)
        click.echo(f"The key '{who.name}' ({who.role}, team {who.team}) is shown only this once.", err=True)
    if waiting is not None:
        click.echo(f"It is refused until {waiting.id} is approved: by {waiting.waits_for}.", err=True)
        ctx.exit(WAITS)


@key.command("list")
@as_json
def list_keys(as_json: bool) -> None:
    """List keys; never the secrets."""
    with platform() as tandem:
        keys = tandem.keys.list()
    if as_json:
        emit(keys)
        return
    now = time.time_ns() // 1000
    rows = [
        (
            k.name,
            k.team,
            k.role,
            k.endpoints or "all",
            k.scopes,
            moment(k.created_at),
            moment(k.expires_at),
            _state(k.revoked_at, k.expires_at, now),
        )
        for k in keys
    ]
    table(("key", "team", "role", "endpoints", "scopes", "made", "expires", "state"), rows)


@key.command()
@click.argument("name")
@as_json
def revoke(name: str, as_json: bool) -> None:
    """End the key NAME for good."""
    with platform() as tandem:
        tandem.keys.revoke(bare(name, "key"))
    if as_json:
        emit({"name": bare(name, "key"), "revoked": True})
        return
    click.echo(f"The key '{bare(name, 'key')}' is revoked.")


def _state(revoked_at: int | None, expires_at: int | None, now: int) -> str:
    if revoked_at is not None:
        return "revoked"
    return "expired" if expires_at is not None and expires_at <= now else "valid"
