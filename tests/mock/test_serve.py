"""The server on the wire: pace, faults, lost clients, the bill, and HTTP itself, seen from a bare socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from tandem.core.clock import FixedClock
from tandem.core.errors import Conflict, Invalid
from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello world!"}]}


def post(path: str, body: object, **headers: str) -> bytes:
    """The bytes of a POST request."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"authorization": "Bearer sk-test", **headers}.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: mock", *lines, f"content-length: {len(raw)}", "", ""]).encode() + raw


def chat(stream: bool = False, **headers: str) -> bytes:
    return post("/v1/chat/completions", {**CHAT, "stream": stream}, **headers)


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: mock\r\nauthorization: Bearer sk-test\r\n\r\n".encode()


class Reply:
    """A parsed reply."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        self.body = body

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Wire:
    """A bare connection to the mock."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, mock: MockHandle) -> Wire:
        return cls(*await asyncio.open_connection(mock.host, mock.port))

    async def head(self) -> Reply:
        return Reply((await self.reader.readuntil(b"\r\n\r\n"))[:-4], b"")

    async def ask(self, request: bytes, *, method: str = "GET") -> Reply:
        """Sends a request and reads the whole reply."""
        self.writer.write(request)
        reply = await self.head()
        if reply.headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                reply.body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        elif method != "HEAD":
            reply.body = await self.reader.readexactly(int(reply.headers["content-length"]))
        return reply

    async def rest(self) -> bytes:
        """All bytes until the mock closes."""
        return await asyncio.wait_for(self.reader.read(), 10)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def once(mock: MockHandle, request: bytes) -> Reply:
    wire = await Wire.to(mock)
    reply = await asyncio.wait_for(wire.ask(request), 10)
    await wire.close()
    return reply


async def until(true: Callable[[], object]) -> None:
    """Waits for something that is bound to happen."""
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("It did not happen.")


def frames(body: bytes) -> list[bytes]:
    return [part.removeprefix(b"data: ") for part in body.split(b"\n\n") if part]


# faults that refuse


@pytest.mark.parametrize(
    ("spec", "status", "code", "kind"),
    [
        ("429;retry-after=2", 429, "rate_limit_exceeded", "requests"),
        ("500", 500, None, "server_error"),
        ("503", 503, None, "server_error"),
        ("401", 401, "invalid_api_key", "invalid_request_error"),
        ("418", 418, None, "invalid_request_error"),
        ("context", 400, "context_length_exceeded", "invalid_request_error"),
        ("refuse=400", 400, "content_filter", "invalid_request_error"),
    ],
)
async def test_refusals_have_openais_shape_and_are_not_billed(
    mock: MockHandle, spec: str, status: int, code: str | None, kind: str
) -> None:
    mock.faults([spec])
    reply = await once(mock, chat())
    error = reply.json()["error"]
    assert (reply.status, error["code"], error["type"]) == (status, code, kind)
    assert set(error) == {"message", "type", "param", "code"}
    assert reply.headers.get("retry-after") == ("2" if status == 429 else None)
    assert mock.bill() == []
    assert [one["status"] for one in mock.requests()] == [status]


async def test_refuse_gives_an_empty_answer(mock: MockHandle) -> None:
    whole = await once(mock, chat(x_mock_fault="refuse"))
    assert whole.json()["choices"][0]["finish_reason"] == "content_filter"
    assert whole.json()["usage"]["completion_tokens"] == 0
    streamed = frames((await once(mock, chat(True, x_mock_fault="refuse"))).body)
    assert b'"finish_reason":"content_filter"' in streamed[-2]
    assert [row.completion_tokens for row in mock.bill()] == [0, 0]


# faults in the middle


async def test_cut_after_some_deltas(mock: MockHandle) -> None:
    wire = await Wire.to(mock)
    wire.writer.write(chat(True, x_mock_fault="cut-after=5"))
    assert (await wire.head()).status == 200
    body = await wire.rest()
    assert body.count(b"data: ") == 1 + 5
    assert b"[DONE]" not in body
    assert not body.endswith(b"0\r\n\r\n")
    [row] = mock.bill()
    assert (row.outcome, row.completion_tokens, row.fault) == ("cut", 5, "cut-after=5")
    await wire.close()


