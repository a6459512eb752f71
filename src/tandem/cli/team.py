"""`tandem team`: teams, and who is what in them."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, bare, platform, wrong
from tandem.cli.person import ROLES
from tandem.cli.show import emit, table


@click.group()
def team() -> None:
    """Teams: whose rows are whose, and who is what in them."""


@team.command()
@click.argument("name")
@as_json
def add(name: str, as_json: bool) -> None:
    """Make the team NAME. A key or a person that names one makes it, too."""
    with platform() as tandem:
        made = tandem.teams.add(name)
    if as_json:
        emit(made)
        return
    click.echo(f"The team '{made.name}' is there.")


@team.command("list")
@as_json
def list_teams(as_json: bool) -> None:
    """List teams and who is in them."""
    with platform() as tandem:
        found = tandem.teams.list()
    if as_json:
        emit(found)
        return
    table(("team", "members"), [(each.name, [f"{name}={role}" for name, role in sorted(each.members.items())]) for each in found])


@team.command()
@click.argument("name")
@click.argument("person")
@click.option("--role", type=click.Choice(ROLES), help="What PERSON is in the team from now on.")
@click.option("--remove", is_flag=True, help="Take PERSON out of the team; their keys of the team end.")
@as_json
def member(name: str, person: str, role: str | None, remove: bool, as_json: bool) -> None:
    """Give PERSON a role in the team NAME, or take them out of it. A smaller role ends keys that would give more."""
    if (role is None) != remove:
        raise wrong("Say either --role or --remove.")
    called, place = bare(person, "person"), bare(name, "team")
    with platform() as tandem:
        found = tandem.teams.remove_member(place, called) if role is None else tandem.teams.set_member(place, called, role)
    if as_json:
        emit(found)
        return
    click.echo(f"'{called}' is {'no longer in' if role is None else f'{role} of'} the team '{place}'.")
