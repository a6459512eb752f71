"""Every client against every protocol of a provider: the same words, the same tools, and the bill to the nano-dollar."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from pydantic import BaseModel

from tandem.core.endpoint import Endpoint, Target
from tandem.core.money import Price
from tandem.gateway.prices import VENDORS, price_of
from tandem.gateway.snapshot import Host, Served
from tandem.mock.settings import MockSettings
from tandem.store.vault import Vault
from tests.gateway.conftest import KEY, House, house

MODELS = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-2.5-flash",
    "bedrock": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    "azure": "gpt-4o-mini",
    "responses": "gpt-4.1-nano",
    "cohere": "command-a-03-2025",
    "mistral": "mistral-small-2603",
}
ROOTS = {
    "openai": "/v1",
    "anthropic": "/anthropic/v1",
    "gemini": "/v1beta",
    "bedrock": "?region=us-east-1",
    "azure": "",
    "responses": "/v1",
    "cohere": "/v2",
    "mistral": "/mistral/v1",
}
KEYS = {"bedrock": b"AKIAEXAMPLE:secret:session"}
PROTOCOLS = sorted(MODELS)
FACTS = "radius: 17.9\ntexture: 10.4\nExplain the risk score in two sentences."
SCHEMA: Any = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
POLICY = json.dumps(
    {
        "guards": [
            {"detector": "email", "on": ["in", "out"], "action": "mask"},
            {"detector": "card", "on": ["in", "out"], "action": "block"},
        ]
    }
).encode()


@pytest.fixture
async def across(door: House) -> House:
    spread(door)
    return door


def spread(door: House) -> None:
    """Gives the door one endpoint for each protocol, named after it."""
    (own,) = door.snapshot.hosts.values()
    hosts: dict[str, Host] = {}
    endpoints: dict[str, Endpoint] = {}
    prices: dict[str, Price] = {}
    for protocol, model in MODELS.items():
        address = f"{protocol}/{model}"
        sealed = Vault(bytes(32)).seal("provider", KEYS.get(protocol, b"mk"), protocol.encode())
        hosts[protocol] = replace(
            own, name=protocol, protocol=protocol, base_url=f"{door.mock.url}{ROOTS[protocol]}", keys=(sealed,)
        )
        endpoints[protocol] = Endpoint(name=protocol, kind="chat", route=(Target(target=address),), retries=0)
        price = price_of(model, VENDORS[protocol], door.snapshot.compiled_at)
        assert price is not None
        prices[address] = price
    door.publish(hosts=hosts, endpoints=endpoints, prices=prices)


@pytest.fixture
async def gpt(across: House) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{across.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(across: House) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=f"{across.url}/anthropic", api_key=KEY, max_retries=0) as client:
        yield client


def booked(door: House) -> Any:
    """The newest call as it was recorded; its cost is the mock's bill."""
    door.move()
    (row, *_) = door.traces.list(team=None)
    call = door.traces.find(row.trace, team=None).calls[0]
    bill = door.mock.bill()[-1]
    assert call.cost == bill.cost_nano
    used = call.attempts[-1].usage
    assert (used.total_input, used.total_output) == (bill.prompt_tokens, bill.completion_tokens)
    return call


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_openais_client_is_answered_whole_and_streamed(across: House, gpt: openai.AsyncOpenAI, protocol: str) -> None:
    asked: Any = {"model": protocol, "messages": [{"role": "user", "content": FACTS}], "max_tokens": 200}
    whole = await gpt.chat.completions.create(**asked)
    call = booked(across)
    assert call.outcome == "ok"
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == call.attempts[0].usage.total_input
    assert whole.choices[0].message.content is not None
    assert "17.9" in whole.choices[0].message.content
    pieces = []
    usage = None
    stream = await gpt.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    async for chunk in stream:
        usage = chunk.usage or usage
        pieces += [choice.delta.content or "" for choice in chunk.choices]
    assert len([piece for piece in pieces if piece]) > 3
    assert "".join(pieces) == whole.choices[0].message.content
    assert usage is not None
    assert usage.completion_tokens == booked(across).attempts[0].usage.total_output


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_anthropics_client_is_answered_whole_and_streamed(
    across: House, claude: anthropic.AsyncAnthropic, protocol: str
) -> None:
    asked: Any = {"model": protocol, "messages": [{"role": "user", "content": FACTS}], "max_tokens": 200}
    whole = await claude.messages.create(**asked)
    call = booked(across)
    (block,) = whole.content
    assert block.type == "text"
    assert "17.9" in block.text
    assert whole.stop_reason == "end_turn"
    assert whole.usage.output_tokens == call.attempts[0].usage.total_output
    async with claude.messages.stream(**asked) as stream:
        pieces = [text async for text in stream.text_stream]
        final = await stream.get_final_message()
    assert len(pieces) > 3
    assert "".join(pieces) == block.text
    assert final.usage.output_tokens == booked(across).attempts[0].usage.total_output


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_responses_are_given_whole_and_streamed(across: House, gpt: openai.AsyncOpenAI, protocol: str) -> None:
    asked: Any = {"model": protocol, "instructions": "Be brief.", "input": FACTS, "max_output_tokens": 200}
    whole = await gpt.responses.create(**asked)
    call = booked(across)
    assert (call.outcome, whole.status) == ("ok", "completed")
    assert whole.usage is not None
    assert whole.usage.input_tokens == call.attempts[0].usage.total_input
    assert "17.9" in whole.output_text
    async with gpt.responses.stream(**asked) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(pieces) > 3
    assert "".join(pieces) == final.output_text == whole.output_text
    assert final.usage is not None
    assert final.usage.output_tokens == booked(across).attempts[0].usage.total_output


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_responses_call_tools_and_bring_their_results(
    across: House, gpt: openai.AsyncOpenAI, protocol: str, stream: bool
) -> None:
    tools: Any = [
        {"type": "function", "name": name, "description": "Finds.", "parameters": SCHEMA, "strict": False}
        for name in ("find", "get")
    ]
    told: Any = [{"role": "user", "content": f"{FACTS} Use find and get."}]
    asked: Any = {"model": protocol, "tools": tools, "max_output_tokens": 100}
    if stream:
        async with gpt.responses.stream(**asked, input=told) as running:
            reply: Any = await running.get_final_response()
    else:
        reply = await gpt.responses.create(**asked, input=told)
    booked(across)
    made = [item for item in reply.output if item.type == "function_call"]
    assert [call.name for call in made] == ["find", "get"]
    assert all(set(json.loads(call.arguments)) == {"q"} for call in made)
    outputs = [{"type": "function_call_output", "call_id": call.call_id, "output": "weather: fine"} for call in made]
    calls = [item.model_dump(exclude_none=True, include={"type", "call_id", "name", "arguments"}) for item in made]
    again = await gpt.responses.create(**asked, input=[*told, *calls, *outputs])
    assert (again.status, [item.type for item in again.output]) == ("completed", ["message"])
    assert "fine" in again.output_text
    booked(across)