async def test_cut_always_acts_before_the_end(mock: MockHandle) -> None:
    wire = await Wire.to(mock)
    wire.writer.write(chat(True, x_mock_fault="cut-after=999", x_mock_tokens="3"))
    body = await wire.rest()
    assert b"[DONE]" not in body
    assert b'"finish_reason":"stop"' not in body
    assert mock.bill()[0].completion_tokens == 3
    await wire.close()


async def test_cut_of_a_whole_reply_ends_in_its_body(mock: MockHandle) -> None:
    wire = await Wire.to(mock)
    wire.writer.write(chat(x_mock_fault="cut", x_mock_tokens="3"))
    head = await wire.head()
    assert 0 < len(await wire.rest()) < int(head.headers["content-length"])
    [row] = mock.bill()
    assert (row.outcome, row.completion_tokens) == ("cut", 3)
    await wire.close()


@pytest.mark.parametrize(("spec", "shown", "billed"), [("stall", 0, 0), ("stall-after=0", 1, 0), ("stall-after=2", 3, 2)])
async def test_stall_sends_nothing_more(mock: MockHandle, spec: str, shown: int, billed: int) -> None:
    wire = await Wire.to(mock)
    wire.writer.write(chat(True, x_mock_fault=spec))
    assert (await wire.head()).status == 200
    seen = b""
    while seen.count(b"\n\n") < shown:
        seen += await asyncio.wait_for(wire.reader.read(65536), 10)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wire.reader.read(1), 0.05)
    assert seen.count(b"data: ") == shown
    assert (mock.bill(), mock.mock.bill.open) == ([], 1)
    await wire.close()
    await until(mock.bill)
    [row] = mock.bill()
    assert (row.outcome, row.completion_tokens, row.fault) == ("client_gone", billed, spec)


async def test_malformed_breaks_one_frame_and_goes_on(mock: MockHandle) -> None:
    body = (await once(mock, chat(True, x_mock_fault="malformed-after=2", x_mock_tokens="5"))).body
    broken = []
    for at, frame in enumerate(frames(body)[:-1]):
        try:
            msgspec.json.decode(frame)
        except msgspec.DecodeError:
            broken.append(at)
    assert broken == [3]  # the role, two good deltas, then this one
    assert body.endswith(b"data: [DONE]\n\n")
    assert mock.bill()[0].completion_tokens == 5
    whole = await once(mock, chat(x_mock_fault="malformed"))
    with pytest.raises(msgspec.DecodeError):
        whole.json()


@pytest.mark.parametrize(("spec", "sent"), [("usage=missing", 0), ("usage=double", 2), ("usage=wrong", 1)])
async def test_usage_faults_lie_to_the_client_only(mock: MockHandle, spec: str, sent: int) -> None:
    mock.faults([spec])
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    streamed = (await once(mock, post("/v1/chat/completions", body, x_mock_tokens="4"))).body
    whole = (await once(mock, chat(x_mock_tokens="4"))).body
    assert streamed.count(b'"completion_tokens":') == whole.count(b'"completion_tokens":') == sent
    assert streamed.count(b'"completion_tokens":1004,') == (1 if spec == "usage=wrong" else 0)
    assert [(row.prompt_tokens, row.completion_tokens) for row in mock.bill()] == [(13, 4), (13, 4)]


async def test_drip_and_slow_headers_split_the_bytes_and_change_none(mock: MockHandle) -> None:
    plain = (await once(mock, chat(True, x_mock_tokens="2"))).body
    mock.faults(["drip=0.01", "slow-headers=0.01"])
    slow = (await once(mock, chat(True, x_mock_tokens="2"))).body
    assert [msgspec.json.decode(one)["choices"] for one in frames(slow)[:-1]] == [
        msgspec.json.decode(one)["choices"] for one in frames(plain)[:-1]
    ]
    assert (await once(mock, chat(x_mock_tokens="2"))).json()["usage"]["completion_tokens"] == 2
    assert [row.outcome for row in mock.bill()] == ["ok"] * 3


async def test_reset_on_accept_and_by_header(mock: MockHandle) -> None:
    mock.faults(["reset*1"])
    wire = await Wire.to(mock)
    wire.writer.write(chat())
    with pytest.raises(ConnectionResetError):
        await wire.rest()
    wire.writer.close()
    again = await Wire.to(mock)
    assert (await again.ask(chat())).status == 200
    again.writer.write(chat(x_mock_fault="reset"))
    with pytest.raises(ConnectionResetError):
        await again.rest()
    again.writer.close()
    assert len(mock.bill()) == 1


