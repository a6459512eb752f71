"""`tandem key`: keys, shown once."""

from __future__ import annotations

import time

import click

from tandem.cli.fail import WAITS
from tandem.cli.options import as_json, bare, platform, seconds
from tandem.cli.show import emit, moment, table
from tandem_sdk import Key, NewKey, Terms

KINDS = ("chat", "embed", "rerank", "predict", "decide")
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
@click.option("--owner", default="", metavar="OWNER", help="person/NAME or service/NAME, who bounds it and ends it.")
@click.option("--reach", type=click.Choice(("organisation", "team")), default="organisation", help="Of an admin or auditor.")
@click.option("--right", "rights", multiple=True, metavar="RIGHT", help="A right of its role to keep; none named means all.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="A kind of calls to make; none named means all.")
@click.option("--model", "models", multiple=True, metavar="GLOB", help="Models that may answer it, such as openai/gpt-*.")
@click.option("--network", "networks", multiple=True, metavar="CIDR", help="A range of addresses it may be used from.")
@click.option("--no-content", is_flag=True, help="Keep none of its prompts and answers, whatever an endpoint says.")
@as_json
def create(
    name: str,
    team: str | None,
    role: str | None,
    endpoints: tuple[str, ...],
    scopes: tuple[str, ...],
    expires: str | None,
    owner: str,
    reach: str,
    rights: tuple[str, ...],
    kinds: tuple[str, ...],
    models: tuple[str, ...],
    networks: tuple[str, ...],
    no_content: bool,
    as_json: bool,
) -> None:
    """Make a key and print it. It is not shown again."""
    ends = None if expires is None else time.time_ns() // 1000 + seconds(expires) * 1_000_000
    terms = Terms(owner=owner, reach=reach, rights=rights, kinds=kinds, models=models, networks=networks, content=not no_content)
    with platform() as tandem:
        made = tandem.keys.create(name, team=team, role=role, endpoints=endpoints, scopes=scopes, expires_at=ends, terms=terms)
    _show(made, as_json)


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
            k.owner,
            k.endpoints or "all",
            _bound(k),
            k.scopes,
            moment(k.created_at),
            moment(k.expires_at),
            _state(k.revoked_at, k.expires_at, now),
        )
        for k in keys
    ]
    table(("key", "team", "role", "owner", "endpoints", "bound to", "scopes", "made", "expires", "state"), rows)


@key.command()
@click.argument("name")
@click.option("--overlap", metavar="SPAN", help="How long the token before stays good: 1h, 2d.  [default: not at all]")
@as_json
def rotate(name: str, overlap: str | None, as_json: bool) -> None:
    """Give the key NAME a new token and print it. Budgets, traces and rights stay the key's."""
    with platform() as tandem:
        made = tandem.keys.rotate(bare(name, "key"), overlap=0 if overlap is None else seconds(overlap))
    _show(made, as_json)


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


def _bound(k: Key) -> tuple[str, ...]:
    """What binds it beyond its role, in words."""
    team = ("its team",) if k.reach == "team" and k.role in ("admin", "auditor") else ()
    return (*team, *k.rights, *k.kinds, *k.models, *k.networks, *(() if k.content else ("no content",)))


def _show(made: NewKey, as_json: bool) -> None:
    who, waiting = made.principal, made.request
    if as_json:
        emit({"key": made.key, "principal": who, **({} if waiting is None else {"request": waiting})})
    else:
        click.echo(made.key)
        click.echo(f"The key '{who.name}' ({who.role}, team {who.team}) is shown only this once.", err=True)
    if waiting is not None:
        click.echo(f"It is refused until {waiting.id} is approved: by {waiting.waits_for}.", err=True)
        click.get_current_context().exit(WAITS)


def _state(revoked_at: int | None, expires_at: int | None, now: int) -> str:
    if revoked_at is not None:
        return "revoked"
    return "expired" if expires_at is not None and expires_at <= now else "valid"
