"""The process that runs a user's pipeline: `python -m tandem.pipelines.child --fd N`, on a socket that it inherits.

It holds no key of its own and no secret: it asks the platform before each step, and for a key that is good for a minute.
When the platform is gone, which the end of its standard input tells, it ends, and its children with it.
`--describe FOLDER ENTRY` prints the pipeline's steps and parameters as JSON.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

import tandem
from tandem.core.errors import Invalid, TandemError
from tandem.pipelines.code import Code
from tandem.pipelines.talk import (
    RESULTS,
    SOURCE,
    Answer,
    Begin,
    Done,
    Ended,
    Failed,
    Go,
    Known,
    Lend,
    Lent,
    Lies,
    Order,
    Parts,
    Read,
    Refused,
    mark,
)
from tandem_sdk import Client
from tandem_sdk import pipeline as words
from tandem_sdk.pipeline import KEEPER, Asset, Context, Pipeline, Step

MODULE = "tandem_pipeline"
WORDS = 4_000
"""Characters of what a user's error says that are kept."""
KEY_SECONDS = 30.0
"""After which a key is asked for again: half of its life."""
PAUSE_SECONDS = 0.5
"""Before a step is tried again; doubled each time."""
SOURCES = 20
"""Versions that a dataset names as what its rows were made from."""
PLAIN = (str, int, float, bool, type(None), Context)
NAMES: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


class Told(Exception):
    """The platform said no."""


class Source:
    """A user's file, imported."""

    def __init__(self, folder: Path, entry: str) -> None:
        """
        Args:
            entry: the pipeline's function; empty: the only one there is.

        Raises:
            Invalid: the file fails when it is imported, or has no such pipeline.
        """
        path = folder / SOURCE
        self.path = path
        self.code = Code(path.read_text("utf-8"))
        spec = importlib.util.spec_from_file_location(MODULE, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[MODULE] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # noqa: BLE001  # a user's code may raise anything
            raise Invalid(f"The source fails when it is imported: {said(error, path)}", field="source") from None
        self.steps = {name: each for name, each in vars(module).items() if isinstance(each, Step) and each.name == name}
        self.pipeline = _pipeline(module, entry)

    def describe(self) -> dict[str, object]:
        """What a version says of itself."""
        own = [name for name, each in self.steps.items() if each.function.__module__ == MODULE]
        return {
            "entry": self.pipeline.function.__name__,
            "steps": {name: self.code.digest(name) for name in own},
            "parameters": parameters(self.pipeline),
        }


def _pipeline(module: types.ModuleType, entry: str) -> Pipeline[..., Any]:
    found = {name: each for name, each in vars(module).items() if isinstance(each, Pipeline)}
    if entry in found:
        return found[entry]
    if not entry and len(found) == 1:
        return next(iter(found.values()))
    what = f"no pipeline '{entry}'" if entry else "several pipelines" if found else "no pipeline"
    raise Invalid(f"The source has {what}.", field="entry", hint="Write @pipeline above its function, or name it as entry.")


def parameters(pipeline: Pipeline[..., Any]) -> dict[str, dict[str, object]]:
    """What can be set: name → its type, and its default where it has one.

    Raises:
        Invalid: the first parameter is no Context, or another is of a type that has no JSON.
    """
    try:
        hints = typing.get_type_hints(pipeline.function)
    except (NameError, TypeError) as error:
        raise Invalid(f"The pipeline's types cannot be read: {error}.", field="entry") from None
    taken = list(inspect.signature(pipeline.function).parameters.values())
    if not taken or hints.get(taken[0].name, Context) is not Context:
        raise Invalid("A pipeline's first parameter is its Context.", hint="Write: def nightly(tandem: Context)", field="entry")
    found: dict[str, dict[str, object]] = {}
    for each in taken[1:]:
        kind = hints.get(each.name, str if each.default is each.empty else type(each.default))
        name = NAMES.get(typing.get_origin(kind) or kind)
        if name is None or each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY):
            raise Invalid(
                f"The parameter '{each.name}' cannot be set from outside.", hint="Types are str, int, float, bool, list, dict."
            )
        found[each.name] = {"type": name, **({} if each.default is each.empty else {"default": each.default})}
    return found


