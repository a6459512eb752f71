"""`tandem audit`: who did what, and the proof that nobody changed the record, here and for others."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import click

import tandem_audit
from tandem.cli.options import as_json, moment_of, platform, saved, wrong
from tandem.cli.show import clean, emit, moment, table
from tandem_sdk import AuditRow, Use, Using

FORMATS = (".jsonl", ".csv")
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


@audit.command()
@click.option("--since", help="Rows from then on: 2026-01-31, 2026-01-31T12:30 (UTC), or 30d ago.")
@click.option("--until", help="Rows up to then.")
@click.option("-o", "--to", type=click.Path(path_type=Path), metavar="FILE", help="Write a file instead of printing.")
@as_json
def export(since: str | None, until: str | None, to: Path | None, as_json: bool) -> None:
    """Write the audit as JSON lines that anybody can verify who has the public key."""
    if as_json and to is None:
        raise wrong("The rows are JSON lines already; --json goes with --to.")
    begins, ends = (moment_of(text) for text in (since, until))
    with platform() as tandem:
        count = saved(to, lambda file: tandem.audit.export(file, since=begins, until=ends))
    if as_json:
        emit({"file": str(to), "bytes": count})
    elif to is not None:
        click.echo(f"{to}: {count} bytes. `tandem audit check {to} --key-file KEY` verifies it anywhere.")


@audit.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--key", help="The public key, ed25519:BASE64.")
@click.option("--key-file", type=click.Path(path_type=Path), help="A file that holds it, as `tandem audit key --to` writes it.")
@click.option(
    "--extends", type=click.Path(path_type=Path), metavar="OLDER", help="An export that must be a part of this history."
)
@as_json
@click.pass_context
def check(ctx: click.Context, file: Path, key: str | None, key_file: Path | None, extends: Path | None, as_json: bool) -> None:
    """Verify an export without a platform. Exits with 5 when a byte of it is another.

    The same check is one file of its own, for those who have no Tandem: python -m tandem_audit.
    """
    words = [str(file)]
    for name, value in (("--key", key), ("--key-file", key_file), ("--extends", extends)):
        words += [] if value is None else [name, str(value)]
    with redirect_stdout(io.StringIO()) as said:
        code = tandem_audit.main([*words, *(["--json"] if as_json else [])])
    click.echo(clean(said.getvalue()), nl=False)
    ctx.exit(code)


@audit.command()
@click.option("-o", "--to", type=click.Path(path_type=Path), metavar="FILE", help="Write it to a file.")
@as_json
def key(to: Path | None, as_json: bool) -> None:
    """Show the public key that exports of this home are verified with. Keep it apart from them."""
    with platform() as tandem:
        found = tandem.audit.key()
    if to is not None:
        saved(to, lambda file: file.write(f"{found.key}\n".encode()))
    if as_json:
        emit(found)
    elif to is None:
        click.echo(found.key)
    else:
        click.echo(f"{to}: {found.fingerprint}")


@audit.command()
@click.option("--principal", help="Of this key or person.")
@click.option("--endpoint", help="At this endpoint.")
@click.option("--asset", help="With this asset: model/NAME, model/NAME@3, or a target such as openai/gpt-4o-mini.")
@click.option("--document", help="Where this document (name or doc_…) was shown to whoever wrote the answer.")
@click.option("--since", help="From then on: 2026-01-31, 2026-01-31T12:30 (UTC), or 30d ago.")
@click.option("--until", help="Up to then.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@click.option("-o", "--to", type=click.Path(path_type=Path), metavar="FILE", help="Write all of them to FILE.jsonl or FILE.csv.")
@as_json
def usage(
    principal: str | None,
    endpoint: str | None,
    asset: str | None,
    document: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    to: Path | None,
    as_json: bool,
) -> None:
    """Tell who used which endpoint, asset and document, and when."""
    begins, ends = (moment_of(text) for text in (since, until))
    using = Using(principal=principal, endpoint=endpoint, asset=asset, document=document, since=begins, until=ends)
    if to is not None and to.suffix not in FORMATS:
        raise wrong(f"'{to}' says no format; end it with {' or '.join(FORMATS)}.")
    with platform() as tandem:
        if to is None:
            found = tandem.usage.list(using, limit=limit)
            count = None
        else:
            count = saved(to, lambda file: tandem.usage.export(file, using, format=to.suffix[1:]))
            found = ()
    if as_json:
        emit(found if to is None else {"file": str(to), "bytes": count})
    elif to is not None:
        click.echo(f"{to}: {count} bytes")
    else:
        table(("when", "who", "team", "endpoint", "assets", "documents", "outcome", "trace"), [_use(use) for use in found])


def _use(use: Use) -> tuple[object, ...]:
    who = (moment(use.at), use.principal, use.team, use.endpoint)
    return (*who, use.assets or use.targets, use.documents, use.outcome, use.trace)


def _row(row: AuditRow) -> tuple[object, ...]:
    return (row.seq, moment(row.at), row.actor, row.action, row.subject, json.dumps(row.detail, ensure_ascii=False))
