"""`tandem erase`: a person's content and name become unreadable, and a report proves it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tandem.cli.options import as_json, decoded, file_text, platform, wrong
from tandem.cli.show import clean, emit, moment, pairs
from tandem_sdk import Erasure

INCOMPLETE = 1
FALSE = 5
"""Exit code of a report that was not written so."""


@click.command()
@click.argument("subject", required=False)
@click.option("--yes", is_flag=True, help="Do not ask. Nothing brings back what is erased.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the whole report there.")
@click.option("--verify", type=click.Path(path_type=Path), metavar="FILE", help="Check such a report instead.")
@as_json
@click.pass_context
def erase(ctx: click.Context, subject: str | None, yes: bool, report: Path | None, verify: Path | None, as_json: bool) -> None:
    """Erase the person SUBJECT: what was kept of them becomes unreadable, backups included.

    SUBJECT is the end user as calls name it, or principal:NAME for calls of a key that name none. Keep the report:
    `--verify FILE` tells later whether this platform wrote it. Exits with 1 where a copy of the keys could not be
    reached or a file still holds the name, with 5 where a report is not genuine.
    """
    if (subject is None) == (verify is None):
        raise wrong("Name the subject to erase, or a report with --verify.")
    if verify is not None:
        ctx.exit(_verify(verify, as_json))
    assert subject is not None
    if not yes:
        click.confirm(f"Erase what is kept of '{clean(subject)}'? Nothing brings it back.", abort=True, err=True)
    with platform() as tandem:
        found = tandem.subjects.erase(subject)
    if report is not None:
        report.write_text(json.dumps(found.report, indent=2) + "\n", "utf-8")
    if as_json:
        emit(found.report)
    else:
        _show(found)
    if not found.complete:
        ctx.exit(INCOMPLETE)


def _verify(file: Path, as_json: bool) -> int:
    report = decoded(file_text(file), f"{file}")
    if not isinstance(report, dict):
        raise wrong(f"'{file}' is no report of an erasure.")
    with platform() as tandem:
        genuine = tandem.subjects.verify(report)
    if as_json:
        emit({"ok": genuine})
    else:
        click.echo("The report is genuine." if genuine else "The report was changed, or another platform wrote it.")
    return 0 if genuine else FALSE


def _show(found: Erasure) -> None:
    pairs(
        [
            ("erased", found.id),
            ("when", moment(found.at)),
            ("unreadable now", f"{found.contents} contents of {found.traces} traces"),
            ("journal", f"{found.journal_bytes} bytes overwritten"),
            ("searched", f"{found.searched} files of the home for the name"),
        ]
    )
    for copy in found.copies:
        click.echo(f"{'BAD' if copy.fault else 'ok '}  {clean(copy.path)}{': ' + clean(copy.fault) if copy.fault else ''}")
    for path in found.named_in:
        click.echo(f"BAD  {clean(path)} holds the name in the clear")
    for place in found.unsearched:
        click.echo(f"-    not looked at: {clean(place)}")
    if not found.complete:
        click.echo("Mend what is marked and erase again: a second time finishes it.", err=True)