class Asking:
    """The child's end of the talk; one word at a time, from any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._turn = connection, threading.Lock()
        self._key, self._until = "", 0.0

    def __call__(self, word: object) -> Answer:
        with self._turn:
            return self._ask(word)

    def key(self) -> str:
        """A key that is good for half a minute at least."""
        with self._turn:
            if time.monotonic() >= self._until:
                lent = self._ask(Lend())
                assert isinstance(lent, Lent)
                self._key, self._until = lent.key, time.monotonic() + KEY_SECONDS
            return self._key

    def _ask(self, word: object) -> Answer:
        try:
            self._connection.send_bytes(msgspec.msgpack.encode(word))
            answer: Answer = msgspec.msgpack.decode(self._connection.recv_bytes(), type=Answer)
        except (EOFError, OSError):
            os._exit(3)  # nobody is there to take a result
        if isinstance(answer, Refused):
            raise Told(answer.message)
        return answer


class Keeping:
    """Carries steps out, one after the other, and has what they return kept."""

    def __init__(self, source: Source, order: Order, ask: Asking) -> None:
        from tandem.pipelines import values

        self._values, self._source, self._order, self._ask = values, source, order, ask
        self._results = Path(order.folder) / RESULTS
        self._position, self._inside = 0, False
        self._made: dict[str, int] = {}
        """Digest of a result → the step that returned it."""
        self._rests: dict[int, tuple[str, ...]] = {}
        """Step → the versions that its result is, or rests on."""
        self.sources: tuple[str, ...] = ()

    def step(self, step: Step[..., Any], arguments: Mapping[str, object]) -> Any:
        """See `tandem_sdk.pipeline.Keeper`."""
        if self._inside:
            return step.do(arguments)
        self._inside = True
        try:
            return self._step(step, arguments, self._position)
        finally:
            self._inside = False
            self._position += 1

    def frame(self, ref: str) -> Any:
        """All rows of a dataset version."""
        from tandem.store.lake import Lake

        told = self._ask(Read(ref))
        assert isinstance(told, Lies)
        return Lake(Path(self._order.lake)).read(told.table, told.version)

    def _step(self, step: Step[..., Any], arguments: Mapping[str, object], position: int) -> Any:
        digests = {name: self._values.digest(value) for name, value in arguments.items()}
        before = (self._made.get(each) for name, value in arguments.items() for each in self._told(value, digests[name]))
        begun = Begin(
            position=position,
            name=_called(step, arguments),
            parts=Parts(code=self._code(step), inputs=digests, environment=environment(step.uses)),
            after=tuple(sorted({each for each in before if each is not None})),
            cache=step.cache,
            retries=step.retries,
            timeout=step.timeout,
        )
        rests = [ref for each in begun.after for ref in self._rests[each]]
        self.sources = tuple(dict.fromkeys((*rests, *_refs(arguments.values()))))[:SOURCES]
        answer = self._ask(begun)
        if isinstance(answer, Known):
            result = self._values.unpack(answer.value, Path(answer.folder))
        else:
            result = self._done(step, arguments, position)
        self._rests[position] = _refs([result]) or self.sources
        for each in self._told(result, None):
            self._made.setdefault(each, position)
        return result

    def _done(self, step: Step[..., Any], arguments: Mapping[str, object], position: int) -> Any:
        pause = PAUSE_SECONDS
        while True:
            shutil.rmtree(self._results, ignore_errors=True)
            self._results.mkdir()
            try:
                text, files, result = self._values.pack(step.do(arguments), self._results)
                break
            except Exception as error:
                more = self._over(position, Failed(position, said(error, self._source.path)))
                if not isinstance(more, Go):
                    raise
                traceback.print_exc()
                time.sleep(pause)
                pause *= 2
        self._over(position, Done(position, text, files))
        return result

    def _over(self, position: int, word: object) -> Answer:
        """Says that a step has ended, behind all that it has printed."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(2, mark(position))
        return self._ask(word)

    def _code(self, step: Step[..., Any]) -> str:
        if step.function.__module__ == words.__name__:
            return f"{step.name} of {tandem.__version__}"
        if step not in self._source.steps.values():
            what = f"The step '{step.name}' does not stand at the top of the file under its own name."
            raise Invalid(what, hint="Move it there, and hand in what it needs.")
        return self._source.code.digest(step.name)

    def _told(self, value: object, known: str | None) -> list[str]:
        """The digests of what can be told apart: plain values are alike by chance.

        Args:
            known: the value's own, where it was taken already.
        """
        if isinstance(value, list | tuple):
            return [self._values.digest(each) for each in value if not isinstance(each, PLAIN)]
        return [] if isinstance(value, PLAIN) else [known or self._values.digest(value)]


