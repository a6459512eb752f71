"""Responses towards a provider: what is asked, what is read, in whatever pieces it comes, and what it used.

The oracle of requests is OpenAI's own client: it asks the mock, and ours must be what it sent.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.canon import classed
from tandem.core.chat import (
    Begin,
    Chat,
    Choice,
    Delta,
    Document,
    Finish,
    Format,
    Image,
    Message,
    Part,
    Refusal,
    RefusalDelta,
    Role,
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
from tandem.core.errors import Invalid, Upstream
from tandem.core.money import Usage
from tandem.gateway.providers.anthropic_put import members as anthropics
from tandem.gateway.providers.responses import Responses
from tandem.gateway.providers.responses_put import proof, proved
from tandem.gateway.sse import Frames, data
from tandem.mock.responses_wire import seal
from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings

WIRE = Responses()
NANO, FIVE = "gpt-4.1-nano", "gpt-5-nano"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
PNG = "iVBORw0KGgo="


def say(role: Role, *parts: Part | str) -> Message:
    return Message(role=role, parts=tuple([Text(text=part) if isinstance(part, str) else part for part in parts]))


CHATS: dict[str, tuple[str, Chat, dict[str, Any]]] = {
    "plain": (
        NANO,
        Chat(
            messages=(say("system", "Be brief."), say("user", "Hello"), say("assistant", "Hi."), say("user", "Again.")),
            max_output=64,
            temperature=0.5,
            top_p=0.9,
            user="u-13",
            stream=True,
        ),
        {
            "input": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi."},
                {"role": "user", "content": "Again."},
            ],
            "max_output_tokens": 64,
            "temperature": 0.5,
            "top_p": 0.9,
            "safety_identifier": "u-13",
            "stream": True,
        },
    ),
    "tools": (
        NANO,
        Chat(
            messages=(
                say("user", "find it"),
                say(
                    "assistant",
                    "I look.",
                    ToolCall(id="c_1", name="find", arguments='{"q": "a"}'),
                    ToolCall(id="c_2", name="find", arguments='{"q":"b"}'),
                ),
                say("tool", ToolResult(call="c_1", parts=(Text(text="here"),))),
                say("tool", ToolResult(call="c_2", parts=(Text(text="see"), Image(media="image/png", data=PNG)))),
            ),
            tools=(Tool(name="find", description="Finds.", schema=SCHEMA), Tool(name="get", schema=SCHEMA, strict=True)),
            choice=Choice(mode="one", name="find", parallel=False),
        ),
        {
            "input": [
                {"role": "user", "content": "find it"},
                {"role": "assistant", "content": "I look."},
                {"type": "function_call", "call_id": "c_1", "name": "find", "arguments": '{"q": "a"}'},
                {"type": "function_call", "call_id": "c_2", "name": "find", "arguments": '{"q":"b"}'},
                {"type": "function_call_output", "call_id": "c_1", "output": "here"},
                {
                    "type": "function_call_output",
                    "call_id": "c_2",
                    "output": [
                        {"type": "input_text", "text": "see"},
                        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
                    ],
                },
            ],
            "tools": [
                {"type": "function", "name": "find", "description": "Finds.", "parameters": SCHEMA, "strict": False},
                {"type": "function", "name": "get", "parameters": SCHEMA, "strict": True},
            ],
            "tool_choice": {"type": "function", "name": "find"},
            "parallel_tool_calls": False,
        },
    ),
    "seen": (
        NANO,
        Chat(
            messages=(
                say(
                    "user",
                    "What is it?",
                    Image(media="image/png", data=PNG, detail="low"),
                    Image(url="https://example.org/a.png"),
                    Document(media="application/pdf", data=PNG, name="a.pdf"),
                    Document(url="https://example.org/a.pdf"),
                ),
                say("assistant", "A dot.", Refusal(text="No more.")),
                say("user", "Say it as JSON."),
            ),
            format=Format(schema=SCHEMA, name="risk", strict=True),
        ),
        {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is it?"},
                        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"},
                        {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "auto"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"},
                        {"type": "input_file", "file_url": "https://example.org/a.pdf"},
                    ],
                },
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "A dot."}, {"type": "refusal", "refusal": "No more."}],
                },
                {"role": "user", "content": "Say it as JSON."},
            ],
            "text": {"format": {"type": "json_schema", "name": "risk", "schema": SCHEMA, "strict": True}},
        },
    ),
    "thinking": (
        FIVE,
        Chat(
            messages=(
                say("user", "find it"),
                say(
                    "assistant",
                    Thinking(text="I look.", signature=proof("rs_1", seal("rs_1"))),
                    ToolCall(id="c_1", name="find", arguments="{}"),
                ),
                say("tool", ToolResult(call="c_1", parts=(Text(text="here"),))),
            ),
            tools=(Tool(name="find", schema=SCHEMA),),
            effort="low",
            summary="auto",
        ),
        {
            "input": [
                {"role": "user", "content": "find it"},
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "I look."}],
                    "encrypted_content": seal("rs_1"),
                },
                {"type": "function_call", "call_id": "c_1", "name": "find", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c_1", "output": "here"},
            ],
            "tools": [{"type": "function", "name": "find", "parameters": SCHEMA, "strict": False}],
            "reasoning": {"effort": "low", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
        },
    ),
}


@pytest.fixture
async def mock() -> AsyncIterator[MockHandle]:
    async with running(MockSettings(port=0)) as handle:
        yield handle


@pytest.mark.parametrize("name", CHATS)
async def test_a_request_is_what_openais_client_sends(mock: MockHandle, name: str) -> None:
    model, chat, theirs = CHATS[name]
    async with openai.AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="mk", max_retries=0) as client:
        answer = await client.responses.create(model=model, store=False, **theirs)
        if chat.stream:
            async for _ in answer:
                pass
    (request,) = mock.requests()
    ask = WIRE.put(chat, model, "mk")
    assert json.loads(ask.body) == request["body"]
    assert ask.dropped == ()
    headers: Any = request["headers"]
    assert request["path"] == f"/v1{ask.path}"
    assert dict(ask.headers)[b"authorization"].decode().startswith(str(headers["authorization"])[:7])


def put(**members: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    model = members.pop("model", NANO)
    ask = WIRE.put(Chat(**{"messages": (say("user", "hi"),), **members}), model, None)
    return json.loads(ask.body), ask.dropped


def test_what_has_no_place_is_named_or_refused() -> None:
    body, dropped = put(
        seed=0, top_k=3, presence_penalty=0.5, frequency_penalty=0.0, effort="high", summary="auto", user="u" * 65
    )
    assert set(dropped) == {"seed", "top_k", "presence_penalty", "reasoning_effort", "reasoning.summary", "user"}
    assert body == {"model": NANO, "input": [{"role": "user", "content": "hi"}], "store": False}
    assert put(thinking=2000, model=FIVE)[0]["reasoning"] == {"effort": "low"}
    with pytest.raises(Invalid) as stopped:
        put(stop=("END",))
    assert stopped.value.field == "stop"
    with pytest.raises(Invalid) as drawn:
        put(messages=(say("assistant", Image(url="https://example.org")),))
    assert drawn.value.field == "messages[0].content[0]"


def test_a_thought_goes_back_to_whom_it_came_from_alone() -> None:
    theirs, ours = Thinking(text="Hm.", signature="EqQBCg"), Thinking(text="Hm.", signature=proof("rs_1", "gAAA"))
    body, dropped = put(messages=(say("user", "hi"), say("assistant", theirs, "x"), say("user", "go on")))
    assert (dropped, [item.get("type") for item in body["input"]]) == (("thinking",), [None, None, None])
    turns = (say("user", "hi"), say("assistant", ours, "x"), say("user", "go on"))
    told, left = anthropics(Chat(messages=turns, max_output=9), "claude-haiku-4-5")
    assert (left, "gAAA" in json.dumps(told)) == (("thinking",), False)
    assert proved(ours.signature) == ("rs_1", "gAAA")


def test_a_long_id_of_a_call_is_cut_alike_on_both_sides() -> None:
    long = "c" * 90
    call, result = ToolCall(id=long, name="f", arguments=""), ToolResult(call=long, parts=(), failed=True)
    body, dropped = put(messages=(say("assistant", call), say("tool", result)))
    first, second = body["input"]
    assert first["call_id"] == second["call_id"]
    assert len(first["call_id"]) == 64
    assert (first["arguments"], dropped) == ("{}", ("is_error",))


# --- what is read


def joined(deltas: Iterable[Delta]) -> list[Delta]:
    """Neighbouring pieces of the same text as one."""
    made: list[Delta] = []
    for delta in deltas:
        match (made[-1] if made else None, delta):
            case (TextDelta(text=before), TextDelta(text=after)):
                made[-1] = TextDelta(text=before + after)
            case (ThinkingDelta(text=before, signature=""), ThinkingDelta(text=after, signature=signature)):
                made[-1] = ThinkingDelta(text=before + after, signature=signature)
            case (ToolDelta() as before, ToolDelta(id="", name="") as after) if before.place == after.place:
                made[-1] = replace(before, arguments=before.arguments + after.arguments)
            case _:
                made.append(delta)
    return made


async def told(mock: MockHandle, **body: Any) -> tuple[bytes, bytes]:
    """The whole answer and the stream to the same request, as the mock sends them."""
    async with openai.AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="mk", max_retries=0) as client:
        whole = await client.responses.with_raw_response.create(**body)
        async with client.responses.with_streaming_response.create(**body, stream=True) as stream:
            return whole.content, b"".join([piece async for piece in stream.iter_bytes()])


ASKS: dict[str, dict[str, Any]] = {
    "text": {"model": NANO, "input": "radius: 17.9"},
    "cut": {"model": NANO, "input": "radius: 17.9", "max_output_tokens": 16},
    "refused": {"model": NANO, "input": "radius\nx-mock-fault: refuse"},
    "tools": {
        "model": NANO,
        "input": "Use find and get.",
        "tools": [{"type": "function", "name": name, "parameters": SCHEMA, "strict": False} for name in ("find", "get")],
    },
    "thoughts": {
        "model": FIVE,
        "input": "radius: 17.9",
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    },
}
ENDS = {"text": "stop", "cut": "length", "refused": "content_filter", "tools": "tool_calls", "thoughts": "stop"}


@pytest.mark.parametrize("name", ASKS)
async def test_a_stream_says_what_the_whole_answer_says_however_it_is_cut(mock: MockHandle, name: str) -> None:
    whole, stream = await told(mock, **ASKS[name])
    deltas = WIRE.whole(whole)
    assert isinstance(deltas[0], Begin)
    assert deltas[-1] == Finish(reason=ENDS[name])
    wanted = [_nameless(delta) for delta in joined(deltas)]
    bill = mock.bill()[0]
    used = next(delta.usage for delta in deltas if isinstance(delta, Used))
    assert WIRE.usage(whole) == used
    assert (used.total_input, used.total_output) == (bill.prompt_tokens, bill.completion_tokens)
    for size in (1, 7, 64, len(stream)):
        frames, reader, meter = Frames(), WIRE.reader(), WIRE.meter()
        heard: list[Delta] = []
        lasts = []
        for at in range(0, len(stream), size):
            for frame in frames.feed(stream[at : at + size]):
                payload = data(frame)
                assert payload is not None
                heard += reader.feed(payload)
                if meter.tells(frame):
                    lasts.append(meter.frame(payload))
        assert reader.ended
        assert [_nameless(delta) for delta in joined(heard)] == wanted
        assert meter.usage == used
        assert [last for _, last in lasts].count(True) == 1


def _nameless(delta: Delta) -> Delta:
    """The mock's ids differ from answer to answer."""
    match delta:
        case Begin():
            return Begin(model=delta.model)
        case ToolDelta():
            return ToolDelta(place=delta.place, name=delta.name, arguments=delta.arguments)
        case ThinkingDelta():
            return ThinkingDelta(text=delta.text, signature="signed" if delta.signature else "")
        case _:
            return delta