class Risk(BaseModel):
    q: str


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_response_has_the_form_that_was_asked_for(across: House, gpt: openai.AsyncOpenAI, protocol: str) -> None:
    parsed = await gpt.responses.parse(model=protocol, input=FACTS, text_format=Risk, max_output_tokens=100)
    assert isinstance(parsed.output_parsed, Risk)
    booked(across)
    async with gpt.responses.stream(model=protocol, input=FACTS, text_format=Risk, max_output_tokens=100) as running:
        assert isinstance((await running.get_final_response()).output_parsed, Risk)
    booked(across)
    cut = await gpt.responses.create(model=protocol, input=FACTS, max_output_tokens=16)
    assert cut.incomplete_details is not None
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    booked(across)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_response_sees_pictures_and_files(across: House, gpt: openai.AsyncOpenAI, protocol: str) -> None:
    parts: Any = [
        {"type": "input_text", "text": FACTS},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"},
    ]
    if protocol == "cohere":  # it has no place for files
        with pytest.raises(openai.BadRequestError, match="takes no document"):
            await gpt.responses.create(model=protocol, input=[{"role": "user", "content": parts}], max_output_tokens=100)
        assert across.mock.requests() == []
        parts.pop()
    reply = await gpt.responses.create(model=protocol, input=[{"role": "user", "content": parts}], max_output_tokens=100)
    assert "17.9" in reply.output_text
    (request,) = across.mock.requests()
    assert json.dumps(request["body"]).count(PIXEL) == len(parts) - 1
    booked(across)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_openais_client_calls_a_tool_and_brings_its_result(
    across: House, gpt: openai.AsyncOpenAI, protocol: str, stream: bool
) -> None:
    tool: Any = {"type": "function", "function": {"name": "find", "description": "Finds.", "parameters": SCHEMA}}
    messages: Any = [{"role": "user", "content": FACTS}]
    asked: Any = {"model": protocol, "tools": [tool], "max_tokens": 100}
    first: Any = {**asked, "messages": messages, "tool_choice": "required"}
    if stream:
        async with gpt.chat.completions.stream(**first) as running:
            message = (await running.get_final_completion()).choices[0].message
    else:
        message = (await gpt.chat.completions.create(**first)).choices[0].message
    booked(across)
    assert message.tool_calls is not None
    (made,) = message.tool_calls
    assert made.type == "function"
    assert made.function.name == "find"
    assert set(json.loads(made.function.arguments)) == {"q"}
    said = message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
    said["tool_calls"] = [{key: each[key] for key in ("id", "type", "function")} for each in said["tool_calls"]]
    for each in said["tool_calls"]:
        each["function"] = {key: each["function"][key] for key in ("name", "arguments")}
    result = {"role": "tool", "tool_call_id": made.id, "content": "weather: fine"}
    again = await gpt.chat.completions.create(**asked, messages=[*messages, said, result])
    assert again.choices[0].message.content
    assert again.choices[0].finish_reason == "stop"
    booked(across)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_anthropics_client_calls_a_tool_and_brings_its_result(
    across: House, claude: anthropic.AsyncAnthropic, protocol: str, stream: bool
) -> None:
    tool: Any = {"name": "find", "description": "Finds.", "input_schema": SCHEMA}
    messages: Any = [{"role": "user", "content": FACTS}]
    asked: Any = {"model": protocol, "tools": [tool], "max_tokens": 100}
    first: Any = {**asked, "messages": messages, "tool_choice": {"type": "any"}}
    if stream:
        async with claude.messages.stream(**first) as running:
            message = await running.get_final_message()
    else:
        message = await claude.messages.create(**first)
    booked(across)
    assert message.stop_reason == "tool_use"
    (made,) = [block for block in message.content if block.type == "tool_use"]
    assert (made.name, set(made.input)) == ("find", {"q"})
    result: Any = {"type": "tool_result", "tool_use_id": made.id, "content": "weather: fine"}
    turns: Any = [*messages, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    again = await claude.messages.create(**asked, messages=turns)
    assert again.stop_reason == "end_turn"
    booked(across)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_form_is_kept_across(across: House, gpt: openai.AsyncOpenAI, protocol: str) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "risk", "schema": {**SCHEMA, "additionalProperties": False}}}
    reply = await gpt.chat.completions.create(
        model=protocol, messages=[{"role": "user", "content": FACTS}], max_tokens=100, response_format=form
    )
    assert set(json.loads(reply.choices[0].message.content or "")) == {"q"}
    booked(across)


