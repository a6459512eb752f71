"""The lines of a batch: what a request looks like, and what is wrong with one that does not. Pure; it asks nobody.

The form is OpenAI's: https://developers.openai.com/api/docs/guides/batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from tandem.core.errors import Invalid
from tandem.gateway.asked import Read
from tandem.gateway.wires.openai import read_chat, read_embed, read_rerank
from tandem.gateway.wires.responses import read_responses

LINES = 50_000
"""Requests of one batch."""
LINE_BYTES = 8 * 1024 * 1024
"""Of one line; an image within has to fit."""
ID_CHARACTERS = 512
NAME_BYTES = 1024
"""A subject's name has no more, else nobody could erase it."""
PROBLEMS = 100
"""Faults that are told of; the rest is counted."""

ENDPOINTS: Mapping[str, Callable[[bytes], Read]] = {
    "/v1/chat/completions": lambda body: read_chat(body, ()),
    "/v1/responses": lambda body: read_responses(body, ()),
    "/v1/embeddings": lambda body: read_embed(body, ()),
    "/v1/rerank": lambda body: read_rerank(body, ()),
}
"""Where the requests of a batch may go, and how their bodies are looked at before any is sent."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One line: a request under a name of the caller's."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw
    """Is sent as it stands."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What is wrong with a batch, as OpenAI tells it."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class _Named(msgspec.Struct):
    user: str | None = None
    safety_identifier: str | None = None


class _Subject(msgspec.Struct):
    body: _Named


_request = msgspec.json.Decoder(Request)
_subject = msgspec.json.Decoder(_Subject)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def subject_of(line: bytes, otherwise: str) -> str:
    """Whom a line is about: the end user that its request names, as the door reads it.

    Args:
        otherwise: the subject of lines that name nobody, and of what is no request.

    >>> subject_of(b'{"body": {"user": "ada"}}', "principal:ci")
    'ada'
    >>> subject_of(b'no JSON', "principal:ci")
    'principal:ci'
    """
    try:
        named = _subject.decode(line).body
    except _UNREADABLE:
        return otherwise
    name = (named.safety_identifier or named.user or "").strip()
    return name if 0 < len(name.encode(errors="replace")) <= NAME_BYTES else otherwise


def read_line(line: bytes) -> Request:
    """One line as a request.

    Raises:
        Invalid: it is none; `field` names where.
    """
    try:
        return _request.decode(line)
    except msgspec.ValidationError as error:
        text = str(error)
        missing = "missing required field" in text
        named = text.split("`")[1] if missing else text.rpartition("`$.")[2].rstrip("`") if "`$." in text else None
        code = "missing_required_parameter" if missing else "invalid_type"
        raise Invalid(f"{text}.", field=named, code=code) from None
    except _UNREADABLE as error:
        raise Invalid(f"This line is not JSON: {error}.", code="invalid_json_line") from None


def check(request: Request, endpoint: str) -> None:
    """Looks whether a request may be sent as part of a batch for `endpoint`.

    Raises:
        Invalid: it may not; `field` names where.
    """
    if not 0 < len(request.custom_id) <= ID_CHARACTERS:
        raise Invalid(f"custom_id must have 1 to {ID_CHARACTERS} characters.", field="custom_id", code="invalid_custom_id")
    if request.method != "POST":
        raise Invalid("method must be POST.", field="method", code="invalid_method")
    if request.url != endpoint:
        raise Invalid(f"url must be {endpoint}, the endpoint of the batch.", field="url", code="mismatched_endpoint")
    try:
        asked = ENDPOINTS[endpoint](bytes(request.body))
    except Invalid as error:
        where = "body" if error.field is None else f"body.{error.field}"
        raise Invalid(error.said, field=where, code="invalid_request") from None
    if asked.asked.stream:
        raise Invalid("A batch does not stream; leave stream out.", field="body.stream", code="invalid_request")


@dataclass(slots=True, kw_only=True)
class Checked:
    """What was found in the lines of a batch."""

    total: int = 0
    """Requests."""
    problems: list[Problem] = field(default_factory=list)
    """The first ones."""
    faulty: int = 0
    """All of them."""

    def fault(self, problem: Problem) -> None:
        self.faulty += 1
        if len(self.problems) < PROBLEMS:
            self.problems.append(problem)


def check_all(lines: Iterable[tuple[int, bytes | None]], endpoint: str) -> Checked:
    """Looks at every line before any is sent.

    Args:
        lines: number and text; None for one whose subject was erased since: it is counted, and fails later.
    """
    found, seen = Checked(), dict[str, int]()
    for number, line in lines:
        if line is not None and not line.strip():
            continue
        found.total += 1
        if found.total > LINES:
            found.fault(Problem(code="too_many_requests", message=f"A batch has at most {LINES} requests.", line=number))
            break
        if line is None:
            continue
        try:
            request = read_line(line)
            check(request, endpoint)
        except Invalid as error:
            found.fault(Problem(code=error.code, message=error.said, line=number, param=error.field))
            continue
        first = seen.setdefault(request.custom_id, number)
        if first != number:
            message = f"The custom_id of this line is that of line {first} already."
            found.fault(Problem(code="duplicate_custom_id", message=message, line=number, param="custom_id"))
    if found.total == 0:
        found.fault(Problem(code="empty_file", message="The file holds no requests."))
    return found


class Splitter:
    """Cuts bytes that come piece by piece into lines, each with its own end, so that they join to the same bytes.

    >>> cut = Splitter()
    >>> cut.feed(b"one\\ntw"), cut.feed(b"o\\nthree"), cut.rest()
    ([b'one\\n'], [b'two\\n'], b'three')
    """

    def __init__(self) -> None:
        self._open = bytearray()
        self._lines = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now.

        Raises:
            Invalid: a line is longer than `LINE_BYTES`.
        """
        found = []
        start = 0
        while (end := data.find(b"\n", start) + 1) > 0:
            self._open += data[start:end]
            self._check()
            found.append(bytes(self._open))
            self._open.clear()
            self._lines += 1
            start = end
        self._open += data[start:]
        self._check()
        return found

    def rest(self) -> bytes:
        """What came behind the last end of a line; empty for nothing."""
        return bytes(self._open)

    def _check(self) -> None:
        if len(self._open) > LINE_BYTES:
            raise Invalid(
                f"Line {self._lines + 1} of the file is longer than {LINE_BYTES} bytes.",
                hint="A line holds one request; is it a JSONL file?",
                field="file",
            )
