"""`tandem endpoint canary`: a new target gets a share of the calls, and loses it by itself when it does harm."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tandem.cli.options import as_json, platform, seconds
from tandem.cli.show import clean, emit, pairs
from tandem_sdk import Run

RATE = click.FloatRange(0, 1)


@click.group()
def canary() -> None:
    """Canaries: start, show, stop."""


@canary.command()
@click.argument("name")
@click.option("--target", required=True, metavar="TARGET", help="model/ or decision/NAME@VERSION, or provider/model.")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05, show_default=True)
@click.option("--for", "span", default="1d", show_default=True, metavar="SPAN", help="How long it is watched: 30m, 12h, 7d.")
@click.option(
    "--at-end",
    type=click.Choice(["ask", "promote", "nothing"]),
    default="ask",
    show_default=True,
    help="About a promotion, when no harm was shown.",
)
@click.option("--scorer", default="", help="Compare the scores of traces by this scorer, too.")
@click.option("--errors", type=RATE, default=0.01, show_default=True, help="By how much its rate of errors may be higher.")
@click.option("--slow", type=RATE, default=0.05, show_default=True, help="The same of slow answers.")
@click.option("--bad", type=RATE, default=0.05, show_default=True, help="The same of bad scores.")
@as_json
def start(
    name: str,
    target: str,
    share: float,
    span: str,
    at_end: str,
    scorer: str,
    errors: float,
    slow: float,
    bad: float,
    as_json: bool,
) -> None:
    """Give TARGET a share of the calls of endpoint NAME, and take it back when it does harm."""
    margins = {"errors": errors, "slow": slow, "bad": bad}
    with platform() as tandem:
        run = tandem.endpoints.start_canary(
            name, target, share=share, seconds=seconds(span), at_end=at_end, scorer=scorer, margins=margins
        )
    _shown(run, as_json)


@canary.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """How the newest canary of endpoint NAME stands, and the evidence."""
    with platform() as tandem:
        run = tandem.endpoints.canary(name)
    _shown(run, as_json)


@canary.command()
@click.argument("name")
@as_json
def stop(name: str, as_json: bool) -> None:
    """Take the share back; the route of endpoint NAME is as it was."""
    with platform() as tandem:
        run = tandem.endpoints.stop_canary(name)
    _shown(run, as_json)


def _shown(run: Run, as_json: bool) -> None:
    if as_json:
        emit(run)
        return
    told, said = run.inputs, run.outputs
    rows: list[tuple[str, object]] = [
        ("canary", f"{told.get('target')} at {told.get('endpoint')}"),
        ("share", told.get("share")),
        ("state", run.state if not said.get("outcome") else said["outcome"]),
        ("progress", f"{run.progress:.0%} of {told.get('seconds')} s"),
        ("request", said.get("request")),
        ("run", run.id),
    ]
    pairs([(key, value) for key, value in rows if value is not None])
    found = said.get("findings")
    findings = found if isinstance(found, Sequence) and not isinstance(found, str) else run.stage.split("; ")
    for finding in findings:
        if finding:
            click.echo(f"  {clean(str(finding))}")
