"""Anthropic's own Python client, unmodified, in front of the mock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message, MessageParam
from pydantic import BaseModel

from tandem.core.clock import SystemClock
from tandem.core.secret import Secret
from tandem.mock import tokens
from tandem.mock.anthropic_reply import THOUGHT
from tandem.mock.anthropic_wire import Border, signature
from tandem.mock.cache import MICROS, PromptCache
from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings

HAIKU = "claude-haiku-4-5"
HELLO: list[MessageParam] = [{"role": "user", "content": "hello world!"}]
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TIME: dict[str, Any] = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
BOTH: list[MessageParam] = [{"role": "user", "content": "get_weather, get_time\ncity: Lyon"}]


@pytest.fixture(params=["/anthropic", ""])
async def claude(mock: MockHandle, request: pytest.FixtureRequest) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=f"{mock.url}{request.param}", api_key="sk-test", max_retries=0, timeout=20) as opened:
        yield opened


@pytest.fixture
async def raw(mock: MockHandle) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"x-api-key": "sk-test", "anthropic-version": "2023-06-01"}
    async with httpx2.AsyncClient(base_url=f"{mock.url}/v1", headers=headers, timeout=20) as opened:
        yield opened


def said(message: Message) -> str:
    return "".join([block.text for block in message.content if block.type == "text"])


async def test_a_message(mock: MockHandle, claude: AsyncAnthropic) -> None:
    reply = await claude.messages.create(model=HAIKU, max_tokens=500, messages=HELLO)
    assert "hello world!" in said(reply)
    assert (reply.type, reply.role, reply.model, reply.stop_reason) == ("message", "assistant", HAIKU, "end_turn")
    assert reply.id.startswith("msg_")
    used = tokens.count(said(reply))
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (13, used)
    assert (reply.usage.cache_read_input_tokens, reply.usage.cache_creation_input_tokens) == (0, 0)
    [row] = mock.bill()
    assert (row.prompt_tokens, row.completion_tokens, row.outcome, row.stream) == (13, used, "ok", False)
    assert row.cost_nano == 13 * 1000 + used * 5000
    assert reply._request_id == row.id


async def test_a_stream_says_the_same(mock: MockHandle, claude: AsyncAnthropic) -> None:
    whole = await claude.messages.create(model=HAIKU, max_tokens=500, messages=HELLO)
    async with claude.messages.stream(model=HAIKU, max_tokens=500, messages=HELLO) as stream:
        pieces = [text async for text in stream.text_stream]
        final = await stream.get_final_message()
    assert said(final) == said(whole) == "".join(pieces)
    assert pieces == tokens.split(said(whole))
    assert (final.usage.input_tokens, final.usage.output_tokens) == (whole.usage.input_tokens, whole.usage.output_tokens)
    assert final.stop_reason == "end_turn"
    assert [row.completion_tokens for row in mock.bill()] == [whole.usage.output_tokens] * 2


async def test_events_come_in_the_published_order(claude: AsyncAnthropic) -> None:
    stream = await claude.messages.create(model=HAIKU, max_tokens=2, messages=HELLO, stream=True)
    assert [event.type async for event in stream] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_the_limit_and_the_stop_sequence_are_exact(mock: MockHandle, claude: AsyncAnthropic) -> None:
    cut = await claude.messages.create(model=HAIKU, max_tokens=7, messages=HELLO)
    assert (cut.stop_reason, cut.usage.output_tokens, tokens.count(said(cut))) == ("max_tokens", 7, 7)
    stopped = await claude.messages.create(
        model=HAIKU, max_tokens=50, messages=HELLO, stop_sequences=["no", "two"], extra_headers={"x-mock-reply": "one two"}
    )
    assert (stopped.stop_reason, stopped.stop_sequence, said(stopped)) == ("stop_sequence", "two", "one ")
    assert [row.completion_tokens for row in mock.bill()] == [7, 2]


async def test_parallel_tools_and_their_results_in_one_turn(mock: MockHandle, claude: AsyncAnthropic) -> None:
    tools: Any = [WEATHER, TIME]
    reply = await claude.messages.create(model=HAIKU, max_tokens=100, messages=BOTH, tools=tools)
    calls = [block for block in reply.content if block.type == "tool_use"]
    assert [(call.name, call.input) for call in calls] == [("get_weather", {"city": "Lyon"}), ("get_time", {})]
    assert reply.stop_reason == "tool_use"
    assert reply.usage.output_tokens == (1 + tokens.count('{"city":"Lyon"}')) + (1 + tokens.count("{}"))
    async with claude.messages.stream(model=HAIKU, max_tokens=100, messages=BOTH, tools=tools) as stream:
        final = await stream.get_final_message()
    assert [(block.type, getattr(block, "input", None)) for block in final.content] == [
        ("tool_use", {"city": "Lyon"}),
        ("tool_use", {}),
    ]
    results: list[Any] = [{"type": "tool_result", "tool_use_id": call.id, "content": "temperature: 21"} for call in calls]
    replayed: list[MessageParam] = [*BOTH, {"role": "assistant", "content": reply.content}, {"role": "user", "content": results}]
    answer = await claude.messages.create(model=HAIKU, max_tokens=100, messages=replayed, tools=tools)
    assert "temperature is 21" in said(answer)
    apart: list[MessageParam] = [{"role": "user", "content": [one]} for one in results]
    with pytest.raises(anthropic.BadRequestError, match="without `tool_result` blocks"):
        await claude.messages.create(model=HAIKU, max_tokens=100, messages=[*replayed[:2], *apart], tools=tools)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "any"}, ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, ["get_time"]),
        ({"type": "none"}, []),
        ({"type": "auto", "disable_parallel_tool_use": True}, []),
    ],
)
async def test_the_choice_of_tools_holds(claude: AsyncAnthropic, choice: Any, names: list[str]) -> None:
    tools: Any = [WEATHER, TIME]
    reply = await claude.messages.create(model=HAIKU, max_tokens=100, messages=HELLO, tools=tools, tool_choice=choice)
    assert [block.name for block in reply.content if block.type == "tool_use"] == names


class Verdict(BaseModel):
    decision: Literal["approve", "refer"]
    risk_score: float


async def test_structured_output_is_parsed_by_the_client(claude: AsyncAnthropic) -> None:
    messages: list[MessageParam] = [{"role": "user", "content": "risk score: 0.93\ndecision: refer"}]
    reply = await claude.messages.parse(model=HAIKU, max_tokens=200, messages=messages, output_format=Verdict)
    assert reply.parsed_output == Verdict(decision="refer", risk_score=0.93)


async def test_images_and_documents_are_accepted_and_counted(claude: AsyncAnthropic) -> None:
    content: list[Any] = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "text", "text": "What is it?"},
    ]
    messages: list[MessageParam] = [{"role": "user", "content": content}]
    counted = await claude.messages.count_tokens(model=HAIKU, messages=messages)
    assert counted.input_tokens == 3 + 4 + tokens.IMAGE + tokens.count("What is it?")
    reply = await claude.messages.create(model=HAIKU, max_tokens=5, messages=messages)
    assert reply.usage.input_tokens == counted.input_tokens
    content[0] = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Long text."}}
    assert (await claude.messages.create(model=HAIKU, max_tokens=5, messages=messages)).usage.input_tokens > 20


async def test_a_count_is_not_billed(mock: MockHandle, claude: AsyncAnthropic) -> None:
    counted = await claude.messages.count_tokens(model=HAIKU, messages=HELLO, system="Be brief.")
    assert counted.input_tokens == 13 + 4 + tokens.count("Be brief.")
    assert mock.bill() == []


async def test_thoughts_must_come_back_unchanged(mock: MockHandle, claude: AsyncAnthropic) -> None:
    asked: dict[str, Any] = {"model": "claude-sonnet-4-6", "max_tokens": 2000, "thinking": {"type": "adaptive"}}
    reply = await claude.messages.create(**asked, messages=HELLO)
    thought, text = reply.content
    assert thought.type == "thinking"
    assert (thought.thinking, thought.signature) == (THOUGHT, signature(THOUGHT))
    assert text.type == "text"
    assert reply.usage.output_tokens == tokens.count(THOUGHT) + tokens.count(text.text) == mock.bill()[0].completion_tokens
    assert reply.usage.output_tokens_details is not None
    assert reply.usage.output_tokens_details.thinking_tokens == tokens.count(THOUGHT)
    async with claude.messages.stream(**asked, messages=HELLO) as stream:
        final = await stream.get_final_message()
    assert said(final) == said(reply)
    assert final.content[0] == thought
    back: list[MessageParam] = [*HELLO, {"role": "assistant", "content": reply.content}, {"role": "user", "content": "And?"}]
    await claude.messages.create(**asked, messages=back)
    thought.thinking += "."
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        await claude.messages.create(**asked, messages=back)


async def drained(pieces: AsyncIterator[bytes], heard: list[bytes]) -> None:
    async for piece in pieces:
        heard.append(piece)


# --- the cache


def cached(text: str, ttl: str = "5m") -> list[Any]:
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": ttl}}]


async def test_what_was_written_to_the_cache_is_read_from_it_and_billed_apart(mock: MockHandle, claude: AsyncAnthropic) -> None:
    asked: dict[str, Any] = {"model": HAIKU, "max_tokens": 1, "messages": HELLO}
    first = (await claude.messages.create(**asked, system=cached("The rules of the house."))).usage
    kept = 4 + tokens.count("The rules of the house.")
    assert (first.input_tokens, first.cache_creation_input_tokens, first.cache_read_input_tokens) == (13, kept, 0)
    async with claude.messages.stream(**asked, system=cached("The rules of the house.")) as stream:
        second = (await stream.get_final_message()).usage
    assert (second.input_tokens, second.cache_creation_input_tokens, second.cache_read_input_tokens) == (13, 0, kept)
    other = (await claude.messages.create(**asked, system=cached("Other rules."))).usage
    assert other.cache_read_input_tokens == 0
    written, read, _ = mock.bill()
    assert (written.prompt_tokens, written.written_tokens, written.cached_tokens) == (13 + kept, kept, 0)
    assert (read.prompt_tokens, read.written_tokens, read.cached_tokens) == (13 + kept, 0, kept)
    assert written.cost_nano == 13 * 1000 + kept * 1250 + 5000
    assert read.cost_nano == 13 * 1000 + kept * 100 + 5000


async def test_an_hour_costs_more_and_a_conversation_reads_its_own_beginning(mock: MockHandle, claude: AsyncAnthropic) -> None:
    asked: dict[str, Any] = {"model": HAIKU, "max_tokens": 1, "system": cached("Rules.", "1h")}
    turns: list[Any] = [{"role": "user", "content": cached("One?")}]
    first = (await claude.messages.create(**asked, messages=turns)).usage
    rules, one = 4 + tokens.count("Rules."), 4 + tokens.count("One?")
    assert first.cache_creation is not None
    assert (first.cache_creation.ephemeral_1h_input_tokens, first.cache_creation.ephemeral_5m_input_tokens) == (rules, one)
    turns = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": cached("Two?")},
    ]
    second = (await claude.messages.create(**asked, messages=turns)).usage
    assert second.cache_read_input_tokens == rules + one
    assert second.cache_creation_input_tokens == 8 + tokens.count("Yes.") + tokens.count("Two?")
    assert mock.bill()[0].cost_nano == 3 * 1000 + rules * 2000 + one * 1250 + 5000


async def test_one_mark_for_the_request_and_an_order(mock: MockHandle, claude: AsyncAnthropic) -> None:
    first = await claude.messages.create(model=HAIKU, max_tokens=1, messages=HELLO, cache_control={"type": "ephemeral"})
    assert first.usage.cache_creation_input_tokens == 10
    ordered = await claude.messages.create(model=HAIKU, max_tokens=1, messages=HELLO, extra_headers={"x-mock-cached": "5"})
    assert (ordered.usage.input_tokens, ordered.usage.cache_read_input_tokens) == (8, 5)
    assert mock.bill()[1].cost_nano == 8 * 1000 + 5 * 100 + 5000


def test_the_cache_forgets() -> None:
    cache, now = PromptCache(), SystemClock().now()
    borders = [Border(digest=b"a", tokens=5, keep="5m"), Border(digest=b"b", tokens=9)]
    assert cache.take("m", "k", borders, 12, now).written == 5
    assert cache.take("m", "k", borders, 12, now + MICROS["5m"] - 1).read == 5
    assert cache.take("m", "k", borders, 12, now + 2 * MICROS["5m"] - 2).read == 5
    assert cache.take("m", "k", borders, 12, now + 4 * MICROS["5m"]).read == 0
    assert cache.take("m", "other", borders, 12, now).read == 0
    assert cache.take("m", "k", borders[1:], 12, now).read == 0


# --- refusals and faults


@pytest.mark.parametrize(
    ("status", "kind", "name"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.RequestTooLargeError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.OverloadedError, "overloaded_error"),
        (418, anthropic.APIStatusError, "invalid_request_error"),
    ],
)
async def test_scripted_refusals_have_anthropics_shape(
    mock: MockHandle, claude: AsyncAnthropic, status: int, kind: type[anthropic.APIStatusError], name: str
) -> None:
    mock.faults([f"{status}*1;retry-after=3"])
    with pytest.raises(kind) as caught:
        await claude.messages.create(model=HAIKU, max_tokens=5, messages=HELLO)
    assert type(caught.value) is kind
    assert caught.value.type == name
    assert caught.value.response.headers["retry-after"] == "3"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["request_id"] == caught.value.request_id
    assert mock.bill() == []


async def test_the_client_retries_an_overloaded_mock(mock: MockHandle, claude: AsyncAnthropic) -> None:
    mock.faults(["529*2;retry-after=0.01"])
    await claude.with_options(max_retries=2).messages.create(model=HAIKU, max_tokens=5, messages=HELLO)
    assert [one["status"] for one in mock.requests()] == [529, 529, 200]


async def test_an_error_event_inside_a_200(mock: MockHandle, claude: AsyncAnthropic) -> None:
    mock.faults(["error-after=3"])
    heard: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        async with claude.messages.stream(model=HAIKU, max_tokens=50, messages=HELLO) as stream:
            heard += [text async for text in stream.text_stream]
    assert (caught.value.type, caught.value.status_code) == ("overloaded_error", 200)
    with pytest.raises(anthropic.OverloadedError):
        await claude.messages.create(model=HAIKU, max_tokens=50, messages=HELLO)
    [row] = mock.bill()
    assert (row.outcome, row.completion_tokens) == ("cut", 3)


async def test_an_openai_stream_breaks_off_with_an_error_too(mock: MockHandle, raw: httpx2.AsyncClient) -> None:
    mock.faults(["error-after=1"])
    body = {"model": "gpt-4o", "messages": HELLO, "stream": True}
    headers = {"authorization": "Bearer k"}
    reply = await raw.post("/chat/completions", json=body, headers=headers)
    assert json.loads(reply.text.strip().split("\n\n")[-1].removeprefix("data: "))["error"]["type"] == "server_error"
    assert "[DONE]" not in reply.text
    assert (await raw.post("/chat/completions", json={**body, "stream": False}, headers=headers)).status_code == 503


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_stream_has_no_end(mock: MockHandle, raw: httpx2.AsyncClient, stream: bool) -> None:
    mock.faults(["cut-after=2"])
    body = {"model": HAIKU, "max_tokens": 50, "messages": HELLO, "stream": stream}
    got = await raw.send(raw.build_request("POST", "/messages", json=body), stream=True)
    pieces = got.aiter_raw()
    heard: list[bytes] = []
    with pytest.raises(httpx2.RemoteProtocolError):
        await drained(pieces, heard)
    data = b"".join(heard)
    assert b"message_stop" not in data
    if stream:
        assert data.count(b"text_delta") == 2
    assert mock.bill()[0].outcome == "cut"


async def test_a_stalled_stream_ends_with_the_clients_patience(mock: MockHandle, claude: AsyncAnthropic) -> None:
    mock.faults(["stall-after=1"])
    with pytest.raises((anthropic.APITimeoutError, httpx2.ReadTimeout)):
        async with claude.with_options(timeout=0.3).messages.stream(model=HAIKU, max_tokens=50, messages=HELLO) as stream:
            await stream.get_final_message()


async def test_a_malformed_frame_cannot_be_read(mock: MockHandle, claude: AsyncAnthropic) -> None:
    mock.faults(["malformed"])
    with pytest.raises(json.JSONDecodeError):
        async with claude.messages.stream(model=HAIKU, max_tokens=50, messages=HELLO) as stream:
            await stream.get_final_message()


@pytest.mark.parametrize("stream", [True, False])
async def test_usage_is_missing_wrong_or_double_on_demand(mock: MockHandle, raw: httpx2.AsyncClient, stream: bool) -> None:
    texts = {}
    for word in ("missing", "wrong", "double"):
        mock.faults([f"usage={word}"])
        body = {"model": HAIKU, "max_tokens": 5, "messages": HELLO, "stream": stream}
        texts[word] = (await raw.post("/messages", json=body)).text
    assert '"usage"' not in texts["missing"]
    assert '"output_tokens":1005' in texts["wrong"]
    assert '"input_tokens":1013' in texts["wrong"]
    assert texts["double"].count('"output_tokens":5') == 2
    assert [row.completion_tokens for row in mock.bill()] == [5, 5, 5]


async def test_a_refusal_and_a_context_that_is_full(mock: MockHandle, claude: AsyncAnthropic) -> None:
    mock.faults(["refuse*2", "refuse=400*1", "context*1"])
    empty = await claude.messages.create(model=HAIKU, max_tokens=5, messages=HELLO)
    async with claude.messages.stream(model=HAIKU, max_tokens=5, messages=HELLO) as stream:
        again = await stream.get_final_message()
    for reply in (empty, again):
        assert (reply.stop_reason, reply.content, reply.usage.output_tokens) == ("refusal", [], 0)
    with pytest.raises(anthropic.BadRequestError, match="content filtering policy"):
        await claude.messages.create(model=HAIKU, max_tokens=5, messages=HELLO)
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long: 200001 tokens > 200000 maximum"):
        await claude.messages.create(model=HAIKU, max_tokens=5, messages=HELLO)
    long: list[MessageParam] = [{"role": "user", "content": "a " * 110_000}]
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        await claude.messages.create(model=HAIKU, max_tokens=5, messages=long)


USER = {"role": "user", "content": "x"}
CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]}, "non-whitespace text"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "text.text: Field required"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "image.source"),
        ({"messages": [{"role": "user", "content": [{"type": "odd"}]}]}, "Input tag 'odd'"),
        ({"messages": [{"role": "user", "content": [CALL]}]}, "only be in `assistant`"),
        ({"messages": [USER, {"role": "assistant", "content": [CALL]}]}, "without `tool_result`"),
        ({"messages": [USER, {"role": "assistant", "content": [{**CALL, "input": "{}"}]}]}, "valid dictionary"),
        ({"messages": [USER, {"role": "assistant", "content": [{"type": "tool_result"}]}]}, "only be in `user`"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]}, "unexpected `tool_use_id`"),
        (
            {
                "messages": [
                    USER,
                    {"role": "assistant", "content": [CALL]},
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "y"}, {"type": "tool_result", "tool_use_id": "t", "content": "z"}],
                    },
                ]
            },
            "without `tool_result`",
        ),
        ({"messages": 5}, "messages: Expected"),
        ({"tools": [{"name": "f"}]}, "input_schema: Field required"),
        ({"tools": [{"name": "f", "input_schema": {}}]}, "Input should be 'object'"),
        ({"tools": [WEATHER, WEATHER]}, "unique"),
        ({"tools": 5}, "tools:"),
        ({"tool_choice": {"type": "any"}}, "while providing tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "not found"),
        ({"tools": [WEATHER], "tool_choice": {"type": "x"}}, "Input tag 'x'"),
        ({"temperature": 1.5}, "range: 0..1"),
        ({"stop_sequences": ["\n"]}, "non-whitespace"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "greater than or equal to 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "must be greater than"),
        ({"thinking": {"type": "odd"}}, "Input tag 'odd'"),
        ({"max_tokens": 4000, "thinking": {"type": "adaptive"}, "temperature": 0.5}, "only be set to 1"),
        ({"max_tokens": 4000, "thinking": {"type": "adaptive"}, "top_k": 5}, "must be unset"),
        (
            {"max_tokens": 4000, "thinking": {"type": "adaptive"}, "tools": [WEATHER], "tool_choice": {"type": "any"}},
            "forces tool use",
        ),
    ],
)
async def test_what_the_real_api_refuses_is_refused(raw: httpx2.AsyncClient, members: dict[str, Any], words: str) -> None:
    body = {"model": HAIKU, "max_tokens": 50, "messages": HELLO, **members}
    reply = await raw.post("/messages", json={name: value for name, value in body.items() if value is not None})
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert words in reply.json()["error"]["message"]


async def test_sampling_is_refused_in_the_newer_version_alone(raw: httpx2.AsyncClient) -> None:
    body = {"model": HAIKU, "max_tokens": 5, "messages": HELLO, "temperature": 1}
    assert (await raw.post("/messages", json=body)).status_code == 200
    newer = await raw.post("/messages", json=body, headers={"anthropic-version": "2026-10-21"})
    assert "temperature" in newer.json()["error"]["message"]
    for version in ("1999-01-01", ""):
        assert (await raw.post("/messages", json=body, headers={"anthropic-version": version})).status_code == 400
    assert (await raw.post("/messages", content=b"{")).status_code == 400


async def test_keys_are_checked_and_never_shown() -> None:
    async with running(MockSettings(port=0, key=Secret("right"))) as mock:
        for given in ({"api_key": "right"}, {"auth_token": "right"}):
            async with AsyncAnthropic(base_url=mock.url, max_retries=0, **given) as client:  # type: ignore[arg-type]
                await client.messages.create(model=HAIKU, max_tokens=1, messages=HELLO)
        older = {"x-api-key": "right", "anthropic-version": "2023-06-01"}
        async with httpx2.AsyncClient(base_url=mock.url) as http:
            body = {"model": HAIKU, "max_tokens": 1, "messages": HELLO}
            assert (await http.post("/v1/messages", json=body, headers=older)).status_code == 200
            for headers in ({"x-api-key": "wrong"}, {}):
                refused = await http.post("/v1/messages", json=body, headers=headers)
                assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
        assert len({row.key for row in mock.bill()}) == 1
        assert "right" not in json.dumps(mock.requests())


async def test_models_nobody_knows_and_members_nobody_reads(mock: MockHandle, claude: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.create(model="claude-0", max_tokens=1, messages=HELLO)
    await claude.messages.create(model=HAIKU, max_tokens=1, messages=HELLO, metadata={"user_id": "u"})
    assert mock.requests()[-1]["unknown"] == {"metadata": {"user_id": "u"}}
