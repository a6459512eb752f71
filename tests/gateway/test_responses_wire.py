"""The Responses wire: OpenAI's unmodified client in front of the door, whose provider speaks it too, or another protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.chat import (
    Chat,
    Choice,
    Delta,
    Document,
    Finish,
    Format,
    Image,
    Message,
    RefusalDelta,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolDelta,
    ToolResult,
    Used,
)
from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Invalid, Upstream
from tandem.core.money import Usage
from tandem.core.principal import Principal
from tandem.gateway.prices import price_of
from tandem.gateway.providers.responses import Responses
from tandem.gateway.snapshot import Served
from tandem.gateway.sse import Frames, data
from tandem.gateway.tied import Kept, Names, Tie
from tandem.gateway.wires.base import Letterhead
from tandem.gateway.wires.responses import CONTEXT_TOKENS, ResponsesDialect, read_responses
from tandem.governance.digest import PEPPER, digest
from tandem.observability import dialogue
from tandem.store.vault import Vault
from tests.gateway.conftest import DEMO, KEY, House
from tests.gateway.test_across import FACTS, POLICY, SCHEMA
from tests.receivers import Receiver

DIALECT = ResponsesDialect()
HEAD = Letterhead(id="trc_1", model="assistant", at=7)
VAULT = Vault(bytes(32))
BLUE = "tdm_blue"


def host(door: House, name: str, *keys: str) -> Any:
    (own, *_) = door.snapshot.hosts.values()
    sealed = tuple(VAULT.seal("provider", key.encode(), name.encode()) for key in keys)
    return replace(own, name=name, protocol="responses", base_url=f"{door.mock.url}/v1", keys=sealed)


@pytest.fixture
async def one(door: House) -> House:
    """One endpoint on two accounts of the same provider's, one of which has two keys."""
    hosts = {"red": host(door, "red", "mk-1", "mk-2"), "blue": host(door, "blue", "mk-3")}
    mini, nano, five = Target(target="red/gpt-4.1-nano"), Target(target="blue/gpt-4.1-nano"), Target(target="red/gpt-5-nano")
    endpoints = {
        "assistant": Endpoint(name="assistant", kind="chat", route=(mini, replace(nano, priority=1)), retries=0),
        "blue": Endpoint(name="blue", kind="chat", route=(nano,), retries=0),
        "both": Endpoint(name="both", kind="chat", route=(nano, mini), retries=0),
        "mixed": Endpoint(name="mixed", kind="chat", route=(Target(target="mock/gpt-4o-mini"), replace(nano, priority=1))),
        "thinker": Endpoint(name="thinker", kind="chat", route=(five,), retries=0),
    }
    prices = {}
    for target in (mini, nano, five):
        price = price_of(target.target.partition("/")[2], "openai", door.snapshot.compiled_at)
        assert price is not None
        prices[target.target] = price
    door.publish(hosts={**door.snapshot.hosts, **hosts}, endpoints={**door.snapshot.endpoints, **endpoints}, prices=prices)
    return door


