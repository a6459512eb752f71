"""Azure's OpenAI: its addresses and key as AzureOpenAI has them, its filter, its first chunk, and errors within a stream."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx2
import openai
import pytest

from tandem.core.chat import Begin, Chat, Finish, Message, Text, TextDelta, Used
from tandem.core.endpoint import Endpoint, Target
from tandem.gateway.prices import VENDORS, price_of
from tandem.gateway.providers.azure import DEFAULT_VERSION, Azure
from tandem.gateway.providers.base import load
from tandem.gateway.providers.compatible import complete
from tandem.gateway.snapshot import Host
from tandem.mock.serve import running
from tandem.mock.settings import MockSettings
from tests.gateway.conftest import KEY, House
from tests.gateway.rawhttp import Caller, upstream

WIRE = Azure()
MODEL = "gpt-4o-mini"
ASKED: Any = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}
FILTER = b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
ROLE = b'data: {"id":"c1","model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}],"usage":null}\n\n'
LAST = b'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop","content_filter_results":{}}]}\n\n'
USAGE = b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"code":"500","message":"The server had an error while processing your request."}}\n\n'
SEVERE = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True, "severity": "high"}}}


def bound(base_url: str, verb: Any = "chat", model: str = MODEL) -> Any:
    ask = WIRE.ask(verb, json.dumps({"model": "assistant", "input": "a"}).encode(), {"model": json.dumps(model).encode()}, "k")
    assert ask.bound is not None
    return ask.bound(ask, base_url, 0)


# --- addresses and key


@pytest.mark.parametrize("verb", ["chat", "embed"])
@pytest.mark.parametrize("root", ["", "/openai"])
async def test_azures_own_client_asks_the_same_of_a_deployment(verb: str, root: str) -> None:
    model = MODEL if verb == "chat" else "text-embedding-3-small"
    async with running(MockSettings(port=0)) as mock:
        async with openai.AsyncAzureOpenAI(
            azure_endpoint=mock.url, api_key="k-azure", api_version=DEFAULT_VERSION, max_retries=0
        ) as client:
            if verb == "chat":
                await client.chat.completions.create(**ASKED)
            else:
                await client.embeddings.create(model=model, input="hello")
        [seen] = mock.requests()
        path, raw = str(seen["path"]), json.dumps(seen["body"]).encode()
        ask = WIRE.ask(verb, raw, {"model": json.dumps(model).encode()}, "k-azure")  # type: ignore[arg-type]
        assert ask.bound is not None
        ours = ask.bound(ask, mock.url + root, 0)
        assert (seen["status"], f"{root}{ours.path}") == (200, f"{path}?{seen['query']}")
        assert json.loads(ours.body) == seen["body"]
        assert dict(ours.headers)[b"api-key"] == b"k-azure"
        assert {"api-key", "content-type"} <= set(seen["headers"])  # type: ignore[call-overload]
        assert "k-azure" not in json.dumps(seen)
        async with httpx2.AsyncClient(base_url=mock.url + root, headers={"api-key": "k-azure"}) as http:
            assert (await http.post(ours.path, content=ours.body)).status_code == 200


async def test_openais_client_asks_the_same_at_the_newer_address() -> None:
    async with running(MockSettings(port=0)) as mock:
        async with openai.AsyncOpenAI(base_url=f"{mock.url}/openai/v1", api_key="k-azure", max_retries=0) as client:
            await client.chat.completions.create(**ASKED)
        [seen] = mock.requests()
    assert f"/openai/v1{bound('https://x.openai.azure.com/openai/v1/').path}" == seen["path"]


@pytest.mark.parametrize(
    ("base_url", "model", "path"),
    [
        ("https://x.openai.azure.com", "a/b?c", f"/openai/deployments/a%2Fb%3Fc/chat/completions?api-version={DEFAULT_VERSION}"),
        ("https://x.openai.azure.com/openai?api-version=2025-04-01-preview", MODEL,
         f"/deployments/{MODEL}/chat/completions?api-version=2025-04-01-preview"),
        ("https://proxy.example/azure", MODEL, f"/openai/deployments/{MODEL}/chat/completions?api-version={DEFAULT_VERSION}"),
        ("https://x.services.ai.azure.com/openai/v1", MODEL, "/chat/completions"),
    ],
)  # fmt: skip
def test_the_address_says_where_a_deployment_is_named(base_url: str, model: str, path: str) -> None:
    assert bound(base_url, model=model).path == path


def test_a_key_is_no_bearer_and_none_is_none() -> None:
    chat = Chat(messages=(Message(role="user", parts=(Text(text="hello"),)),))
    for ask in (WIRE.put(chat, MODEL, "k"), WIRE.ask("chat", b"{}", {"model": b'"m"'}, "k")):
        assert ask.headers == ((b"content-type", b"application/json"), (b"api-key", b"k"))
    assert WIRE.put(chat, MODEL, None).headers == ((b"content-type", b"application/json"),)


def test_a_known_azure_needs_its_address_alone() -> None:
    found = complete("azure", base_url="https://red.openai.azure.com/openai/v1")
    assert (found.protocol, found.prices, found.keys) == ("azure", "azure", ("env:AZURE_OPENAI_API_KEY",))
    assert isinstance(load("azure"), Azure)
    assert (WIRE.name, WIRE.dialect) == ("azure", "openai")


def test_a_deployment_that_bears_its_models_name_has_its_price_and_no_other_has_one() -> None:
    now = 1_780_000_000_000_000
    assert price_of(MODEL, VENDORS["azure"], now) is not None
    assert price_of("our-assistant", VENDORS["azure"], now) is None


# --- refusals


@pytest.mark.parametrize(
    ("status", "error", "wanted"),
    [
        (400, {"code": "content_filter", "message": "The response was filtered", "innererror": SEVERE}, "content_policy"),
        (400, {"code": "400", "message": "filtered", "innererror": SEVERE}, "content_policy"),
        (400, {"code": "context_length_exceeded", "message": "too long"}, "context_exceeded"),
        (400, {"code": "BadRequest", "message": "no", "innererror": {"code": "Other"}}, "bad_request"),
        (401, {"code": "401", "message": "Access denied due to invalid subscription key"}, "auth"),
        (404, {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}, "not_found"),
        (429, {"code": "429", "message": "Requests have exceeded the call rate limit"}, "rate_limited"),
        (429, {"code": "insufficient_quota", "message": "spent"}, "quota"),
        (503, {"code": "503", "message": "busy"}, "overloaded"),
        (500, "no object", "upstream_5xx"),
    ],
)
def test_refusals_have_their_class(status: int, error: object, wanted: str) -> None:
    assert WIRE.fault(status, (), json.dumps({"error": error}).encode()) == wanted


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":{"innererror":3}}'])
def test_a_refusal_that_cannot_be_read_is_classed_by_its_status(body: bytes) -> None:
    assert WIRE.fault(400, (), body) == "bad_request"


async def test_what_the_filter_refuses_is_never_routed_around(door: House) -> None:
    host = Host(name="azure", protocol="azure", base_url=door.mock.url, keys=next(iter(door.snapshot.hosts.values())).keys)
    route = (Target(target=f"azure/{MODEL}"), Target(target="mock/gpt-4o-mini", priority=1))
    door.publish(
        hosts={**door.snapshot.hosts, "azure": replace(host, keys=(door.handler.door.vault.seal("provider", b"k", b"azure"),))},
        endpoints={"assistant": Endpoint(name="assistant", kind="chat", route=route)},
    )
    door.mock.faults(["refuse=400*1"])
    async with openai.AsyncOpenAI(base_url=f"{door.url}/v1", api_key=KEY, max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(**{**ASKED, "model": "assistant"})
    assert refused.value.code == "content_filter"
    assert refused.value.body["innererror"]["code"] == "ResponsibleAIPolicyViolation"  # type: ignore[index]
    assert len(door.mock.requests()) == 1


async def test_a_vector_is_fetched_from_a_deployment_and_billed(door: House) -> None:
    model = "text-embedding-3-small"
    key = door.handler.door.vault.seal("provider", b"k", b"azure")
    door.publish(
        hosts={"azure": Host(name="azure", protocol="azure", base_url=door.mock.url, keys=(key,))},
        endpoints={"embedder": Endpoint(name="embedder", kind="embed", route=(Target(target=f"azure/{model}"),))},
        prices={f"azure/{model}": door.snapshot.prices[f"mock/{model}"]},
    )
    async with openai.AsyncOpenAI(base_url=f"{door.url}/v1", api_key=KEY, max_retries=0) as client:
        found = await client.embeddings.create(model="embedder", input=["one", "two"])
    assert len(found.data) == 2
    door.move()
    (row, *_) = door.traces.list(team=None)
    assert door.traces.find(row.trace, team=None).calls[0].cost == door.mock.bill()[-1].cost_nano


async def test_a_wait_in_milliseconds_is_kept(door: House) -> None:
    """Azure asks for less than a second; an attempt at the same deployment waits for as long."""
    times: list[float] = []

    def told(status: bytes, more: bytes, body: bytes) -> Any:
        async def said(caller: Caller) -> None:
            await caller.reader.readuntil(b"\r\n\r\n")
            times.append(asyncio.get_running_loop().time())
            await caller.send(
                b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\nconnection: close\r\n\r\n%b" % (status, more, len(body), body)
            )

        return said

    answer = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()
    busy = told(
        b"429 Too Many Requests", b"retry-after-ms: 300\r\nretry-after: 60\r\n", b'{"error":{"code":"429","message":"busy"}}'
    )
    async with upstream(busy, told(b"200 OK", b"", answer)) as (url, _):
        endpoint = Endpoint(name="assistant", kind="chat", route=(Target(target=f"azure/{MODEL}"),), retries=1)
        door.publish(hosts={"azure": Host(name="azure", protocol="azure", base_url=url)}, endpoints={"assistant": endpoint})
        async with httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"}) as http:
            reply = await http.post("/v1/chat/completions", json={**ASKED, "model": "assistant"})
    assert reply.status_code == 200
    assert times[1] - times[0] >= 0.3


# --- streams


def test_the_first_chunk_says_nothing_and_is_read_as_nothing() -> None:
    meter = WIRE.meter()
    assert [meter.opens(frame) for frame in (FILTER, FILTER.replace(b'"choices":[]', b'"choices" : [ ]'), ROLE, WORD)] == [
        False, False, False, True,
    ]  # fmt: skip
    reader = WIRE.reader()
    payloads = [frame[6:-2] for frame in (FILTER, ROLE, WORD, LAST, USAGE, DONE)]
    said = [delta for payload in payloads for delta in reader.feed(payload)]
    assert [type(delta) for delta in said] == [Begin, TextDelta, Finish, Used]
    assert reader.ended


HEARD = b""
"""Of a stream: what follows is sent once the caller has heard something."""


async def asked_of(door: House, *streams: tuple[bytes, ...], path: str = "/v1/chat/completions") -> tuple[httpx2.Response, int]:
    """The answer to a stream where each attempt is answered by the next of these, piece after piece; and how many there were."""
    heard = asyncio.Event()

    def talk(stream: tuple[bytes, ...]) -> Any:
        async def said(caller: Caller) -> None:
            await caller.reader.readuntil(b"\r\n\r\n")
            await caller.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            for frame in stream:
                if frame is HEARD:
                    await heard.wait()
                await asyncio.sleep(0.02)  # so that it is a read of its own
                await caller.send(frame)

        return said

    async with upstream(*map(talk, streams)) as (url, callers):
        host = Host(name="azure", protocol="azure", base_url=url)
        endpoint = Endpoint(name="assistant", kind="chat", route=(Target(target=f"azure/{MODEL}"),), retries=1)
        door.publish(
            hosts={"azure": host},
            endpoints={"assistant": endpoint},
            prices={f"azure/{MODEL}": door.snapshot.prices["mock/gpt-4o-mini"]},
        )
        async with httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"}) as http:
            async with http.stream("POST", path, json={**ASKED, "model": "assistant", "stream": True}) as reply:
                heard.set()
                await reply.aread()
        return reply, len(callers)


GOOD = (FILTER, ROLE, WORD, LAST, USAGE, DONE)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/anthropic/v1/messages"])
async def test_an_error_after_what_was_found_in_the_prompt_is_still_free(door: House, path: str) -> None:
    """The first chunk is no commit point: another attempt takes over, and the caller never knows."""
    reply, attempts = await asked_of(door, (FILTER, ERROR), GOOD, path=path)
    assert (reply.status_code, attempts) == (200, 2)
    assert "error" not in reply.text
    assert reply.text.count('"hi"') == 1
    assert reply.text.count("prompt_filter_results") == (1 if path.startswith("/v1") else 0)


async def test_a_stream_that_is_cut_after_it_is_free_too(door: House) -> None:
    reply, attempts = await asked_of(door, (FILTER,), GOOD)
    assert (reply.status_code, attempts) == (200, 2)
    assert reply.text.endswith("data: [DONE]\n\n")


async def test_an_error_after_the_first_word_ends_the_answer(door: House) -> None:
    reply, attempts = await asked_of(door, (FILTER, ROLE, WORD, HEARD, ERROR), GOOD)
    assert (reply.status_code, attempts) == (200, 1)
    assert "[DONE]" not in reply.text
    assert reply.text.count('"error"') == 1


async def test_bytes_pass_in_their_order_with_the_first_chunk(door: House) -> None:
    reply, _ = await asked_of(door, GOOD)
    assert reply.content == b"".join((FILTER, ROLE, WORD, LAST, DONE))  # the usage was not asked for
    door.move()
    (row, *_) = door.traces.list(team=None)
    used = door.traces.find(row.trace, team=None).calls[0].attempts[0].usage
    assert (used.input, used.output) == (5, 1)


async def test_an_answer_of_nothing_is_passed_on_all_the_same(door: House) -> None:
    reply, attempts = await asked_of(door, (FILTER, DONE))
    assert (reply.content, attempts) == (FILTER + DONE, 1)


async def test_what_says_nothing_is_not_kept_for_ever(door: House) -> None:
    """Past a bound it is passed on, and the answer has begun."""
    long = FILTER.replace(b'"prompt_index":0', b'"prompt_index":0,"p":"%b"' % (b"x" * 300_000))
    reply, attempts = await asked_of(door, (long, HEARD, ERROR), GOOD)
    assert (reply.status_code, attempts) == (200, 1)
    assert reply.content.startswith(long)
    assert reply.text.count('"error"') == 1
