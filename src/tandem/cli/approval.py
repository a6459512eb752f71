"""`tandem approval`: which deeds need people; `tandem request`: what waits for them."""

from __future__ import annotations

import json

import click

from tandem.cli.options import as_json, platform
from tandem.cli.show import clean, emit, moment, pairs, table
from tandem_sdk import Approval, Request

ACTIONS = ("promote", "release", "budget.raise", "guard.change", "key.broad")
STATES = ("open", "performing", "approved", "declined", "expired", "stale")
HEADINGS = ("deed", "team", "people", "role", "waits", "set in")


@click.group()
def approval() -> None:
    """Approvals: deeds that need more people than their author."""


@approval.command("set")
@click.argument("action", type=click.Choice(ACTIONS))
@click.option("--people", type=click.IntRange(1, 10), default=1, show_default=True, help="How many; the author is none of them.")
@click.option("--role", type=click.Choice(["approver", "admin"]), default="approver", show_default=True)
@click.option("--team", help="Whose things.  [default: every team's without a rule of its own]")
@click.option("--hours", type=click.IntRange(1, 2160), default=72, show_default=True, help="How long a request waits.")
@as_json
def set_rule(action: str, people: int, role: str, team: str | None, hours: int, as_json: bool) -> None:
    """Have a deed need people. To weaken a rule needs the people that it names."""
    with platform() as tandem:
        rule = tandem.approvals.set(action, people=people, role=role, team=team, hours=hours)
    if as_json:
        emit(rule)
        return
    table(HEADINGS, [_rule(rule)])


@approval.command("list")
@as_json
def list_rules(as_json: bool) -> None:
    """List which deeds need how many people."""
    with platform() as tandem:
        rules = tandem.approvals.list()
    if as_json:
        emit(rules)
        return
    hint = "No deed needs more than its author: `tandem approval set promote --people 2`."
    table(HEADINGS, [_rule(rule) for rule in rules], empty=hint)


@approval.command()
@click.argument("action", type=click.Choice(ACTIONS))
@click.option("--team", help="The rule of this team.")
@as_json
def drop(action: str, team: str | None, as_json: bool) -> None:
    """Drop a rule; that needs the people which the rule names."""
    with platform() as tandem:
        tandem.approvals.drop(action, team)
    if as_json:
        emit({"action": action, "team": team, "dropped": True})
        return
    click.echo(f"{action} needs nobody else any more{f' in the team {team}' if team else ''}.")


@click.group()
def request() -> None:
    """Requests: deeds that wait for people."""


@request.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only these.")
@as_json
def list_requests(state: str | None, as_json: bool) -> None:
    """List requests, newest first."""
    with platform() as tandem:
        found = tandem.requests.list(state)
    if as_json:
        emit(found)
        return
    headings = ("request", "deed", "of", "alias", "gate", "state", "approved", "asked by", "by")
    table(headings, [_row(each) for each in found], empty="Nothing waits for anybody.")


@request.command("show")
@click.argument("id")
@as_json
def show_request(id: str, as_json: bool) -> None:
    """Show one request: what exactly shall be done, why, who has approved."""
    with platform() as tandem:
        found = tandem.requests.show(id)
    _said(found, as_json=as_json)


@request.command()
@click.argument("id")
@click.option("--note", default="", help="Kept with the approval.")
@as_json
def approve(id: str, note: str, as_json: bool) -> None:
    """Approve; the last approval that is needed does the deed. A promotion goes through its gate once more."""
    with platform() as tandem:
        found = tandem.requests.approve(id, note)
    _said(found, as_json=as_json)


@request.command()
@click.argument("id")
@click.option("--note", default="", help="Kept with the decision.")
@as_json
def decline(id: str, note: str, as_json: bool) -> None:
    """End a request; nothing is done. Whoever asked withdraws it so."""
    with platform() as tandem:
        found = tandem.requests.decline(id, note)
    _said(found, as_json=as_json)


def _rule(rule: Approval) -> tuple[object, ...]:
    return (rule.action, rule.team or "every other", rule.people, rule.role, f"{rule.hours} h", rule.managed)


def _row(found: Request) -> tuple[object, ...]:
    gate = None if not found.alias else "passes" if found.passed else "does not pass"
    approved = f"{len(found.approvals)} of {found.people}"
    asked = (found.monitor and f"monitor {found.monitor}") or found.author
    return (found.id, found.does, found.subject, found.alias, gate, found.state, approved, asked, found.decided_by)


def _said(found: Request, *, as_json: bool) -> None:
    if as_json:
        emit(found)
        return
    decided = f"{found.state} by {found.decided_by}" if found.decided_by else found.state
    what = f"{found.subject} to {found.alias}" if found.alias else found.subject
    voices = ", ".join(f"{voice.by} {moment(voice.at)}" for voice in found.approvals)
    pairs(
        [
            ("request", found.id),
            ("deed", f"{found.does} {what}"),
            ("state", decided),
            ("why", clean(found.reason)),
            ("gate", None if not found.alias else "lets it pass" if found.passed else "did not let it pass"),
            ("asked by", None if found.monitor else found.author),
            ("monitor", found.monitor),
            ("report", found.report),
            ("run", found.run),
            ("opened", moment(found.created_at)),
            ("until", moment(found.expires_at)),
            ("approved", f"{len(found.approvals)} of {found.people}" + (f": {voices}" if voices else "")),
            ("waits for", found.waits_for),
            ("digest", found.digest),
            ("note", clean(found.note)),
        ]
    )
    if found.deed and found.state == "open":
        click.echo(clean(json.dumps(found.deed, indent=2, ensure_ascii=False, sort_keys=True)))
