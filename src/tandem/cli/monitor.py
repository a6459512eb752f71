"""`tandem monitor`: standing questions over the traces of an endpoint."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, platform, seconds
from tandem.cli.show import clean, emit, interval, moment, pairs, table
from tandem_sdk import Monitor, Report
from tandem_sdk.monitors import Finding

HEADINGS = ("monitor", "endpoint", "question", "every", "on alarm", "promote", "newest verdict", "alarm")


@click.group()
def monitor() -> None:
    """Monitors: is what comes in, or goes out, still what it was?"""


@monitor.command()
@click.argument("name")
@click.option("--endpoint", required=True, help="Where a model predicts, or a language model chats.")
@click.option("--question", type=click.Choice(["drift", "scores", "performance"]), default="drift", show_default=True)
@click.option("--every", help="A check this often: 10m, 1h, 1d. Without it, only when asked.")
@click.option("--window", type=int, default=1000, show_default=True, help="The most calls that one check looks at.")
@click.option("--span", help="Look back at most this long: 6h, 7d. Of performance: the length of a window.  [default: 1d]")
@click.option("--hours", type=int, help="Of drift: judge so many whole hours at a time, from counts.")
@click.option(
    "--against",
    type=click.Choice(["training", "trailing", "season"]),
    multiple=True,
    default=["training"],
    show_default=True,
    help="Of hours: the training rows, the days before, or the same hours of the weeks before; several may be named.",
)
@click.option("--maturity", type=float, default=0.8, show_default=True, help="Of performance: share of labels to wait for.")
@click.option("--wait", default="30d", show_default=True, help="Of performance: labels are waited for this long.")
@click.option("--days", type=int, default=7, show_default=True, help="Of --against trailing.")
@click.option("--weeks", type=int, default=4, show_default=True, help="Of --against season.")
@click.option("--segment", help="Of hours: a column whose values are judged each by itself too.")
@click.option("--min", "minimum", type=int, default=100, show_default=True, help="Rows below which there is no verdict.")
@click.option("--threshold", type=float, help="The effect that matters.  [default: 0.1 for drift, 0.05 for others]")
@click.option(
    "--false-alarm-every", type=int, default=1000, show_default=True, help="Checks between two false alarms, on average."
)
@click.option(
    "--false-pages-per-quarter",
    "false_pages",
    type=float,
    help="Instead: false alarms a quarter over all the team's monitors that name a number.",
)
@click.option("--on-alarm", type=click.Choice(["none", "alarm", "retrain", "roll-back"]), default="alarm", show_default=True)
@click.option("--on-data", type=click.Choice(["none", "retrain"]), default="none", show_default=True, help="On newer data.")
@click.option("--promote", type=click.Choice(["ask", "if-gate-passes", "canary"]), default="ask", show_default=True)
@click.option("--canary-share", type=float, default=0.1, show_default=True, help="Of --promote canary: its share of the calls.")
@click.option("--canary-for", default="1h", show_default=True, help="Of --promote canary: how long it is watched.")
@click.option("--retrainings", type=click.IntRange(1, 10_000), metavar="N", help="Begin at most so many within 30 days.")
@click.option("--await-labels", is_flag=True, help="Of drift: retrain once the labels of the alarm's calls have come.")
@click.option("--cooldown", default="1d", show_default=True, help="After a retraining, none for this long.")
@click.option("--review", type=click.IntRange(0, 1000), default=0, help="Random calls of each window to put before a person.")
@as_json
def add(
    name: str,
    endpoint: str,
    question: str,
    every: str | None,
    window: int,
    span: str | None,
    hours: int | None,
    against: tuple[str, ...],
    maturity: float,
    wait: str,
    days: int,
    weeks: int,
    segment: str | None,
    minimum: int,
    threshold: float | None,
    false_alarm_every: int,
    false_pages: float | None,
    on_alarm: str,
    on_data: str,
    promote: str,
    canary_share: float,
    canary_for: str,
    retrainings: int | None,
    await_labels: bool,
    cooldown: str,
    review: int,
    as_json: bool,
) -> None:
    """Begin to watch an endpoint: calls from now on are judged."""
    with platform() as tandem:
        made = tandem.monitors.add(
            name,
            endpoint=endpoint,
            question=question,
            every=None if every is None else seconds(every),
            window=window,
            span=None if span is None else seconds(span),
            hours=hours,
            against=against,
            maturity=maturity,
            wait=seconds(wait),
            days=days,
            weeks=weeks,
            segment=segment,
            minimum=minimum,
            threshold=threshold,
            false_alarm_every=false_alarm_every,
            false_pages=false_pages,
            on_alarm=on_alarm,
            on_data=on_data,
            promote=promote,
            canary_share=canary_share,
            canary_seconds=seconds(canary_for),
            retrainings=retrainings,
            await_labels=await_labels,
            cooldown=seconds(cooldown),
            review=review,
        )
    if as_json:
        emit(made)
        return
    _facts(made)


@monitor.command("list")
@as_json
def list_monitors(as_json: bool) -> None:
    """List every monitor with its newest verdict."""
    with platform() as tandem:
        found = tandem.monitors.list()
    if as_json:
        emit(found)
        return
    table(HEADINGS, [_row(each) for each in found], empty="Nothing is watched: `tandem monitor add NAME --endpoint E`.")


@monitor.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="Reports, newest first.")
@as_json
def show(name: str, limit: int, as_json: bool) -> None:
    """Show one monitor, its newest report and those before."""
    with platform() as tandem:
        found, reports = tandem.monitors.show(name), tandem.monitors.reports(name, limit)
    if as_json:
        emit({"monitor": found, "reports": reports})
        return
    _facts(found)
    click.echo()
    if found.newest is not None:
        _report(found.newest)
        click.echo()
    rows = [(each.id, moment(each.at), each.trigger, each.verdict, each.n, "raised" if each.alarm else "") for each in reports]
    table(("report", "at", "because", "verdict", "n", "alarm"), rows, empty="No check yet: `tandem monitor check NAME`.")


@monitor.command()
@click.argument("name")
@as_json
def check(name: str, as_json: bool) -> None:
    """Judge what came since the last verdict, now."""
    with platform() as tandem:
        report = tandem.monitors.check(name)
    if as_json:
        emit(report)
        return
    _report(report)


@monitor.command()
@click.argument("name")
@as_json
def remove(name: str, as_json: bool) -> None:
    """End a monitor and drop its reports."""
    with platform() as tandem:
        tandem.monitors.remove(name)
    if as_json:
        emit({"name": name, "removed": True})
        return
    click.echo(f"{name} watches nothing any more.")


def _facts(found: Monitor) -> None:
    pairs(
        [
            ("monitor", found.name),
            ("asks", f"{found.question} at {found.endpoint}"),
            ("every", None if found.every is None else f"{found.every} s"),
            ("window", f"{found.window} calls" + ("" if found.span is None else f" of the last {found.span} s")),
            ("hours", None if found.hours is None else f"{found.hours} at a time, against {', '.join(found.against)}"),
            ("segment", found.segment),
            ("minimum", found.minimum),
            ("threshold", found.threshold),
            (
                "false alarm",
                f"one in {found.false_alarm_every} checks, on average"
                if found.false_pages is None
                else f"{found.false_pages:g} a quarter, over the team's monitors",
            ),
            ("on alarm", found.on_alarm),
            ("on data", found.on_data),
            ("promote", found.promote),
            ("review", f"{found.review} calls of each window" if found.review else None),
            ("alarm", "goes on" if found.alarmed else None),
        ]
    )


def _row(found: Monitor) -> tuple[object, ...]:
    every = None if found.every is None else f"{found.every} s"
    newest = None if found.newest is None else found.newest.verdict
    alarm = "goes on" if found.alarmed else None
    return (found.name, found.endpoint, found.question, every, found.on_alarm, found.promote, newest, alarm)


def _report(report: Report) -> None:
    click.echo(
        f"{report.verdict}{' - alarm raised' if report.alarm else ''}: {report.n} rows or calls against {report.reference}."
    )
    if report.note:
        click.echo(report.note)
    if report.coverage:
        click.echo("Calls: " + ", ".join(f"{count} {state}" for state, count in sorted(report.coverage.items())) + ".")
    if report.run:
        click.echo(f"Retraining: {report.run}")
    if report.reviews:
        click.echo(f"{report.reviews} calls wait for a person: `tandem review list`.")
    if report.findings:
        click.echo()
        table(
            ("subject", "what", "verdict", "then and now", "effect [95 % interval]", "of", "p adjusted", "n", "note"),
            [_line(each) for each in report.findings],
        )


def _line(found: Finding) -> tuple[object, ...]:
    effect = None if found.effect is None else interval(found.effect)
    adjusted = None if found.adjusted is None else f"{found.adjusted:.2g}"
    subject = " ".join(part for part in (found.subject, found.segment, found.against) if part)
    moved = " → ".join("none" if each is None else f"{each.value:.4g}" for each in (found.before, found.now))
    return (
        subject,
        found.what,
        found.verdict,
        moved if found.now is not None else "",
        effect,
        found.measure,
        adjusted,
        found.n,
        clean(found.note),
    )