@pytest.fixture
async def gpt(one: House) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{one.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def http(door: House) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"})


def guarded(meta: bytes) -> dict[str, Served]:
    return {"policy/default@production": Served(ref="policy/default@1", members="", digest="", meta=meta)}


def keys_asked(door: House) -> list[str]:
    return [row.key for row in door.mock.bill()]


# --- bytes pass


async def test_bytes_pass_but_for_the_name(one: House) -> None:
    """Fields nobody knows go and come back; built-in tools and the rest are the provider's business."""
    body = b'{ "model" : "assistant",  "input":"hi", "invented": {"a" : 1.50}, "truncation":"auto" }'
    async with http(one) as client:
        reply = await client.post("/v1/responses", content=body)
        stream = await client.post("/v1/responses", content=body.replace(b'"hi"', b'"hi", "stream": true'))
    (whole, streamed) = one.mock.requests()
    assert whole["unknown"] == {"invented": {"a": 1.5}, "truncation": "auto"}
    assert streamed["unknown"] == whole["unknown"]
    told = reply.json()
    assert (told["service_tier"], told["model"]) == ("default", "gpt-4.1-nano")
    assert told["output"][0]["id"].startswith("msg_")
    names = {
        json.loads(data(frame) or b"")["response"]["id"] for frame in Frames().feed(stream.content) if b'"response"' in frame
    }
    assert len(names) == 1
    assert names.pop() != told["id"]
    assert "x-tandem-dropped" not in reply.headers


async def test_a_refusal_passes_as_it_is(one: House) -> None:
    async with http(one) as client:
        reply = await client.post("/v1/responses", json={"model": "assistant", "input": "hi", "max_output_tokens": 3})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "integer_below_min_value"


async def begins_and_breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A provider that says that it has begun, and after a while that it cannot."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    for kind in ("response.created", "response.in_progress"):
        said = {"type": kind, "response": {"id": "resp_1", "status": "in_progress", "output": []}}
        writer.write(b"data: %b\n\n" % json.dumps(said).encode())
        await writer.drain()
        await asyncio.sleep(0.05)
    writer.write(b'data: {"type":"error","code":"server_is_overloaded","message":"x","param":null}\n\n')
    writer.close()


async def test_what_fails_before_the_first_word_is_tried_elsewhere(one: House, gpt: openai.AsyncOpenAI) -> None:
    """Also where the provider has said that it has begun."""
    server = await asyncio.start_server(begins_and_breaks, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    one.publish(hosts={**one.snapshot.hosts, "red": replace(one.snapshot.hosts["red"], base_url=url)})
    async with server, gpt.responses.stream(model="assistant", input="radius: 17.9") as running:
        assert "17.9" in (await running.get_final_response()).output_text
    one.move()
    (row, *_) = one.traces.list(team=None)
    attempts = one.traces.find(row.trace, team=None).calls[0].attempts
    assert [(attempt.target, attempt.outcome) for attempt in attempts] == [
        ("red/gpt-4.1-nano", "overloaded"),
        ("blue/gpt-4.1-nano", "ok"),
    ]


async def test_an_end_that_is_said_twice_is_heard_once(one: House) -> None:
    body = {"model": "assistant", "input": "hi\nx-mock-fault: usage=double", "stream": True}
    async with http(one) as client:
        reply = await client.post("/v1/responses", json=body)
    assert [event["type"] for event in events(reply.content)].count("response.completed") == 1


async def test_an_answer_that_failed_within_its_200_is_a_failure(one: House, gpt: openai.AsyncOpenAI) -> None:
    failed = {"id": "resp_1", "status": "failed", "output": [], "error": {"code": "server_error", "message": "It broke."}}
    with Receiver(answer=json.dumps(failed).encode()).open() as broken:
        hosts = {**one.snapshot.hosts, "red": replace(one.snapshot.hosts["red"], base_url=broken.url)}
        one.publish(hosts=hosts)
        assert (await gpt.responses.create(model="assistant", input="radius: 17.9")).status == "completed"
        one.publish(endpoints={"red": Endpoint(name="red", kind="chat", route=(Target(target="red/gpt-4.1-nano"),), retries=0)})
        with pytest.raises(openai.InternalServerError, match="It broke"):
            await gpt.responses.create(model="red", input="hi")
    assert len(broken.came) == 2


# --- going on from an answer


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_goes_on_at_its_account(one: House, gpt: openai.AsyncOpenAI, stream: bool) -> None:
    """Whatever the route and the turn of the keys would have it, and from any worker: nothing is stored."""

    async def ask(**more: Any) -> Any:
        if not stream:
            return await gpt.responses.create(**more)
        async with gpt.responses.stream(**more) as running:
            return await running.get_final_response()

    first = await ask(model="assistant", input="radius: 17.9")
    now = one.handler.door.clock.now()
    one.handler.answering.hosts.memory.health.note("red/gpt-4.1-nano", "provider_auth", now, key=0, keys=2)
    await ask(model="assistant", input="hi")
    one.handler.answering.hosts._keys.clear()
    second = await ask(model="both", input="What is the radius?", previous_response_id=first.id)
    third = await ask(model="assistant", input="And again?", previous_response_id=second.id)
    told, other, followed, last = keys_asked(one)
    assert told == followed == last != other
    assert "17.9" in third.output_text
    assert (second.previous_response_id, third.previous_response_id) == (first.id, second.id)
    assert len({first.id, second.id, third.id}) == 3
    bare = [request["body"].get("previous_response_id") for request in one.mock.requests()]  # type: ignore[attr-defined]
    assert bare[:2] == [None, None]
    assert all(name.startswith("resp_") and len(name) < 40 for name in bare[2:])
    assert "17.9" not in json.dumps(one.mock.requests()[-1]["body"])


async def lost(client: openai.AsyncOpenAI, **more: Any) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(input="And?", **more)
    assert refused.value.code == "previous_response_not_found"
    assert refused.value.param == "previous_response_id"
    assert "whole conversation" in str(refused.value)
    return refused.value


async def test_no_team_goes_on_from_anothers_answer(one: House, gpt: openai.AsyncOpenAI) -> None:
    blue = Principal(id="key_2", name="other", team="blue", scopes=())
    pepper = VAULT.derive(PEPPER)
    one.publisher.write(one.snapshot, 9, [(digest(pepper, KEY), DEMO), (digest(pepper, BLUE), blue)])
    one.handler.door.replica.refresh()
    first = await gpt.responses.create(model="assistant", input="hi")
    async with openai.AsyncOpenAI(base_url=f"{one.url}/v1", api_key=BLUE, max_retries=0) as other:
        theirs = await other.responses.create(model="assistant", input="hi")
        await lost(other, model="assistant", previous_response_id=first.id)
        await other.responses.create(model="assistant", input="And?", previous_response_id=theirs.id)
    await lost(gpt, model="assistant", previous_response_id=theirs.id)
    assert len(one.mock.bill()) == 3


async def test_what_cannot_be_gone_on_from_is_refused_before_anything_is_sent(one: House, gpt: openai.AsyncOpenAI) -> None:
    first = await gpt.responses.create(model="assistant", input="hi")
    kept = one.handler.answering.hosts.names.find("risk", first.id)
    assert kept is not None
    for name in (kept.id, first.id[:-2], first.id[:-1] + "!", "resp_", "x", "resp_" + "A" * 4000):
        await lost(gpt, model="assistant", previous_response_id=name)
    await lost(gpt, model="blue", previous_response_id=first.id)
    hosts = one.snapshot.hosts
    one.publish(hosts={**hosts, "red": host(one, "red", "mk-2")})
    await lost(gpt, model="assistant", previous_response_id=first.id)
    one.publish(hosts=hosts, policies=guarded(POLICY))
    await lost(gpt, model="assistant", previous_response_id=first.id)
    one.publish(policies={})
    assert len(one.mock.bill()) == 1
    assert (await gpt.responses.create(model="assistant", input="And?", previous_response_id=first.id)).status == "completed"


async def test_what_the_caller_wishes_holds_for_a_conversation_too(one: House, gpt: openai.AsyncOpenAI) -> None:
    """Its account is known, and yet it may be one that the caller does not want any more."""
    first = await gpt.responses.create(model="assistant", input="hi")
    unwished: Any = {"provider": {"ignore": ["red"]}}
    with pytest.raises(openai.BadRequestError) as refused:
        await gpt.responses.create(model="assistant", input="And?", previous_response_id=first.id, extra_body=unwished)
    assert refused.value.code == "no_target"
    told: Any = await gpt.responses.create(model="assistant", input="And?", extra_body=unwished)
    assert len(keys_asked(one)) == 2
    assert len(set(keys_asked(one))) == 2
    assert told.status == "completed"


async def test_no_other_account_is_asked_when_its_own_fails(one: House, gpt: openai.AsyncOpenAI) -> None:
    first = await gpt.responses.create(model="assistant", input="hi")
    one.mock.faults(["500"])
    with pytest.raises(openai.InternalServerError):
        await gpt.responses.create(model="assistant", input="And?", previous_response_id=first.id)
    assert len(one.mock.requests()) == 2


async def test_what_the_provider_has_forgotten_is_told_by_the_callers_name(one: House, gpt: openai.AsyncOpenAI) -> None:
    first = await gpt.responses.create(model="assistant", input="hi", store=False)
    with pytest.raises(openai.BadRequestError) as refused:
        await gpt.responses.create(model="assistant", input="And?", previous_response_id=first.id)
    assert f"'{first.id}' not found" in str(refused.value)


@pytest.mark.parametrize("protocol", ["openai", "anthropic", "gemini"])
def test_other_protocols_keep_nothing(protocol: str) -> None:
    for name, value in (
        ("previous_response_id", "resp_1"), ("conversation", "conv_1"), ("prompt", {"id": "p"}), ("background", True)
    ):  # fmt: skip
        with pytest.raises(Invalid) as refused:
            DIALECT.chat(json.dumps({"model": protocol, "input": "hi", name: value}).encode())
        assert refused.value.field == name


def test_a_name_is_of_one_team_and_unaltered() -> None:
    names, kept = Names(VAULT), Kept("red/gpt", b"123456", "resp_0")
    name = names.give("risk", kept)
    assert Names(Vault(bytes(32))).find("risk", name) == kept
    assert Names(Vault(b"k" * 32)).find("risk", name) is None
    assert names.find("blue", name) is None
    for at in range(len("resp_"), len(name)):
        other = name[:at] + ("A" if name[at] != "A" else "B") + name[at + 1 :]
        assert names.find("risk", other) in (None, kept)  # the last letter holds bits that count for nothing
    assert names.print("mk-1") != names.print("mk-2")


def test_frames_keep_every_other_byte() -> None:
    tie = Tie(Names(VAULT), "risk", "red/gpt", b"", "resp_before")
    inner = b'{ "object":"response", "id" : "resp_0","previous_response_id":"resp_x", "a": 1.50 }'
    frame = b'event: response.created\r\ndata: {"type":"response.created", "response" : %b }\r\n\r\n' % inner
    said = tie.frame(frame)
    name = tie.whole(b'{"id":"resp_0"}')[7:-2].partition(b'"id":"')[2] or json.loads(tie.whole(b'{"id":"resp_0"}'))["id"].encode()
    assert said == frame.replace(b'"resp_0"', b'"%b"' % name).replace(b'"resp_x"', b'"resp_before"')
    delta = b'event: x\ndata: {"type":"response.output_text.delta","delta":"\\"response\\":{}"}\n\n'
    assert tie.frame(delta) == delta
    several = b'data: {"type":"response.completed",\ndata: "response":{"id":"resp_0"}}\n\n'
    assert json.loads(data(tie.frame(several)) or b"")["response"]["id"].encode() == name
    for broken in (b'data: {"response":\n\n', b'data: {"response":{"id":"a","id":"b"}}\n\n'):
        with pytest.raises(Upstream):
            tie.frame(broken)


# --- what the door reads


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{", None), ("[]", None), ('{"input": "hi"}', "model"), ('{"model": 3, "input": "hi"}', "model"),
        ('{"model": "m"}', "input"), ('{"model": "m", "input": 3}', "input"), ('{"model": "m", "input": {}}', "input"),
        ('{"model": "m", "input": "hi", "max_output_tokens": 0}', "max_output_tokens"),
        ('{"model": "m", "input": "hi", "max_output_tokens": 1e9}', "max_output_tokens"),
        ('{"model": "m", "input": "hi", "background": true}', "background"),
        ('{"model": "m", "input": "hi", "previous_response_id": 3}', "previous_response_id"),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_refused_with_its_field(one: House, body: str, field: str | None) -> None:
    async with http(one) as client:
        reply = await client.post("/v1/responses", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == field
    assert one.mock.requests() == []


def test_the_bound_of_what_is_read_holds() -> None:
    def bound(**members: Any) -> int:
        return read_responses(json.dumps({"model": "m", "input": "hi", **members}).encode(), ()).asked.tokens_in

    assert bound() < 100
    parts = [{"type": "input_file", "file_id": "f"}, {"type": "input_image", "file_id": "f"}]
    assert bound(input=[{"role": "user", "content": parts}]) > CONTEXT_TOKENS + 50_000
    for name in ("previous_response_id", "conversation"):
        assert bound(**{name: "x_1"}) > CONTEXT_TOKENS
    read = read_responses(b'{"model":"m","input":"hi","max_output_tokens":9,"user":"a","safety_identifier":"b"}', ())
    assert (read.asked.tokens_out, read.declared, read.subject) == (9, True, "b")


async def test_a_cap_writes_the_bound_of_the_output(one: House, gpt: openai.AsyncOpenAI) -> None:
    one.cap(2_000_000_000)
    await gpt.responses.create(model="assistant", input="hi")
    await gpt.responses.create(model="assistant", input="hi", max_output_tokens=20)
    told: list[Any] = [request["body"] for request in one.mock.requests()]
    assert [body["max_output_tokens"] for body in told] == [one.snapshot.endpoints["assistant"].max_output_tokens, 20]
    assert "max_tokens" not in told[0]


@pytest.mark.parametrize(
    ("kind", "ends"), [("response.output_text.annotation.added", "completed"), ("response.output_text.delta", "error")]
)
async def test_under_a_cap_a_stream_ends_by_its_tokens_alone(one: House, gpt: openai.AsyncOpenAI, kind: str, ends: str) -> None:
    """A hundred frames beyond the bound of 16 tokens: notes may come in any number, pieces may not."""
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "resp_1"}},
        *[{"type": kind, "delta": "x"}] * 100,
    ]
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    told.append({"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [], "usage": usage}})
    stream = b"".join([b"data: %b\n\n" % json.dumps(event).encode() for event in told])
    one.cap(2_000_000_000)
    with Receiver(answer=stream, headers={"content-type": "text/event-stream"}).open() as provider:
        one.publish(hosts={**one.snapshot.hosts, "red": replace(one.snapshot.hosts["red"], base_url=provider.url)})
        async with http(one) as client:
            body = {"model": "red", "input": "hi", "max_output_tokens": 16, "stream": True}
            one.publish(
                endpoints={"red": Endpoint(name="red", kind="chat", route=(Target(target="red/gpt-4.1-nano"),), retries=0)}
            )
            reply = await client.post("/v1/responses", json=body)
    assert ends in (reply.text if reply.status_code == 200 else "error")
    assert (reply.status_code == 200 and "response.completed" in reply.text) is (ends == "completed")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"), ("DELETE", "/v1/responses/resp_1"), ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"), ("POST", "/v1/responses/compact"), ("POST", "/v1/responses/input_tokens"),
    ],
)  # fmt: skip
async def test_a_stored_answer_is_nothing_here(one: House, method: str, path: str) -> None:
    async with http(one) as client:
        reply = await client.request(method, path)
        stranger = await client.request(method, path, headers={"authorization": "Bearer nobody"})
        assert (await client.get("/v1/responses")).status_code == 405
    assert (reply.status_code, stranger.status_code) == (404, 401)
    assert "POST /v1/responses" in reply.json()["error"]["message"]
    assert reply.headers["x-tandem-trace-id"]


