"""`tandem audit`: who did what, and the proof that nobody changed the record."""

from __future__ import annotations

import json

import click

from tandem.cli.options import as_json, platform
from tandem.cli.show import clean, emit, moment, table
from tandem_sdk import AuditRow

BROKEN = 5
"""Exit code of a verification that failed."""


@click.group()
def audit() -> None:
    """The audit: who did what to what."""


@audit.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@click.option("--before", type=int, metavar="NUMBER", help="Only rows below this number.")
@as_json
def list_rows(limit: int, before: int | None, as_json: bool) -> None:
    """List the newest deeds."""
    with platform() as tandem:
        rows = tandem.audit.list(limit=limit, before=before)
    if as_json:
        emit(rows)
        return
    table(("no", "when", "who", "did", "to", "detail"), [_row(row) for row in rows])


@audit.command()
@as_json
@click.pass_context
def verify(ctx: click.Context, as_json: bool) -> None:
    """Prove that no row was changed, moved, added or cut off. Exits with 5 when one was."""
    with platform() as tandem:
        report = tandem.audit.verify()
    if as_json:
        emit(report)
    elif report.ok:
        click.echo(f"The audit is whole: {report.count} rows.")
    else:
        click.echo(f"The audit is broken ({report.count} rows):")
        for problem in report.problems:
            click.echo(f"- {clean(problem)}")
    if not report.ok:
        ctx.exit(BROKEN)


def _row(row: AuditRow) -> tuple[object, ...]:
    return (row.seq, moment(row.at), row.actor, row.action, row.subject, json.dumps(row.detail, ensure_ascii=False))
