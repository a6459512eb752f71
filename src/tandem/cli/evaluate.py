"""`tandem eval`: a Run that asks a prompt the questions of a suite."""

from __future__ import annotations

from collections.abc import Mapping

import click

from tandem.cli.options import as_json, platform
from tandem.cli.promote import tell
from tandem.cli.run import follow
from tandem.cli.show import emit, interval, pairs, table
from tandem_sdk import GateReport, Run
from tandem_sdk.shape import Mismatch, read

NANO = 1_000_000_000


@click.command(name="eval")
@click.argument("prompt")
@click.option("--suite", required=True, metavar="SUITE", help="suite/NAME, or suite/NAME@VERSION.")
@click.option("--repeats", type=click.IntRange(1, 20), help="How often each question is asked. [default: the suite's]")
@click.option("--fresh", is_flag=True, help="Ask everything again; else rows that this key had answered are taken as they are.")
@click.option("--against", metavar="PROMPT", help="The version a judge compares with. [default: the one in production]")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the end, or print the run's id.")
@as_json
def evaluate(prompt: str, suite: str, repeats: int | None, fresh: bool, against: str | None, wait: bool, as_json: bool) -> None:
    """Ask PROMPT, such as prompt/explain@2, the questions of a suite.

    Prints every metric with its 95 % interval over the rows, and how the version stands against the one in
    production where that was asked the same. What it spends is yours. Ctrl-C stops the waiting, not the run.
    """
    with platform() as tandem:
        run = tandem.runs.evaluate(
            prompt if "/" in prompt else f"prompt/{prompt}",
            suite=suite if "/" in suite else f"suite/{suite}",
            repeats=repeats,
            fresh=fresh,
            against=against,
        )
        if not wait:
            if as_json:
                emit({"run": run.id, "state": run.state})
            else:
                click.echo(run.id)
            return
        run = follow(tandem, run.id, quiet=as_json)
    if as_json:
        emit({"run": run.id, **run.outputs})
        return
    _tell(run)


def _tell(run: Run) -> None:
    out = run.outputs
    asked = out.get("asked")
    told: Mapping[str, object] = asked if isinstance(asked, Mapping) else {}
    click.echo(f"{out.get('prompt')} with {out.get('suite')}\n")
    table(("metric", "value [95 % interval]"), [(name, interval(estimate)) for name, estimate in run.metrics.items()])
    click.echo()
    pairs(
        [
            ("run", run.id),
            ("rows", told.get("rows")),
            ("reused", f"{out['reused']} rows answered before" if out.get("reused") else None),
            ("answers", told.get("answers")),
            ("errors", _counts(told.get("errors"))),
            ("labels", _counts(told.get("labels"))),
            ("agreement", _agreement(told.get("agreement"))),
            ("judge", _judge(told.get("judge"))),
            ("answered by", _list(told.get("models"))),
            ("seconds", _seconds(told.get("seconds"))),
            ("cost", _dollars(told.get("cost"))),
        ]
    )
    report = _report(out.get("comparison"))
    if report is not None:
        click.echo("\nAgainst the champion:")
        tell(report, None)


def _report(found: object) -> GateReport | None:
    if found is None:
        return None
    try:
        return read(GateReport, found)
    except Mismatch:
        return None


def _counts(found: object) -> str | None:
    return ", ".join(f"{name} × {count}" for name, count in found.items()) or None if isinstance(found, Mapping) else None


def _list(found: object) -> str | None:
    return ", ".join(str(each) for each in found) or None if isinstance(found, list | tuple) else None


def _agreement(found: object) -> str | None:
    if not isinstance(found, Mapping):
        return None
    return f"the same text in {_share(found.get('texts'))} of the rows, the same grade in {_share(found.get('grades'))}"


def _judge(found: object) -> str | None:
    if not isinstance(found, Mapping):
        return None
    return (
        f"both orders alike {_share(found.get('consistent'))}, the first shown preferred {_share(found.get('first'))}, "
        f"the longer answer won {_share(found.get('longer'))}, unreadable {found.get('unreadable')}"
    )


def _seconds(found: object) -> str | None:
    return f"median {found.get('p50')}, p95 {found.get('p95')}" if isinstance(found, Mapping) and found else None


def _dollars(found: object) -> str:
    return f"{found / NANO:.6f} USD" if isinstance(found, int) else "not all of it is priced"


def _share(found: object) -> str:
    return f"{found:.0%}" if isinstance(found, int | float) else "—"
