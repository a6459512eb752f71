"""`tandem promote`, `tandem rollback`: moving aliases under the server's law."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, platform
from tandem.cli.show import emit, interval, pairs, table
from tandem_sdk import Condition, Estimate, GateRefused, GateReport, Pin, Promotion

CONDITIONS = ("condition", "outcome", "effect or value", "bound", "holds")


@click.command()
@click.argument("asset")
@click.argument("alias")
@click.option("--etag", help="The state of the alias you have seen; nobody else's move is overwritten.")
@as_json
def promote(asset: str, alias: str, etag: str | None, as_json: bool) -> None:
    """Move ALIAS to a version such as model/tumor@1, if its gate lets it.

    The server makes the evidence and judges it. The report is printed either way; a refusal exits with 4. A
    release takes everything that it pins along: all of it moves, or nothing.
    """
    with platform() as tandem:
        try:
            done = tandem.assets.promote(asset, alias, int(etag) if etag is not None and etag.isdigit() else etag)
        except GateRefused as refused:
            if not as_json:
                tell(refused.report, None)
            raise
    if as_json:
        emit(done)
        return
    kind_name = asset.partition("@")[0]
    click.echo(f"{kind_name}@{alias} is now {done.ref or f'{kind_name}@{done.version}'}.")
    for pin in done.pins:
        click.echo()
        _pin(alias, pin)
    if not done.pins:
        tell(done.report, done)
    if done.endpoint:
        click.echo(f"The endpoint '{done.endpoint}' serves it.")


@click.command()
@click.argument("asset")
@click.argument("alias")
@as_json
def rollback(asset: str, alias: str, as_json: bool) -> None:
    """Move ALIAS of an asset such as model/tumor back to where it was before its last promotion.

    A release takes back what its promotion moved, where nobody moved it since.
    """
    with platform() as tandem:
        alias_now = tandem.assets.rollback(asset, alias)
    if as_json:
        emit(alias_now)
        return
    kind_name = asset.partition("@")[0]
    click.echo(f"{kind_name}@{alias} is back at {kind_name}@{alias_now.version}.")
    for pin in alias_now.pins:
        click.echo(f"  {pin.ref}" if pin.moved else f"  left alone: {pin.why}")


def tell(report: GateReport | None, done: Promotion | None) -> None:
    """Prints what a gate concluded: verdict, estimates with intervals, reasons."""
    if report is None:
        click.echo("No gate applied.")
        for reason in done.reasons if done is not None else ():
            click.echo(f"  {reason}")
        return
    verdict = report.verdict
    rows: list[tuple[str, object]] = [("gate", "passed" if report.passed else "refused")]
    if verdict is not None:
        rows += [("verdict", verdict.outcome), ("metric", verdict.metric)]
        rows += _estimates(verdict.candidate, verdict.champion, verdict.difference)
        rows += [("margin", verdict.margin), ("method", verdict.method)]
    else:
        rows += [("metric", report.gate.get("metric")), *_estimates(report.candidate, None, None)]
    rows += [("requires", report.gate.get("require")), ("minimum", report.gate.get("minimum"))]
    rows += [("candidate is", report.candidate_ref), ("champion is", report.champion_ref)]
    pairs(rows)
    asked = [each for each in report.conditions if each.kind != "data"]
    if len(asked) > 2 or any(each.kind not in ("comparison", "minimum") for each in asked):
        click.echo()
        table(CONDITIONS, [(each.name, each.outcome, _effect(each), each.bound, "yes" if each.held else "no") for each in asked])
    for reason in report.reasons:
        click.echo(f"- {reason}")


def _effect(each: Condition) -> str:
    """What was found, with its interval; as many digits as it has meaning."""
    found = each.effect
    if found is None or found.low is None or found.high is None:
        return f"on {each.n}"
    return f"{found.value:.4g} [{found.low:.4g}, {found.high:.4g}] on {each.n}"


def _pin(alias: str, pin: Pin) -> None:
    if not pin.moved:
        click.echo(f"{pin.ref} was {alias} already.")
        return
    click.echo(f"{pin.ref} is now {alias}.")
    tell(pin.report, None)
    if pin.endpoint:
        click.echo(f"The endpoint '{pin.endpoint}' serves it.")


def _estimates(candidate: Estimate | None, champion: Estimate | None, difference: Estimate | None) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, estimate, sign in (
        ("candidate", candidate, False),
        ("champion", champion, False),
        ("difference", difference, True),
    ):
        if estimate is not None:
            rows.append((name, interval(estimate, sign=sign)))
    return rows
