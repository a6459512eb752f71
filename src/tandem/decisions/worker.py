"""The process that runs a user's decision: one at a time, on a socket it inherited, until the socket closes.

`python -m tandem.decisions.worker --fd N` serves; `--describe FOLDER ENTRY` prints the decision's
input and output schema as JSON. It holds no key and no secret: what it asks goes through the door.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import socket
import sys
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from tandem.core.errors import Invalid, TandemError
from tandem.decisions.calls import Calls
from tandem.decisions.frames import (
    LENGTH,
    LIMIT,
    TOGETHER,
    AllTold,
    Ask,
    Decide,
    Done,
    Fault,
    Message,
    Prompt,
    Together,
    Told,
    decode,
    encode,
)
from tandem.registry.kinds.prompt import render

SOURCE = "source.py"
WORDS = 2000
"""Characters of what a user's error says that go to the caller."""
_loaded: dict[tuple[str, str], Entry] = {}


class Turned(TandemError):
    """What the door said to a call that the decision made: its message is safe to record, unlike what a user's code raises."""


class Entry:
    """A decision's function with the types it declares."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        try:
            hints = typing.get_type_hints(function)
        except (NameError, TypeError) as error:
            raise Invalid(f"The types of {function.__name__} cannot be read: {error}.") from None
        parameters = [p for p in inspect.signature(function).parameters.values() if hints.get(p.name) is not Calls]
        named = [p.name for p in inspect.signature(function).parameters.values() if hints.get(p.name) is Calls]
        if len(parameters) != 1 or len(named) != 1 or "return" not in hints or parameters[0].name not in hints:
            raise Invalid(
                f"{function.__name__} must take one typed input and one parameter typed Calls, and declare what it returns.",
                hint="Write: def decide(case: Case, calls: Calls) -> Opinion",
            )
        self.calls = named[0]
        self.case = parameters[0].name
        self.input = hints[self.case]
        self.output = hints["return"]

    def schema(self) -> dict[str, Any]:
        """JSON Schemas of input and output."""
        try:
            return {"input": msgspec.json.schema(self.input), "output": msgspec.json.schema(self.output)}
        except (TypeError, ValueError) as error:
            raise Invalid(
                f"The types of {self.function.__name__} have no JSON form: {error}.", hint="Use dataclasses of plain values."
            ) from None


def load(folder: str, entry: str) -> Entry:
    """Imports a decision's source and finds its function.

    Raises:
        Invalid: the source fails when imported, or has no such function.
    """
    known = _loaded.get((folder, entry))
    if known is not None:
        return known
    path = Path(folder) / SOURCE
    name = f"tandem_decision_{len(_loaded)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001  # a user's code may raise anything
        raise Invalid(f"The decision's source fails when it is imported: {_where(error, path)}") from None
    function = getattr(module, entry, None)
    if not callable(function):
        raise Invalid(f"The source has no function '{entry}'.", field="entry")
    found = _loaded[folder, entry] = Entry(function)
    return found


def _where(error: BaseException, path: Path) -> str:
    """The error with its words, for the author of the source."""
    return f"{type(error).__name__}: {error}{_line(error, path)}"


def _line(error: BaseException, path: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" (line {lines[-1]})" if lines else ""


def _words(error: BaseException) -> str:
    """What the error says, in at most some thousand characters that can be sent."""
    return str(error)[:WORDS].encode(errors="replace").decode()


class Worker:
    """Serves one socket."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def serve(self) -> None:
        while (message := self._receive()) is not None:
            assert isinstance(message, Decide)
            self._channel.sendall(encode(self._decide(message)))

    def _decide(self, message: Decide) -> Done:
        calls = Calls(self._carry, self._render, self._carry_all)
        try:
            entry = load(message.folder, message.entry)
            try:
                case = msgspec.json.decode(message.input, type=entry.input)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise _invalid(error) from None
        except TandemError as error:
            return Done(fault=Fault(error.code, error.message, error.hint, error.field, error.status, error.words))
        try:
            result = entry.function(**{entry.case: case, entry.calls: calls})
            return Done(body=msgspec.json.encode(result), review=calls.review)
        except Turned as error:
            return Done(fault=Fault(error.code, error.message, error.hint, error.field, error.status, error.words))
        except TandemError as error:  # its words may hold anything the function was given
            what = f"The decision ended in '{error.code}'{_line(error, Path(message.folder) / SOURCE)}."
            return Done(fault=Fault(error.code, what, status=error.status, words=_words(error)))
        except Exception as error:  # noqa: BLE001  # a user's code may raise anything
            what = f"The decision raised {type(error).__name__}{_line(error, Path(message.folder) / SOURCE)}."
            return Done(fault=Fault("decision_failed", what, "Mend its source and publish it again.", words=_words(error)))

    def _carry(self, kind: str, address: str, body: Mapping[str, Any], attributes: Mapping[str, Any]) -> Any:
        told = self._exchange(Ask(kind, address, json.dumps(body).encode(), dict(attributes)))
        return json.loads(told.body)

    def _carry_all(self, calls: Sequence[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]) -> list[Any]:
        asks = [Ask(kind, address, json.dumps(body).encode(), dict(attributes)) for kind, address, body, attributes in calls]
        told = []
        for start in range(0, len(asks), TOGETHER):
            answer = self._converse(Together(asks[start : start + TOGETHER]))
            told += answer.told if isinstance(answer, AllTold) else _gone()
        return [json.loads(_checked(each).body) for each in told]

    def _render(self, ref: str, variables: Mapping[str, Any]) -> tuple[str, Sequence[Mapping[str, Any]]]:
        told = self._exchange(Prompt(ref))
        return told.ref, render(json.loads(told.body), variables)

    def _exchange(self, message: Message) -> Told:
        told = self._converse(message)
        return _checked(told if isinstance(told, Told) else _gone())

    def _converse(self, message: Message) -> Message | None:
        self._channel.sendall(encode(message))
        return self._receive()

    def _receive(self) -> Message | None:
        head = self._exactly(LENGTH.size)
        if head is None:
            return None
        (length,) = LENGTH.unpack(head)
        body = self._exactly(length) if length <= LIMIT else None
        return None if body is None else decode(body)

    def _exactly(self, size: int) -> bytes | None:
        pieces = bytearray()
        while len(pieces) < size:
            piece = self._channel.recv(min(1 << 20, size - len(pieces)))
            if not piece:
                return None
            pieces += piece
        return bytes(pieces)


def _gone() -> NoReturn:
    """The door went away in the middle: nobody waits for an answer."""
    raise SystemExit(0)


def _checked(told: Told) -> Told:
    if told.fault is not None:
        fault = told.fault
        raise Turned(fault.message, words=fault.words, hint=fault.hint, field=fault.field, status=fault.status, code=fault.code)
    return told


def _invalid(error: Exception) -> Invalid:
    text = str(error)
    field = text.rpartition("`$.")[2].rstrip("`") if "`$." in text else None
    if "missing required field" in text:
        field = text.split("`")[1]
    return Invalid("The input is not what this decision takes.", words=f"{text}.", field=field)


def main(arguments: list[str]) -> int:
    os.dup2(2, 1) if arguments[0] == "--fd" else None  # what the user prints must not be lost, nor mixed into answers
    if arguments[0] == "--fd":
        Worker(socket.socket(fileno=int(arguments[1]))).serve()
        return 0
    try:
        sys.stdout.write(json.dumps(load(arguments[1], arguments[2]).schema()))
    except TandemError as error:
        sys.stdout.write(
            json.dumps({"error": {"code": error.code, "message": error.message, "hint": error.hint, "field": error.field}})
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
