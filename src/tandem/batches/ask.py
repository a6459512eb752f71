"""Asks one line of a batch at the door, and writes what it says as OpenAI's batches do. It keeps nothing and knows no Run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from tandem.batches.lines import Request
from tandem.core.errors import Unreachable
from tandem.core.ids import new_id
from tandem.core.principal import Principal
from tandem.gateway.inside import Replied

TRIES = 8
"""How often a line is asked while the door says that it cannot answer now: for about a minute."""
WAITS = (429, 503)
"""Statuses after which a later try may fare better."""
FINAL = frozenset({"over_budget", "unpriced_under_cap"})
"""Codes with such a status after which it would not: waiting brings no money."""
LONGEST_WAIT = 30.0


class Sends(Protocol):
    """What sends a line to the door in somebody's name. `gateway.inside.Inside` does it; tests bring their own."""

    def send(self, path: str, body: bytes, by: Principal, *, batch: str) -> Replied: ...


class Response(msgspec.Struct, frozen=True):
    """What the door answered."""

    status_code: int
    request_id: str
    """The trace's id."""
    body: msgspec.Raw


class Failure(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    code: str
    message: str


class Answer(msgspec.Struct, frozen=True):
    """One line of the files that a batch leaves."""

    id: str
    custom_id: str | None
    response: Response | None
    error: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The answer to one line."""

    good: bool
    """Whether it belongs to the answers, and not to the failures."""
    line: bytes


def ask(sends: Sends, request: Request, by: Principal, batch: str, wait: Callable[[float], bool]) -> Answered:
    """Asks one line until there is an answer, or no hope of one.

    Args:
        wait: waits so many seconds; False when there is no time for another try.
    """
    for tried in range(TRIES):
        pause = min(LONGEST_WAIT, 0.5 * 2**tried)
        try:
            said = sends.send(request.url, bytes(request.body), by, batch=batch)
        except Unreachable as error:
            if tried == TRIES - 1 or not wait(pause):
                return failed(request.custom_id, error.code, str(error))
            continue
        later = said.status in WAITS and _code(said) not in FINAL and tried < TRIES - 1
        if not later or not wait(min(LONGEST_WAIT, max(pause, said.retry_after or 0.0))):
            break
    response = Response(status_code=said.status, request_id=said.trace, body=_body(said.body))
    answer = Answer(id=new_id("batch_req"), custom_id=request.custom_id, response=response, error=None)
    return Answered(good=said.status < 400, line=msgspec.json.encode(answer) + b"\n")


def failed(custom_id: str | None, code: str, message: str) -> Answered:
    """The line that says why a request was not answered."""
    answer = Answer(id=new_id("batch_req"), custom_id=custom_id, response=None, error=Failure(code=code, message=message))
    return Answered(good=False, line=msgspec.json.encode(answer) + b"\n")


def _body(body: bytes) -> msgspec.Raw:
    """An answer's body in one line; a JSON text where it is no JSON."""
    try:
        return msgspec.Raw(msgspec.json.format(body, indent=-1))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.Raw(msgspec.json.encode(body.decode(errors="replace")))


class _Error(msgspec.Struct):
    code: str | None = None


class _Refusal(msgspec.Struct):
    error: _Error


def _code(said: Replied) -> str | None:
    try:
        return msgspec.json.decode(said.body, type=_Refusal).error.code
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
