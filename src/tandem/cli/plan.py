"""`tandem plan`, `tandem apply`: a repository's folder beside the platform, and the platform made to be like it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from tandem.cli import changes
from tandem.cli.fail import REFUSED, WAITS
from tandem.cli.options import as_json, platform, wrong
from tandem.cli.show import clean, emit, encode
from tandem_sdk import Blocked, Client, Did
from tandem_sdk.project import Outcome, Plan, load, read
from tandem_sdk.project import apply as carry_out
from tandem_sdk.project import plan as compare

ERROR, CHANGES = 1, 2
COMMITS = ("GITHUB_SHA", "CI_COMMIT_SHA")
"""Where a runner says what it runs."""

STAGE = click.option("--stage", metavar="STAGE", help="An alias of [stages] in project.toml. [default: the first]")
PRUNE = click.option("--prune", is_flag=True, help="Retire what the project declared once and declares no longer.")
COMMIT = click.option("--commit", metavar="ID", help="What the folder is at. [default: as the runner or git says]")


class Planning(click.Command):
    """Wrong usage is an error, for 2 says that there is something to do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise click.ClickException(error.format_message()) from None


@click.command(cls=Planning)
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path, exists=True, file_okay=False))
@STAGE
@PRUNE
@COMMIT
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan for `tandem apply`.")
@click.option("--markdown", is_flag=True, help="Print it as Markdown, for a pull request.")
@as_json
@click.pass_context
def plan(
    ctx: click.Context,
    folder: Path,
    stage: str | None,
    prune: bool,
    commit: str | None,
    out: Path | None,
    markdown: bool,
    as_json: bool,
) -> None:
    """Show what the project in DIR would change on the platform, field by field. Nothing is changed.

    Exits with 0 when there is nothing to do, 2 when there is, 1 on an error.
    """
    with platform() as tandem:
        made = _planned(tandem, folder, stage, prune, commit)
    if out is not None:
        try:
            out.write_text(encode(made) + "\n", "utf-8")
        except OSError as error:
            raise click.ClickException(f"'{out}' cannot be written: {error.strerror}.") from None
    if as_json:
        emit(made)
    else:
        for line in changes.markdown(made) if markdown else changes.told(made):
            click.echo(line)
    ctx.exit(CHANGES if made.changes else 0)


@click.command()
@click.argument("what", metavar="[DIR|PLAN]", default=".", type=click.Path(path_type=Path, exists=True))
@STAGE
@PRUNE
@COMMIT
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_context
def apply(ctx: click.Context, what: Path, stage: str | None, prune: bool, commit: str | None, yes: bool, as_json: bool) -> None:
    """Do what `tandem plan` shows of the project in DIR, or what the file PLAN says, and nothing else.

    Nothing is done when what the plan rests on has moved meanwhile. It stops at the first failure; applied again,
    it goes on. Exits with 4 when a gate refused, with 6 when people must approve.
    """
    with platform() as tandem:
        if what.is_file():
            if stage is not None or prune or commit is not None:
                raise wrong("A plan says its stage, its commit and what is pruned by itself.")
            made = load(what)
        else:
            made = _planned(tandem, what, stage, prune, commit)
        if not as_json:
            for line in changes.told(made):
                click.echo(line)
        if made.changes and not yes:
            if as_json or not sys.stdin.isatty():
                raise wrong("There is nobody to ask: give --yes.")
            click.confirm("Do it?", abort=True)
        outcome = carry_out(tandem, made, on_step=_quiet if as_json else _tell)
    _end(ctx, made, outcome, as_json)


def _planned(tandem: Client, folder: Path, stage: str | None, prune: bool, commit: str | None) -> Plan:
    at = commit if commit is not None else _commit(folder)
    return compare(tandem, read(folder), stage=stage, prune=prune, commit=at)


def _commit(folder: Path) -> str:
    """What a folder is at, as the runner or git says; marked where files differ from it, empty where nobody knows."""
    told = next((os.environ[name] for name in COMMITS if os.environ.get(name)), "")
    head = told or _git(folder, "rev-parse", "HEAD")
    return f"{head}-dirty" if head and not told and _git(folder, "status", "--porcelain", "--", ".") else head


def _git(folder: Path, *words: str) -> str:
    try:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _quiet(step: Did) -> None:
    """Says nothing."""


def _tell(step: Did) -> None:
    click.echo(clean(f"{step.state:8}{step.thing}" + (f"  {step.note}" if step.note else "")))


def _end(ctx: click.Context, made: Plan, outcome: Outcome, as_json: bool) -> None:
    """Says what was done and what was not, and exits as the outcome asks."""
    if as_json:
        told = {"id": outcome.id, "project": made.project, "stage": made.stage, "plan": made.digest, "state": outcome.state}
        error = None if outcome.error is None else {"code": outcome.error.code, "message": outcome.error.message}
        emit({**told, "steps": outcome.steps, "error": error})
        ctx.exit(_code(outcome))
    left = [step.thing for step in outcome.steps if step.state == "left"]
    if left:
        click.echo(f"Not done: {clean(', '.join(left))}.")
    if outcome.error is not None:
        raise outcome.error
    if outcome.state == "waiting":
        click.echo("People must approve what waits: `tandem request list`.")
    elif outcome.id:
        click.echo(f"Applied: {outcome.id}.")
    ctx.exit(_code(outcome))


def _code(outcome: Outcome) -> int:
    if outcome.error is not None:
        return REFUSED if isinstance(outcome.error, Blocked) else ERROR
    return WAITS if outcome.state == "waiting" else 0
