"""`tandem route`: learn which model answers a prompt well, what that is worth, and publish it for endpoints to use."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tandem.cli.options import as_json, bare, platform, wrong
from tandem.cli.progress import bar
from tandem.cli.show import clean, emit, pairs, short, table
from tandem.core.errors import Invalid
from tandem.observability.dialogue import question

if TYPE_CHECKING:
    from tandem.evaluation.outcomes import Outcomes
    from tandem.evaluation.routing import Figure, Report
    from tandem.gateway.routing.learned import LearnedRouter
    from tandem_sdk import GradedRow, Trace

FILE = click.Path(path_type=Path, dir_okay=False)
MOST_ROWS = 10_000
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


@route.command()
@click.argument("runs", nargs=-1, required=True, metavar="MODEL=RUN…")
@click.option("--out", type=FILE, required=True, help="The file to write the outcomes to.")
@click.option("--metric", metavar="NAME", help="The grade that counts, between 0 and 1. [default: the suite's own]")
@as_json
def outcomes(runs: tuple[str, ...], out: Path, metric: str | None, as_json: bool) -> None:
    """Write outcomes out of evaluations: the same suite, asked of two models or more.

    MODEL is how endpoints name it, such as openai/gpt-4o-mini; RUN is the evaluating run. Rows that all runs have
    answered are written, with their grades and costs; the questions are read from the traces of the first.
    """
    named = dict(_named(word) for word in runs)
    if len(named) < 2:
        raise wrong("Outcomes compare two models or more: MODEL=RUN MODEL=RUN.")
    with platform() as tandem:
        graded = {model: tandem.runs.rows(run, metric=metric, limit=MOST_ROWS) for model, run in named.items()}
        if len({rows.suite for rows in graded.values()}) != 1:
            raise wrong("These runs asked the questions of different suites, so their grades do not compare.")
        answers = {model: {line.row: line for line in rows.lines if line.answers} for model, rows in graded.items()}
        shared = sorted(set.intersection(*(set(lines) for lines in answers.values())))
        first = next(iter(answers.values()))
        written: list[str] = []
        with bar("Read", quiet=as_json) as advance:
            for place, row in enumerate(shared):
                asked = _question(tandem.traces.show(first[row].answers[0].trace, content=True))
                if asked:
                    scored = {model: _scored(model, lines[row]) for model, lines in answers.items()}
                    written.append(json.dumps({"question": asked, "models": scored, "group": row}, ensure_ascii=False))
                advance((place + 1) / len(shared), row)
    if not written:
        raise Invalid(
            "No row has a question that can be read.",
            field="runs",
            hint="All runs must have answered the same rows, and the endpoint must record content.",
        )
    _write(out, "".join(f"{line}\n" for line in written).encode())
    told = {"file": str(out), "rows": len(written), "left_out": len(shared) - len(written), "models": list(named)}
    if as_json:
        emit(told)
        return
    click.echo(f"{out}: {len(written)} questions, {len(named)} models.")


def _named(word: str) -> tuple[str, str]:
    model, equals, run = word.rpartition("=")
    if not equals or not model or not run:
        raise wrong(f"'{word}' names no run; write MODEL=RUN.")
    return model, run


def _question(trace: Trace) -> str:
    """What the user asked in a trace; empty where it was not kept."""
    return next((asked for kept in (trace.content or {}).values() if (asked := question(kept.request))), "")


def _scored(model: str, line: GradedRow) -> dict[str, float]:
    """How a row was answered, and what that cost: means over the repeats."""
    costs = [answer.cost for answer in line.answers if answer.cost is not None]
    if len(costs) < len(line.answers):
        raise Invalid(f"What the answers of {model} did cost is not known.", field="runs", hint="Name its provider's price list.")
    return {"score": line.grade, "cost": round(sum(costs) / len(costs))}


@route.command()
@click.argument("name")
@click.argument("file", type=FILE)
@as_json
def publish(name: str, file: Path, as_json: bool) -> None:
    """Publish the FILE that `train` wrote as the next version of router/NAME.

    `tandem promote router/NAME production` makes it the one that endpoints use which name router/NAME@production.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"'{file}' cannot be read: {error}.", field="file") from None
    with platform() as tandem:
        version = tandem.endpoints.publish_router(bare(name, "router"), text)
    if as_json:
        emit(version)
        return
    pairs([("version", version.ref), ("digest", short(version.digest))])


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
