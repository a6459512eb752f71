"""Differential fuzz of the request reader and of replies against h11: what is accepted here, h11 reads in the same way.

Exceptions, all harmless to framing, in which llhttp accepts and h11 does not; `theirs` smooths them out:

- empty lines (also bare CR or LF) before a request line (RFC 9112 2.2 asks servers to pass over one);
- more than one space between the parts of a request line (RFC 9112 3 allows it);
- `RTSP/1.x` and `ICE/1.x` in place of `HTTP/1.x`;
- HTTP/1.0 with keep-alive, which h11 does not know.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tandem.gateway.exchange import Limits, Reply, Request
from tandem.gateway.reader import Reader, Refusal

OFFER = (b"upgrade", b"http2-settings", b"connection")


@dataclass
class Tape:
    """A line that keeps what is written to it."""

    written: bytes = b""
    kept: bool | None = None
    was_cut: bool = False
    loop: asyncio.AbstractEventLoop = field(default=None)  # type: ignore[assignment]

    def write(self, data: bytes) -> None:
        self.written += data

    cork = write

    async def drained(self) -> None:
        pass

    def hold(self) -> None:
        pass

    def unhold(self) -> None:
        pass

    def common(self) -> bytes:
        return b"date: now\r\n"

    def stays(self) -> bool:
        return True

    def finished(self, keep: bool) -> None:
        self.kept = keep

    def cut(self, *, reset: bool) -> None:
        self.was_cut = True


@dataclass(frozen=True)
class Read:
    """A whole request, reduced to what both parsers tell."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def at_once(work: Coroutine[Any, Any, bytes]) -> bytes:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return bytes(end.value)
    raise AssertionError("it waits")


