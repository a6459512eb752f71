"""`tandem run`: executions, what they are doing and what they made."""

from __future__ import annotations

import json

import click

from tandem.cli.options import as_json, platform
from tandem.cli.progress import bar
from tandem.cli.show import emit, interval, moment, pairs, table, usd
from tandem_sdk import Client, Run


@click.group()
def run() -> None:
    """Runs: one execution each."""


@run.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@as_json
def list_runs(limit: int, as_json: bool) -> None:
    """List the newest runs."""
    with platform() as tandem:
        runs = tandem.runs.list(limit)
    if as_json:
        emit(runs)
        return
    rows = [
        (
            run.id,
            run.kind,
            run.name,
            run.state,
            f"{run.progress:.0%}",
            moment(run.created_at),
            run.asset or run.reason or run.outputs.get("prompt"),
        )
        for run in runs
    ]
    table(("run", "kind", "name", "state", "done", "made", "outcome"), rows)


@run.command()
@click.argument("id")
@as_json
def show(id: str, as_json: bool) -> None:
    """Show one run: what went in, how far it is, what came out."""
    with platform() as tandem:
        found = tandem.runs.show(id)
    if as_json:
        emit(found)
        return
    took = f"{(found.ended_at - found.started_at) / 1e6:.1f} s" if found.ended_at and found.started_at else None
    pairs(
        [
            ("run", found.id),
            ("does", f"{found.kind} {found.name}"),
            ("state", f"{found.state} {found.progress:.0%} {found.stage}"),
            ("reason", found.reason),
            ("by", f"{found.created_by}, team {found.team}"),
            ("made", moment(found.created_at)),
            ("took", took),
            *[(name, json.dumps(value, ensure_ascii=False)) for name, value in found.inputs.items()],
            ("asset", found.asset),
            ("cost", usd(found.cost) if found.cost is not None else None),
        ]
    )
    metrics(found)


@run.command()
@click.argument("id")
@as_json
def wait(id: str, as_json: bool) -> None:
    """Wait until a run has ended, and print what it made."""
    with platform() as tandem:
        found = follow(tandem, id, quiet=as_json)
    made(found, as_json=as_json)


@run.command()
@click.argument("id")
@as_json
def cancel(id: str, as_json: bool) -> None:
    """Stop a run."""
    with platform() as tandem:
        found = tandem.runs.cancel(id)
    if as_json:
        emit(found)
        return
    click.echo(f"{found.id} is {found.state}.")


def follow(tandem: Client, id: str, *, quiet: bool) -> Run:
    """Waits for a run with a bar; says how to come back when the wait is broken off."""
    try:
        with bar(id, quiet=quiet) as advance:
            return tandem.runs.wait(id, lambda look: advance(look.progress, look.stage))
    except KeyboardInterrupt:
        click.echo(f"\n{id} goes on; `tandem run wait {id}` waits again, `tandem run cancel {id}` stops it.", err=True)
        raise


def made(run: Run, *, as_json: bool) -> None:
    """Prints what a run made, and its metrics."""
    if as_json:
        told = {name: run.outputs[name] for name in ("task", "warnings") if name in run.outputs}
        emit({"ref": run.asset or None, "metrics": run.metrics, **told, "run": run.id})
        return
    click.echo(run.asset or run.id)
    if "task" in run.outputs:
        task = str(run.outputs["task"])
        click.echo(f"Learned {'an' if task.startswith('a') else 'a'} {task}.", err=True)
    metrics(run)
    for warning in run.warnings:
        click.echo(f"Warning: {warning}", err=True)


def metrics(run: Run) -> None:
    """Prints a run's metrics with their intervals."""
    if run.metrics:
        click.echo()
        table(("metric", "value [95 % interval]"), [(name, interval(estimate)) for name, estimate in run.metrics.items()])
