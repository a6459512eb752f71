"""`tandem project`: what repositories declare, and how a runner plans and applies one."""

from __future__ import annotations

from pathlib import Path

import click

from tandem.cli.options import as_json, platform, wrong
from tandem.cli.show import emit, moment, pairs, table
from tandem_sdk.project import read

HERE = Path(__file__).parent / "project" / "templates"
RUNNERS = {"github": ".github/workflows/tandem.yml", "gitlab": ".gitlab-ci.yml"}


@click.group()
def project() -> None:
    """Projects: what repositories declare on the platform."""


@project.command("list")
@as_json
def list_projects(as_json: bool) -> None:
    """List projects with their newest apply."""
    with platform() as tandem:
        found = tandem.projects.list()
    if as_json:
        emit(found)
        return
    rows = [
        (
            each.name,
            each.team,
            *(() if last is None else (last.stage, last.state, moment(last.begun_at), last.by, last.commit[:12])),
        )
        for each in found
        for last in (each.newest,)
    ]
    table(("project", "team", "stage", "state", "applied", "by", "commit"), rows, empty="None yet: `tandem apply` makes one.")


@project.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Show what the project NAME declares, and its applies."""
    with platform() as tandem:
        found = tandem.projects.show(name)
    if as_json:
        emit(found)
        return
    pairs([("project", found.name), ("team", found.team), ("since", f"{moment(found.created_at)} by {found.created_by}")])
    click.echo()
    things = [(each.thing, each.file, each.commit[:12], moment(each.at), each.by) for each in found.things]
    table(("declares", "in", "commit", "applied", "by"), things)
    click.echo()
    applies = [
        (each.id, each.stage, each.state, sum(step.state == "done" for step in each.steps), len(each.steps),
         moment(each.begun_at), each.by, each.commit[:12], each.plan[7:19])
        for each in found.applies
    ]  # fmt: skip
    table(("apply", "stage", "state", "done", "of", "begun", "by", "commit", "plan"), applies)


@project.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--for", "runner", type=click.Choice(list(RUNNERS)), default="github", show_default=True, help="Whose runner.")
@as_json
def ci(folder: Path, runner: str, as_json: bool) -> None:
    """Write a workflow into DIR that plans on pull requests and applies: the first stage on main, the others by hand."""
    from jinja2 import Environment, StrictUndefined

    stages = [each.name for each in read(folder).stages]
    text = (HERE / f"{runner}.yml").read_text("utf-8")
    # Runners write ${{ … }} themselves, so the template's own marks are others.
    marks = Environment(
        variable_start_string="<<", variable_end_string=">>", block_start_string="<%", block_end_string="%>",
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    file = folder / RUNNERS[runner]
    if file.exists():
        raise wrong(f"'{file}' is there already.")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(marks.from_string(text).render(stages=stages), "utf-8")
    if as_json:
        emit({"file": str(file)})
        return
    click.echo(f"{file} is written. Give its runner TANDEM_URL and TANDEM_KEY, one key for each environment.")
