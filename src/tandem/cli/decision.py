"""`tandem decision`: users' code that combines models, rules and language models."""

from __future__ import annotations

import ast
from pathlib import Path

import click

from tandem.cli.options import as_json, bare, file_text, platform, wrong
from tandem.cli.show import emit


@click.group()
def decision() -> None:
    """Decisions: plain typed functions behind an endpoint."""


@decision.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--entry", metavar="FUNC", help="The function to call.  [default: NAME, or the only one that takes Calls]")
@as_json
def add(name: str, file: Path, entry: str | None, as_json: bool) -> None:
    """Store FILE.py as the next version of decision NAME.

    The function takes one typed input and a parameter typed Calls, and declares what it returns:
    def second_opinion(case: Case, calls: Calls) -> Opinion
    """
    name = bare(name, "decision")
    source = file_text(file)
    with platform() as tandem:
        version = tandem.decisions.add(name, source, entry=entry or entry_of(source, name, file))
    if as_json:
        emit(version)
        return
    click.echo(version.ref)


def entry_of(source: str, name: str, file: Path) -> str:
    """The function that a decision begins with: the one named like it, else the only one that takes `Calls`.

    Raises:
        click.UsageError: there is none, or more than one.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise wrong(f"{file} is no Python: {error.msg} in line {error.lineno}.") from None
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    wanted = name.replace("-", "_").replace(".", "_")
    if any(function.name == wanted for function in functions):
        return wanted
    takers = [function.name for function in functions if any(_is_calls(argument) for argument in function.args.args)]
    if len(takers) == 1:
        return takers[0]
    several = "several functions" if takers else "no function"
    raise wrong(f"{file} has {several} that could be the decision: name it with --entry.")


def _is_calls(argument: ast.arg) -> bool:
    return argument.annotation is not None and ast.unparse(argument.annotation).strip("'\"").rpartition(".")[2] == "Calls"
