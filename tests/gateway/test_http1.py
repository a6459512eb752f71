"""The door's HTTP server: framing, smuggling, sizes, times, order, disconnects."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from pathlib import Path

import pytest

from tandem.core.errors import Invalid
from tandem.gateway.http1 import Limits, Reply, Request
from tests.gateway.rawhttp import Caller, certified, on_uvloop, serving, until

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body: bytes, path: str = "/a", extra: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n%b" % (path.encode(), len(body), extra, body)


def chunked(*pieces: bytes, path: bytes = b"/a", extra: bytes = b"", trailers: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%b\r\n%b0\r\n%b\r\n" % (path, extra, body, trailers)


# What is served.


@on_uvloop
async def test_a_request_and_its_reply() -> None:
    async with serving() as site:
        raw = b"POST /a%20b/%C3%A9?q=%20&r HTTP/1.1\r\nHOST: x\r\nX-1:  v \t\r\nx-2:\r\nX-1: w\r\nContent-Length: 2\r\n\r\nhi"
        answer = await site.once(raw)
        assert (answer.status, answer.body) == (200, "POST /a b/é hi".encode())
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["date"])
        request = site.requests[0]
        assert request.headers == [(b"host", b"x"), (b"x-1", b"v"), (b"x-2", b""), (b"x-1", b"w"), (b"content-length", b"2")]
        assert (request.method, request.path, request.query) == ("POST", "/a b/é", "q=%20&r")
        assert request.raw_target == b"/a%20b/%C3%A9?q=%20&r"
        assert (request.peer, request.scheme) == ("127.0.0.1", "http")
        assert (request.header(b"x-1"), request.header(b"nope")) == ("v", None)
        assert [piece async for piece in request.stream()] == [b"hi"]


@on_uvloop
async def test_any_cut_of_the_bytes_is_the_same_request() -> None:
    async with serving() as site:
        for raw in (post(b"hello"), chunked(b"he", b"llo", trailers=b"X-T: 1\r\nX-U:\r\n")):
            for at in range(1, len(raw)):
                caller = await site.caller()
                await caller.send(raw[:at])
                await asyncio.sleep(0)
                answer = await caller.ask(raw[at:])
                assert answer.body == b"POST /a hello"
                assert (await caller.ask(GET)).body == b"GET /a "
                caller.vanish()
        heads = {tuple(request.headers) for request in site.requests if request.method == "POST"}
        assert len(heads) == 2


@on_uvloop
async def test_keep_alive_and_close() -> None:
    async with serving() as site:
        caller = await site.caller()
        assert "connection" not in (await caller.ask(GET)).headers
        assert (await caller.ask(GET.replace(b"x\r\n", b"x\r\nConnection: close\r\n", 1))).headers["connection"] == "close"
        assert await caller.rest() == b""
        assert site.server.connections == 0


@on_uvloop
async def test_http_1_0() -> None:
    async def parts(request: Request, reply: Reply) -> None:
        reply.begin(200, [])
        reply.write(b"ab")
        await asyncio.sleep(0)
        reply.write(b"c")
        reply.end()

    old = b"GET /a HTTP/1.0\r\n\r\n"
    async with serving() as site:
        caller = await site.caller()
        assert (await caller.ask(old)).headers["connection"] == "close"
        assert await caller.rest() == b""
        caller = await site.caller()
        kept = await caller.ask(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert kept.headers["connection"] == "keep-alive"
        assert (await caller.ask(old)).status == 200
    async with serving(parts) as site:
        caller = await site.caller()
        answer = await caller.ask(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert "transfer-encoding" not in answer.headers
        assert (answer.body, answer.headers["connection"]) == (b"abc", "close")


@on_uvloop
async def test_pieces_are_chunked_and_the_connection_goes_on() -> None:
    async def parts(request: Request, reply: Reply) -> None:
        reply.begin(200, [(b"content-type", b"text/event-stream")])
        for piece in (b"ab", b"", b"c" * 300):
            reply.write(piece)
            await reply.drain()
        reply.end()
        reply.write(b"ignored")
        reply.end()

    async with serving(parts) as site:
        caller = await site.caller()
        for _ in range(2):
            answer = await caller.ask(GET)
            assert (answer.body, answer.headers["transfer-encoding"]) == (b"ab" + b"c" * 300, "chunked")
        head = await caller.ask(GET.replace(b"GET", b"HEAD"), mute=True)
        assert head.status == 200
        assert (await caller.ask(GET)).whole


@on_uvloop
async def test_a_declared_length_is_kept_to() -> None:
    errors: list[Exception] = []

    async def parts(request: Request, reply: Reply) -> None:
        reply.begin(200, [(b"content-length", b"5")])
        reply.write(b"abc")
        if request.path == "/short":
            reply.end()
            return
        try:
            reply.write(b"def")
        except ValueError as error:
            errors.append(error)
        reply.write(b"de")
        reply.end()

    async with serving(parts) as site:
        caller = await site.caller()
        assert (await caller.ask(GET)).body == b"abcde"
        assert len(errors) == 1
        short = await caller.ask(GET.replace(b"/a", b"/short"))
        assert (short.body, short.whole) == (b"abc", False)


@on_uvloop
async def test_head_and_bodiless_statuses() -> None:
    def handler(request: Request, reply: Reply) -> None:
        match request.path:
            case "/204":
                reply.send(204, [])
            case "/304":
                reply.send(304, [(b"content-length", b"10")])
            case "/proxied":
                reply.send(200, [(b"content-length", b"10")])
            case _:
                reply.send(200, [], b"12345")

    async with serving(handler) as site:
        caller = await site.caller()
        assert (await caller.ask(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n", mute=True)).headers["content-length"] == "5"
        assert (await caller.ask(b"HEAD /proxied HTTP/1.1\r\nHost: x\r\n\r\n", mute=True)).headers["content-length"] == "10"
        assert "content-length" not in (await caller.ask(GET.replace(b"/a", b"/204"))).headers
        assert (await caller.ask(GET.replace(b"/a", b"/304"))).headers["content-length"] == "10"
        assert (await caller.ask(GET)).body == b"12345"


@on_uvloop
async def test_replies_that_would_break_in_two_are_refused() -> None:
    bad: list[tuple[list[tuple[bytes, bytes]], bytes]] = [
        ([(b"x", b"a\r\nset-cookie: b")], b""),
        ([(b"x", b"a\nb")], b""),
        ([(b"x", b"a\rb")], b""),
        ([(b"x\r\ny", b"a")], b""),
        ([(b"x", b"a\0")], b""),
        ([(b"content-length", b"3")], b"four"),
        ([(b"transfer-encoding", b"chunked")], b""),
        ([(b"connection", b"close")], b""),
    ]

    def handler(request: Request, reply: Reply) -> None:
        headers, body = bad[int(request.path[1:])]
        reply.send(200, headers, body)

    async with serving(handler, faultless=False) as site:
        for number in range(len(bad)):
            answer = await site.once(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
            assert (answer.status, answer.error) == (500, "broken")
        assert [type(fault) for fault in site.faults] == [ValueError] * len(bad)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", ""),
        (b"/a?b?c", "/a", "b?c"),
        (b"/%2Fa%25", "//a%", ""),
        (b"//a/../b", "//a/../b", ""),
        (b"http://x/a?b", "/a", "b"),
        (b"HTTP://X", "/", ""),
        (b"http://x?b", "/", "b"),
    ],
)
@on_uvloop
async def test_targets(target: bytes, path: str, query: str) -> None:
    async with serving() as site:
        assert (await site.once(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)).status == 200
        assert (site.requests[0].path, site.requests[0].query, site.requests[0].raw_target) == (path, query, target)


@on_uvloop
async def test_options_star() -> None:
    async with serving() as site:
        assert (await site.once(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200
        assert site.requests[0].path == "*"


# What is refused. Each entry: the bytes, the status, the code.

H = b"Host: x\r\n"
P = b"POST / HTTP/1.1\r\nHost: x\r\n"
REFUSED: list[tuple[bytes, int, str]] = [
    # Two framings, or one that another parser would read otherwise.
    (P + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, "malformed_request"),
    (P + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, "malformed_request"),
    (P + b"Content-Length: 3, 3\r\n\r\nabc", 400, "malformed_request"),
    (P + b"Content-Length: +3\r\n\r\nabc", 400, "malformed_request"),
    (P + b"Content-Length: -3\r\n\r\nabc", 400, "malformed_request"),
    (P + b"Content-Length: 0x3\r\n\r\nabc", 400, "malformed_request"),
    (P + b"Content-Length: 3 4\r\n\r\nabc", 400, "malformed_request"),
    (P + b"Content-Length:\r\n\r\nabc", 400, "malformed_request"),
    (P + b"Content-Length: 1000000000000000000\r\n\r\n", 400, "bad_framing"),
    (P + b"Content-Length: 99999999999999999999999\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "bad_framing"),
    (P + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: identity\r\n\r\nabc", 400, "bad_framing"),
    (P + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, "bad_framing"),
    (P + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400, "bad_framing"),
    (P + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding:\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"X: 1\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding\x00: chunked\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_framing"),
    # Chunks.
    (P + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: chunked\r\n\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: chunked\r\n\r\n0\r\nHost: y\r\n\r\n", 400, "bad_trailer"),
    (P + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", 400, "malformed_request"),
    (P + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX : 5\r\n\r\n", 400, "malformed_request"),
    # Lines.
    (b"GET / HTTP/1.1\nHost: x\n\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: x\nX: 1\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x1f\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA(b): c\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\xc3\xa9: c\r\n\r\n", 400, "malformed_request"),
    # Host.
    (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_host"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, "bad_host"),
    (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad_host"),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad_host"),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_host"),
    (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, "bad_host"),
    (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400, "bad_host"),
    # First line.
    (b"GET http://other/ HTTP/1.1\r\n" + H + b"\r\n", 400, "bad_target"),
    (b"GET http://u@x/ HTTP/1.1\r\n" + H + b"\r\n", 400, "bad_target"),
    (b"GET ftp://x/ HTTP/1.1\r\n" + H + b"\r\n", 400, "bad_target"),
    (b"GET * HTTP/1.1\r\n" + H + b"\r\n", 400, "bad_target"),
    (b"GET /%00 HTTP/1.1\r\n" + H + b"\r\n", 400, "bad_target"),
    (b"GET /%0d%0a HTTP/1.1\r\n" + H + b"\r\n", 400, "bad_target"),
    (b"GET /%7f HTTP/1.1\r\n" + H + b"\r\n", 400, "bad_target"),
    (b"GET /%zz HTTP/1.1\r\n" + H + b"\r\n", 400, "bad_target"),
    (b"GET /% HTTP/1.1\r\n" + H + b"\r\n", 400, "bad_target"),
    (b"GET /%ff HTTP/1.1\r\n" + H + b"\r\n", 400, "bad_target"),
    (b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n", 400, "bad_target"),
    (b"GET /\xc3\xa9 HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    (b"GET /\x01 HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    (b"GET /a b HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    (b"GET /\r\n\r\n", 505, "bad_version"),
    (b"GET / HTTP/2.0\r\n" + H + b"\r\n", 505, "bad_version"),
    (b"GET / HTTP/0.9\r\n" + H + b"\r\n", 505, "bad_version"),
    (b"GET / HTTP/1.2\r\n" + H + b"\r\n", 400, "malformed_request"),
    (b"GET / http/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed_request"),
    (b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 501, "bad_method"),
    (b"BREW / HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    (b"get / HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    (b"PROPFIND / HTTP/1.1\r\n" + H + b"\r\n", 501, "bad_method"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed_request"),
    (P + b"Content-Length: 3\r\nExpect: magic\r\n\r\nabc", 417, "expectation_failed"),
    # Sizes.
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + H + b"\r\n", 414, "target_too_long"),
    (b"GET / HTTP/1.1\r\n" + H + b"A: b\r\n" * 101 + b"\r\n", 431, "too_many_headers"),
    (b"GET / HTTP/1.1\r\n" + H + b"A: " + b"b" * 70_000 + b"\r\n\r\n", 431, "head_too_large"),
    (b"GET / HTTP/1.1\r\n" + H + b"A: " + b"b" * 70_000, 431, "head_too_large"),
    (b"GET / HTTP/1.1\r\n" + H + b"A" * 70_000, 431, "head_too_large"),
    (b"GET /" + b"a" * 9000, 414, "target_too_long"),
    (P + b"Content-Length: 33554433\r\n\r\n", 413, "body_too_large"),
    (P + b"Content-Length: 33554433\r\nExpect: 100-continue\r\n\r\n", 413, "body_too_large"),
]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(("raw", "status", "code"), REFUSED, ids=[repr(raw[:90]) for raw, _, _ in REFUSED])
@on_uvloop
async def test_refused(raw: bytes, status: int, code: str) -> None:
    async with serving() as site:
        caller = await site.caller()
        answer = await caller.ask(raw)
        await caller.send(SMUGGLED)
        assert (answer.status, answer.error, answer.headers["connection"]) == (status, code, "close")
        assert answer.headers["content-type"] == "application/json"
        assert b"smuggled" not in await caller.rest()
        assert site.requests == []


@pytest.mark.parametrize("raw", [raw for raw, status, _ in REFUSED if status == 400][::3])
@on_uvloop
async def test_what_follows_a_refused_request_is_not_served(raw: bytes) -> None:
    async with serving() as site:
        caller = await site.caller()
        await caller.send(raw + SMUGGLED)
        assert b"200 OK" not in await caller.rest()
        assert site.requests == []


@on_uvloop
async def test_sizes_at_the_limit_pass() -> None:
    async with serving(limits=Limits(body=10, headers=3, target=20, head=1000)) as site:
        assert (await site.once(post(b"x" * 10))).status == 200
        assert (await site.once(post(b"x" * 11))).error == "body_too_large"
        assert (await site.once(chunked(b"x" * 5, b"y" * 5))).status == 200
        assert (await site.once(chunked(b"x" * 5, b"y" * 6))).error == "body_too_large"
        assert (await site.once(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 19))).status == 200
        assert (await site.once(b"GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\nB: 2\r\n\r\n")).status == 200
        assert (await site.once(b"GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n")).error == "too_many_headers"
        assert (await site.once(b"GET / HTTP/1.1\r\nHost: x\r\nA: %b\r\n\r\n" % (b"a" * 993))).status == 200
        assert (await site.once(b"GET / HTTP/1.1\r\nHost: x\r\nA: %b\r\n\r\n" % (b"a" * 994))).error == "head_too_large"


@on_uvloop
async def test_a_head_in_many_small_pieces_is_bounded_too() -> None:
    async with serving(limits=Limits(head=2000)) as site:
        caller = await site.caller()
        await caller.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for _ in range(40):
            await caller.send(b"A: " + b"a" * 80 + b"\r\n")
            await asyncio.sleep(0.001)
        assert (await caller.answer()).error == "head_too_large"


@on_uvloop
async def test_a_flood_of_trailers_is_refused() -> None:
    async with serving() as site:
        assert (await site.once(chunked(b"x", trailers=b"A: b\r\n" * 20_000))).error == "bad_trailer"


@on_uvloop
async def test_trailers_do_not_reach_the_request_nor_the_next_one() -> None:
    async with serving() as site:
        caller = await site.caller()
        await caller.send(chunked(b"hi", trailers=b"Authorization: x\r\nX-Empty:\r\n") + GET)
        assert [(await caller.answer()).body for _ in range(2)] == [b"POST /a hi", b"GET /a "]
        assert [request.header(b"authorization") for request in site.requests] == [None, None]
        assert site.requests[1].headers == [(b"host", b"x")]


# Offers to change the protocol are declined, and no body gets lost by it.


@pytest.mark.parametrize("step", [1, 40, 10_000])
@on_uvloop
async def test_an_upgrade_offer_with_a_body_is_an_ordinary_request(step: int) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    stream = post(b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", extra=offer) + chunked(b"hi", extra=offer) + GET
    async with serving() as site:
        caller = await site.caller()
        for at in range(0, len(stream), step):
            await caller.send(stream[at : at + step])
            await asyncio.sleep(0)
        bodies = [(await caller.answer()).body for _ in range(3)]
        assert bodies == [b"POST /a GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /a hi", b"GET /a "]
        assert site.requests[0].header(b"upgrade") is None


@on_uvloop
async def test_a_refused_upgrade_keeps_its_other_faults() -> None:
    offer = b"Connection: close, Upgrade\r\nUpgrade: websocket\r\n"
    async with serving() as site:
        assert (await site.once(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n" + offer + b"\r\n")).status == 400
        caller = await site.caller()
        assert (await caller.ask(post(b"hi", extra=offer))).headers["connection"] == "close"
        assert await caller.rest() == b""


# Order and pipelining.


@on_uvloop
async def test_pipelined_requests_are_answered_in_order() -> None:
    async def slow(request: Request, reply: Reply) -> None:
        await asyncio.sleep(0.02 if request.path == "/0" else 0)
        reply.send(200, [], request.path.encode() + request.body)

    async with serving(slow) as site:
        caller = await site.caller()
        await caller.send(b"".join(post(b"b%d" % number, f"/{number}") for number in range(20)))
        assert [(await caller.answer()).body for _ in range(20)] == [b"/%db%d" % (number, number) for number in range(20)]


@on_uvloop
async def test_requests_before_a_refused_one_are_still_answered() -> None:
    async def slow(request: Request, reply: Reply) -> None:
        await asyncio.sleep(0.01)
        reply.send(200, [], request.path.encode())

    async with serving(slow) as site:
        caller = await site.caller()
        await caller.send(GET * 3 + b"GET / HTTP/1.1\r\nbroken\r\n\r\n" + SMUGGLED)
        assert [(await caller.answer()).status for _ in range(4)] == [200, 200, 200, 400]
        assert await caller.rest() == b""
        assert len(site.requests) == 3


@on_uvloop
async def test_a_pipeline_is_bounded() -> None:
    async with serving(limits=Limits(pipeline=4)) as site:
        caller = await site.caller()
        await caller.send(GET * 9)
        answers = (await caller.rest()).split(b"HTTP/1.1 ")[1:]
        assert [answer[:3] for answer in answers] == [b"200"] * 5 + [b"400"]
        assert b"pipeline_too_deep" in answers[-1]


@on_uvloop
async def test_reading_pauses_while_a_pipelined_request_waits() -> None:
    release = asyncio.Event()

    async def hold(request: Request, reply: Reply) -> None:
        await release.wait()
        reply.send(200, [], b"%d" % len(request.body))

    async with serving(hold) as site:
        caller = await site.caller()
        await caller.send(GET + post(b"x" * 100))
        await until(lambda: len(site.requests) == 1)
        await asyncio.sleep(0.01)
        sending = asyncio.create_task(caller.send(b"".join([post(b"y" * 1_000_000)] * 12)))
        await asyncio.sleep(0.05)
        assert not sending.done()
        release.set()
        assert [(await caller.answer()).body for _ in range(14)] == [b"0", b"100"] + [b"1000000"] * 12
        await sending


@on_uvloop
async def test_a_request_after_one_that_closes_is_not_served() -> None:
    async with serving() as site:
        caller = await site.caller()
        await caller.send(GET.replace(b"x\r\n", b"x\r\nConnection: close\r\n", 1) + SMUGGLED)
        assert (await caller.answer()).status == 200
        assert await caller.rest() == b""
        assert len(site.requests) == 1


@on_uvloop
async def test_a_broken_body_of_a_closing_request_is_refused() -> None:
    async with serving() as site:
        raw = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        assert (await site.once(raw)).error == "malformed_request"


@on_uvloop
async def test_empty_lines_between_requests_are_passed_over() -> None:
    async with serving() as site:
        caller = await site.caller()
        assert (await caller.ask(b"\r\n" + GET)).status == 200
        assert (await caller.ask(b"\r\n\r\n" + GET)).status == 200


# Expect: 100-continue.


@on_uvloop
async def test_continue_is_sent_once_and_only_if_the_body_has_not_come() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n"
    async with serving() as site:
        caller = await site.caller()
        assert (await caller.ask(head)).status == 100
        assert (await caller.ask(b"hi")).body == b"POST /a hi"
        assert (await caller.ask(head + b"hi")).status == 200
        await caller.send(GET + head)
        assert [(await caller.answer()).status for _ in range(2)] == [200, 100]
        assert (await caller.ask(b"hi")).status == 200
        old = await site.caller()
        await old.send(head.replace(b"1.1", b"1.0"))
        assert (await old.ask(b"hi")).status == 200


@on_uvloop
async def test_continue_for_a_streamed_body_waits_for_its_reader() -> None:
    async def maybe(request: Request, reply: Reply) -> None:
        if request.path == "/stream/no":
            reply.send(403, [])
            return
        body = b"".join([piece async for piece in request.stream()])
        reply.send(200, [], body)

    head = b"POST /stream/%b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    async with serving(maybe) as site:
        caller = await site.caller()
        assert (await caller.ask(head % b"yes")).status == 100
        assert (await caller.ask(b"hi")).body == b"hi"
        refused = await caller.ask(head % b"no")
        assert (refused.status, refused.headers["connection"]) == (403, "close")
        assert await caller.rest() == b""


# Streamed bodies.


async def count(request: Request, reply: Reply) -> None:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    reply.send(200, [], b"%d" % size)


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
@on_uvloop
async def test_streamed_bodies_come_whole(size: int) -> None:
    async with serving(count) as site:
        caller = await site.caller()
        for _ in range(2):
            sending = asyncio.create_task(caller.send(post(b"x" * size, "/stream")))
            assert (await caller.answer()).body == b"%d" % size
            await sending
            pieces = [b"y" * (size // 4)] * 4 if size else []
            sending = asyncio.create_task(caller.send(chunked(*[piece for piece in pieces if piece], path=b"/stream")))
            assert (await caller.answer()).body == b"%d" % (size // 4 * 4)
            await sending


@on_uvloop
async def test_pipelined_streamed_bodies_keep_apart() -> None:
    async with serving(count) as site:
        caller = await site.caller()
        stream = b"".join(post(b"x" * 400_000, "/stream") + chunked(b"y" * 3, path=b"/stream") + GET for _ in range(3))
        sending = asyncio.create_task(caller.send(stream))
        assert [(await caller.answer()).body for _ in range(9)] == [b"400000", b"3", b"0"] * 3
        await sending


@on_uvloop
async def test_a_slow_reader_holds_the_sender() -> None:
    release = asyncio.Event()

    async def later(request: Request, reply: Reply) -> None:
        await release.wait()
        await count(request, reply)

    async with serving(later) as site:
        caller = await site.caller()
        sending = asyncio.create_task(caller.send(post(b"x" * 20_000_000, "/stream")))
        await asyncio.sleep(0.05)
        assert not sending.done()
        intake = site.requests[0].intake
        assert intake is not None
        assert intake.full
        release.set()
        assert (await caller.answer()).body == b"20000000"
        await sending


@pytest.mark.parametrize("end", ["malformed", "late", "gone"])
@on_uvloop
async def test_a_streamed_body_that_does_not_end_well_is_an_error_to_its_reader(end: str) -> None:
    caught: list[Invalid] = []
    over = asyncio.Event()

    async def read(request: Request, reply: Reply) -> None:
        try:
            async for _ in request.stream():
                pass
        except Invalid as error:
            caught.append(error)
            reply.send(error.status, [])
        finally:
            over.set()

    async with serving(read, limits=Limits(body_seconds=0.05)) as site:
        caller = await site.caller()
        await caller.send(b"POST /stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await until(lambda: len(site.requests) == 1)
        if end == "malformed":
            answer = await caller.ask(b"zz\r\n")
            assert (answer.status, answer.headers["connection"]) == (400, "close")
        elif end == "late":
            answer = await caller.answer()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
        else:
            caller.vanish()
        await over.wait()
        codes = {"malformed": ["malformed_request"], "late": ["request_timeout"], "gone": []}
        assert [error.code for error in caught] == codes[end]


@on_uvloop
async def test_an_answer_before_the_end_of_the_body_reaches_a_caller_that_is_still_sending() -> None:
    def refuse(request: Request, reply: Reply) -> None:
        reply.send(413, [], b"too much")

    async with serving(refuse) as site:
        caller = await site.caller()
        sending = asyncio.create_task(caller.send(post(b"x" * 3_000_000, "/stream")))
        answer = await caller.answer()
        assert (answer.status, answer.body, answer.headers["connection"]) == (413, b"too much", "close")
        await asyncio.wait([sending])
        sending.exception()


# Times.


@on_uvloop
async def test_a_slow_head_is_cut_off() -> None:
    async with serving(limits=Limits(head_seconds=0.1)) as site:
        caller = await site.caller()
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\nA: bcdefghijklmnopqrstuvwxyz":
            await caller.send(bytes([byte]))
            await asyncio.sleep(0.004)
        answer = await caller.answer()
        assert (answer.status, answer.error) == (408, "request_timeout")


@on_uvloop
async def test_a_slow_head_after_a_served_request_is_cut_off_too() -> None:
    async with serving(limits=Limits(head_seconds=0.1)) as site:
        caller = await site.caller()
        await caller.send(GET + b"GET / HT")
        assert [(await caller.answer()).status for _ in range(2)] == [200, 408]


@on_uvloop
async def test_a_slow_body_is_cut_off_but_a_steady_one_is_not() -> None:
    async with serving(limits=Limits(head_seconds=0.05, body_seconds=0.3)) as site:
        caller = await site.caller()
        await caller.send(post(b"x" * 20)[:-20])
        for _ in range(20):
            await asyncio.sleep(0.02)
            await caller.send(b"x")
        assert (await caller.answer()).status == 200
        await caller.send(post(b"x" * 10)[:-1])
        assert (await caller.answer()).error == "request_timeout"


@on_uvloop
async def test_silent_and_idle_connections_are_closed() -> None:
    async with serving(limits=Limits(head_seconds=0.05, idle_seconds=0.1)) as site:
        silent = await site.caller()
        assert await silent.rest() == b""
        idle = await site.caller()
        assert (await idle.ask(GET)).status == 200
        assert await idle.rest() == b""
        assert site.server.connections == 0


@on_uvloop
async def test_time_spent_in_a_handler_is_not_the_callers() -> None:
    async def slow(request: Request, reply: Reply) -> None:
        await asyncio.sleep(0.1)
        reply.send(200, [])

    async with serving(slow, limits=Limits(head_seconds=0.02, idle_seconds=0.05, body_seconds=0.02)) as site:
        assert (await site.once(post(b"hi"))).status == 200


@on_uvloop
async def test_a_caller_that_takes_nothing_is_cut_off() -> None:
    ended: list[bool] = []

    async def flood(request: Request, reply: Reply) -> None:
        try:
            reply.begin(200, [])
            while True:
                reply.write(b"x" * 100_000)
                await reply.drain()
        finally:
            ended.append(reply.gone)

    def all_at_once(request: Request, reply: Reply) -> None:
        reply.send(200, [], b"x" * 30_000_000)

    for handler in (flood, all_at_once):
        async with serving(handler, limits=Limits(stall_seconds=0.1)) as site:
            caller = await site.caller()
            await caller.send(GET)
            await until(lambda site=site: site.server.connections == 0)  # type: ignore[misc]
    assert ended == [True]


@on_uvloop
async def test_a_slow_but_steady_reader_gets_everything() -> None:
    def all_at_once(request: Request, reply: Reply) -> None:
        reply.send(200, [], b"x" * 30_000_000)

    async with serving(all_at_once, limits=Limits(stall_seconds=0.4, idle_seconds=0.05)) as site:
        caller = await site.caller()
        await caller.send(GET)
        _, headers = await caller.head()
        left = int(headers["content-length"])
        while left:
            piece = await caller.reader.read(2_000_000)
            assert piece
            left -= len(piece)
            await asyncio.sleep(0.003)


# Callers that leave, handlers that fail.


@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
@on_uvloop
async def test_a_caller_that_leaves_cancels_its_handler(how: str) -> None:
    seen: list[tuple[bool, bool]] = []
    running = asyncio.Event()

    async def wait(request: Request, reply: Reply) -> None:
        reply.begin(200, [])
        running.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            reply.write(b"nobody reads this")
            reply.end()
            seen.append((reply.gone, reply.ended))
            raise

    async with serving(wait) as site:
        caller = await site.caller()
        await caller.send(GET)
        await running.wait()
        match how:
            case "reset":
                caller.vanish()
            case "close":
                caller.writer.close()
            case _:
                caller.writer.write_eof()
        await until(lambda: bool(seen))
        assert seen == [(True, False)]
        await until(lambda: site.server.connections == 0)


@on_uvloop
async def test_a_handler_that_has_answered_may_go_on_after_its_caller_left() -> None:
    over: list[bool] = []

    async def book(request: Request, reply: Reply) -> None:
        reply.send(200, [], b"done")
        await asyncio.sleep(0.05)
        over.append(reply.gone)

    async with serving(book) as site:
        caller = await site.caller()
        assert (await caller.ask(GET)).body == b"done"
        assert (await caller.ask(GET)).body == b"done"
        caller.vanish()
        await until(lambda: len(over) == 2)
        assert over == [False, False]


@on_uvloop
async def test_a_failing_handler_answers_500_and_is_reported() -> None:
    def at_once(request: Request, reply: Reply) -> None:
        raise RuntimeError("secret")

    async def later(request: Request, reply: Reply) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("secret")

    async def silent(request: Request, reply: Reply) -> None:
        pass

    for handler in (at_once, later, silent):
        async with serving(handler, faultless=False) as site:
            caller = await site.caller()
            answer = await caller.ask(GET)
            assert (answer.status, answer.error) == (500, "broken")
            assert b"secret" not in answer.body
            assert len(site.faults) == 1
            assert (await caller.ask(GET)).status == 500


@on_uvloop
async def test_a_handler_that_fails_midway_cuts_the_reply() -> None:
    async def midway(request: Request, reply: Reply) -> None:
        reply.begin(200, [])
        reply.write(b"abc")
        raise RuntimeError

    async with serving(midway, faultless=False) as site:
        answer = await site.once(GET)
        assert (answer.status, answer.whole) == (200, False)
        caller = await site.caller()
        await caller.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await caller.reader.read()


@on_uvloop
async def test_abort_delivers_what_was_written_and_no_end() -> None:
    def cut(request: Request, reply: Reply) -> None:
        reply.begin(200, [])
        reply.write(b"event: error")
        reply.abort()
        reply.write(b"no")
        reply.end()

    async with serving(cut) as site:
        caller = await site.caller()
        await caller.send(GET)
        assert (await caller.rest()).endswith(b"\r\n\r\nc\r\nevent: error\r\n")


@on_uvloop
async def test_drain_waits_only_above_the_high_water_mark() -> None:
    order: list[str] = []

    async def flood(request: Request, reply: Reply) -> None:
        reply.begin(200, [])
        reply.write(b"x")
        await reply.drain()
        order.append("free")
        reply.write(b"x" * 20_000_000)
        await reply.drain()
        order.append("drained")
        reply.end()

    async with serving(flood) as site:
        caller = await site.caller()
        await caller.send(GET)
        await until(lambda: bool(order))
        await asyncio.sleep(0.05)
        assert order == ["free"]
        answer = await caller.answer()
        assert len(answer.body) == 20_000_001
        assert order == ["free", "drained"]


# Ending.


@on_uvloop
async def test_draining_lets_running_replies_end_and_closes_idle_connections() -> None:
    release = asyncio.Event()

    async def wait(request: Request, reply: Reply) -> None:
        if request.path == "/wait":
            await release.wait()
        reply.send(200, [], b"done")

    async with serving(wait) as site:
        idle, busy = await site.caller(), await site.caller()
        assert (await idle.ask(GET)).status == 200
        await busy.send(GET.replace(b"/a", b"/wait"))
        await until(lambda: len(site.requests) == 2)
        draining = asyncio.create_task(site.server.drain(5))
        assert await idle.rest() == b""
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", site.port)
        release.set()
        answer = await busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        await draining
        assert site.server.connections == 0


@on_uvloop
async def test_draining_answers_the_first_request_of_a_connection_that_was_just_accepted() -> None:
    """Its caller cannot know; a request that is under way must not meet a closed door."""
    async with serving() as site:
        new, silent = await site.caller(), await site.caller()
        await until(lambda: site.server.connections == 2)
        draining = asyncio.create_task(site.server.drain(5))
        await asyncio.sleep(0.02)
        answer = await new.ask(GET)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await silent.rest() == b""
        await draining
        assert site.server.connections == 0


@on_uvloop
async def test_draining_cuts_what_does_not_end() -> None:
    cancelled: list[bool] = []

    async def forever(request: Request, reply: Reply) -> None:
        reply.begin(200, [])
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append(reply.gone)

    async with serving(forever) as site:
        caller = await site.caller()
        await caller.send(GET)
        await until(lambda: len(site.requests) == 1)
        await site.server.drain(0.05)
        assert cancelled == [True]
        assert site.server.connections == 0


# Peers, TLS, Unix sockets.


@pytest.mark.parametrize(
    ("headers", "peer", "scheme"),
    [
        (b"", "127.0.0.1", "http"),
        (b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n", "1.2.3.4", "https"),
        (b"X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.0.0.1\r\n", "1.2.3.4", "http"),
        (b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4", "http"),
        (b"X-Forwarded-For: 6.6.6.6, junk, 10.0.0.1\r\n", "10.0.0.1", "http"),
        (b"X-Forwarded-For: ::ffff:1.2.3.4\r\nX-Forwarded-Proto: gopher\r\n", "1.2.3.4", "http"),
    ],
)
@on_uvloop
async def test_trusted_proxies_tell_who_calls(headers: bytes, peer: str, scheme: str) -> None:
    async with serving(trusted=frozenset({"127.0.0.1", "10.0.0.1"})) as site:
        await site.once(b"GET / HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
        assert (site.requests[0].peer, site.requests[0].scheme) == (peer, scheme)


@on_uvloop
async def test_nobody_else_does() -> None:
    async with serving() as site:
        await site.once(b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n\r\n")
        assert (site.requests[0].peer, site.requests[0].scheme) == ("127.0.0.1", "http")


@on_uvloop
async def test_unix_sockets_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    path.touch()
    async with serving() as site:
        await site.server.listen_unix(str(path))
        assert path.stat().st_mode & 0o777 == 0o600
        caller = Caller(*await asyncio.open_unix_connection(str(path)))
        site.callers.append(caller)
        assert (await caller.ask(GET)).status == 200
        assert site.requests[0].peer == "unix"


@on_uvloop
async def test_tls(tmp_path: Path) -> None:
    server_side, client_side = certified(tmp_path)
    async with serving() as site:
        port = await site.server.listen("127.0.0.1", 0, ssl=server_side)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_side, server_hostname="localhost")
        caller = Caller(reader, writer)
        site.callers.append(caller)
        assert (await caller.ask(post(b"x" * 500_000))).body == b"POST /a " + b"x" * 500_000
        assert site.requests[0].scheme == "https"
        assert (await caller.ask(b"bad\r\n\r\n")).status == 400
        assert await caller.rest() == b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@on_uvloop
async def test_a_caller_who_comes_again_resumes_its_session(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """The second handshake costs no signature; it is the worker that was reached before who knows the session."""
    server_side, client_side = certified(tmp_path)
    client_side.maximum_version = version

    def ask(port: int, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
            client_side.wrap_socket(plain, server_hostname="localhost", session=session) as secure,
        ):
            secure.sendall(b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            said = b""
            while piece := secure.recv(65536):  # the ticket of TLS 1.3 comes behind the handshake
                said += piece
            assert said.startswith(b"HTTP/1.1 200")
            return secure.session, bool(secure.session_reused)

    async with serving() as site:
        port = await site.server.listen("127.0.0.1", 0, ssl=server_side)
        session, reused = await asyncio.to_thread(ask, port, None)
        assert not reused
        assert session is not None
        assert (await asyncio.to_thread(ask, port, session))[1]
