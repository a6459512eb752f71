"""`tandem gate`: what a version must prove before an alias moves to it."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, platform, wrong
from tandem.cli.show import emit, table
from tandem_sdk import Gate

HEADINGS = ("asset", "alias", "metric", "minimum", "margin", "requires", "suite")


@click.group()
def gate() -> None:
    """Gates: what a version must prove."""


@gate.command("set")
@click.argument("asset")
@click.option("--metric", help="The metric that is judged, such as roc_auc; a suite brings its own.")
@click.option("--suite", metavar="SUITE", help="For a prompt: the suite it is evaluated with, suite/NAME or suite/NAME@VERSION.")
@click.option("--alias", default="production", show_default=True, help="The alias that is guarded.")
@click.option("--min", "minimum", type=float, help="The worse bound of the candidate's interval must reach this.")
@click.option("--margin", type=float, help="The loss against the champion that non-inferiority tolerates.")
@click.option("--require", type=click.Choice(["improved", "non-inferior"]), default="non-inferior", show_default=True)
@as_json
def set_gate(
    asset: str,
    metric: str | None,
    suite: str | None,
    alias: str,
    minimum: float | None,
    margin: float | None,
    require: str,
    as_json: bool,
) -> None:
    """Set what versions of ASSET must prove: model/tumor or prompt/explain, or 'model/*' for all models."""
    if metric is None and suite is None:
        raise wrong("A gate judges by a metric: give --metric, or for a prompt --suite.")
    with platform() as tandem:
        stored = tandem.gates.set(asset, metric=metric, alias=alias, minimum=minimum, margin=margin, require=require, suite=suite)
    if as_json:
        emit(stored)
        return
    table(HEADINGS, [_row(stored)])


@gate.command("list")
@as_json
def list_gates(as_json: bool) -> None:
    """List every gate."""
    with platform() as tandem:
        gates = tandem.gates.list()
    if as_json:
        emit(gates)
        return
    table(HEADINGS, [_row(gate) for gate in gates], empty="No gate is set: `tandem gate set model/NAME --metric roc_auc`.")


def _row(gate: Gate) -> tuple[object, ...]:
    return (gate.asset, gate.alias, gate.metric, gate.minimum, gate.margin, gate.require, gate.suite)