def plain(headers: list[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """Without what is not compared; h11 gives the transfer's coding in lower case, which is no other coding."""
    smooth = ((name, value.lower() if name == b"transfer-encoding" else value) for name, value in headers)
    return tuple(pair for pair in smooth if pair[0] not in OFFER)


def ours(pieces: list[bytes], *, stream: bool = False) -> tuple[list[Read], bool]:
    """Whole requests in the pieces, and whether the rest was refused."""
    reader = Reader(Tape(), Limits(pipeline=1000), lambda *_: stream, peer="p")
    refused = False
    for piece in pieces:
        try:
            reader.feed(piece)
        except Refusal:
            refused = True
            break
    out = []
    for request, _ in reader.queue:
        body = request.body
        if request.intake is not None:
            if not request.intake.whole:
                break
            body = at_once(request.intake.take())
        out.append(Read(request.method, request.raw_target, plain(request.headers), body))
    return out, refused


def theirs(stream: bytes) -> list[Read]:
    """Whole requests that h11 finds, after the exceptions are smoothed out of each request line."""
    out = []
    while True:
        stream = re.sub(rb"^([A-Z]+) +(\S+) +(?:HTTP|RTSP|ICE)/(\d\.\d)\r\n", rb"\1 \2 HTTP/\3\r\n", stream.lstrip(b"\r\n"))
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
        connection.receive_data(stream)
        try:
            request = connection.next_event()
            if not isinstance(request, h11.Request):
                return out
            body = b""
            while isinstance(event := connection.next_event(), h11.Data):
                body += event.data
        except h11.RemoteProtocolError:
            return out
        if not isinstance(event, h11.EndOfMessage):
            return out
        out.append(Read(request.method.decode(), request.target, plain(list(request.headers)), body))
        if connection.their_state is h11.MUST_CLOSE and request.http_version == b"1.1":
            return out
        stream = bytes(connection.trailing_data[0])


def agree(stream: bytes) -> None:
    mine, _ = ours([stream])
    assert theirs(stream)[: len(mine)] == mine


methods = st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS"] * 4 + [b"get", b"CONNECT", b"G", b""])
oddities = [b"/a?b", b"*", b"http://x/", b"/%41", b"/\xff", b"/a b", b"", b"/#", b"x:1", b"/" + b"a" * 50]
targets = st.sampled_from([b"/"] * 20 + oddities)
versions = st.sampled_from([b"HTTP/1.1"] * 30 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"RTSP/1.1", b""])
spaces = st.sampled_from([b" "] * 30 + [b"  ", b"\t", b""])
ends = st.sampled_from([b"\r\n"] * 90 + [b"\n", b"\r", b"\r\r\n", b"\n\r"])
known = [b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect", b"X", b"content-length", b"Host"]
odd = [b"X_y", b"", b"X Y", b" X", b"X\x00", b"\xe9", b"Content-Length ", b"Transfer-Encoding\t", b"Proxy-Connection", b"Trailer"]
names = st.sampled_from([*known * 3, *odd])
lengths = [b"0", b"3", b"5", b"05", b"+5", b"5,5", b"5 ", b"0x5", b"-1", b"99999999999999999999"]
codings = [b"chunked", b"Chunked", b"gzip, chunked", b"chunked, identity", b"identity", b"chunked;q=1"]
words = [b"close", b"keep-alive", b"upgrade", b"h2c", b"100-continue", b"x", b"close, upgrade", b'"']
broken = [b"", b"a\x00b", b"a\rb", b"a\x0bb", b"\xc3\xa9", b"\t", b"a\r\n b", b"a\r\n\tb", b"a\x7fb"]
values = st.sampled_from([*lengths, *codings, *words, *broken])
colons = st.sampled_from([b": "] * 20 + [b":", b" : ", b":\t", b""])


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    line = draw(methods) + draw(spaces) + draw(targets) + draw(spaces) + draw(versions) + draw(ends)
    rows = [b"Host: x\r\n"] * draw(st.sampled_from([1] * 12 + [0, 2]))
    rows += [draw(names) + draw(colons) + draw(values) + draw(ends) for _ in range(draw(st.integers(0, 3)))]
    return line + b"".join(draw(st.permutations(rows))) + draw(ends)


extended = [b"3;a=b", b"3;a", b"3;", b'3;a="b"', b'3;a="\r\nb"']
sizes = st.sampled_from([*[b"3"] * 6, *extended, b"03", b"3 ", b"0x3", b"+3", b"", b"4", b"FFFFFFFFF"])


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    body = b"".join(draw(sizes) + draw(ends) + b"abc" + draw(ends) for _ in range(draw(st.integers(0, 2))))
    last = draw(st.sampled_from([b"0"] * 5 + [b"00", b"0;x", b""])) + draw(ends)
    count = draw(st.sampled_from([0, 0, 0, 1, 2]))
    trailers = b"".join(draw(names) + draw(colons) + draw(values) + draw(ends) for _ in range(count))
    return body + last + trailers + draw(ends)


smuggled = b"GET / HTTP/1.1\r\nHost: y\r\n\r\n"
bodies = st.one_of(st.sampled_from([b"", b"abc", b"hello", b"0\r\n\r\n", b"\r\n", smuggled]), chunks())
soups = st.lists(st.tuples(heads(), bodies).map(b"".join), min_size=1, max_size=3).map(b"".join)

GOOD = (
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e=f\r\nde\r\n0\r\nT: 1\r\n\r\n"
    b"GET /c HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    b"GET /d HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"
)
EVIL = [*[bytes([byte]) for byte in b'\0\t\n\x0b\r ",-05:;A\x7f\x80\xff'], b"\r\n", b"\r\n\r\n", b"\r\n "]
edits = st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 2), st.sampled_from(EVIL)), min_size=1, max_size=3)


def edited(changes: list[tuple[int, int, bytes]]) -> bytes:
    """The good stream with bytes replaced or put in."""
    stream = GOOD
    for at, dropped, new in changes:
        stream = stream[:at] + new + stream[at + dropped :]
    return stream