def event(kind: str, **members: Any) -> bytes:
    return json.dumps({"type": kind, **members}).encode()


def test_what_was_not_streamed_is_taken_from_the_end_of_its_item() -> None:
    """Some hosts send items whole, and thoughts that can be read."""
    reader = WIRE.reader()
    message = {
        "type": "message",
        "id": "m",
        "content": [{"type": "output_text", "text": "Hi"}, {"type": "refusal", "refusal": "No"}],
    }
    thought = {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
    silent = {"type": "function_call", "call_id": "d", "name": "g", "arguments": ""}
    heard: list[Delta] = []
    for index, item in enumerate(({"type": "web_search_call", "id": 3}, thought, message, call, silent)):
        if item in (message, silent):
            heard += reader.feed(event("response.output_item.added", output_index=index, item={**item, "content": []}))
        heard += reader.feed(event("response.output_item.done", output_index=index, item=item))
    assert heard == [
        ThinkingDelta(text="Hm"),
        TextDelta(text="Hi"),
        RefusalDelta(text="No"),
        ToolDelta(place=0, id="c", name="f", arguments='{"a":1}'),
        ToolDelta(place=1, id="d", name="g"),
        ToolDelta(place=1, arguments="{}"),
    ]
    assert reader.feed(event("response.reasoning_summary_part.added", output_index=1, summary_index=1)) == []
    assert not reader.ended


@pytest.mark.parametrize(
    ("payload", "code", "again"),
    [
        (event("error", code="rate_limit_exceeded", message="slow"), "rate_limited", True),
        (event("error", error={"type": "server_error", "code": "server_is_overloaded", "message": "x"}), "overloaded", True),
        (event("response.failed", response={"id": "r", "error": {"code": "server_error", "message": "x"}}), "upstream", True),
        (event("response.failed", response={"error": {"code": "invalid_prompt", "message": "x"}}), "bad_request", False),
        (event("response.failed", response={"error": {"code": "content_filter", "message": "x"}}), "content_policy", False),
        (event("response.failed"), "upstream", True),
    ],
)
def test_an_error_within_a_stream_has_its_class(payload: bytes, code: str, again: bool) -> None:
    """And is not asked once more where another attempt mends nothing, or goes round a refusal."""
    for read in (WIRE.reader().feed, WIRE.meter().frame):
        with pytest.raises(Upstream) as failed:
            read(payload)
        assert failed.value.code == code
        assert bool(classed(failed.value).steps) is again


def test_a_failed_answer_tells_what_it_used() -> None:
    meter = WIRE.meter()
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    with pytest.raises(Upstream):
        meter.frame(event("response.failed", response={"error": {"code": "server_error", "message": "x"}, "usage": usage}))
    assert meter.usage == Usage(input=5, output=2, source="provider")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"output": 3}', b'{"output": [3]}', b'{"output": [], "status": "queued"}'])