# --- words in


def test_items_become_messages() -> None:
    items: list[Any] = [
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "gAAA"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look."}],
            "id": "m",
            "status": "completed",
        },
        {"type": "function_call", "call_id": "c_1", "name": "find", "arguments": '{"q":1}', "id": "fc"},
        {"type": "function_call", "call_id": "c_2", "name": "find", "arguments": ""},
        {"type": "function_call_output", "call_id": "c_1", "output": "here"},
        {
            "type": "function_call_output",
            "call_id": "c_2",
            "output": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}],
        },
        {"role": "assistant", "content": "One."},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": [{"type": "input_file", "file_url": "https://e.org/a.pdf", "filename": "a"}]},
    ]
    body = {
        "model": "m", "instructions": "Be brief.", "input": items,
        "tools": [{"type": "function", "name": "find", "parameters": SCHEMA}],
        "tool_choice": {"type": "function", "name": "find"}, "parallel_tool_calls": False, "max_output_tokens": 9, "top_p": 0.5,
        "temperature": 0, "reasoning": {"effort": "low", "summary": "auto"}, "user": "u", "stream": True,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}, "verbosity": "low"},
        "store": True, "include": ["reasoning.encrypted_content"], "stream_options": {"include_obfuscation": False},
    }  # fmt: skip
    chat = DIALECT.chat(json.dumps(body).encode())
    shown = (Image(media="image/png", data="AA=="),)
    assert chat == Chat(
        messages=(
            Message(role="system", parts=(Text(text="Be brief."),)),
            Message(role="system", parts=(Text(text="Be kind."),)),
            Message(role="user", parts=(Text(text="hi"),)),
            Message(
                role="assistant",
                parts=(
                    Thinking(text="Hm.", signature="responses:rs_1:gAAA"),
                    Text(text="I look."),
                    ToolCall(id="c_1", name="find", arguments='{"q":1}'),
                    ToolCall(id="c_2", name="find", arguments=""),
                ),
            ),
            Message(role="tool", parts=(ToolResult(call="c_1", parts=(Text(text="here"),)), ToolResult(call="c_2", parts=shown))),
            Message(role="assistant", parts=(Text(text="One."),)),
            Message(role="assistant", parts=(Text(text="Two."),)),
            Message(role="user", parts=(Document(url="https://e.org/a.pdf", name="a"),)),
        ),
        tools=(Tool(name="find", schema=SCHEMA),),
        choice=Choice(mode="one", name="find", parallel=False),
        format=Format(schema=SCHEMA, name="n", strict=True),
        max_output=9,
        temperature=0,
        top_p=0.5,
        effort="low",
        summary="auto",
        user="u",
        stream=True,
        rest={"store": True, "text.verbosity": "low"},
    )


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].content[0].file_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input[0].content[0].file_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
    ],
)
async def test_what_one_account_alone_has_is_refused_elsewhere(one: House, more: dict[str, Any], field: str) -> None:
    one.publish(endpoints={"chat": Endpoint(name="chat", kind="chat", route=(Target(target="mock/gpt-4o-mini"),))})
    async with http(one) as client:
        reply = await client.post("/v1/responses", json={"model": "chat", "input": "hi", **more})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == field
    assert one.mock.requests() == []


