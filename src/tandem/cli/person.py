"""`tandem person`: people and services, and the links that invite them."""

from __future__ import annotations

import sys

import click

from tandem.cli.options import as_json, bare, platform, seconds, wrong
from tandem.cli.show import emit, moment, pairs, table
from tandem_sdk import Invitation, Link, Person

ROLES = ("viewer", "editor", "approver", "admin", "auditor")
WIDE = ("admin", "auditor")
team_roles = click.option(
    "--team", "teams", multiple=True, metavar="TEAM[=ROLE]", help="A team, and the role there. Several may be given."
)
team_role = click.option("--role", type=click.Choice(ROLES), help="The role in every --team that names none.  [default: viewer]")
everywhere = click.option("--everywhere", type=click.Choice(WIDE), help="The role in the whole organisation.")
good_for = click.option("--expires", metavar="SPAN", help="For how long the link is good: 2h, 3d.  [default: 3d]")


@click.group()
def person() -> None:
    """Persons and services: who is in which team, with which role."""


@person.command()
@click.argument("name")
@team_roles
@team_role
@everywhere
@click.option("--email", help="How they may sign in, too.")
@click.option("--service", is_flag=True, help="A program: it owns keys and never signs in.")
@as_json
def add(
    name: str,
    teams: tuple[str, ...],
    role: str | None,
    everywhere: str | None,
    email: str | None,
    service: bool,
    as_json: bool,
) -> None:
    """Make the person NAME, or with --service a service. `tandem person password NAME --link` gives them a way in."""
    kind = "service" if service else "person"
    with platform() as tandem:
        made = tandem.persons.add(name, teams=_teams(teams, role), role=everywhere, email=email, kind=kind)
    _show(made, as_json)


@person.command("list")
@as_json
def list_persons(as_json: bool) -> None:
    """List persons and services."""
    with platform() as tandem:
        found = tandem.persons.list()
    if as_json:
        emit(found)
        return
    rows = [
        (each.name, each.kind, _roles(each), each.email, _way_in(each), _state(each), moment(each.created_at)) for each in found
    ]
    table(("name", "kind", "roles", "e-mail", "way in", "state", "made"), rows, empty="Nobody yet: `tandem person invite EMAIL`.")


@person.command("set")
@click.argument("name")
@click.option("--email", help="A new e-mail.")
@click.option("--everywhere", type=click.Choice((*WIDE, "none")), help="The role in the whole organisation.")
@click.option("--disable/--enable", "disabled", default=None, help="Shut them out, with all their keys, or let them in again.")
@as_json
def set_person(name: str, email: str | None, everywhere: str | None, disabled: bool | None, as_json: bool) -> None:
    """Change the person NAME. Teams are changed by `tandem team member`."""
    with platform() as tandem:
        found = tandem.persons.set(bare(name, "person"), email=email, role=everywhere, disabled=disabled)
    _show(found, as_json)


@person.command()
@click.argument("name")
@as_json
def remove(name: str, as_json: bool) -> None:
    """Remove the person or service NAME, with their sessions and keys."""
    with platform() as tandem:
        tandem.persons.remove(bare(name, "person"))
    if as_json:
        emit({"name": bare(name, "person"), "removed": True})
        return
    click.echo(f"'{bare(name, 'person')}' is gone, and so are all their keys.")


@person.command()
@click.argument("name")
@click.option("--link", "by_link", is_flag=True, help="Print a link, good once, by which they choose it themselves.")
@good_for
@as_json
def password(name: str, by_link: bool, expires: str | None, as_json: bool) -> None:
    """Give the person NAME a new password; their sessions end.

    It is asked for without echo, or read from standard input when that is no terminal.
    """
    called = bare(name, "person")
    with platform() as tandem:
        if by_link:
            _link(tandem.persons.link(called, seconds=None if expires is None else seconds(expires)), as_json)
            return
        tandem.persons.set_password(called, _asked())
    if as_json:
        emit({"name": called, "password": True})
        return
    click.echo(f"'{called}' has a new password, and is signed out everywhere.")


@person.command()
@click.argument("email")
@team_roles
@team_role
@everywhere
@good_for
@as_json
def invite(
    email: str, teams: tuple[str, ...], role: str | None, everywhere: str | None, expires: str | None, as_json: bool
) -> None:
    """Print a link, good once, by which EMAIL joins and chooses a password. Nothing is sent."""
    with platform() as tandem:
        made = tandem.persons.invite(
            email, teams=_teams(teams, role), role=everywhere, seconds=None if expires is None else seconds(expires)
        )
    _link(made, as_json)


@person.command()
@as_json
def invited(as_json: bool) -> None:
    """List the links that can still be used; never the links themselves."""
    with platform() as tandem:
        found = tandem.persons.invited()
    if as_json:
        emit(found)
        return
    rows = [
        (
            each.id,
            each.email,
            _opens(each),
            each.created_by,
            moment(each.expires_at),
        )
        for each in found
    ]
    table(("invitation", "for", "opens", "made by", "ends"), rows, empty="No link waits to be used.")


@person.command()
@click.argument("invitation")
@as_json
def withdraw(invitation: str, as_json: bool) -> None:
    """Take the link INVITATION back."""
    with platform() as tandem:
        tandem.persons.withdraw(invitation)
    if as_json:
        emit({"id": invitation, "withdrawn": True})
        return
    click.echo(f"The link {invitation} opens nothing any more.")


@person.command("sign-out")
@click.argument("name")
@as_json
def sign_out(name: str, as_json: bool) -> None:
    """End every session of the person NAME."""
    with platform() as tandem:
        tandem.persons.sign_out(bare(name, "person"))
    if as_json:
        emit({"name": bare(name, "person"), "signed_out": True})
        return
    click.echo(f"'{bare(name, 'person')}' is signed out everywhere.")


def _teams(given: tuple[str, ...], role: str | None) -> dict[str, str]:
    """`red=editor` or `red`, as a role for each team."""
    found = {}
    for text in given:
        team, equals, own = text.partition("=")
        if equals and own not in ROLES:
            raise wrong(f"'{own}' is no role: say {', '.join(ROLES)}.")
        found[team] = own or role or "viewer"
    return found


def _asked() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True))
    text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise wrong("No password was given.")
    return text


def _link(made: Link, as_json: bool) -> None:
    if as_json:
        emit({"link": made.link, "invitation": made.invitation})
        return
    click.echo(made.link)
    click.echo(f"It is good once, until {moment(made.invitation.expires_at)}, and shown only here.", err=True)


def _show(found: Person, as_json: bool) -> None:
    if as_json:
        emit(found)
        return
    pairs(
        [
            (found.kind, found.name),
            ("e-mail", found.email),
            ("roles", _roles(found)),
            ("way in", _way_in(found)),
            ("state", _state(found)),
        ]
    )


def _opens(link: Invitation) -> str:
    return "a new password" if link.person else _given(link.role, link.teams)


def _roles(found: Person) -> str:
    return _given(found.role, found.teams)


def _given(role: str | None, teams: object) -> str:
    held = sorted(dict(teams).items()) if isinstance(teams, dict) else []
    return ", ".join([*([] if role is None else [f"{role} everywhere"]), *(f"{each}={own}" for each, own in held)]) or "none"


def _way_in(found: Person) -> str:
    if found.kind == "service":
        return "keys alone"
    return ", ".join([*(["password"] if found.has_password else []), *([found.sso] if found.sso else [])]) or "none yet"


def _state(found: Person) -> str:
    return "active" if found.disabled_at is None else f"disabled {moment(found.disabled_at)}"