def test_an_answer_that_cannot_be_read_is_an_error(body: bytes) -> None:
    with pytest.raises(Upstream) as malformed:
        WIRE.whole(body)
    assert malformed.value.code == "malformed_stream"


def test_arguments_of_a_call_that_never_began_are_an_error() -> None:
    for payload in (
        event("response.function_call_arguments.delta", output_index=3, delta="{"),
        b"{",
        event("response.completed"),
    ):
        with pytest.raises(Upstream):
            WIRE.reader().feed(payload)


count = st.one_of(st.none(), st.integers(-5, 10**6))


@given(st.tuples(count, count, count, count, count, count))
def test_counters_never_overlap(told: tuple[int | None, ...]) -> None:
    prompt, cached, written, answer, thought, searched = told
    body = {
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
            "output_tokens": answer,
            "output_tokens_details": {"reasoning_tokens": thought},
        },
        "tool_usage": {"web_search": {"num_requests": searched}},
    }
    usage = WIRE.usage(json.dumps(body).encode())
    if prompt is None and answer is None:
        assert usage is None
        return
    assert usage is not None
    assert (usage.total_input, usage.total_output) == (max(0, prompt or 0), max(0, answer or 0))
    assert usage.searches == max(0, searched or 0)
    assert min(usage.input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning) >= 0
    if None not in told and 0 <= (cached or 0) + (written or 0) <= (prompt or 0) and min(cached or 0, written or 0) >= 0:
        assert (usage.cache_read, usage.cache_write) == (cached, written)


@pytest.mark.parametrize(
    ("status", "code", "canonical"),
    [
        (401, "invalid_api_key", "auth"), (429, "insufficient_quota", "quota"), (429, "rate_limit_exceeded", "rate_limited"),
        (400, "context_length_exceeded", "context_exceeded"), (400, "previous_response_not_found", "bad_request"),
        (503, None, "overloaded"), (500, None, "upstream_5xx"), (404, None, "not_found"),
    ],
)  # fmt: skip
def test_a_refusal_has_its_class(status: int, code: str | None, canonical: str) -> None:
    assert WIRE.fault(status, (), json.dumps({"error": {"message": "x", "code": code}}).encode()) == canonical


def test_there_are_no_embeddings() -> None:
    with pytest.raises(Invalid) as refused:
        WIRE.ask("embed", b"{}", {}, None)
    assert "openai" in str(refused.value)