async def test_a_target_that_can_carry_it_is_asked_instead(one: House, gpt: openai.AsyncOpenAI) -> None:
    """`mixed` asks chat completions first; what these have no place for goes to the target that has."""
    prices = {**one.snapshot.prices, "mock/gpt-4o-mini": one.snapshot.prices["red/gpt-4.1-nano"]}
    one.publish(prices=prices)
    await gpt.responses.create(model="mixed", input="hi")
    told: Any = await gpt.responses.create(model="mixed", input="hi", prompt={"id": "pmpt_1"})
    assert [request["path"] for request in one.mock.requests()] == ["/v1/chat/completions", "/v1/responses"]
    more = await gpt.responses.create(model="mixed", input="And?", previous_response_id=told.id)
    assert more.previous_response_id == told.id


async def test_what_changes_no_answer_is_named(one: House) -> None:
    one.publish(endpoints={"chat": Endpoint(name="chat", kind="chat", route=(Target(target="mock/gpt-4o-mini"),))})
    tool = {"type": "function", "name": "find", "parameters": SCHEMA, "strict": None, "output_schema": SCHEMA, "async": True}
    more = {
        "store": True,
        "metadata": {"a": "b"},
        "truncation": "auto",
        "service_tier": None,
        "tools": [tool],
        "background": False,
    }
    async with http(one) as client:
        reply = await client.post(
            "/v1/responses", json={"model": "chat", "input": "hi", "reasoning": {"summary": "auto"}, **more}
        )
        plain = await client.post("/v1/responses", json={"model": "chat", "input": "hi", "store": False, "include": []})
    assert reply.headers["x-tandem-dropped"] == "reasoning.summary, store, metadata, truncation, tools.output_schema, tools.async"
    assert "x-tandem-dropped" not in plain.headers