async def test_an_order_in_the_message_reaches_the_mock_through_any_proxy(mock: MockHandle) -> None:
    told = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi\nx-mock-fault: 503"}]}
    assert (await once(mock, post("/v1/chat/completions", told))).status == 503
    wrong = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi\nx-mock-fault: 503*2"}]}
    assert (await once(mock, post("/v1/chat/completions", wrong))).status == 400


async def test_embeddings_have_faults_too(mock: MockHandle) -> None:
    mock.faults(["429*1"])
    request = post("/v1/embeddings", {"model": "text-embedding-3-small", "input": "hi"})
    assert [(await once(mock, request)).status for _ in range(2)] == [429, 200]
    assert (
        await once(mock, post("/v1/embeddings", {"model": "text-embedding-3-small", "input": "hi"}, x_mock_fault="cut=1"))
    ).status == 400


# lost clients and pace


async def test_a_client_that_leaves_stops_the_generation() -> None:
    async with running(MockSettings(port=0, per_token_ms=5)) as mock:
        wire = await Wire.to(mock)
        wire.writer.write(chat(True, x_mock_tokens="5000", x_tandem_call="cal_1", x_tandem_attempt="2"))
        seen = b""
        while seen.count(b'"content":') < 1 + 3:
            seen += await wire.reader.read(65536)
        assert mock.mock.bill.open == 1
        await wire.close()
        await until(mock.bill)
        [row] = mock.bill("cal_1")
        assert (row.outcome, row.call, row.attempt) == ("client_gone", "cal_1", "2")
        assert 3 <= row.completion_tokens < 5000
        assert row.cost_nano == 13 * 150 + row.completion_tokens * 600
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
        assert (mock.bill(), mock.mock.bill.open) == ([row], 0)


async def test_a_client_that_leaves_a_whole_reply_is_billed_for_the_time_passed() -> None:
    clock = FixedClock()
    async with running(MockSettings(port=0, per_token_ms=1000), clock) as mock:
        wire = await Wire.to(mock)
        wire.writer.write(chat(x_mock_tokens="50"))
        await until(lambda: mock.mock.bill.open)
        await asyncio.sleep(0.01)
        clock.advance(7.5)
        await wire.close()
        await until(mock.bill)
        assert (mock.bill()[0].outcome, mock.bill()[0].completion_tokens) == ("client_gone", 7)


async def test_a_client_that_leaves_before_the_first_token_pays_the_prompt_only() -> None:
    async with running(MockSettings(port=0, latency_ms=60_000)) as mock:
        for stream in (False, True):
            wire = await Wire.to(mock)
            wire.writer.write(chat(stream))
            await until(lambda: mock.mock.bill.open)
            await wire.close()
            await until(lambda: not mock.mock.bill.open)
        assert [(row.outcome, row.prompt_tokens, row.completion_tokens) for row in mock.bill()] == [("client_gone", 13, 0)] * 2


async def test_a_client_that_does_not_read_holds_the_generation_back(mock: MockHandle) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (mock.host, mock.port))
    await asyncio.get_running_loop().sock_sendall(sock, chat(True, x_mock_tokens="200000"))
    await until(lambda: mock.mock.bill.open)
    await asyncio.sleep(0.2)
    assert mock.mock.bill.open == 1
    sock.close()
    await until(mock.bill)
    [row] = mock.bill()
    assert row.outcome == "client_gone"
    assert row.completion_tokens < 200_000


async def test_a_long_unpaced_stream_is_whole(mock: MockHandle) -> None:
    body = (await once(mock, chat(True, x_mock_tokens="6000"))).body
    assert body.count(b'"delta":{"content":') == 6000
    assert mock.bill()[0].completion_tokens == 6000


async def test_pace_is_kept() -> None:
    async with running(MockSettings(port=0, latency_ms=20, per_token_ms=10, jitter_ms=1)) as mock:
        loop = asyncio.get_running_loop()
        wire = await Wire.to(mock)
        begin = loop.time()
        wire.writer.write(chat(True, x_mock_tokens="4"))
        await wire.head()
        times = [begin]
        for _ in range(1 + 4):
            await wire.reader.readuntil(b"\n\n")
            times.append(loop.time())
        assert times[1] - begin >= 0.02
        assert times[-1] - begin >= 0.02 + 4 * 0.01
        assert all(later >= earlier for earlier, later in pairwise(times))
        await wire.close()


