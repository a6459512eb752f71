"""`tandem backup` and `tandem restore`: a home as one file, and back. They work on the home itself, running or not."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from tandem.cli.options import as_json
from tandem.cli.progress import bar
from tandem.cli.show import clean, emit, moment, pairs
from tandem.cli.up import HOME_HELP

BROKEN = 5
"""Exit code of a restored home whose audit is broken."""
HOME = Path(os.environ.get("TANDEM_HOME", "~/.tandem"))
SUFFIX = ".tandem"

at_home = click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), default=HOME.expanduser(), show_default=True, help=HOME_HELP
)


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@at_home
@click.option("--with-key", is_flag=True, help="Put the master key in too: whoever has the file has everything then.")
@as_json
def backup(target: Path, home: Path, with_key: bool, as_json: bool) -> None:
    """Copy a home to one file, while it runs or not.

    TARGET is a file, or a directory that gets a file named by the time. The file is there whole or not at all.
    The subjects' keys are written beside it, to a file of their own that every erasure writes again: keep the two
    together, and keep no older copy of the keys. Run it as the user that owns the home.
    """
    from tandem.core.clock import SystemClock
    from tandem.governance.backup import back_up
    from tandem.store.vault import VARIABLE, Vault

    clock, home = SystemClock(), home.expanduser().resolve()
    if target.is_dir():
        target = target / f"tandem-{moment(clock.now()).replace('-', '').replace(':', '').replace(' ', '-')}{SUFFIX}"
    environment = {VARIABLE: os.environ.get(VARIABLE, "")}
    _check_home(home)
    with bar("Back up", quiet=as_json) as advance:
        made = back_up(home, target, Vault.load(home, environment), clock, with_key=with_key, progress=advance)
    if as_json:
        emit(asdict(made))
        return
    pairs([("backup", made.path), ("keys", made.keys), ("files", made.files), ("bytes", made.size), ("shows", moment(made.at))])
    if made.with_key:
        click.echo("It holds the master key: whoever has it has everything.", err=True)


@click.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), required=True, help="A new or empty directory.")
@click.option("--keys", type=click.Path(path_type=Path), help="The subjects' keys, if they are not beside the backup.")
@click.option("--without-keys", is_flag=True, help="Go on without them: no prompt and no answer can be read.")
@click.option("--key-file", type=click.Path(path_type=Path), help="The master key, if the backup does not hold it.")
@as_json
@click.pass_context
def restore(
    ctx: click.Context, archive: Path, home: Path, keys: Path | None, without_keys: bool, key_file: Path | None, as_json: bool
) -> None:
    """Put a home in place from a backup, after everything in it was looked at.

    Whoever was erased since the backup stays erased. Exits with 5 when the audit of the restored home is broken.
    """
    from tandem.core.clock import SystemClock
    from tandem.governance.restore import Given
    from tandem.governance.restore import restore as put_back

    given = Given(keys=keys, without_keys=without_keys, key_file=key_file, environment=os.environ)
    with bar("Restore", quiet=as_json) as advance:
        found = put_back(archive, home.expanduser().resolve(), given, SystemClock(), progress=advance)
    if as_json:
        emit(asdict(found))
    else:
        pairs(
            [
                ("home", found.home),
                ("shows", moment(found.at)),
                ("files", found.files),
                ("bytes", found.size),
                ("subjects", f"{found.subjects} whose content can be read"),
                ("audit", f"{found.audit_rows} rows, {'whole' if found.audit_ok else 'BROKEN'}"),
                ("books", f"{found.unbooked} traced attempts are not in them" if found.unbooked else "agree with the traces"),
                ("under way", f"{found.under_way} attempts, booked at their reservation by the next start"),
            ]
        )
        for problem in found.audit_problems:
            click.echo(f"- {clean(problem)}")
    if not found.audit_ok:
        ctx.exit(BROKEN)


def _check_home(home: Path) -> None:
    from tandem.core.errors import Invalid, NotFound
    from tandem.settings import load

    if home.is_dir() and load(home).database() is not None:
        raise Invalid(
            "What must last lies on a PostgreSQL server and in the shared directory, and not in this home.",
            hint="Back up both: docs/machines.md says how.",
        )
    if not (home / "control.db").is_file():  # before a master key is made there
        raise NotFound(f"{home} is no home of a platform.", hint="Name it by --home or TANDEM_HOME.")