# --- words out


def events(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(data(frame) or b"") for frame in Frames().feed(stream)]


def check(told: Sequence[dict[str, Any]]) -> None:
    """What holds in every stream: numbers in order, each item opened before it is spoken and closed once, the end says all."""
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert [event["type"] for event in told[:2]] == ["response.created", "response.in_progress"]
    items: dict[int, dict[str, Any]] = {}
    texts: dict[int, str] = {}
    open_now: set[int] = set()
    for event in told[2:-1]:
        index = event["output_index"]
        if event["type"] == "response.output_item.added":
            assert index == len(texts)
            texts[index] = ""
            open_now.add(index)
        elif event["type"] == "response.output_item.done":
            items[index] = event["item"]
            open_now.remove(index)
        else:
            assert index in open_now
            texts[index] += event["delta"] if event["type"].endswith(".delta") else ""
    assert not open_now
    last = told[-1]["response"]
    assert last["output"] == [items[index] for index in sorted(items)]
    for index, item in items.items():
        said = item.get("arguments")
        if said is None:
            parts = item.get("content", item.get("summary"))
            said = "".join([part.get("text", part.get("refusal")) for part in parts])
        assert texts[index] == said


def written(deltas: Iterable[Delta]) -> list[dict[str, Any]]:
    writer = DIALECT.writer(HEAD)
    return events(b"".join([*[writer.feed([delta]) for delta in deltas], writer.end()]))