async def test_stopping_the_server_books_what_is_open() -> None:
    async with running(MockSettings(port=0)) as mock:
        wire = await Wire.to(mock)
        wire.writer.write(chat(True, x_mock_fault="stall-after=3"))
        await wire.head()
        for _ in range(1 + 3):
            await wire.reader.readuntil(b"\n\n")
    assert [(row.outcome, row.completion_tokens) for row in mock.bill()] == [("stopped", 3)]
    wire.writer.close()


# the mock's own addresses


async def test_bill_over_http(mock: MockHandle) -> None:
    await once(mock, chat(x_tandem_call="cal_1", x_mock_tokens="2"))
    await once(mock, chat(x_mock_tokens="3"))
    shown = (await once(mock, get("/bill"))).json()
    assert (shown["totals"]["requests"], shown["totals"]["completion_tokens"]) == (2, 5)
    assert (await once(mock, get("/bill?call=cal_1"))).json()["totals"]["completion_tokens"] == 2
    lines = (await once(mock, get("/bill.csv"))).body.decode().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("id,time,model,key,call,attempt,")
    assert (await once(mock, get("/bill", "DELETE"))).json()["rows"] == []
    assert mock.bill() == []


async def test_request_ids_join_reply_and_bill(mock: MockHandle) -> None:
    reply = await once(mock, chat())
    assert mock.bill()[0].id == reply.headers["x-request-id"]
    assert reply.json()["id"].removeprefix("chatcmpl-") == reply.headers["x-request-id"].removeprefix("req_")
    assert (await once(mock, chat())).json()["id"] != reply.json()["id"]


async def test_an_unpriced_model_has_a_row_without_cost(mock: MockHandle) -> None:
    await once(mock, post("/v1/chat/completions", {**CHAT, "model": "mock-unpriced"}))
    [row] = mock.bill()
    assert (row.price, row.cost_nano) == ("unpriced", None)
    assert (await once(mock, get("/bill"))).json()["totals"]["unpriced"] == 1


async def test_no_more_tokens_are_cached_than_were_sent(mock: MockHandle) -> None:
    await once(mock, chat(x_mock_cached="999", x_mock_tokens="0"))
    assert (mock.bill()[0].cached_tokens, mock.bill()[0].cost_nano) == (13, 13 * 75)


async def test_faults_over_http(mock: MockHandle) -> None:
    set_ = (await once(mock, post("/faults", ["429*1", "500@0.5"]))).json()["data"]
    assert set_ == [{"fault": "429*1", "seen": 0, "fired": 0}, {"fault": "500@0.5", "seen": 0, "fired": 0}]
    assert (await once(mock, chat())).status == 429
    assert (await once(mock, get("/faults"))).json()["data"][0] == {"fault": "429*1", "seen": 1, "fired": 1}
    wrong = await once(mock, post("/faults", {"faults": ["boom"]}))
    assert (wrong.status, "there is no fault 'boom'" in wrong.json()["error"]["message"]) == (400, True)
    assert len((await once(mock, get("/faults"))).json()["data"]) == 2
    assert (await once(mock, post("/faults", {"fault": []}))).status == 400
    assert (await once(mock, get("/faults", "DELETE"))).json()["data"] == []
    assert (await once(mock, chat())).status == 200


async def test_requests_echo_what_was_sent_but_no_key(mock: MockHandle) -> None:
    body = {**CHAT, "n": 1, "temperature": 0.2, "metadata": {"a": "b"}}
    await once(mock, post("/v1/chat/completions", body, x_custom="yes", x_tandem_call="cal_9"))
    shown = await once(mock, get("/requests?call=cal_9"))
    [seen] = shown.json()["data"]
    assert seen["body"] == body
    assert seen["unknown"] == {"temperature": 0.2, "metadata": {"a": "b"}}
    assert seen["headers"]["x-custom"] == "yes"
    assert (seen["status"], seen["path"]) == (200, "/v1/chat/completions")
    assert b"sk-test" not in shown.body
    assert (await once(mock, get("/requests?call=other"))).json()["data"] == []
    assert (await once(mock, get("/requests", "DELETE"))).json()["data"] == []


async def test_a_request_that_is_no_json_is_echoed_as_text(mock: MockHandle) -> None:
    reply = await once(mock, post("/v1/chat/completions", b'{"model": \xff'))
    assert reply.status == 400
    assert "parse the JSON body" in reply.json()["error"]["message"]
    assert str(mock.requests()[0]["body"]).startswith('{"model": ')


