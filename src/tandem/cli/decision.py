"""`tandem decision`: users' code that combines models, rules and language models."""

from __future__ import annotations

from pathlib import Path

import click

from tandem.cli.options import as_json, bare, file_text, platform, wrong
from tandem.cli.show import emit
from tandem_sdk.decisions import entry_of
from tandem_sdk.errors import Invalid


@click.group()
def decision() -> None:
    """Decisions: plain typed functions behind an endpoint."""


@decision.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--entry", metavar="FUNC", help="The function to call.  [default: NAME, or the only one that takes Calls]")
@as_json
def add(name: str, file: Path, entry: str | None, as_json: bool) -> None:
    """Store FILE.py as the next version of decision NAME.

    The function takes one typed input and a parameter typed Calls, and declares what it returns:
    def second_opinion(case: Case, calls: Calls) -> Opinion
    """
    name = bare(name, "decision")
    source = file_text(file)
    with platform() as tandem:
        version = tandem.decisions.add(name, source, entry=entry or _entry(source, name, file))
    if as_json:
        emit(version)
        return
    click.echo(version.ref)


def _entry(source: str, name: str, file: Path) -> str:
    try:
        return entry_of(source, name, str(file))
    except Invalid as error:
        raise wrong(error.message) from None
