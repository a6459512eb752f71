"""`tandem route`: learn which model answers a prompt well, and what that is worth. It calls no platform."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tandem.cli.options import as_json
from tandem.cli.progress import bar
from tandem.cli.show import clean, emit, pairs, short, table
from tandem.core.errors import Invalid

if TYPE_CHECKING:
    from tandem.evaluation.outcomes import Outcomes
    from tandem.evaluation.routing import Figure, Report
    from tandem.gateway.routing.learned import LearnedRouter

FILE = click.Path(path_type=Path, dir_okay=False)
prices_option = click.option("--prices", type=FILE, help="Dollars per million tokens, by model, for outcomes without costs.")


@click.group()
def route() -> None:
    """Routes that learn: which model is good enough for a prompt."""


@route.command()
@click.argument("outcomes", type=FILE)
@click.option("--out", type=FILE, required=True, help="The file to write the router to.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of every draw in the training.")
@as_json
def train(outcomes: Path, out: Path, seed: int, as_json: bool) -> None:
    """Train a router on recorded outcomes.

    OUTCOMES has a line of JSON for each question, with the score of every model that was asked. The router learns from
    the questions' text alone. The file says how it did on questions it had not seen.
    """
    from tandem.evaluation.outcomes import read
    from tandem.gateway.routing.learned import load

    with _learning():
        from tandem.training.router import train as fit
    read_in = read(outcomes)
    with bar("Train", quiet=as_json) as advance:
        data = fit(read_in, seed=seed, progress=advance)
    _write(out, data)
    told = load(data).described
    if as_json:
        scored = {name: getattr(told.scored, name) for name in told.scored.__struct_fields__}
        emit(
            {"file": str(out), "bytes": len(data), "data": told.data, "rows": told.rows, "models": told.models, "scored": scored}
        )
        return
    gain = f"{told.scored.gain:+.4f} [{told.scored.low:+.4f}, {told.scored.high:+.4f}]"
    pairs(
        [
            ("router", f"{out}, {len(data)} bytes"),
            ("learned from", f"{told.rows} questions, {len(told.models)} models, {short(told.data)}"),
            ("left out", f"{read_in.leaked} rows marked as leaked" if read_in.leaked else None),
            ("unseen", f"quality {told.scored.quality:.4f} in {told.scored.folds} folds, whatever it costs"),
            ("best single", f"{told.scored.best} {told.scored.best_quality:.4f}"),
            ("gain", gain),
        ]
    )


@route.command()
@click.argument("outcomes", type=FILE)
@click.option("--policy", type=FILE, help="The learned router to score, as `tandem route train` wrote it.")
@click.option(
    "--train", "training", type=FILE, help="Outcomes that name the best model, and train a router if there is no --policy."
)
@prices_option
@click.option("--plot", type=FILE, help="Write the curves as an SVG picture.")
@as_json
def score(
    outcomes: Path, policy: Path | None, training: Path | None, prices: Path | None, plot: Path | None, as_json: bool
) -> None:
    """Score routing on recorded outcomes, with intervals.

    Compares a learned router with the cheapest model, the best one, coins between models, and one that knows every score.
    Rows that are marked as leaked from training, or whose question is in --train, are left out.
    """
    from tandem.evaluation.outcomes import read, read_prices

    with _learning():
        from tandem.evaluation.routing import judge
    rates = read_prices(prices) if prices is not None else None
    asked = read(outcomes, rates)
    known = read(training, rates) if training is not None else None
    if known is not None:
        asked = asked.unseen(known.fingerprints())
    router = _router(policy, known, quiet=as_json)
    report = judge(asked, router, means=known.means() if known is not None else None)
    if plot is not None:
        from tandem.evaluation.curve import draw

        _write(plot, draw(report).encode())
    if as_json:
        emit(asdict(report))
        return
    _show(report)


@contextlib.contextmanager
def _learning() -> Iterator[None]:
    """Says what is missing where the machine-learning extra is."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "tandem":
            raise
        raise Invalid(
            "Routing is scored and learned with the machine-learning extra.", hint='Run: pip install "tandem-ai[ml]".'
        ) from None


def _router(policy: Path | None, known: Outcomes | None, *, quiet: bool) -> LearnedRouter | None:
    from tandem.gateway.routing.learned import MOST_BYTES, load

    if policy is not None:
        try:
            with policy.open("rb") as file:
                return load(file.read(MOST_BYTES + 1))
        except OSError as error:
            raise Invalid(f"'{policy}' cannot be read: {error.strerror}.", field="policy") from None
    if known is None:
        return None
    from tandem.training.router import train as fit

    with bar("Train", quiet=quiet) as advance:
        return load(fit(known, progress=advance))


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Invalid(f"'{path}' cannot be written: {error.strerror}.", field=path.name) from None


SHOWN = 5
"""Every so manyth setting of the curve is shown."""
SOURCES = {
    "recorded": "as recorded",
    "priced": "counted tokens times prices",
    "guessed": "guessed tokens times prices: only their ratios mean anything",
}


def _show(report: Report) -> None:
    """Tables for people."""
    pairs(
        [
            ("questions", f"{report.rows} in {report.groups} groups"),
            ("left out", f"{report.leaked} that training has seen" if report.leaked else None),
            ("costs", SOURCES[report.costing]),
            ("cheapest", clean(report.weak)),
            ("best single", f"{clean(report.strong)}, by {report.chosen_on}"),
            ("gap", f"{report.gap.value:+.4f} [{report.gap.low:+.4f}, {report.gap.high:+.4f}]"),
        ]
    )
    click.echo()
    shown = [
        (
            way.name,
            f"{way.quality.value:.4f} [{way.quality.low:.4f}, {way.quality.high:.4f}]",
            f"{way.gain.value:+.4f} [{way.gain.low:+.4f}, {way.gain.high:+.4f}]",
            f"{way.saving.value:+.1%} [{way.saving.low:+.1%}, {way.saving.high:+.1%}]",
        )
        for way in report.ways
    ]
    table(("way", "quality, at no higher cost", "gain on best single", "cost saved"), shown)
    click.echo()
    ratios = [(way.name, ratio(way.apgr, "none"), *(ratio(way.cpt[goal], "never") for goal in way.cpt)) for way in report.ways]
    table(("way", "apgr", *(f"cpt({goal})" for goal in report.ways[0].cpt)), ratios)
    click.echo()
    _curve(report)
    click.echo(f"Brackets are 95 % intervals: {report.method}.")
    if report.beats is not None:
        click.echo(verdict(report))


def _curve(report: Report) -> None:
    """Some settings of the learned router; `--json` has all."""
    points = [point for way in report.ways for point in way.points if point.tolerance is not None]
    if not points:
        return
    shown = [
        (
            f"{point.tolerance:.4f}",
            f"{point.cost / 1000:.3f}",
            f"{point.quality.value:.4f} [{point.quality.low:.4f}, {point.quality.high:.4f}]",
        )
        for point in [*points[:-1:SHOWN], points[-1]]
    ]
    table(("learned, tolerance", "$ per million calls", "quality"), shown)
    click.echo()


def verdict(report: Report) -> str:
    """What follows for the learned router, in a sentence."""
    if report.beats:
        return "The learned router answers better than the best single model and costs no more."
    return "It is not shown that the learned router answers better than the best single model at no higher cost."


def ratio(figure: Figure, lacking: str) -> str:
    """A ratio to the gap and its interval; `lacking` where it has no value."""
    if figure.value is None:
        return lacking
    if figure.low is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {'never' if figure.high is None else f'{figure.high:.3f}'}]"
