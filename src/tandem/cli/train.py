"""`tandem train`: a Run that makes a model."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, assignments, bare, platform
from tandem.cli.run import follow, made
from tandem.cli.show import emit

ALGORITHMS = (
    "gradient-boosting",
    "lightgbm",
    "hist-gradient-boosting",
    "random-forest",
    "logistic",
    "linear",
    "seasonal-naive",
    "isolation-forest",
    "ecod",
    "popularity",
    "neighbours",
    "als",
    "cnn",
)
TASKS = ("classification", "regression", "multiclass", "forecasting", "ranking", "recommendation", "anomaly")


@click.command()
@click.argument("name")
@click.option("--data", required=True, metavar="DATASET", help="dataset/NAME, or dataset/NAME@VERSION.")
@click.option(
    "--target",
    "--item",
    "target",
    default="",
    metavar="COL",
    help="The column to predict, of a recommendation the items. Only anomalies are found without one.",
)
@click.option(
    "--task",
    type=click.Choice(TASKS),
    help="By default what the target's values are: two, up to 20 texts or whole numbers, or numbers.",
)
@click.option(
    "--algorithm",
    type=click.Choice(ALGORITHMS),
    help="By default gradient-boosting, of anomalies isolation-forest, of recommendations neighbours, of images cnn.",
)
@click.option("--param", "params", multiple=True, metavar="K=V", help="An option of the algorithm. Repeat it for more.")
@click.option("--positive", metavar="LABEL", help="The label that counts as positive.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=7, show_default=True, help="Seeds everything random.")
@click.option("--folds", type=click.IntRange(2, 20), default=5, show_default=True, help="Folds of the cross-validation.")
@click.option(
    "--split",
    type=click.Choice(["random", "group", "time"]),
    default="random",
    show_default=True,
    help="How rows come into folds: at random, whole groups, or forward in time.",
)
@click.option("--group", metavar="COL", help="Rows of one value stay in one fold.")
@click.option("--time", "--at", "time", metavar="COL", help="The column that orders rows. By default the dataset's time column.")
@click.option(
    "--leaks",
    type=click.Choice(["warn", "refuse"]),
    default="warn",
    show_default=True,
    help="What to do about columns that tell the target, name rows, or rows that occur twice.",
)
@click.option("--balance", is_flag=True, help="Let all classes weigh the same.")
@click.option(
    "--calibrate",
    type=click.Choice(["none", "platt", "isotonic", "auto"]),
    default="none",
    show_default=True,
    help="How scores of two classes become probabilities.",
)
@click.option("--cost-false-positive", type=float, metavar="COST", help="What it costs to answer positive wrongly.")
@click.option("--cost-false-negative", type=float, metavar="COST", help="What it costs to answer negative wrongly.")
@click.option("--tune", type=click.IntRange(0, 500), default=0, metavar="N", help="Search the parameters by N trials.")
@click.option("--horizon", type=click.IntRange(0, 1000), default=0, metavar="N", help="Of a forecast: steps that are told.")
@click.option("--season", metavar="N,N", help="Of a forecast: steps after which things repeat, such as 24,168.")
@click.option("--series", metavar="COL", help="Of a forecast: the column that names the series.")
@click.option("--known", multiple=True, metavar="COL", help="Of a forecast: a column known ahead. Repeat it for more.")
@click.option("--frequency", default="auto", show_default=True, help="Of a forecast: how far moments are apart, such as 1h.")
@click.option(
    "--false-alarms",
    type=click.FloatRange(0.0001, 0.5),
    default=0.01,
    show_default=True,
    help="Of anomalies: the share of ordinary rows that may be called so.",
)
@click.option("--user", metavar="COL", help="Of a recommendation: the column of who behaved.")
@click.option("--weight", metavar="COL", help="Of a recommendation: the column of how much a row counts.")
@click.option(
    "--fairness", multiple=True, metavar="COL", help="Judge the model by the groups of this column. Repeat it for more."
)
@click.option("--embed", metavar="MODEL", help="Of images: model/NAME whose network makes numbers of them.")
@click.option(
    "--pixels",
    type=click.Choice(["imagenet", "unit"]),
    default="imagenet",
    show_default=True,
    help="Of images: how that network wants pixels, by ImageNet's means and deviations or from 0 to 1.",
)
@click.option("--signal", metavar="COL", help="Of signals: the column of the units, whose rows in time become windows.")
@click.option("--window", type=click.IntRange(0, 10_000), default=0, metavar="N", help="Of signals: samples of a window.")
@click.option("--stride", type=click.IntRange(0, 10_000), default=0, metavar="N", help="Of signals: samples to the next window.")
@click.option("--purpose", default="", metavar="TEXT", help="What the model is for; its card quotes it.")
@click.option("--exclude", multiple=True, metavar="COL", help="A column not to learn from. Repeat it for more.")
@click.option("--no-baseline", is_flag=True, help="Train no linear model beside it.")
@click.option("--no-wait", is_flag=True, help="Print the run's id and leave it running.")
@as_json
def train(
    name: str,
    data: str,
    target: str,
    task: str | None,
    algorithm: str | None,
    params: tuple[str, ...],
    positive: str | None,
    seed: int,
    folds: int,
    split: str,
    group: str | None,
    time: str | None,
    leaks: str,
    balance: bool,
    calibrate: str,
    cost_false_positive: float | None,
    cost_false_negative: float | None,
    tune: int,
    horizon: int,
    season: str | None,
    series: str | None,
    known: tuple[str, ...],
    frequency: str,
    false_alarms: float,
    user: str | None,
    weight: str | None,
    fairness: tuple[str, ...],
    embed: str | None,
    pixels: str,
    signal: str | None,
    window: int,
    stride: int,
    purpose: str,
    exclude: tuple[str, ...],
    no_baseline: bool,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Train model NAME on a dataset.

    Prints model/NAME@VERSION and its metrics with their 95 % intervals, every row judged by a model that
    did not see it. Ctrl-C stops the waiting, not the run.
    """
    with platform() as tandem:
        run = tandem.runs.train(
            bare(name, "model"),
            data=data if "/" in data else f"dataset/{data}",
            target=target,
            task=task,
            algorithm=algorithm,
            params=assignments(params),
            seed=seed,
            folds=folds,
            split=split,
            group=group,
            time=time,
            leaks=leaks,
            balance=balance,
            calibrate=calibrate,
            cost_false_positive=cost_false_positive,
            cost_false_negative=cost_false_negative,
            tune=tune,
            fairness=fairness,
            purpose=purpose,
            positive=positive,
            horizon=horizon,
            season=_whole(season),
            series=series,
            known=known,
            frequency=frequency,
            false_alarms=false_alarms,
            user=user,
            weight=weight,
            embed=embed,
            pixels=pixels,
            signal=signal,
            window=window,
            stride=stride,
            baseline=not no_baseline,
            exclude=exclude,
        )
        if no_wait:
            if as_json:
                emit({"run": run.id, "state": run.state})
            else:
                click.echo(run.id)
            return
        run = follow(tandem, run.id, quiet=as_json)
    made(run, as_json=as_json)


def _whole(season: str | None) -> list[int]:
    """Whole numbers with commas between them."""
    try:
        return [int(part) for part in (season or "").split(",") if part.strip()]
    except ValueError:
        raise click.BadParameter(f"'{season}' is no list of whole numbers.", param_hint="--season") from None
