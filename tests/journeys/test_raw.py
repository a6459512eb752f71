"""Bytes that no client sends: damaged requests on every kind of route are answered, never by a fault of ours, never late."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.journeys import routes
from tests.journeys.conftest import ADMIN, TLS, Platform, bearer

pytestmark = pytest.mark.journey

CASES = 1000
AT_ONCE = 40
QUIET_SECONDS = 0.7
"""So long after the last byte an answer counts as over."""
LATE_SECONDS = 5.0
REFUSED = (501, 505)
"""What a reader may say of a method or a version that it does not serve."""
CHAT = {"model": "assistant", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}], "user": "u", "n": 1}
INFER = {
    "id": "1",
    "inputs": [{"name": "x", "shape": [2, 1], "datatype": "FP64", "data": [1.0, 2.0]}],
    "outputs": [{"name": "prediction"}],
    "parameters": {"a": 1},
}
DECISION = """
from dataclasses import dataclass
from tandem.decisions import Calls

@dataclass
class Case:
    number: float
    text: str

@dataclass
class Opinion:
    said: str

def answer(case: Case, calls: Calls) -> Opinion:
    return Opinion(said=f"{case.number} {case.text}")
"""
TOOL = {"name": "find", "description": "Finds.", "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}}}
SAID = {
    "model": "assistant",
    "max_tokens": 5,
    "tools": [TOOL],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "find", "input": {"q": "x"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "none"}]},
    ],
}
HOT: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/v1/chat/completions", CHAT),
    ("POST", "/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}),
    ("POST", "/anthropic/v1/messages", SAID),
    ("POST", "/anthropic/v1/messages", {**SAID, "stream": True, "system": [{"type": "text", "text": "Be brief."}]}),
    ("POST", "/anthropic/v1/messages/count_tokens", SAID),
    ("POST", "/v1/responses", {"model": "assistant", "input": "hi", "max_output_tokens": 16}),
    ("POST", "/v1/responses", {"model": "assistant", "input": [{"role": "user", "content": "hi"}], "stream": True}),
    ("POST", "/v1/embeddings", {"model": "embedder", "input": ["a", "b"]}),
    ("POST", "/v1/decide/opinion", {"number": 1.5, "text": "a"}),
    ("POST", "/v1/decide/none", {"number": 1.5}),
    ("POST", "/v2/models/odd/infer", INFER),
    ("POST", "/v2/models/odd/versions/1/infer", INFER),
    ("POST", "/v2/models/odd/infer", {"rows": [{"x": 1.0}], "outputs": [{"name": "label"}]}),
    ("POST", "/v2/models/odd/infer", {"dataframe_split": {"columns": ["x"], "index": [0], "data": [[1.0]]}}),
    ("POST", "/v2/repository/index", {"ready": True}),
    ("POST", "/v2/repository/models/odd/load", {}),
    ("GET", "/v2/models/odd/ready", None),
    ("GET", "/v2/models/odd", None),
    ("GET", "/v2", None),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/assistant", None),
    ("GET", "/health/ready", None),
    ("GET", "/metrics", None),
    ("POST", "/api/v1/prompts/p", {"template": "Say it", "variables": {}}),
    ("PUT", "/api/v1/endpoints/e", {"kind": "chat", "route": [{"target": "mock/gpt-4o-mini", "weight": 1.0}]}),
    ("GET", "/api/v1/traces?limit=5", None),
)
ODD = ("\\ud800", "\\u0000", "\\udfff\\ud800", "\u2028", "\\/", "A" * 9000, "../../etc/passwd", "{{ x }}", "';--", "%00", "")
NUMBERS = ("1e999", "-1e999", "1" * 400, "-0", "0.1e-400", "NaN", "Infinity", "-1", "9223372036854775808", "1.5", "true", "null")
TOKENS = (
    b"\0",
    b"\r\n",
    b"\n",
    b"\r",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"%00",
    b"%",
    b": ",
    b"\r\n\r\n",
    b"\t",
    b"//",
    b"?",
    b"#",
    b"\x7f",
)


@pytest.fixture(scope="module")
def rich(house: Platform) -> Platform:
    """A platform on which every hot route has something to answer with."""
    rows = "".join(f"{number % 9},{'ab'[number % 9 > 4]}\n" for number in range(60))
    house.api("POST", "/datasets/odd?format=csv", content="x,y\n" + rows)
    house.api("PUT", "/gates/model/odd", json={"metric": "roc_auc", "minimum": 0.1, "margin": 1})
    inputs = {"data": "dataset/odd", "target": "y", "algorithm": "logistic", "folds": 2}
    run = house.api("POST", "/runs", json={"kind": "train", "name": "odd", "inputs": inputs})["id"]
    house.api("PUT", "/endpoints/embedder", json={"kind": "embed", "route": [{"target": "mock/text-embedding-3-small"}]})
    house.api("POST", "/decisions/opinion", json={"source": DECISION, "entry": "answer"})
    house.api("POST", "/assets/decision/opinion/promote", json={"version": 1})
    deadline = time.monotonic() + 60
    while (found := house.api("GET", f"/runs/{run}"))["state"] in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert found["state"] == "succeeded", found
    house.api("POST", "/assets/model/odd/promote", json={"version": 1})
    deadline = time.monotonic() + 10
    for path, body in (("/v2/models/odd/infer", {"inputs": INFER["inputs"]}), ("/v1/decide/opinion", {"number": 1, "text": ""})):
        while (reply := httpx2.post(house.url + path, json=body, headers=bearer(ADMIN), verify=TLS)).status_code != 200:
            assert time.monotonic() < deadline, reply.text
            time.sleep(0.2)
    return house


def request(method: str, path: str, body: bytes | None, *more: bytes) -> bytes:
    head = [f"{method} {path} HTTP/1.1".encode(), b"host: a", f"authorization: Bearer {ADMIN}".encode(), *more]
    if body is not None:
        head += [b"content-type: application/json", b"content-length: %d" % len(body)]
    return b"\r\n".join(head) + b"\r\n\r\n" + (body or b"")


def nested(dice: random.Random) -> bytes:
    depth, (left, right) = dice.choice((50, 1100, 60_000)), dice.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return left * depth + b"1" + right * dice.choice((0, depth))


# Each takes the parts of a valid request and gives the bytes to send.


def flipped(dice: random.Random, method: str, path: str, body: bytes | None) -> bytes:
    data = bytearray(request(method, path, body))
    for _ in range(dice.randint(1, 6)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


def cut(dice: random.Random, method: str, path: str, body: bytes | None) -> bytes:
    data = request(method, path, body)
    start = dice.randrange(len(data))
    return data[:start] + data[start + dice.randint(1, 40) :]


def doubled(dice: random.Random, method: str, path: str, body: bytes | None) -> bytes:
    data = request(method, path, body)
    start = dice.randrange(len(data))
    end = start + dice.randint(1, 60)
    return data[:end] + data[start:end] * dice.choice((1, 2, 300)) + data[end:]


def stuffed(dice: random.Random, method: str, path: str, body: bytes | None) -> bytes:
    data = request(method, path, body)
    at = dice.randrange(len(data))
    return data[:at] + dice.choice(TOKENS) * dice.choice((1, 1, 50)) + data[at:]


def framed(dice: random.Random, method: str, path: str, body: bytes | None) -> bytes:
    """Lengths that are not the body's."""
    body = body or b""
    length = dice.choice(
        (b"0", b"-1", b"+5", b"0x5", b"5, 5", b"5 5", b"1" * 30, b"%d" % (len(body) + dice.randint(-9, 9)), b"", b"\xb2")
    )
    more = dice.choice(
        (b"", b"transfer-encoding: chunked\r\n", b"transfer-encoding: gzip, chunked\r\n", b"content-length: 3\r\n")
    )
    head = f"{method} {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {ADMIN}\r\n".encode()
    return head + more + b"content-length: " + length + b"\r\n\r\n" + body