def failing(protocol: str, order: str) -> dict[str, Any]:
    told = [{"role": "user", "content": f"{FACTS}\nx-mock-fault: {order}"}]
    return {"model": protocol, "messages": told, "max_tokens": 60, "stream": True}


ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


def failing_response(protocol: str, order: str) -> dict[str, Any]:
    return {"model": protocol, "input": f"{FACTS}\nx-mock-fault: {order}", "max_output_tokens": 60, "stream": True}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("order", "ours", "theirs"), [("429", 429, 429), ("context", 400, 400), ("error-after=3", 502, 529)])
async def test_a_refusal_is_told_in_the_words_of_the_caller(
    across: House, protocol: str, order: str, ours: int, theirs: int
) -> None:
    """An error that comes before anything was passed on is one too: the caller may ask again."""
    async with httpx2.AsyncClient(base_url=across.url, headers={"authorization": f"Bearer {KEY}"}) as http:
        chat = await http.post("/v1/chat/completions", json=failing(protocol, order))
        message = await http.post("/anthropic/v1/messages", json=failing(protocol, order))
        response = await http.post("/v1/responses", json=failing_response(protocol, order))
    assert (chat.status_code, response.status_code) == (ours, ours)
    assert response.json()["error"]["message"]
    assert chat.json()["error"]["message"]
    vague = protocol in ("openai", "azure", "cohere", "mistral")  # what fails within an answer has no class there
    assert message.status_code == (502 if vague and order.startswith("error") else theirs)
    assert message.json()["type"] == "error"


