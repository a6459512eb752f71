"""`tandem endpoint shadow`: a model that hears a predict endpoint's calls too, and what it says beside what was answered."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, platform, seconds
from tandem.cli.show import emit, pairs
from tandem_sdk import Shadow

NUMBERS = click.FloatRange(0, 1, min_open=True)


@click.group()
def shadow() -> None:
    """Shadows of predictions: start, show, stop."""


@shadow.command()
@click.argument("name")
@click.option("--target", required=True, metavar="TARGET", help="model/NAME@VERSION or model/NAME@ALIAS.")
@click.option("--share", type=NUMBERS, default=1.0, show_default=True, help="Of the calls.")
@as_json
def start(name: str, target: str, share: float, as_json: bool) -> None:
    """Have TARGET hear a share of the calls of endpoint NAME; nobody hears what it says."""
    with platform() as tandem:
        endpoint = tandem.endpoints.start_shadow(name, target, share=share)
    if as_json:
        emit(endpoint)
        return
    click.echo(f"{target} hears {share:.0%} of the calls of {name}. What it says: tandem endpoint shadow show {name}")


@shadow.command()
@click.argument("name")
@click.option("--last", "span", default="1d", show_default=True, metavar="SPAN", help="Of which calls: 30m, 12h, 7d.")
@as_json
def show(name: str, span: str, as_json: bool) -> None:
    """What each shadow of endpoint NAME said, beside what was answered."""
    with platform() as tandem:
        found = tandem.endpoints.shadows(name, seconds=seconds(span))
    if as_json:
        emit(found)
        return
    if not found:
        click.echo(f"{name} has no shadow, and had none in the last {span}.")
    for each in found:
        pairs(_rows(each))


@shadow.command()
@click.argument("name")
@click.option("--target", metavar="TARGET", help="Which one.  [default: all]")
@as_json
def stop(name: str, target: str | None, as_json: bool) -> None:
    """Have a shadow of endpoint NAME hear no more calls."""
    with platform() as tandem:
        endpoint = tandem.endpoints.stop_shadow(name, target)
    if as_json:
        emit(endpoint)
        return
    click.echo(f"{target or 'Every shadow'} of {name} is stopped.")


def _rows(found: Shadow) -> list[tuple[str, object]]:
    hears = "none now" if found.share is None else f"{found.share:.0%} of the calls"
    rows: list[tuple[str, object]] = [("shadow", found.target), ("hears", hears), ("calls", found.calls)]
    if not found.calls:
        return rows
    rows.append(("failed", f"{found.failed.value:.1%}"))
    if found.same is not None:
        rows.append(("same label", f"{found.same.value:.1%} of {found.same.n} rows"))
    if found.apart is not None:
        rows.append(("apart", f"{found.apart:.3g} in the mean, {found.farthest:.3g} at most"))
    if found.milliseconds and found.answered_milliseconds:
        (half, most), (other, others) = found.milliseconds, found.answered_milliseconds
        rows.append(("took", f"median {half:.1f} ms, 95 % {most:.1f} ms (answered: {other:.1f}, {others:.1f})"))
    if found.better is None:
        rows.append(("by labels", f"not-enough-data: {found.labelled} labelled rows"))
    else:
        interval = f"{found.better.value:+.4g} [{found.better.low:+.4g}, {found.better.high:+.4g}]"
        rows.append(("by labels", f"{found.verdict}: {interval} over {found.better.n} rows"))
    return rows
