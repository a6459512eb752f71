"""All HTTP of the client: one connection pool, retries, uploads, streams, and errors translated once. It knows no noun."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

import httpx2

from tandem_sdk.errors import Broken, Invalid, TandemError, TimedOut, Unreachable, read_error, read_waiting
from tandem_sdk.shape import Mismatch, read, read_list

API = "/api/v1"
RETRIES = 2
PATIENCE_SECONDS = 5.0
"""The longest `Retry-After` that is waited for."""
PIECE = 1 << 16
"""Bytes of a file that are read at once."""
TIMEOUT = httpx2.Timeout(connect=5.0, read=60.0, write=60.0, pool=60.0)
PATIENT = httpx2.Timeout(connect=5.0, read=600.0, write=600.0, pool=60.0)
"""For calls that compute: predictions, decisions, chats, uploads."""

WAITS = "x-tandem-request"
"""The header of an answer that says: nothing was done yet, this request waits for people."""

T = TypeVar("T")
Query = Mapping[str, str | int | list[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that is no error."""

    body: bytes
    trace: str | None
    """What `x-tandem-trace-id` says."""

    def json(self) -> object:
        try:
            return json.loads(self.body)
        except ValueError:
            raise Broken("The platform answered something that is no JSON.", hint="Is the address really Tandem's?") from None