piece = st.text(max_size=5)
said = st.one_of(
    st.builds(TextDelta, text=piece),
    st.builds(RefusalDelta, text=piece),
    st.builds(ThinkingDelta, text=piece, signature=st.sampled_from(["", "EqQB"])),
    st.builds(ThinkingDelta, hidden=st.just("aGlkZGVu")),
)


@given(st.lists(said, max_size=12), st.lists(st.tuples(st.integers(0, 2), piece), max_size=8), st.randoms())
def test_whatever_is_said_the_events_are_in_order_and_the_whole_is_the_stream(words: Any, calls: Any, dice: Any) -> None:
    arguments = {place: json.dumps({"q": "".join(text for at, text in calls if at == place)}) for place, _ in calls}
    deltas: list[Delta] = list(words)
    for place, text in arguments.items():
        cuts = sorted(dice.sample(range(len(text) + 1), 2))
        pieces = [text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]]
        made = [ToolDelta(place=place, id=f"c_{place}", name="f", arguments=pieces[0])]
        made += [ToolDelta(place=place, arguments=each) for each in pieces[1:]]
        at = 0
        for delta in made:  # in their order, among all others
            at = dice.randint(at, len(deltas))
            deltas.insert(at, delta)
            at += 1
    deltas += [Used(usage=Usage(input=3, output=2, source="provider")), Finish(reason="stop")]
    told = written(deltas)
    check(told)
    last = told[-1]["response"]
    assert last == json.loads(DIALECT.whole(deltas, HEAD))
    assert {item["call_id"]: item["arguments"] for item in last["output"] if item["type"] == "function_call"} == {
        f"c_{place}": text for place, text in arguments.items()
    }
    texts = "".join(part.get("text", "") for item in last["output"] if item["type"] == "message" for part in item["content"])
    assert texts == "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    read = Responses().whole(DIALECT.whole(deltas, HEAD))
    assert [delta.usage for delta in read if isinstance(delta, Used)] == [Usage(input=3, output=2, source="provider")]