@pytest.mark.parametrize("order", ["error-after=3", "cut-after=3", "malformed-after=3"])
async def test_a_stream_that_breaks_off_never_looks_finished(tmp_path: Path, order: str) -> None:
    async with (
        house(tmp_path, settings=MockSettings(port=0, per_token_ms=2)) as door,
        httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"}) as http,
    ):
        spread(door)
        for protocol in PROTOCOLS:
            if order.startswith("malformed") and protocol not in ("gemini", "bedrock", "responses", "cohere"):
                continue  # where the caller speaks it too, bytes pass as they are
            chat = await http.post("/v1/chat/completions", json=failing(protocol, order))
            assert (chat.status_code, chat.text.count("data: [DONE]")) == (200, 0), (protocol, chat.text)
            assert chat.text.count('"error"') >= 1, (protocol, chat.text)
            message = await http.post("/anthropic/v1/messages", json=failing(protocol, order))
            assert (message.status_code, message.text.count("event: message_stop")) == (200, 0), (protocol, message.text)
            assert message.text.count("event: error") == 1, (protocol, message.text)
            if not (order.startswith("malformed") and protocol == "responses"):
                response = await http.post("/v1/responses", json=failing_response(protocol, order))
                ends = [kind for kind in ENDS if f"event: {kind}\n" in response.text]
                assert (response.status_code, len(ends)) == (200, 1), (protocol, response.text)
                assert ends[0] in ("error", "response.failed")
            door.move()
            (row, *_) = door.traces.list(team=None)
            assert door.traces.find(row.trace, team=None).calls[0].outcome != "ok"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_guards_hold_whatever_the_provider_speaks(
    across: House, gpt: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, protocol: str, stream: bool
) -> None:
    """What is masked never goes upstream and comes back to the caller; what must not pass is not sent."""
    across.publish(policies={"policy/default@production": Served(ref="policy/default@1", members="", digest="", meta=POLICY)})
    told: Any = [{"role": "user", "content": "contact: ann.lee@example.org\nWhom do I contact?"}]
    if stream:
        async with gpt.chat.completions.stream(model=protocol, max_tokens=200, messages=told) as running:
            said = (await running.get_final_completion()).choices[0].message.content
        async with claude.messages.stream(model=protocol, max_tokens=200, messages=told) as answering:
            message = await answering.get_final_message()
        async with gpt.responses.stream(model=protocol, max_output_tokens=200, input=told) as responding:
            responded = (await responding.get_final_response()).output_text
    else:
        said = (await gpt.chat.completions.create(model=protocol, max_tokens=200, messages=told)).choices[0].message.content
        message = await claude.messages.create(model=protocol, max_tokens=200, messages=told)
        responded = (await gpt.responses.create(model=protocol, max_output_tokens=200, input=told)).output_text
    assert "ann.lee@example.org" in (said or "")
    assert "ann.lee@example.org" in responded
    assert "ann.lee@example.org" in "".join(block.text for block in message.content if block.type == "text")
    for request in across.mock.requests():
        assert "ann.lee" not in json.dumps(request["body"])
    before = len(across.mock.bill())
    leak: Any = {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {"id": "4111 1111 1111 1111"}}
    result: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "none"}
    turns: Any = [*told, {"role": "assistant", "content": [leak]}, {"role": "user", "content": [result]}]
    with pytest.raises(anthropic.PermissionDeniedError):
        await claude.messages.create(model=protocol, max_tokens=5, messages=turns)
    called: Any = [{"type": "function_call", "call_id": "c_1", "name": "find", "arguments": json.dumps(leak["input"])}]
    with pytest.raises(openai.PermissionDeniedError):
        await gpt.responses.create(model=protocol, input=[*told, *called], max_output_tokens=16)
    assert len(across.mock.bill()) == before