def chunked(dice: random.Random, method: str, path: str, body: bytes | None) -> bytes:
    """Chunks of any size, now and then broken."""
    body, out = body or b"{}", b""
    while body:
        size = dice.randint(1, 30)
        piece, body = body[:size], body[size:]
        out += b"%x%s\r\n%s\r\n" % (len(piece) + dice.choice((0,) * 20 + (1, -1)), dice.choice((b"", b";a=b", b" ")), piece)
    out += dice.choice(
        (b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\ntrailer: x\r\n\r\n", b"", b"0\r\ncontent-length: 5\r\n\r\n", b"fffffffffffffffff\r\n")
    )
    head = f"{method} {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {ADMIN}\r\ncontent-type: application/json\r\n".encode()
    return head + b"transfer-encoding: chunked\r\n\r\n" + out


def rewritten(dice: random.Random, method: str, path: str, body: bytes | None) -> bytes:
    """JSON of right length whose values are odd."""
    text = (body or b'{"a": 1}').decode()
    values = [match.span() for match in re.finditer(r'"[^"]*"|-?[0-9.]+|true|false|null|[\[\]{},:]', text)]
    for start, end in sorted(dice.sample(values, min(len(values), dice.randint(1, 3))), reverse=True):
        new = dice.choice((f'"{dice.choice(ODD)}"', dice.choice(NUMBERS), "[]", "{}", "", '"a":', nested(dice).decode()))
        text = text[:start] + new + text[end:]
    return request(method, path, text.encode())


def truncated(dice: random.Random, method: str, path: str, body: bytes | None) -> bytes:
    body = body or b"{}"
    return request(method, path, body[: dice.randrange(len(body))] + dice.choice((b"", b"\xff", b"\0", b"\xc3")))


def headed(dice: random.Random, method: str, path: str, body: bytes | None) -> bytes:
    """Headers of every kind."""
    more = dice.choice(
        (
            [b"x: " + b"a" * 70_000],
            [b"x%d: 1" % number for number in range(300)],
            [b"expect: 100-continue"],
            [b"connection: close"],
            [b"connection: upgrade, keep-alive", b"upgrade: h2c", b"http2-settings: AAAA"],
            [b"x-tandem-subject: " + bytes(dice.choice((range(0x80, 0x100), b"a" * 5000, b"\t", b"\xff")))],
            [b"traceparent: 00-" + b"f" * 600],
            [b"traceparent: \xff\xfe", b"openai-beta: \xe9"],
            [b"x-forwarded-for: \xff, ::1", b"forwarded: for=a"],
            [b"authorization: Bearer \xff\xfe"],
            [b"x-api-key: " + b"k" * 20_000],
            [b"cookie: tandem_session=" + b"A" * 3000],
            [b"cookie: tandem_session=\xff=="],
            [b"content-encoding: gzip"],
            [b"accept: \0"],
            [b"range: bytes=0-0", b"if-none-match: *"],
        )
    )
    return request(method, path, body, *more)


def targeted(dice: random.Random, method: str, path: str, body: bytes | None) -> bytes:
    """Paths and queries that lead elsewhere, or nowhere."""
    turn: tuple[Callable[[str], str], ...] = (
        lambda p: p.replace("/", "//"),
        lambda p: p + "/",
        lambda p: "http://a" + p,
        lambda p: "http://b" + p,
        lambda p: p + "?" + "a=%ff&" * 50,
        lambda p: p + "?limit=" + dice.choice(NUMBERS),
        lambda p: p.replace("/", "/%2e%2e/"),
        lambda p: p + "/../../internal/health",
        lambda p: "/%69nternal/health",
        lambda p: p + "%00",
        lambda p: p + "%ff%fe",
        lambda p: p + "/" + "a" * 20_000,
        lambda p: "*",
        lambda p: p + "/%ED%A0%80",
        lambda p: p + ";a=b#c",
    )
    return request(
        dice.choice((method, method, "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW")),
        dice.choice(turn)(path),
        body,
    )


def pipelined(dice: random.Random, method: str, path: str, body: bytes | None) -> bytes:
    return request(method, path, body) * dice.randint(2, 5) + damaged(dice, method, path, body)


DAMAGE = (flipped, cut, doubled, stuffed, framed, chunked, rewritten, rewritten, truncated, headed, targeted)


def damaged(dice: random.Random, method: str, path: str, body: bytes | None) -> bytes:
    return dice.choice(DAMAGE)(dice, method, path, body)


def case(number: int) -> bytes:
    """The same bytes for the same number."""
    dice = random.Random(number)
    if dice.random() < 0.15:
        method, template = dice.choice(routes.RAW)
        seed: tuple[str, str, Any] = (method, re.sub(r"\{[a-z]+\}", "x", template), {} if method in ("POST", "PUT") else None)
    else:
        seed = dice.choice(HOT)
    body = None if seed[2] is None else json.dumps(seed[2]).encode()
    return dice.choice((damaged, damaged, damaged, damaged, pipelined))(dice, seed[0], seed[1], body)


@dataclass
class Told:
    """What came back for one case."""

    data: bytes
    late: bool = False
    left: bool = False
    """We went away first."""


async def ask(port: int, data: bytes, dice: random.Random) -> Told:
    """Sends bytes in pieces and reads until nothing more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    out, left = b"", False
    try:
        try:
            while data:
                size = dice.choice((len(data), len(data), 7, 1000))
                writer.write(data[:size])
                data = data[size:]
                await writer.drain()
        except ConnectionError:
            pass
        while True:
            try:
                async with asyncio.timeout(LATE_SECONDS if left else QUIET_SECONDS):
                    piece = await reader.read(65536)
            except TimeoutError:
                if left:
                    return Told(out, late=True)
                if out:
                    return Told(out)
                left = True  # it waits for bytes that the request promised: the end must tell it that none come
                writer.write_eof()
                continue
            except ConnectionError:
                return Told(out, left=left)
            if not piece:
                return Told(out, left=left)
            out += piece
    finally:
        writer.transport.abort()


def answers(told: Told, data: bytes) -> list[tuple[int, bytes]]:
    """Status and body of every reply, read by the framing that it declares itself."""
    found, rest = [], told.data
    while rest:
        head, end, rest = rest.partition(b"\r\n\r\n")
        first, *rows = head.split(b"\r\n")
        status = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [ -~]*", first)
        assert end, head
        assert status, first
        fields = dict(row.split(b": ", 1) for row in rows)
        if b"content-length" in fields and b"HEAD" not in data:
            size = int(fields[b"content-length"])
            assert len(rest) >= size or told.left, (head, rest)
            body, rest = rest[:size], rest[size:]
        elif fields.get(b"transfer-encoding") == b"chunked":
            body, mark, rest = rest.partition(b"0\r\n\r\n")
            assert mark or told.left, (head, body)
        else:
            body = b""
        found.append((int(status[1]), body))
    return found


def fault(told: Told, data: bytes) -> str | None:
    """What is wrong with what came back."""
    if told.late:
        return "no answer and no end"
    try:
        replies = answers(told, data)
    except AssertionError as error:
        return f"not HTTP: {error}"
    for status, body in replies:
        if status >= 500 and status not in REFUSED:
            return f"{status}: {body!r}"
    return None


async def asked(house: Platform, cases: dict[str, bytes]) -> dict[str, str]:
    """The cases that went wrong, and how."""
    wrong: dict[str, str] = {}
    room = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, data: bytes) -> None:
        async with room:
            told = await ask(house.port, data, random.Random(name))
        found = fault(told, data)
        if found is not None:
            wrong[name] = f"{found[:600]}\n    after {data[:400]!r}"

    async with asyncio.TaskGroup() as tasks:
        for name, data in cases.items():
            tasks.create_task(one(name, data))
    return wrong


def sound(house: Platform, wrong: dict[str, str]) -> None:
    assert not wrong, f"{len(wrong)} cases:\n" + "\n".join(f"{name}: {text}" for name, text in list(wrong.items())[:12])
    assert httpx2.get(f"{house.url}/health", timeout=LATE_SECONDS, verify=TLS).status_code == 200
    assert httpx2.get(f"{house.url}/api/v1/whoami", headers=bearer(ADMIN), timeout=LATE_SECONDS, verify=TLS).status_code == 200
    assert house.log() == ""


def test_damaged_requests_are_answered_and_do_no_harm(rich: Platform) -> None:
    sound(rich, asyncio.run(asked(rich, {str(number): case(number) for number in range(CASES)})))


def test_odd_json_is_no_fault_of_ours(rich: Platform) -> None:
    odd = {
        "empty": b"",
        "blank": b" ",
        "null": b"null",
        "list": b"[]",
        "text": b'"a"',
        "number": b"1e999",
        "marked": b"\xef\xbb\xbf{}",
        "wide": '{"model": "assistant"}'.encode("utf-16"),
        "deep list": b"[" * 100_000,
        "deep object": b'{"a":' * 100_000,
        "bytes": b'{"a": "\xff\xfe"}',
        "nul": b'{"a": "\0"}',
    }
    keys = {"key of bytes": b'{"\xff": 1, ', "key of surrogates": rb'{"\ud800": 1, ', "key of nuls": rb'{"\u0000": 1, '}
    cases: dict[str, bytes] = {}
    for method, path, value in HOT:
        if value is None:
            continue
        whole = json.dumps(value).encode()
        texts = [json.dumps(leaf).encode() for leaf in leaves(value)]
        for name, body in odd.items():
            cases[f"{path}: {name}"] = request(method, path, body)
        for name, start in keys.items():
            cases[f"{path}: {name}"] = request(method, path, whole.replace(b"{", start, 1))
        for text in texts:
            for name, new in {
                "surrogate": rb'"\ud800"',
                "nul": rb'"\u0000"',
                "deep": b"[" * 50_000 + b"]" * 50_000,
                "huge": b"9" * 500,
                "bytes": b'"\xff"',
                "none": b"null",
                "vast": b'"' + b"x" * 300_000 + b'"',
            }.items():
                cases[f"{path}: {name} for {text!r}"] = request(method, path, whole.replace(text, new, 1))
    sound(rich, asyncio.run(asked(rich, cases)))


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in leaves(each)]
    return [leaf for each in value for leaf in leaves(each)] if isinstance(value, list) else [value]


@pytest.mark.parametrize(
    ("path", "key", "length", "status"),
    [
        ("/api/v1/prompts/p", "tdm_nobody", 10**10, 401),
        ("/api/v1/datasets/d", "tdm_nobody", 10**10, 401),
        ("/api/v1/prompts/p", ADMIN, 10**10, 413),
        ("/console/sign-in", ADMIN, 10**10, 401),
        ("/v1/chat/completions", ADMIN, 10**10, 413),
    ],
)
def test_a_body_without_end_is_not_waited_for(house: Platform, path: str, key: str, length: int, status: int) -> None:
    with socket.create_connection(("127.0.0.1", house.port), timeout=LATE_SECONDS) as caller:
        head = f"POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n"
        caller.sendall(head.encode() + b"content-type: application/json\r\n\r\n")
        told, sent = b"", 0
        with contextlib.suppress(ConnectionError):
            while sent < 24 * 2**20 and not select.select([caller], [], [], 0)[0]:
                sent += caller.send(b" " * 65536)
        while b"\r\n\r\n" not in told:
            told += caller.recv(65536)
    assert int(told.split()[1]) == status, told