def test_a_thoughts_proof_comes_back_as_it_went() -> None:
    deltas = [
        ThinkingDelta(text="Hm"), ThinkingDelta(text="m."), ThinkingDelta(signature="EqQB=="), ThinkingDelta(hidden="c2Vj"),
        ToolDelta(place=0, id="c_1", name="f", arguments="{}", signature="Z2Vt"), Finish(reason="tool_calls"),
    ]  # fmt: skip
    output = json.loads(DIALECT.whole(deltas, HEAD))["output"]
    result = {"type": "function_call_output", "call_id": output[-1]["call_id"], "output": "x"}
    chat = DIALECT.chat(json.dumps({"model": "m", "input": [*output, result]}).encode())
    assert chat.messages[0].parts == (
        Thinking(text="Hmm.", signature="EqQB=="),
        Thinking(hidden="c2Vj"),
        ToolCall(id="c_1", name="f", arguments="{}", signature="Z2Vt"),
    )
    assert chat.messages[1].parts == (ToolResult(call="c_1", parts=(Text(text="x"),)),)


async def test_thoughts_go_round_under_guards(one: House, gpt: openai.AsyncOpenAI) -> None:
    """The mock takes back only what it has sealed itself; through words it is the same."""
    one.publish(policies=guarded(POLICY))
    tools: Any = [{"type": "function", "name": "find", "parameters": SCHEMA, "strict": False}]
    asked: Any = {"model": "thinker", "tools": tools, "reasoning": {"effort": "low", "summary": "auto"}}
    async with gpt.responses.stream(**asked, input="Please find it.") as running:
        first = await running.get_final_response()
    assert [item.type for item in first.output] == ["reasoning", "function_call"]
    thought, call = [item.model_dump(exclude_none=True) for item in first.output]
    assert thought["summary"][0]["text"]
    call = {name: call[name] for name in ("type", "call_id", "name", "arguments")}
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "fine"}
    again = await gpt.responses.create(**asked, input=[{"role": "user", "content": "Please find it."}, thought, call, output])
    assert again.status == "completed"
    assert first.usage is not None
    assert first.usage.output_tokens_details.reasoning_tokens > 0


def test_an_answer_repeats_what_it_followed() -> None:
    tools = [{"type": "function", "name": "find", "parameters": SCHEMA}]
    asked = {"model": "m", "input": "hi", "instructions": "Be brief.", "tools": tools, "tool_choice": None, "temperature": 0.5}
    told = events(DIALECT.writer(replace(HEAD, asked=json.dumps(asked).encode())).end())
    for event in (told[0], told[-1]):
        repeated = {name: event["response"][name] for name in ("instructions", "tools", "temperature")}
        assert repeated == {name: asked[name] for name in repeated}
        assert (event["response"]["tool_choice"], event["response"]["parallel_tool_calls"]) == ("auto", True)
    assert json.loads(DIALECT.whole([], replace(HEAD, asked=b"{")))["tools"] == []


