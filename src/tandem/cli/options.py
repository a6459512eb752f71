"""What commands share on their way in: the client, `--json`, and readers of words such as `30d`, `k=v`, `@file`."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TypeVar

import click

from tandem_sdk import Client, spans

F = TypeVar("F", bound=Callable[..., object])
MICROS = 1_000_000

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""`--json`, on every command."""


def wrong(message: str) -> click.UsageError:
    """Wrong usage of the command that is running."""
    return click.UsageError(message, click.get_current_context(silent=True))


@contextmanager
def platform() -> Iterator[Client]:
    """A client of the running platform, as the environment or `tandem login` names it."""
    with Client() as client:
        yield client


def bare(name: str, kind: str) -> str:
    """The name without its kind: `dataset/biopsies` and `biopsies` are the same dataset.

    >>> bare("dataset/biopsies", "dataset")
    'biopsies'
    """
    return name.removeprefix(f"{kind}/")


def seconds(text: str) -> int:
    """Seconds of `90m`, `12h`, `30d`, `2w`.

    Raises:
        click.UsageError: it is none of them.
    """
    found = spans.seconds(text)
    if found is None:
        raise wrong(f"'{text}' is no span of time; write it like 90m, 12h, 30d or 2w.")
    return found


def moment_of(text: str | None) -> int | None:
    """UTC microseconds of `2026-11-01`, an RFC 3339 time, or a time so long ago: `30d`.

    Raises:
        click.UsageError: it is none of them.

    >>> moment_of("1970-01-02"), moment_of("1970-01-01T01:00:00+01:00"), moment_of(None)
    (86400000000, 0, None)
    """
    if text is None:
        return None
    if (ago := spans.seconds(text)) is not None:
        return time.time_ns() // 1000 - ago * MICROS
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        micros = (found - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise wrong(f"'{text}' is no time; write it like 2026-11-01, 2026-11-01T12:00:00Z or 30d.") from None
    if micros < 0:
        raise wrong(f"'{text}' lies before 1970.")
    return micros


def saved(to: Path | None, write: Callable[[IO[bytes]], int]) -> int | None:
    """Writes to a file in one step, or without one to standard output; returns the bytes of the file.

    Raises:
        click.UsageError: it cannot be written.
    """
    if to is None:
        sys.stdout.flush()
        write(sys.stdout.buffer)
        return None
    part = to.with_name(f"{to.name}.part")
    try:
        with part.open("wb") as file:
            count = write(file)
        part.replace(to)
    except OSError as error:
        raise wrong(f"'{to}' cannot be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
    return count


def assignments(words: Sequence[str]) -> dict[str, str | int | float | bool]:
    """Values by name out of `k=v` words; a value that reads as a number or truth value is one.

    Raises:
        click.UsageError: a word has no `=`.

    >>> assignments(["depth=3", "rate=0.1", "deep=true", "mode=fast"])
    {'depth': 3, 'rate': 0.1, 'deep': True, 'mode': 'fast'}
    """
    found: dict[str, str | int | float | bool] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise wrong(f"'{word}' is no assignment; write it like NAME=VALUE.")
        found[name] = _value(value)
    return found


def _value(text: str) -> str | int | float | bool:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text


def content(text: str) -> str:
    """The text itself, or with `@FILE` the file's, or with `@-` what comes on standard input.

    Raises:
        click.UsageError: the file cannot be read.
    """
    if not text.startswith("@"):
        return text
    return sys.stdin.read() if text == "@-" else file_text(Path(text[1:]))


def file_text(path: Path) -> str:
    """The text of a file.

    Raises:
        click.UsageError: it cannot be read as text.
    """
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise wrong(f"'{path}' cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise wrong(f"'{path}' is no UTF-8 text.") from None


def decoded(text: str, what: str) -> object:
    """JSON out of a text.

    Raises:
        click.UsageError: it is none; names line and column.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise wrong(f"{what} is not JSON: {error}.") from None


class WindowText(click.ParamType[str]):
    """A window of a cap, as far as its form tells; the platform knows the time zones."""

    name = "window"
    form = re.compile(r"(minute|hour|total)|(day|week|month|quarter|year)(@[\w/+-]+)?|rolling-[1-9][0-9]{0,5}[smhd]")

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if self.form.fullmatch(str(value)) is None:
            self.fail(f"'{value}' is no window: write day, month@Europe/Berlin, rolling-24h or total.", param, ctx)
        return str(value)
