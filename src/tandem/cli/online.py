"""`tandem endpoint online`: a model goes on learning from labels as they come, and each new version passes a gate."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, platform, seconds
from tandem.cli.show import clean, emit, moment, pairs, table
from tandem_sdk import Learning

MODELS = ("champion", "candidate", "learner", "first")


@click.group()
def online() -> None:
    """Learning online: start, show, list, stop."""


@online.command()
@click.argument("name")
@click.option("--every", type=click.IntRange(10, 5_000), default=200, show_default=True, help="Labelled rows of a step.")
@click.option("--after", "span", metavar="SPAN", help="Then a step takes what labels there are: 30m, 12h.  [default: never]")
@click.option(
    "--need",
    type=click.Choice(["improved", "non-inferior"]),
    default="improved",
    show_default=True,
    help="What a candidate must be to be promoted.",
)
@click.option("--margin", type=click.FloatRange(0, 1, max_open=True), default=0.01, show_default=True, help="Still non-inferior.")
@click.option(
    "--confirm", type=click.IntRange(30), default=400, show_default=True, help="Rows a candidate is judged on at least."
)
@click.option(
    "--rate", type=click.FloatRange(0, 1, min_open=True), default=0.3, show_default=True, help="How much a row moves it."
)
@as_json
def start(name: str, every: int, span: str | None, need: str, margin: float, confirm: int, rate: float, as_json: bool) -> None:
    """Let the linear model of endpoint NAME learn from the labels of calls from now on."""
    after = None if span is None else seconds(span)
    with platform() as tandem:
        found = tandem.endpoints.start_online(
            name, every=every, seconds=after, need=need, margin=margin, confirm=confirm, rate=rate
        )
    _shown(found, as_json)


@online.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """How the model of endpoint NAME learns, and what came of the newest steps."""
    with platform() as tandem:
        found = tandem.endpoints.online(name)
    _shown(found, as_json)


@online.command("list")
@as_json
def list_online(as_json: bool) -> None:
    """List the endpoints whose model learns now."""
    with platform() as tandem:
        found = tandem.endpoints.learning()
    if as_json:
        emit(found)
        return
    table(["endpoint", "champion", "now"], [(each.endpoint, each.champion, each.stage) for each in found])


@online.command()
@click.argument("name")
@as_json
def stop(name: str, as_json: bool) -> None:
    """End learning; the champion of endpoint NAME goes on answering."""
    with platform() as tandem:
        found = tandem.endpoints.stop_online(name)
    _shown(found, as_json)


def _shown(found: Learning, as_json: bool) -> None:
    if as_json:
        emit(found)
        return
    rows = [("state", found.state), ("champion", found.champion), ("now", found.stage), ("because", found.reason)]
    pairs([(key, value) for key, value in rows if value])
    for step in found.steps:
        losses = "  ".join(f"{name} {step.losses[name]:.3f}" for name in MODELS if name in step.losses)
        click.echo(f"  {step.number:>4}  {moment(step.at)}  {step.outcome:<11}  {losses}")
        click.echo(f"        {clean(step.reason)}")