def test_the_good_stream_is_read_alike() -> None:
    mine, refused = ours([GOOD])
    assert (mine, refused) == (theirs(GOOD), False)
    assert [request.body for request in mine] == [b"hello", b"abcde", b"", b""]


@settings(max_examples=1500, deadline=None)
@given(soups)
def test_what_is_accepted_h11_reads_alike(stream: bytes) -> None:
    agree(stream)


@settings(max_examples=1500, deadline=None)
@given(edits)
@example([(0, 0, b"\r\n")])
@example([(4, 0, b" ")])
def test_damaged_streams_are_read_alike_or_refused(changes: list[tuple[int, int, bytes]]) -> None:
    agree(edited(changes))


def test_every_single_byte_changed() -> None:
    for at in range(len(GOOD)):
        for new in EVIL:
            agree(edited([(at, 1, new)]))
            agree(edited([(at, 0, new)]))


def cut(stream: bytes, places: set[int]) -> list[bytes]:
    edges = [0, *sorted(place for place in places if 0 < place < len(stream)), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@settings(max_examples=400, deadline=None)
@given(st.one_of(soups, edits.map(edited)), st.sets(st.integers(1, 400), max_size=12))
def test_no_cut_of_the_bytes_changes_what_is_read(stream: bytes, places: set[int]) -> None:
    whole = ours([stream])
    assert ours(cut(stream, places)) == whole
    assert ours([bytes([byte]) for byte in stream]) == whole
    assert ours([stream], stream=True) == whole
    assert ours(cut(stream, places), stream=True) == whole


# Replies.

pieces = st.lists(st.binary(max_size=40), max_size=5)


def heard(tape: Tape, method: bytes, old: bool) -> tuple[int, bytes, bool]:
    """Status and body that h11 hears as a client, and whether the reply is complete on its own."""
    connection = h11.Connection(h11.CLIENT)
    headers = [(b"host", b"x")] + [(b"connection", b"close")] * old
    connection.send(h11.Request(method=method, target=b"/", headers=headers))
    connection.send(h11.EndOfMessage())
    connection.receive_data(tape.written)
    response = connection.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    if event is h11.NEED_DATA:
        connection.receive_data(b"")
        return response.status_code, body, False
    assert connection.trailing_data[0] == b""
    return response.status_code, body, True


@given(st.sampled_from([200, 204, 304, 404, 499, 599]), pieces, st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_replies_are_what_h11_hears(status: int, pieces: list[bytes], mute: bool, old: bool, keep: bool, declare: bool) -> None:
    body = b"".join(pieces)
    headers = [(b"content-length", b"%d" % len(body))] if declare else []
    expected = b"" if mute or status in (204, 304) else body
    whole, parted = Tape(), Tape()
    Reply(whole, mute=mute, old=old, keep=keep).send(status, headers, body)
    reply = Reply(parted, mute=mute, old=old, keep=keep)
    reply.begin(status, headers)
    for piece in pieces:
        reply.write(piece)
    reply.end()
    method = b"HEAD" if mute else b"GET"
    assert heard(whole, method, old) == (status, expected, True)
    until_closed = old and not declare and not mute and status not in (204, 304)
    assert heard(parted, method, old) == (status, expected, not until_closed)
    assert whole.kept is keep
    assert parted.kept is (keep and not (old and not declare))


@given(pieces.filter(any), st.booleans())
def test_an_aborted_reply_is_never_complete(pieces: list[bytes], declare: bool) -> None:
    tape = Tape()
    reply = Reply(tape, mute=False, old=False, keep=True)
    reply.begin(200, [(b"content-length", b"%d" % (len(b"".join(pieces)) + 1))] if declare else [])
    for piece in pieces:
        reply.write(piece)
    reply.abort()
    assert heard(tape, b"GET", False) == (200, b"".join(pieces), False)
    assert tape.was_cut


def test_a_request_is_told_apart_from_its_like() -> None:
    assert Request("GET", "/", b"/", "", [], "p", "http").header(b"x") is None