async def test_what_a_caller_sends_its_own_provider_goes_there_as_it_is(across: House, claude: anthropic.AsyncAnthropic) -> None:
    """Bytes and the vendor's own headers pass; to another vendor neither goes."""
    own = {"anthropic-version": "2026-10-21", "anthropic-beta": "files-2030-01-01"}
    for protocol in ("anthropic", "openai"):
        await claude.messages.create(
            model=protocol,
            max_tokens=30,
            system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            messages=[{"role": "user", "content": FACTS}],
            extra_headers=own,
        )
    theirs, ours = across.mock.requests()
    sent: Any = theirs["headers"]
    assert {name: sent.get(name) for name in own} == own
    body: Any = theirs["body"]
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert not any(name.startswith("anthropic") for name in ours["headers"])  # type: ignore[attr-defined]


async def test_a_marked_beginning_is_written_and_read_and_billed_so(across: House, claude: anthropic.AsyncAnthropic) -> None:
    asked: Any = {
        "model": "anthropic",
        "max_tokens": 30,
        "system": [{"type": "text", "text": "Be brief. " * 40, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [{"role": "user", "content": FACTS}],
    }
    first = await claude.messages.create(**asked)
    written = booked(across).attempts[0].usage
    second = await claude.messages.create(**asked)
    read = booked(across).attempts[0].usage
    assert first.usage.cache_creation_input_tokens == written.cache_write_1h > 0
    assert second.usage.cache_read_input_tokens == read.cache_read == written.cache_write_1h


async def test_embeddings_of_those_who_have_none_are_refused_with_a_way_on(across: House) -> None:
    endpoints = {"vectors": Endpoint(name="vectors", kind="embed", route=(Target(target="anthropic/claude-haiku-4-5"),))}
    across.publish(endpoints=endpoints)
    async with httpx2.AsyncClient(base_url=across.url, headers={"authorization": f"Bearer {KEY}"}) as http:
        reply = await http.post("/v1/embeddings", json={"model": "vectors", "input": "one"})
    assert reply.status_code == 400
    assert "Anthropic has no embeddings" in reply.json()["error"]["message"]


@pytest.mark.parametrize("protocol", ["anthropic", "bedrock", "cohere", "gemini"])
@pytest.mark.parametrize(
    ("field", "value", "refused"),
    [
        ("n", 1, False), ("n", 2, True), ("logprobs", False, False), ("logprobs", True, True), ("top_logprobs", 0, False),
        ("top_logprobs", 1, True), ("logit_bias", {}, False), ("logit_bias", {"50256": -100}, True),
        ("modalities", ["text"], False),
        ("modalities", ["text", "audio"], True), ("web_search_options", {}, True), ("container", "c_1", True),
    ],
)  # fmt: skip
async def test_nothing_that_changes_the_answer_is_lost_unseen(
    across: House, protocol: str, field: str, value: object, refused: bool
) -> None:
    """True is no 1, and an empty search is a search."""
    ask = {"model": protocol, "messages": [{"role": "user", "content": FACTS}], "max_tokens": 20, field: value}
    async with httpx2.AsyncClient(base_url=across.url, headers={"authorization": f"Bearer {KEY}"}) as http:
        reply = await http.post("/v1/chat/completions", json=ask)
    if not refused:
        assert (reply.status_code, reply.headers.get("x-tandem-dropped")) == (200, None)
        return
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == field
    assert across.mock.bill() == []


@pytest.mark.parametrize("protocol", ["anthropic", "bedrock", "cohere", "gemini"])
async def test_what_does_not_change_the_answer_is_named(across: House, protocol: str) -> None:
    harmless = {"store": True, "metadata": {}, "service_tier": "flex", "n": 1, "parallel_tool_calls": None, "invented": 3}
    ask = {"model": protocol, "messages": [{"role": "user", "content": FACTS}], "max_tokens": 20, **harmless}
    async with httpx2.AsyncClient(base_url=across.url, headers={"authorization": f"Bearer {KEY}"}) as http:
        reply = await http.post("/v1/chat/completions", json=ask)
    assert reply.status_code == 200
    assert reply.headers["x-tandem-dropped"] == "store, service_tier, invented"


@pytest.mark.parametrize("value", ["x", 3, True, [], [[]], {"format": "x"}, {"format": {"type": 3}}, None])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_form_of_another_shape_is_no_fault_of_ours(across: House, protocol: str, value: object) -> None:
    across.publish(policies={"policy/default@production": Served(ref="policy/default@1", members="", digest="", meta=POLICY)})
    ask = {"model": protocol, "messages": [{"role": "user", "content": FACTS}], "max_tokens": 20}
    async with httpx2.AsyncClient(base_url=across.url, headers={"authorization": f"Bearer {KEY}"}) as http:
        for path in ("/anthropic/v1/messages", "/v1/chat/completions"):
            for field in ("output_config", "response_format", "tools", "tool_choice", "thinking", "metadata", "stop", "system"):
                reply = await http.post(path, json={**ask, field: value})
                strict = protocol == "mistral" and path.startswith("/v1") and field in ("output_config", "thinking", "system")
                assert reply.status_code in ((422,) if strict else (200, 400)), (path, field, reply.text)
        asked = {"model": protocol, "input": FACTS}
        for field in ("input", "instructions", "text", "tools", "tool_choice", "reasoning", "include", "metadata", "user"):
            reply = await http.post("/v1/responses", json={**asked, field: value})
            assert reply.status_code in (200, 400, 403), (field, reply.text)
            for inner in ("type", "role", "content", "call_id", "output", "summary", "arguments"):
                reply = await http.post(
                    "/v1/responses", json={**asked, "input": [{"role": "user", "content": "x", inner: value}]}
                )
                assert reply.status_code in (200, 400), (inner, reply.text)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_who_forbids_several_calls_at_once_gets_one(
    across: House, gpt: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, protocol: str, stream: bool
) -> None:
    """Also where the provider cannot be told: what it calls beside the first is paid for and not passed on."""
    functions = [{"name": name, "description": "Does.", "parameters": SCHEMA} for name in ("find", "keep")]
    told: Any = [{"role": "user", "content": "x-mock-tools: find,keep"}]
    for several in (True, False):
        wanted = ["find", "keep"] if several else ["find"]
        asked: Any = {
            "model": protocol,
            "messages": told,
            "max_tokens": 100,
            "tools": [{"type": "function", "function": each} for each in functions],
            "parallel_tool_calls": several,
        }
        if stream:
            async with gpt.chat.completions.stream(**asked) as running:
                message = (await running.get_final_completion()).choices[0].message
        else:
            message = (await gpt.chat.completions.create(**asked)).choices[0].message
        assert [made.function.name for made in message.tool_calls or () if made.type == "function"] == wanted
        booked(across)
        theirs: Any = [{"name": each["name"], "input_schema": SCHEMA} for each in functions]
        choice: Any = {"type": "auto", "disable_parallel_tool_use": not several}
        more: Any = {"model": protocol, "messages": told, "max_tokens": 100, "tools": theirs, "tool_choice": choice}
        if stream:
            async with claude.messages.stream(**more) as answering:
                blocks = (await answering.get_final_message()).content
        else:
            blocks = (await claude.messages.create(**more)).content
        assert [block.name for block in blocks if block.type == "tool_use"] == wanted
        booked(across)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_openais_clients_find_its_own_word_for_a_prompt_that_is_too_long(across: House, protocol: str) -> None:
    async with httpx2.AsyncClient(base_url=across.url, headers={"authorization": f"Bearer {KEY}"}) as http:
        reply = await http.post("/v1/chat/completions", json={**failing(protocol, "context"), "stream": False})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")


async def test_a_client_does_not_ask_again_where_money_is_short(across: House) -> None:
    across.cap(1)
    async with openai.AsyncOpenAI(base_url=f"{across.url}/v1", api_key=KEY, max_retries=2) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(model="openai", messages=[{"role": "user", "content": FACTS}])
    assert refused.value.code == "over_budget"
    across.move()
    assert len(across.traces.list(team=None)) == 1
