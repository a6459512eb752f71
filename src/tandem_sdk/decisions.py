"""Decisions: users' code that combines models, rules and language models."""

from __future__ import annotations

import ast

from tandem_sdk.assets import Version
from tandem_sdk.errors import Invalid
from tandem_sdk.wire import API, Wire, read_reply, segment


class Decisions:
    """`client.decisions`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(self, name: str, source: str, *, entry: str) -> Version:
        """Stores Python source as the next version of a decision; the platform reads its schema in a worker process.

        Args:
            name: the decision's name, without `decision/`.
            source: the text of the file.
            entry: the function to call.

        Raises:
            Invalid: the source does not load, or has no such function; `field` names where.
        """
        body = {"source": source, "entry": entry}
        return read_reply(Version, self._wire.send("POST", f"{API}/decisions/{segment(name)}", body, patient=True))


def entry_of(source: str, name: str, file: str) -> str:
    """The function that a decision begins with: the one named like it, else the only one that takes `Calls`.

    Args:
        file: what the source is called in a message.

    Raises:
        Invalid: it is no Python, or there is none, or more than one.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise Invalid(f"{file} is no Python: {error.msg} in line {error.lineno}.") from None
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    wanted = name.replace("-", "_").replace(".", "_")
    if any(function.name == wanted for function in functions):
        return wanted
    takers = [function.name for function in functions if any(_is_calls(argument) for argument in function.args.args)]
    if len(takers) == 1:
        return takers[0]
    several = "several functions" if takers else "no function"
    raise Invalid(f"{file} has {several} that could be the decision: name it with --entry.")


def _is_calls(argument: ast.arg) -> bool:
    return argument.annotation is not None and ast.unparse(argument.annotation).strip("'\"").rpartition(".")[2] == "Calls"