async def test_about(mock: MockHandle) -> None:
    about = (await once(mock, get("/"))).json()
    assert "gpt-4o" in about["models"]
    assert about["routes"]["/bill"] == ["GET", "DELETE"]
    assert about["billed"] == 0


# HTTP


async def test_keep_alive_and_pipelining_keep_the_order(mock: MockHandle) -> None:
    wire = await Wire.to(mock)
    wire.writer.write(b"".join(chat(at % 2 == 1, x_mock_tokens=str(at + 1)) for at in range(6)))
    for at in range(6):
        reply = await wire.ask(b"")
        text = reply.body if at % 2 else reply.json()["choices"][0]["message"]["content"].encode()
        assert (text.count(b'"delta":{"content":') if at % 2 else reply.json()["usage"]["completion_tokens"]) == at + 1
    await wire.close()
    assert [row.completion_tokens for row in mock.bill()] == [1, 2, 3, 4, 5, 6]


async def test_pipelining_waits_for_a_paced_reply() -> None:
    async with running(MockSettings(port=0, per_token_ms=2)) as mock:
        wire = await Wire.to(mock)
        wire.writer.write(chat(x_mock_tokens="5") + chat(x_mock_tokens="1"))
        assert [(await wire.ask(b"")).json()["usage"]["completion_tokens"] for _ in range(2)] == [5, 1]
        await wire.close()


async def test_a_request_in_single_bytes(mock: MockHandle) -> None:
    wire = await Wire.to(mock)
    for at, byte in enumerate(chat()):
        wire.writer.write(bytes([byte]))
        if at % 16 == 0:
            await asyncio.sleep(0)
    assert (await wire.ask(b"")).status == 200
    await wire.close()


async def test_a_chunked_request_and_100_continue(mock: MockHandle) -> None:
    body = msgspec.json.encode(CHAT)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k\r\nexpect: 100-continue\r\n"
    wire = await Wire.to(mock)
    wire.writer.write(head + b"transfer-encoding: chunked\r\n\r\n")
    assert (await wire.head()).status == 100
    wire.writer.write(b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:]))
    assert (await wire.ask(b"")).status == 200
    await wire.close()


async def test_http_1_0_and_connection_close(mock: MockHandle) -> None:
    wire = await Wire.to(mock)
    wire.writer.write(chat(True).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert "transfer-encoding" not in (await wire.head()).headers
    assert (await wire.rest()).endswith(b"data: [DONE]\n\n")
    await wire.close()
    wire = await Wire.to(mock)
    wire.writer.write(chat(connection="close"))
    assert (await wire.head()).headers["connection"] == "close"
    assert b'"object":"chat.completion"' in await wire.rest()
    await wire.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\n" + b"x-long: " + b"a" * 300_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", 400),
    ],
    ids=["nonsense", "upgrade", "large", "smuggling"],
)
async def test_what_is_no_request_is_refused_and_closed(mock: MockHandle, request_: bytes, status: int) -> None:
    wire = await Wire.to(mock)
    wire.writer.write(request_)
    assert (await wire.head()).status == status
    await wire.rest()
    wire.writer.close()


async def test_routes_that_are_not_there(mock: MockHandle) -> None:
    assert (await once(mock, get("/v1/nothing"))).json()["error"]["message"] == "Invalid URL (GET /v1/nothing)"
    assert (await once(mock, get("/v1/chat/completions"))).status == 405
    wire = await Wire.to(mock)
    assert (await wire.ask(get("/v1/models", "HEAD"), method="HEAD")).status == 405
    assert (await wire.ask(get("/v1/models"))).status == 200
    await wire.close()


async def test_without_a_key(mock: MockHandle) -> None:
    for header in ("", "Basic abc", "Bearer ", "Bearer"):
        reply = await once(mock, chat(authorization=header))
        assert (reply.status, "didn't provide an API key" in reply.json()["error"]["message"]) == (401, True)


async def test_a_taken_port_is_said(mock: MockHandle) -> None:
    with pytest.raises(Conflict, match=f"Port {mock.port} on 127.0.0.1 is in use"):
        async with running(MockSettings(port=mock.port)):
            pass


@pytest.mark.parametrize("changes", [{"latency_ms": -1.0}, {"delta_tokens": 0}, {"jitter_ms": float("nan")}], ids=str)
def test_settings_that_make_no_sense(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        MockSettings(**changes)
