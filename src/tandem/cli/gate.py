"""`tandem gate`: what a version must prove before an alias moves to it, and whether it does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

from tandem.cli.options import as_json, platform, wrong
from tandem.cli.promote import tell
from tandem.cli.show import emit, table
from tandem_sdk import Asked, Fair, Gate, Slice

HEADINGS = ("asset", "alias", "metric", "minimum", "margin", "requires", "suite", "asks also")
REFUSED = 4
RATIO = "demographic_parity_ratio"
MEASURES = ("demographic_parity", RATIO, "equal_opportunity", "equalised_odds", "accuracy", "error")
_RANGE = re.compile(r"(?P<low>-?[0-9.]*)\.\.(?P<high>-?[0-9.]*)")


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
@click.option(
    "--minimum",
    "minimums",
    metavar="METRIC=VALUE",
    multiple=True,
    help="A further metric, whose worse bound must reach this; a maximum where less is better, as of cost. May be repeated.",
)
@click.option(
    "--slice",
    "slices",
    metavar="SLICE",
    multiple=True,
    help="A part of the rows that must hold as well: region=north or age=18..30, then ,metric=M ,minimum=V ,margin=V "
    ",allow-small as needed. May be repeated.",
)
@click.option(
    "--fairness",
    "measures",
    type=click.Choice(MEASURES),
    multiple=True,
    help="How groups of rows may be apart; each with --by and a bound, in the same order. May be repeated.",
)
@click.option("--by", "columns", metavar="COL", multiple=True, help="Whose values are the groups, one for each --fairness.")
@click.option("--at-most", type=float, multiple=True, help="The most that two groups may differ.")
@click.option("--at-least", type=float, multiple=True, help="Of demographic_parity_ratio: the least that it may be.")
@click.option("--allow-small-groups", is_flag=True, help="Leave groups out that have too few rows; else they do not pass.")
@click.option("--cost-false-positive", type=float, help="What the metric cost counts for a row wrongly taken for positive.")
@click.option("--cost-false-negative", type=float, help="The same for a positive row that is missed.")
@click.option("--latency-ms", type=float, help="The most that 95 of 100 predictions of one row may take.")
@click.option("--size-bytes", type=int, help="The most bytes that the version's files may have together.")
@click.option("--looks", type=int, help="How many looks at rows that grow are planned, at most 20; with --rows.")
@click.option("--rows", type=int, help="The rows at the last planned look.")
@as_json
def set_gate(
    asset: str,
    metric: str | None,
    suite: str | None,
    alias: str,
    minimum: float | None,
    margin: float | None,
    require: str,
    minimums: Sequence[str],
    slices: Sequence[str],
    measures: Sequence[str],
    columns: Sequence[str],
    at_most: Sequence[float],
    at_least: Sequence[float],
    allow_small_groups: bool,
    cost_false_positive: float | None,
    cost_false_negative: float | None,
    latency_ms: float | None,
    size_bytes: int | None,
    looks: int | None,
    rows: int | None,
    as_json: bool,
) -> None:
    """Set what versions of ASSET must prove: model/tumor or prompt/explain, or 'model/*' for all models.

    Everything that is asked must hold. What is left out is not asked: a gate is set as a whole.
    """
    if metric is None and suite is None:
        raise wrong("A gate judges by a metric: give --metric, or for a prompt --suite.")
    asked = Asked(
        minimums=dict(_pair(text) for text in minimums),
        slices=tuple(slice_of(text) for text in slices),
        fairness=_fair(measures, columns, at_most, at_least, allow_small=allow_small_groups),
        cost_false_positive=cost_false_positive,
        cost_false_negative=cost_false_negative,
        latency_ms=latency_ms,
        size_bytes=size_bytes,
        looks=looks,
        rows=rows,
    )
    with platform() as tandem:
        stored = tandem.gates.set(
            asset,
            metric=metric,
            alias=alias,
            minimum=minimum,
            margin=margin,
            require=require,
            suite=suite,
            asked=None if asked == Asked() else asked,
        )
    if as_json:
        emit(stored)
        return
    _show((stored,))


@gate.command()
@click.argument("asset")
@click.option("--alias", default="production", show_default=True, help="The alias that it guards.")
@as_json
def drop(asset: str, alias: str, as_json: bool) -> None:
    """Drop the gate of ASSET. The gate of its whole kind then guards the alias, or none."""
    with platform() as tandem:
        tandem.gates.drop(asset, alias)
    if as_json:
        emit({"asset": asset, "alias": alias, "dropped": True})
        return
    click.echo(f"{asset}@{alias} has no gate of its own any more.")


@gate.command("list")
@as_json
def list_gates(as_json: bool) -> None:
    """List every gate."""
    with platform() as tandem:
        gates = tandem.gates.list()
    if as_json:
        emit(gates)
        return
    _show(gates)


@gate.command("check")
@click.argument("asset")
@click.option("--alias", default="production", show_default=True, help="Whose gate judges.")
@as_json
@click.pass_context
def check(ctx: click.Context, asset: str, alias: str, as_json: bool) -> None:
    """Ask the gate about a version such as model/tumor@2; nothing moves. A refusal exits with 4.

    Where the evidence may grow this is a look, which is recorded and spends of the error that all looks share.
    """
    with platform() as tandem:
        report = tandem.gates.check(asset, alias)
    if as_json:
        emit(report)
    else:
        tell(report, None)
    if report is not None and not report.passed:
        ctx.exit(REFUSED)


@gate.command("evidence")
@click.argument("asset")
@click.option("--data", required=True, metavar="DATASET", help="dataset/NAME or dataset/NAME@VERSION; all its rows count.")
@click.option(
    "--predictions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with a line for each row: the probability of the positive class; of more classes, of each class with commas "
    "between; of a regression, the number. Needed only of a model that the server cannot ask.",
)
@click.option("--fairness", multiple=True, metavar="COLUMN", help="A column of the dataset whose groups are judged too.")
@as_json
def evidence(asset: str, data: str, predictions: Path | None, fairness: tuple[str, ...], as_json: bool) -> None:
    """Evaluate a version such as model/tumor@2 on rows it was not trained on; its gate then judges by these.

    The server compares the contents of rows and refuses those that the version was trained on, with their number. An imported
    model is told of by these rows: where it does worse, how it treats groups and which columns count; `tandem asset card` has it.
    """
    given = None if predictions is None else _numbers(predictions)
    with platform() as tandem:
        made = tandem.gates.evidence(asset, data, given, fairness)
    if as_json:
        emit(made)
        return
    who = "brought" if made.given else "made here"
    click.echo(f"{made.model} has evidence on the {made.rows} rows of {made.dataset}, {who}: {made.id}")


def slice_of(text: str) -> Slice:
    """A slice as people write it.

    Raises:
        click.UsageError: it is none.

    >>> slice_of("age=18..30,minimum=0.7,allow-small")
    Slice(column='age', value=None, low=18.0, high=30.0, metric=None, minimum=0.7, margin=None, allow_small=True)
    """
    part, *rest = text.split(",")
    column, equals, value = part.partition("=")
    if not column or not equals or not value:
        raise wrong(f"'{text}' is no slice; write region=north or age=18..30.")
    told = dict(each.partition("=")[::2] for each in rest)
    unknown = set(told) - {"metric", "minimum", "margin", "allow-small"}
    if unknown:
        raise wrong(f"A slice has no '{sorted(unknown)[0]}'; write metric, minimum, margin or allow-small.")
    ranged = _RANGE.fullmatch(value)
    return Slice(
        column=column,
        value=None if ranged else value,
        low=_number(ranged["low"]) if ranged else None,
        high=_number(ranged["high"]) if ranged else None,
        metric=told.get("metric"),
        minimum=_number(told.get("minimum", "")),
        margin=_number(told.get("margin", "")),
        allow_small="allow-small" in told,
    )


def _fair(
    measures: Sequence[str], columns: Sequence[str], at_most: Sequence[float], at_least: Sequence[float], *, allow_small: bool
) -> tuple[Fair, ...]:
    """Each measure with its column and its bound, which come in the same order.

    Raises:
        click.UsageError: there are not as many of each.
    """
    ratios = measures.count(RATIO)
    if not (len(columns) == len(measures) and len(at_least) == ratios and len(at_most) == len(measures) - ratios):
        raise wrong(f"Give each --fairness its --by and an --at-most; {RATIO} takes --at-least instead.")
    most, least = iter(at_most), iter(at_least)
    return tuple(
        Fair(measure=measure, by=by, bound=next(least if measure == RATIO else most), allow_small=allow_small)
        for measure, by in zip(measures, columns, strict=True)
    )


def _pair(text: str) -> tuple[str, float]:
    metric, _, value = text.partition("=")
    number = _number(value)
    if not metric or number is None:
        raise wrong(f"'{text}' is no minimum; write METRIC=VALUE, such as recall=0.8.")
    return metric, number


def _number(text: str) -> float | None:
    """None of nothing.

    Raises:
        click.UsageError: it is no number.
    """
    try:
        return float(text) if text else None
    except ValueError:
        raise wrong(f"'{text}' is no number.") from None


def _numbers(path: Path) -> list[float]:
    cells = path.read_text().replace(",", "\n").splitlines()
    found = [_number(cell.strip()) for cell in cells if cell.strip()]
    return [number for number in found if number is not None]


def _show(gates: Sequence[Gate]) -> None:
    """A table, with a column for what gates ask beside their metric where one does."""
    width = len(HEADINGS) if any(map(_also, gates)) else len(HEADINGS) - 1
    rows = [_row(gate)[:width] for gate in gates]
    table(HEADINGS[:width], rows, empty="No gate is set: `tandem gate set model/NAME --metric roc_auc`.")


def _row(gate: Gate) -> tuple[object, ...]:
    return (gate.asset, gate.alias, gate.metric, gate.minimum, gate.margin, gate.require, gate.suite, _also(gate))


def _also(gate: Gate) -> str:
    """What a gate asks beside its metric, in one line."""
    told = [f"{metric}={value:g}" for metric, value in gate.minimums.items()]
    told += [_named(each) for each in gate.slices]
    told += [f"{each.measure} by {each.by} to {each.bound:g}" for each in gate.fairness]
    told += [] if gate.latency_ms is None else [f"{gate.latency_ms:g} ms"]
    told += [] if gate.size_bytes is None else [f"{gate.size_bytes} bytes"]
    told += [] if gate.looks is None else [f"{gate.looks} looks to {gate.rows} rows"]
    return ", ".join(told)


def _named(each: Slice) -> str:
    if each.value is not None:
        return f"{each.column}={each.value}"
    low, high = ("" if end is None else f"{end:g}" for end in (each.low, each.high))
    return f"{each.column}={low}..{high}"