def _refs(values: Iterable[object]) -> tuple[str, ...]:
    """The versions among some values."""
    flat = (each for value in values for each in (value if isinstance(value, list | tuple) else [value]))
    return tuple(each.ref for each in flat if isinstance(each, Asset))


def _called(step: Step[..., Any], arguments: Mapping[str, object]) -> str:
    """A step's name; of the platform's own with what it is about: `train price`."""
    if step.function.__module__ != words.__name__:
        return step.name
    about = next(str(value) for name, value in arguments.items() if name != "tandem")
    return f"{step.name.lstrip('_')} {about}"[:200]


@cache
def environment(uses: tuple[str, ...] | None) -> str:
    """The versions of libraries, as one text or its digest.

    Args:
        uses: which; None: all that are installed.

    Raises:
        Invalid: one is not installed.
    """
    python = f"python {'.'.join(map(str, sys.version_info[:2]))}"
    if uses is None:
        all_of_them = sorted(f"{each.name} {each.version}" for each in importlib.metadata.distributions())
        return f"sha256:{hashlib.sha256(' '.join((python, *all_of_them)).encode()).hexdigest()}"
    try:
        return ", ".join((python, *(f"{name} {importlib.metadata.version(name)}" for name in sorted(uses)))) if uses else ""
    except importlib.metadata.PackageNotFoundError as error:
        raise Invalid(f"A step uses '{error.name}', which is not installed.", hint="Correct `uses`, or install it.") from None


def said(error: BaseException, path: Path) -> str:
    """An error for the author of the source: what it is, what it says, and on which line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {str(error)[:WORDS]}{where}".encode(errors="replace").decode()


def _watch(told: int) -> None:
    """Ends this process and its children when the platform is gone."""
    while os.read(told, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def serve(connection: Connection) -> int:
    """Carries out one order."""
    order = msgspec.msgpack.decode(connection.recv_bytes(), type=Order)
    if order.memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (order.memory_bytes, order.memory_bytes))
    os.chdir(order.folder)
    ask = Asking(connection)
    ended = Ended()
    path = Path(order.folder) / SOURCE
    try:
        source = Source(Path(order.folder), order.entry)
        # The certificate names the platform from outside; this goes to its own port on this machine.
        with Client(order.url, ask.key, verify=False) as client:
            KEEPER.set(Keeping(source, order, ask))
            value = source.pipeline(Context(client, order.run, order.because), **order.given)
        ended = Ended(value=_plain(value))
    except Told as error:
        ended = Ended(words=str(error))
    except Exception as error:  # noqa: BLE001  # a user's code may raise anything
        traceback.print_exc()
        ended = Ended(words=error.message if isinstance(error, TandemError) else said(error, path))
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(2, mark(-1))
    connection.send_bytes(msgspec.msgpack.encode(ended))
    return 0


def _plain(value: object) -> bytes:
    """What a pipeline returned, as JSON; of what is not, its name."""
    try:
        text = json.dumps(value, allow_nan=False, default=lambda each: str(each)[:200]).encode()
    except (TypeError, ValueError, RecursionError):
        return b"null"
    return text if len(text) <= 100_000 else b"null"


def main(arguments: list[str]) -> int:
    if arguments[0] == "--fd":
        told = os.dup(0)
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        threading.Thread(target=_watch, args=(told,), daemon=True).start()
        return serve(Connection(int(arguments[1])))
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import prints is no part of the answer
    try:
        answer.write(json.dumps(Source(Path(arguments[1]), arguments[2]).describe(), default=str))
    except TandemError as error:
        told_of = {"code": error.code, "message": error.message, "hint": error.hint, "field": error.field}
        answer.write(json.dumps({"error": told_of}))
    answer.flush()
    return 0


if __name__ == "__main__":
    # The SDK's own threads and the user's must not hold the end up.
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)
