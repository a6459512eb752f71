"""`tandem pipeline`: users' steps, carried out as Runs, by hand or by triggers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import click

from tandem.cli.options import as_json, bare, file_text, platform, seconds, wrong
from tandem.cli.run import follow
from tandem.cli.show import clean, emit, moment, pairs, table
from tandem_sdk.pipelines import PipelineRun, StepDone, Trigger

GIT_SECONDS = 10.0
ON = ("data", "labels", "alarm")


@click.group()
def pipeline() -> None:
    """Pipelines: steps of yours, done once and kept; triggers that begin them."""


@pipeline.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--entry", default="", metavar="FUNC", help="The function.  [default: the only one that is a pipeline]")
@as_json
def add(name: str, file: Path, entry: str, as_json: bool) -> None:
    """Store FILE.py as the next version of pipeline NAME, with the commit that it stands in.

    Steps and the pipeline are functions under @step and @pipeline of tandem_sdk.pipeline.
    """
    name = bare(name, "pipeline")
    source = file_text(file)
    git = repository(file)
    with platform() as tandem:
        version = tandem.pipelines.add(name, source, entry=entry, git=git)
    if as_json:
        emit(version)
        return
    click.echo(version.ref)
    if git is not None and git["dirty"]:
        click.echo("The repository has changes that are in no commit; the version says so.", err=True)


@pipeline.command()
@click.argument("name", metavar="NAME[@VERSION]")
@click.option("--set", "given", multiple=True, metavar="K=V", help="A parameter. Repeat it for more.")
@click.option("--no-cache", is_flag=True, help="Do every step, whatever is known.")
@click.option("--no-wait", is_flag=True, help="Print the run's id and leave it running.")
@as_json
def run(name: str, given: tuple[str, ...], no_cache: bool, no_wait: bool, as_json: bool) -> None:
    """Run a pipeline, with the rights of your key."""
    name, _, version = name.partition("@")
    with platform() as tandem:
        found = tandem.pipelines.run(bare(name, "pipeline"), version=version, given=_given(given), cache=not no_cache)
        if not no_wait:
            found = follow(tandem, found.id, quiet=as_json)
        steps = () if no_wait else tandem.pipelines.steps(found.id)
    if as_json:
        emit({"run": found.id, "state": found.state, "outputs": found.outputs, "steps": steps})
        return
    click.echo(found.id)
    _steps(steps)


@pipeline.command()
@click.argument("name")
@click.option("--log", is_flag=True, help="Also what the steps of the newest run printed.")
@as_json
def show(name: str, log: bool, as_json: bool) -> None:
    """Show pipeline NAME: its steps, its runs, what came from the cache, and its triggers."""
    name = bare(name, "pipeline")
    with platform() as tandem:
        found = tandem.pipelines.show(name)
        printed = tandem.pipelines.steps(found.runs[0].id, log=True) if log and found.runs else ()
    if as_json:
        emit(found)
        return
    meta = found.version.meta
    git = meta.get("git")
    told = f"{git['commit'][:12]}{', changed since' if git['dirty'] else ''}" if isinstance(git, dict) else None
    steps, parameters = meta.get("steps"), meta.get("parameters")
    pairs(
        [
            ("pipeline", found.version.ref),
            ("commit", told),
            ("steps", ", ".join(steps) if isinstance(steps, dict) else None),
            ("parameters", json.dumps(parameters, ensure_ascii=False) if parameters else None),
        ]
    )
    click.echo()
    table(("run", "state", "steps", "cached", "took", "because"), [_row(each) for each in found.runs])
    if found.runs:
        click.echo(f"\nSteps of {found.runs[0].id}:")
        _steps(found.runs[0].done)
    for step in printed:
        if step.log:
            click.echo(f"\n--- {clean(step.name)}\n{clean(step.log)}")
    if found.triggers:
        click.echo()
        _triggers(found.triggers)


@pipeline.group()
def trigger() -> None:
    """What begins a pipeline by itself: add, list, pause, resume, remove."""


@trigger.command("add")
@click.argument("name", metavar="NAME[@ALIAS]")
@click.option("--every", metavar="SPAN", help="Again and again: 30m, 12h, 1d.")
@click.option("--cron", metavar="LINE", help="A cron line, in UTC: '0 4 * * *'.")
@click.option("--on", metavar="CAUSE", help="data:dataset/NAME, labels:model/NAME or alarm:MONITOR.")
@click.option("--at-least", type=click.IntRange(1), default=1, show_default=True, help="Of labels: how many must have come.")
@click.option("--set", "given", multiple=True, metavar="K=V", help="A parameter of its runs. Repeat it for more.")
@click.option("--cooldown", metavar="SPAN", help="After it began a run, begin none for so long.")
@as_json
def trigger_add(
    name: str,
    every: str | None,
    cron: str | None,
    on: str | None,
    at_least: int,
    given: tuple[str, ...],
    cooldown: str | None,
    as_json: bool,
) -> None:
    """Have pipeline NAME begun by itself, with the rights of your key."""
    name, _, alias = name.partition("@")
    cause, what = _cause(every, cron, on)
    with platform() as tandem:
        made = tandem.pipelines.add_trigger(
            bare(name, "pipeline"),
            on=cause,
            what=what,
            at_least=at_least,
            given=_given(given),
            cooldown=seconds(cooldown) if cooldown else 0.0,
            alias=alias,
        )
    if as_json:
        emit(made)
        return
    click.echo(made.id)


@trigger.command("list")
@click.argument("name")
@as_json
def trigger_list(name: str, as_json: bool) -> None:
    """List the triggers of pipeline NAME, and what waits."""
    with platform() as tandem:
        found = tandem.pipelines.triggers(bare(name, "pipeline"))
    if as_json:
        emit(found)
        return
    _triggers(found)


@trigger.command("pause")
@click.argument("id")
@as_json
def trigger_pause(id: str, as_json: bool) -> None:
    """Let a trigger rest; what comes meanwhile is one cause when it goes on."""
    with platform() as tandem:
        _changed(tandem.pipelines.pause_trigger(id), "rests", as_json)


@trigger.command("resume")
@click.argument("id")
@as_json
def trigger_resume(id: str, as_json: bool) -> None:
    """Let a trigger go on."""
    with platform() as tandem:
        _changed(tandem.pipelines.resume_trigger(id), "goes on", as_json)


@trigger.command("remove")
@click.argument("id")
@as_json
def trigger_remove(id: str, as_json: bool) -> None:
    """Remove a trigger; a run that it has begun goes on."""
    with platform() as tandem:
        _changed(tandem.pipelines.remove_trigger(id), "is removed", as_json)


def repository(file: Path) -> dict[str, object] | None:
    """The commit a file stands in, whether anything in its repository was changed since, and where that comes from."""
    commit = _git(file.parent, "rev-parse", "HEAD")
    if not commit:
        return None
    remote = urlsplit(_git(file.parent, "remote", "get-url", "origin") or "")
    host = remote.netloc.rpartition("@")[2]  # what stands before it may be a password
    told = urlunsplit(remote._replace(netloc=host)) if remote.scheme else remote.path
    return {"commit": commit, "dirty": bool(_git(file.parent, "status", "--porcelain")), "remote": told[:500]}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _given(words: tuple[str, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise wrong(f"'{word}' sets nothing: write --set NAME=VALUE.")
        found[key] = value
    return found


def _cause(every: str | None, cron: str | None, on: str | None) -> tuple[str, str]:
    if sum(each is not None for each in (every, cron, on)) != 1:
        raise wrong("Say when: one of --every, --cron and --on.")
    if every is not None:
        return "every", str(seconds(every))
    if cron is not None:
        return "cron", cron
    cause, _, what = (on or "").partition(":")
    if cause not in ON or not what:
        raise wrong(f"'{on}' is no cause: write data:dataset/NAME, labels:model/NAME or alarm:MONITOR.")
    return cause, what


def _row(run: PipelineRun) -> tuple[object, ...]:
    took = f"{(run.ended_at - run.started_at) / 1e6:.1f} s" if run.ended_at and run.started_at else None
    because = run.inputs.get("because")
    said = "; ".join(map(str, because)) if isinstance(because, list) and because else f"{run.created_by} asked"
    cached = sum(step.state == "cached" for step in run.done)
    return run.id, run.state, len(run.done), cached, took, said


def _steps(steps: tuple[StepDone, ...]) -> None:
    rows = [
        (
            step.position + 1,
            step.name,
            step.state,
            f"{(step.ended_at - step.started_at) / 1e6:.2f} s" if step.ended_at else None,
            step.error or step.why or step.source,
        )
        for step in steps
    ]
    if rows:
        table(("", "step", "state", "took", "why"), rows)


def _triggers(triggers: tuple[Trigger, ...]) -> None:
    rows = [
        (
            each.id,
            f"{each.on} {each.what}",
            "rests" if each.paused else "listens",
            each.fired,
            moment(each.fired_at) if each.fired_at else None,
            each.note or "; ".join(each.waits),
        )
        for each in triggers
    ]
    table(("trigger", "on", "state", "runs", "newest", "waits"), rows)


def _changed(trigger: Trigger, how: str, as_json: bool) -> None:
    if as_json:
        emit(trigger)
        return
    click.echo(f"{trigger.id} of {trigger.pipeline} {how}.")
