"""`tandem import`: a folder of models of other frameworks becomes endpoints, and one decision."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from tandem.cli.options import as_json, bare, platform
from tandem.cli.progress import bar
from tandem.cli.run import follow
from tandem.cli.show import clean, emit, table


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--as", "prefix", default="", metavar="PREFIX", help="Before the name of each model.")
@click.option(
    "--trust",
    multiple=True,
    type=click.Choice(["pickle", "torch", "mlflow", "python"]),
    help="What may be executed to open the files; the settings must trust it too. Repeat it for more.",
)
@click.option("--promote", default="", metavar="ALIAS", help="Move ALIAS, such as production, to each version.")
@click.option("--decision", default="", metavar="NAME", help="Make decision NAME that asks all models, and promote it.")
@as_json
@click.pass_context
def bring(
    context: click.Context, folder: Path, prefix: str, trust: tuple[str, ...], promote: str, decision: str, as_json: bool
) -> None:
    """Import the models in FOLDER: scikit-learn, XGBoost, LightGBM, ONNX, PyTorch, MLflow, or Python of your own.

    Each model becomes model/NAME@VERSION, after what serves it said the same as its own framework. models.toml in the
    folder may name columns, classes and samples. What cannot be imported is told; then the exit code is 1.
    """
    with platform() as tandem:
        name = re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._")[:64] or "models"
        with bar(f"sending {folder.name}", quiet=as_json) as advance:
            run = tandem.imports.add(
                name,
                folder,
                prefix=prefix,
                trust=trust,
                promote=promote,
                decision=bare(decision, "decision"),
                on_progress=lambda sent, total: advance(sent / max(1, total), ""),
            )
        run = follow(tandem, run.id, quiet=as_json)
    if as_json:
        emit({"run": run.id, **run.outputs})
    else:
        _told(run.outputs)
    context.exit(1 if run.outputs.get("failed") else 0)


def _told(outputs: Any) -> None:
    """What became of each model, and of the decision."""
    models = outputs["models"]
    rows = [(one["ref"], one["framework"], one["runtime"], one["largest"], _where(one)) for one in models if one["ref"]]
    table(("model", "framework", "served by", "largest difference", "answers at"), rows)
    for one in models:
        if one["reason"]:
            click.echo(f"{one['ref'] or one['path']}: {clean(one['reason'])} {clean(one['hint'] or '')}".rstrip())
    if outputs["decision"]:
        click.echo(outputs["decision"])
    elif outputs["decision_reason"]:
        click.echo(f"No decision was made: {clean(outputs['decision_reason'])}")


def _where(one: Any) -> str:
    if one["request"]:
        return f"waits for people: {one['request']}"
    return f"{one['name']} ({one['promoted']})" if one["promoted"] else "—"