def test_reasons_and_usage_at_the_end() -> None:
    usage = Usage(input=3, cache_read=2, cache_write=1, output=4, reasoning=5)
    last = written([TextDelta(text="x"), Used(usage=usage), Finish(reason="length")])[-1]
    assert (last["type"], last["response"]["incomplete_details"]) == ("response.incomplete", {"reason": "max_output_tokens"})
    assert last["response"]["usage"] == {
        "input_tokens": 6, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1}, "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 15,
    }  # fmt: skip
    filtered = written([Finish(reason="content_filter")])[-1]["response"]
    assert (filtered["status"], filtered["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})


def test_a_stream_that_fails_says_so_last() -> None:
    writer = DIALECT.writer(HEAD)
    begun = writer.feed([TextDelta(text="x")])
    told = events(begun + writer.fail(Upstream("Cut.", code="truncated_stream")))
    assert told[-1]["type"] == "response.failed"
    assert told[-1]["response"]["error"] == {"code": "server_error", "message": "Cut."}
    assert [b["sequence_number"] - a["sequence_number"] for a, b in pairwise(told)] == [1] * (len(told) - 1)
    (alone,) = events(DIALECT.writer(HEAD).fail(Upstream("Cut.", code="truncated_stream")))
    assert (alone["type"], alone["code"], alone["message"]) == ("error", "truncated_stream", "Cut.")


def test_a_call_that_goes_on_after_its_end_is_an_error() -> None:
    writer = DIALECT.writer(HEAD)
    writer.feed([ToolDelta(place=0, id="c", name="f", arguments="{}"), TextDelta(text="x"), ToolDelta(place=0, arguments=" ")])
    with pytest.raises(Upstream):
        writer.feed([ToolDelta(place=0, arguments="{}")])


# --- guards, records


async def test_a_masked_secret_comes_back_into_json_as_json_writes_it(one: House, gpt: openai.AsyncOpenAI) -> None:
    """`text.format` says that the answer is JSON, so that what comes back into it is written as JSON has it."""
    meta = json.dumps({"guards": [{"detector": "private-key", "on": ["in", "out"], "action": "mask"}]}).encode()
    secret = f"-----BEGIN PRIVATE KEY-----\n{'MIIEvQIBADANBgkq' * 4}\n-----END PRIVATE KEY-----"
    one.publish(policies=guarded(meta))
    for stream in (False, True):
        asked: Any = {"model": "assistant", "input": f'Keep {secret} in mind.\nx-mock-reply: {{"q": "<PRIVATE-KEY-1>"}}'}
        asked["text"] = {"format": {"type": "json_schema", "name": "risk", "schema": SCHEMA}}
        if stream:
            async with gpt.responses.stream(**asked) as running:
                text = (await running.get_final_response()).output_text
        else:
            text = (await gpt.responses.create(**asked)).output_text
        assert json.loads(text) == {"q": secret}


@pytest.mark.parametrize("target", ["red/gpt-4.1-nano", "mock/gpt-4o-mini"])
async def test_a_secret_that_is_cut_by_deltas_does_not_leave(one: House, gpt: openai.AsyncOpenAI, target: str) -> None:
    meta = json.dumps(
        {
            "guards": [
                {"detector": "email", "on": ["out"], "action": "mask"},
                {"detector": "card", "on": ["out"], "action": "block"},
            ]
        }
    ).encode()
    one.publish(
        policies=guarded(meta),
        endpoints={"guarded": Endpoint(name="guarded", kind="chat", route=(Target(target=target),), retries=0)},
    )
    told = "x-mock-reply: Write to ann.lee@example.org today."
    async with gpt.responses.stream(model="guarded", input=told) as running:
        kinds = [event async for event in running]
        final = await running.get_final_response()
    assert "ann.lee" not in repr(kinds)
    assert final.output_text == "Write to <EMAIL> today."
    with pytest.raises(openai.PermissionDeniedError):
        await gpt.responses.create(model="guarded", input="x-mock-reply: It is 4111 1111 1111 1111 he said.", stream=True)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_is_read_from_the_record(one: House, gpt: openai.AsyncOpenAI, stream: bool) -> None:
    asked: Any = {"model": "assistant", "instructions": "Be brief.", "input": FACTS}
    async with http(one) as client:
        reply = await client.post("/v1/responses", json={**asked, "stream": stream})
    told = dialogue.answered(reply.text)
    assert [turn.role for turn in told] == ["assistant"]
    assert "17.9" in told[0].text
    turns = dialogue.asked(json.dumps(asked))
    assert [turn.role for turn in turns] == ["system", "user"]
    assert dialogue.question(json.dumps(asked)) == FACTS


async def test_an_endpoint_over_hosts_of_both_kinds_books_both_to_the_nano_dollar(one: House, gpt: openai.AsyncOpenAI) -> None:
    for model in ("assistant", "thinker"):
        await gpt.responses.create(model=model, input=FACTS)
        one.move()
        (row, *_) = one.traces.list(team=None)
        call = one.traces.find(row.trace, team=None).calls[0]
        assert call.cost == one.mock.bill()[-1].cost_nano