class Wire:
    """Speaks HTTP with one platform. Not for use by several threads at once."""

    def __init__(self, url: str, key: str | Callable[[], str] | None, version: str, *, verify: bool = True) -> None:
        host = urlsplit(url).hostname
        if host is None or urlsplit(url).scheme not in ("http", "https"):
            raise Invalid(f"'{url}' is no address of a platform.", hint="Write it like http://127.0.0.1:8400.")
        headers = {"user-agent": f"tandem-sdk/{version}", "accept": "application/json"}
        if isinstance(key, str):
            if not key.isascii() or not key.isprintable() or " " in key:
                raise Invalid("The key holds characters that no key has.", hint="Keys look like tdm_…; check TANDEM_KEY.")
            headers["authorization"] = f"Bearer {key}"
        self.url = url
        loopback = host in ("localhost", "::1") or host.startswith("127.")  # a proxy cannot reach this machine's own loopback
        fresh = _Fresh(key) if callable(key) else None
        self._http = httpx2.Client(headers=headers, timeout=TIMEOUT, trust_env=not loopback, verify=verify, auth=fresh)

    def close(self) -> None:
        self._http.close()

    @contextmanager
    def bearing(self, header: str, value: str) -> Iterator[None]:
        """Sends a header along with everything that is asked for inside the `with`."""
        self._http.headers[header] = value
        try:
            yield
        finally:
            del self._http.headers[header]

    def get(self, path: str, query: Query | None = None) -> Reply:
        """Reads; tried again when the connection breaks or the platform is away for a moment."""
        return self._ask("GET", path, query=query)

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Query | None = None,
        patient: bool = False,
        once: bool = False,
    ) -> Reply:
        """Sends JSON; tried again only when the platform says when to come back.

        Args:
            patient: waits minutes for the answer, because something is computed.
            once: never tried again, because doing it twice would do something else than doing it once.
        """
        content = b"" if body is None else _encode(body)
        retries = 0 if once else RETRIES
        return self._ask(
            method, path, query=query, content=lambda: content, kind="application/json", patient=patient, retries=retries
        )

    def upload(
        self, path: str, file: Path, kind: str, *, query: Query | None, on_progress: Callable[[int, int], None] | None
    ) -> Reply:
        """Sends a file piece by piece; `on_progress(sent, total)` hears of bytes.

        Raises:
            Invalid: the file cannot be read.
        """
        total = _size(file)
        return self._ask(
            "POST", path, query=query, content=lambda: _pieces(file, total, on_progress), kind=kind, length=total, patient=True
        )

    def upload_form(
        self, path: str, file: Path, fields: Mapping[str, str], on_progress: Callable[[int, int], None] | None
    ) -> Reply:
        """Sends a file as the field `file` of a form, piece by piece, beside other fields.

        Raises:
            Invalid: the file cannot be read.
        """
        total, boundary = _size(file), secrets.token_hex(16)
        part = f"--{boundary}\r\ncontent-disposition: form-data; name="
        head = "".join(f'{part}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
        head += f'{part}"file"; filename="{quote(file.name, safe=" ")}"\r\ncontent-type: application/jsonl\r\n\r\n'
        before, after = head.encode(), f"\r\n--{boundary}--\r\n".encode()

        def form() -> Iterator[bytes]:
            yield before
            yield from _pieces(file, total, on_progress)
            yield after

        length = len(before) + total + len(after)
        kind = f"multipart/form-data; boundary={boundary}"
        return self._ask("POST", path, content=form, kind=kind, length=length, patient=True, retries=0)

    @contextmanager
    def download(self, path: str, query: Query | None = None) -> Iterator[Iterator[bytes]]:
        """The body of an answer, piece by piece.

        Raises:
            TandemError: refused, or the connection broke.
        """
        params = {name: value for name, value in (query or {}).items() if value is not None}
        with self._translated():
            with self._http.stream("GET", self.url + path, params=params or None, timeout=PATIENT) as response:
                if response.status_code >= 400:
                    raise _error(response, response.read())
                yield response.iter_bytes(PIECE)

    @contextmanager
    def events(self, path: str, body: object) -> Iterator[tuple[Iterator[str], str | None]]:
        """The data of server-sent events, and the trace id.

        Raises:
            TandemError: refused, or the stream broke.
        """
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        with self._translated():
            with self._http.stream("POST", self.url + path, content=_encode(body), headers=headers, timeout=PATIENT) as response:
                if response.status_code >= 400:
                    raise _error(response, response.read())
                yield (event.data for event in httpx2.EventSource(response)), response.headers.get("x-tandem-trace-id")

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        content: Callable[[], bytes | Iterator[bytes]] | None = None,
        kind: str | None = None,
        length: int | None = None,
        patient: bool = False,
        retries: int = RETRIES,
    ) -> Reply:
        params = {name: value for name, value in (query or {}).items() if value is not None}
        headers = {"content-type": kind} if kind is not None else {}
        if length is not None:
            headers["content-length"] = str(length)
        for attempt in range(retries + 1):
            try:
                with self._translated():
                    response = self._http.request(
                        method, self.url + path, params=params or None, content=content() if content else None, headers=headers,
                        timeout=PATIENT if patient else TIMEOUT,
                    )  # fmt: skip
                if response.status_code == 202 and WAITS in response.headers:
                    raise read_waiting(response.content)
                if response.status_code < 400:
                    return Reply(body=response.content, trace=response.headers.get("x-tandem-trace-id"))
                raise _error(response, response.content)
            except TandemError as error:
                pause = _pause(error, method, attempt)
                if pause is None or attempt == retries:
                    raise
                time.sleep(pause)
        raise AssertionError("the last attempt returned or raised")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of the HTTP library as ours."""
        try:
            yield
        except httpx2.ConnectError as error:
            if _refused(error):
                raise Unreachable(
                    f"Nothing answers at {self.url}.",
                    hint="`tandem up` starts the platform; TANDEM_URL names another address.",
                    code="not_running",
                ) from None
            raise Unreachable(
                f"{self.url} cannot be reached: {error}.", hint="Check TANDEM_URL, the network and the certificate."
            ) from None
        except httpx2.TimeoutException:
            raise TimedOut(f"{self.url} did not answer in time.", hint="`tandem doctor` tells what is slow or away.") from None
        except httpx2.TransportError as error:
            raise Unreachable(
                f"The connection to {self.url} broke: {error}.",
                hint="What was asked may or may not have been done; look before you repeat it.",
            ) from None
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise Broken(f"{self.url} answered what cannot be read: {error}.", hint="Is the address really Tandem's?") from None


class _Fresh(httpx2.Auth):
    """Asks for the key before each request."""

    def __init__(self, key: Callable[[], str]) -> None:
        self._key = key

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["authorization"] = f"Bearer {self._key()}"
        yield request


def _size(file: Path) -> int:
    """Bytes of a file that can be read.

    Raises:
        Invalid: it cannot.
    """
    try:
        file.open("rb").close()
        return file.stat().st_size
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}.", hint="Check the path.") from None


def _pieces(file: Path, total: int, on_progress: Callable[[int, int], None] | None) -> Iterator[bytes]:
    sent = 0
    with file.open("rb") as source:
        while piece := source.read(PIECE):
            yield piece
            sent += len(piece)
            if on_progress is not None:
                on_progress(sent, total)


def segment(text: str | int) -> str:
    """A name as one piece of a path."""
    return quote(str(text), safe="@")


def read_reply(wanted: type[T], reply: Reply) -> T:
    """A result out of an answer.

    Raises:
        Broken: the answer has another shape.
    """
    with _shaped():
        return read(wanted, reply.json())


def read_replies(wanted: type[T], reply: Reply) -> tuple[T, ...]:
    """Results out of an answer that is a list.

    Raises:
        Broken: the answer has another shape.
    """
    with _shaped():
        return read_list(wanted, reply.json())


@contextmanager
def _shaped() -> Iterator[None]:
    try:
        yield
    except Mismatch as error:
        raise Broken(
            f"The platform's answer is not understood: {error}.",
            hint="Client and platform may be of different versions: `tandem version`.",
        ) from None


def _encode(body: object) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise Invalid(
            f"The input cannot be sent as JSON: {error}.", hint="Use texts, finite numbers, truth values, lists and dicts."
        ) from None


def _error(response: httpx2.Response, body: bytes) -> TandemError:
    return read_error(
        response.status_code,
        body,
        trace=response.headers.get("x-tandem-trace-id"),
        retry_after=_seconds(response.headers.get("retry-after")),
    )


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:  # a date: nothing of ours sends one
        return None


def _pause(error: TandemError, method: str, attempt: int) -> float | None:
    """Seconds to wait before trying again; None when it must not be."""
    wait = error.retry_after
    if error.status in (429, 503) and wait is not None:
        return wait if wait <= PATIENCE_SECONDS else None
    if method != "GET" or error.code == "not_running":
        return None
    if isinstance(error, Unreachable) or error.status in (502, 503):
        return float(0.1 * 2**attempt)
    return None


def _refused(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
