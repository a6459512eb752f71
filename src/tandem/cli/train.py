"""`tandem train`: a Run that makes a model."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, assignments, bare, platform
from tandem.cli.run import follow, made
from tandem.cli.show import emit


@click.command()
@click.argument("name")
@click.option("--data", required=True, metavar="DATASET", help="dataset/NAME, or dataset/NAME@VERSION.")
@click.option("--target", required=True, metavar="COL", help="The column to predict.")
@click.option("--algorithm", type=click.Choice(["gradient-boosting", "logistic"]), default="gradient-boosting", show_default=True)
@click.option("--param", "params", multiple=True, metavar="K=V", help="An option of the algorithm. Repeat it for more.")
@click.option("--positive", metavar="LABEL", help="The label that counts as positive.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=7, show_default=True, help="Seeds everything random.")
@click.option("--folds", type=click.IntRange(2, 20), default=5, show_default=True, help="Folds of the cross-validation.")
@click.option("--exclude", multiple=True, metavar="COL", help="A column not to learn from. Repeat it for more.")
@click.option("--no-baseline", is_flag=True, help="Train no logistic regression beside it.")
@click.option("--no-wait", is_flag=True, help="Print the run's id and leave it running.")
@as_json
def train(
    name: str,
    data: str,
    target: str,
    algorithm: str,
    params: tuple[str, ...],
    positive: str | None,
    seed: int,
    folds: int,
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
            algorithm=algorithm,
            params=assignments(params),
            seed=seed,
            folds=folds,
            positive=positive,
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
