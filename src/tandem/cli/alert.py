"""`tandem alert`: who is told outside of what the audit writes down."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, platform
from tandem.cli.show import clean, emit, moment, pairs, table
from tandem_sdk import Alert

HEADINGS = ("alert", "kind", "to", "on", "team", "waiting", "delivered", "failing since", "managed by")


@click.group()
def alert() -> None:
    """Alerts: who is told outside, of which deeds."""


@alert.command()
@click.argument("name")
@click.option(
    "--url", required=True, help="env:NAME, file:PATH, or the address: https://…, for e-mail smtp://HOST or smtps://HOST."
)
@click.option("--kind", default="webhook", show_default=True, help="webhook, slack or email.")
@click.option(
    "--on",
    "on",
    multiple=True,
    metavar="ACTION",
    help="An action of the audit, NOUN.* or *. Several may be given."
    "  [default: canary.rolled-back, monitor.alarm, monitor.retrain, online.failed, online.rolled-back, request.open]",
)
@click.option("--team", help="Only what this team does.  [default: every team]")
@click.option("--secret", default="", help="env:NAME, file:PATH or a literal: what a webhook is signed with, or a mail password.")
@click.option("--user", default="", help="Who signs in at the mail server.")
@click.option("--from", "sender", default="", metavar="ADDRESS", help="The address that mail comes from.")
@click.option("--to", "to", multiple=True, metavar="ADDRESS", help="An address that mail goes to. Several may be given.")
@as_json
def add(
    name: str,
    url: str,
    kind: str,
    on: tuple[str, ...],
    team: str | None,
    secret: str,
    user: str,
    sender: str,
    to: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make or replace the alert NAME. env: and file: are read where the platform runs.

    A new webhook without --secret gets one, which is printed and not shown again; one that is replaced keeps its own.
    """
    with platform() as tandem:
        made = tandem.alerts.add(
            name, url=url, kind=kind, on=on or None, team=team, secret=secret, user=user, sender=sender, to=to
        )
    if as_json:
        emit(made)
        return
    _facts(made)
    if made.signing_secret is not None:
        click.echo(f"signed with  {made.signing_secret}")
        click.echo("The signing secret is shown only this once.", err=True)


@alert.command("list")
@as_json
def list_alerts(as_json: bool) -> None:
    """List alerts and how their delivery goes; addresses up to the host only."""
    with platform() as tandem:
        found = tandem.alerts.list()
    if as_json:
        emit(found)
        return
    table(HEADINGS, [_row(each) for each in found], empty="Nobody is told: `tandem alert add NAME --url https://…`.")


@alert.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Show the alert NAME and how its delivery goes."""
    with platform() as tandem:
        found = tandem.alerts.show(name)
    if as_json:
        emit(found)
        return
    _facts(found)


@alert.command()
@click.argument("name")
@as_json
@click.pass_context
def test(ctx: click.Context, name: str, as_json: bool) -> None:
    """Send a test to the alert NAME. Exits with 1 when it does not arrive."""
    with platform() as tandem:
        done = tandem.alerts.test(name)
    if as_json:
        emit(done)
    else:
        click.echo(f"{'delivered' if done.ok else 'not delivered'}: {clean(done.detail)}")
    if not done.ok:
        ctx.exit(1)


@alert.command()
@click.argument("name")
@as_json
def remove(name: str, as_json: bool) -> None:
    """Remove the alert NAME."""
    with platform() as tandem:
        tandem.alerts.remove(name)
    if as_json:
        emit({"name": name, "removed": True})
        return
    click.echo(f"The alert '{name}' is gone; it is told of nothing any more.")


def _facts(found: Alert) -> None:
    delivery = found.delivery
    pairs(
        [
            ("alert", found.name),
            ("kind", found.kind),
            ("url", found.url),
            ("secret", found.secret),
            ("user", found.user),
            ("from", found.sender),
            ("to", found.to),
            ("told of", found.on),
            ("team", found.team or "every"),
            ("managed by", found.managed),
            ("waiting", found.pending),
            ("delivered", moment(delivery.delivered_at)),
            ("failing since", moment(delivery.failing_since)),
            ("last error", clean(delivery.error)),
            ("given up", delivery.undelivered or None),
        ]
    )


def _row(found: Alert) -> tuple[object, ...]:
    delivery = found.delivery
    return (
        found.name, found.kind, found.url, found.on, found.team or "every", found.pending, moment(delivery.delivered_at),
        moment(delivery.failing_since), found.managed,
    )  # fmt: skip
