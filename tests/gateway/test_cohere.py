"""Cohere's protocol: one test for each trap, and Cohere's own SDK, unmodified, as the judge of our requests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import cohere
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    Refusal,
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
from tandem.gateway.prices import VENDORS, price_of
from tandem.gateway.providers.base import load
from tandem.gateway.providers.cohere import Cohere
from tandem.mock import cohere_wire
from tandem.mock.serve import running
from tandem.mock.settings import MockSettings
from tests.gateway.conftest import KEY, House
from tests.gateway.test_across import spread

WIRE = Cohere()
COMMAND, REASONING = "command-a-03-2025", "command-a-reasoning-08-2025"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
HELLO = Message(role="user", parts=(Text(text="hello"),))
CALL = ToolCall(id="weather_1", name="weather", arguments='{"city": "Paris"}')
FULL = Chat(
    messages=(
        Message(role="system", parts=(Text(text="Be brief."),)),
        Message(
            role="user",
            parts=(
                Text(text="What is on the picture, and how warm is it there?"),
                Image(media="image/png", data="aGk=", detail="low"),
                Image(url="https://x.example/a.png"),
            ),
        ),
        Message(
            role="assistant",
            parts=(
                Thinking(text="I will look it up."),
                CALL,
                ToolCall(id="time_1", name="time", arguments=""),
            ),
        ),
        Message(role="tool", parts=(ToolResult(call="weather_1", parts=(Text(text="21.50"), Text(text="sunny"))),)),
        Message(role="tool", parts=(ToolResult(call="time_1", parts=(Text(text="no clock"),)),)),
        Message(role="assistant", parts=(Thinking(text="It is warm."), Text(text="It is 21.50 degrees."))),
        Message(role="user", parts=(Text(text="Short, please."),)),
    ),
    tools=(
        Tool(name="weather", description="How warm it is.", schema=SCHEMA, strict=True),
        Tool(name="time", schema=SCHEMA, strict=True),
    ),
    choice=Choice(mode="required", parallel=True),
    max_output=400,
    temperature=0.5,
    top_p=0.9,
    top_k=5,
    stop=("END",),
    seed=7,
    frequency_penalty=0.5,
    presence_penalty=0.0,
    thinking=2048,
)


def body(chat: Chat, model: str = COMMAND) -> dict[str, Any]:
    return dict(json.loads(WIRE.put(chat, model, None).body))


def asks(*parts: Any, **more: Any) -> Chat:
    return Chat(messages=(Message(role="user", parts=parts or (Text(text="hello"),)),), **more)


def read(*events: dict[str, Any]) -> list[Delta]:
    """What a stream of these events says."""
    reader = WIRE.reader()
    return [delta for event in events for delta in reader.feed(json.dumps(event).encode())]


def piece(kind: str, index: int | None = None, **message: Any) -> dict[str, Any]:
    return {"type": kind, **({} if index is None else {"index": index}), "delta": {"message": message}}


def end(reason: str | None = "COMPLETE", **more: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, **more}}


USAGE = {
    "billed_units": {"input_tokens": 41, "output_tokens": 25},
    "tokens": {"input_tokens": 1441, "output_tokens": 54},
    "cached_tokens": 144,
}
USED = Usage(input=41, output=25, source="provider")


# --- what is asked


@pytest.mark.parametrize("stream", [False, True])
async def test_coheres_sdk_sends_the_same_request(stream: bool) -> None:
    asked: dict[str, Any] = {
        "model": REASONING,
        "messages": [
            cohere.SystemChatMessageV2(content="Be brief."),
            cohere.UserChatMessageV2(
                content=[
                    cohere.TextContent(text="What is on the picture, and how warm is it there?"),
                    cohere.ImageUrlContent(image_url=cohere.ImageUrl(url="data:image/png;base64,aGk=", detail="low")),
                    cohere.ImageUrlContent(image_url=cohere.ImageUrl(url="https://x.example/a.png")),
                ]
            ),
            cohere.AssistantChatMessageV2(
                tool_plan="I will look it up.",
                tool_calls=[
                    cohere.ToolCallV2(
                        id="weather_1",
                        function=cohere.ToolCallV2Function(name="weather", arguments='{"city": "Paris"}'),
                    ),
                    cohere.ToolCallV2(id="time_1", function=cohere.ToolCallV2Function(name="time", arguments="{}")),
                ],
            ),
            cohere.ToolChatMessageV2(
                tool_call_id="weather_1", content=[cohere.TextToolContent(text="21.50"), cohere.TextToolContent(text="sunny")]
            ),
            cohere.ToolChatMessageV2(tool_call_id="time_1", content="no clock"),
            cohere.AssistantChatMessageV2(
                content=[
                    cohere.ThinkingAssistantMessageV2ContentOneItem(thinking="It is warm."),
                    cohere.TextAssistantMessageV2ContentOneItem(text="It is 21.50 degrees."),
                ]
            ),
            cohere.UserChatMessageV2(content="Short, please."),
        ],
        "tools": [
            cohere.ToolV2(function=cohere.ToolV2Function(name="weather", description="How warm it is.", parameters=SCHEMA)),
            cohere.ToolV2(function=cohere.ToolV2Function(name="time", parameters=SCHEMA)),
        ],
        "strict_tools": True,
        "tool_choice": "REQUIRED",
        "max_tokens": 400,
        "temperature": 0.5,
        "p": 0.9,
        "k": 5,
        "stop_sequences": ["END"],
        "seed": 7,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.0,
        "thinking": cohere.Thinking(type="enabled", token_budget=2048),
    }
    async with (
        running(MockSettings(port=0)) as mock,
        cohere.AsyncClientV2(api_key="co-key", base_url=mock.url, max_retries=0) as client,
    ):
        if stream:
            _ = [event async for event in client.chat_stream(**asked)]
        else:
            await client.chat(**asked)
        [seen] = mock.requests()
    put = WIRE.put(replace(FULL, stream=stream), REASONING, "co-key")
    assert put.dropped == ()
    assert seen["status"] == 200
    assert seen["path"] == f"/v2{put.path}"
    assert json.loads(put.body) == seen["body"]
    theirs: Any = seen["headers"]
    assert str(theirs["authorization"]).startswith("Bearer ***")
    assert (b"authorization", b"Bearer co-key") in put.headers


async def test_coheres_sdk_asks_for_a_form_in_the_same_way() -> None:
    async with (
        running(MockSettings(port=0)) as mock,
        cohere.AsyncClientV2(api_key="co-key", base_url=mock.url, max_retries=0) as client,
    ):
        for form in (cohere.JsonObjectResponseFormatV2(), cohere.JsonObjectResponseFormatV2(json_schema=SCHEMA)):
            await client.chat(model=COMMAND, messages=[cohere.UserChatMessageV2(content="hello")], response_format=form)
        plain, bound = [seen["body"] for seen in mock.requests()]
    assert body(asks(format=Format())) == plain
    assert body(asks(format=Format(schema=SCHEMA, name="answer", strict=True))) == bound


PARTS = {
    "user": st.sampled_from([Text(text="a"), Text(text=" "), Text(text="b", cache="1h"), Image(media="image/webp", data="aGk=")]),
    "assistant": st.sampled_from(
        [Text(text="a"), Refusal(text="no"), Thinking(hidden="aGk="), Thinking(text="t", signature="s"), Thinking(text="t")]
    ),
}  # fmt: skip
SAID = st.sampled_from(["user", "assistant"]).flatmap(
    lambda role: st.lists(PARTS[role], min_size=1, max_size=4).map(
        lambda parts: Message(role=role, parts=(*parts, Text(text="z")))  # type: ignore[arg-type]
    )
)
RESULTS = Message(
    role="user", parts=(Text(text="and?"), ToolResult(call="x", parts=()), ToolResult(call="y", parts=(Text(text="1"),)))
)
CALLED = st.lists(st.sampled_from([Thinking(text="t"), Text(text="a")]), max_size=2).map(
    lambda parts: (
        Message(role="assistant", parts=(*parts, replace(CALL, id="x"), replace(CALL, id="y", arguments=""))),
        RESULTS,
    )
)


@given(st.lists(SAID.map(lambda said: (said,)) | CALLED, max_size=5), st.sampled_from([COMMAND, REASONING]), st.floats(0, 1))
def test_every_chat_is_one_that_cohere_takes(said: list[tuple[Message, ...]], model: str, top_p: float) -> None:
    """By the members that its SDK has, and the rules of its reference: the mock refuses all else."""
    chat = Chat(
        messages=(HELLO, *(message for group in said for message in group)),
        tools=(Tool(name="weather", cache="1h"),), top_p=top_p, top_k=900, presence_penalty=-1.0, effort="low", max_output=9,
    )  # fmt: skip
    asked = cohere_wire.read(WIRE.put(chat, model, None).body)
    assert asked.thinks == (model == REASONING)


def test_results_stand_before_the_words_that_came_with_them() -> None:
    late = Message(role="user", parts=(Text(text="and?"), ToolResult(call="weather_1", parts=(Text(text="21"),))))
    roles = [said["role"] for said in body(Chat(messages=(HELLO, Message(role="assistant", parts=(CALL,)), late)))["messages"]]
    assert roles == ["user", "assistant", "tool", "user"]


@pytest.mark.parametrize(
    ("choice", "wanted", "names"),
    [
        (Choice(mode="auto", parallel=True), None, ["f", "g"]),
        (Choice(mode="required"), "REQUIRED", ["f", "g"]),
        (Choice(mode="none", parallel=False), "NONE", ["f", "g"]),
        (Choice(mode="one", name="g"), "REQUIRED", ["g"]),
    ],
)
def test_how_tools_are_chosen(choice: Choice, wanted: object, names: list[str]) -> None:
    """A tool that must be called cannot be named, but it can be the only one."""
    told = body(asks(tools=(Tool(name="f"), Tool(name="g", schema=SCHEMA)), choice=choice))
    assert told.get("tool_choice") == wanted
    assert [tool["function"]["name"] for tool in told["tools"]] == names


def test_tools_are_strict_together_or_not_at_all() -> None:
    strict, loose = Tool(name="f", strict=True), Tool(name="g")
    assert body(asks(tools=(strict,)))["strict_tools"] is True
    put = WIRE.put(asks(tools=(strict, loose)), COMMAND, None)
    assert "strict_tools" not in json.loads(put.body)
    assert put.dropped == ("tools.strict",)
    assert "strict_tools" not in body(asks(tools=(strict, loose), choice=Choice(mode="one", name="g")))


@pytest.mark.parametrize(
    ("more", "model", "wanted"),
    [
        ({}, REASONING, None),
        ({"effort": "none"}, REASONING, {"type": "disabled"}),
        ({"thinking": 0}, REASONING, {"type": "disabled"}),
        ({"thinking": 500}, REASONING, {"type": "enabled", "token_budget": 500}),
        ({"effort": "high"}, REASONING, {"type": "enabled"}),
        ({"effort": "low"}, REASONING, {"type": "enabled", "token_budget": 2048}),
        ({"effort": "medium", "max_output": 100}, "cohere/command-a-plus-05-2026", {"type": "enabled", "token_budget": 50}),
        ({"effort": "none"}, COMMAND, None),
        ({"effort": "high"}, COMMAND, None),
    ],
)
def test_how_hard_it_thinks(more: dict[str, Any], model: str, wanted: object) -> None:
    assert body(asks(**more), model).get("thinking") == wanted


@pytest.mark.parametrize(
    ("chat", "field"),
    [
        (asks(Document(media="application/pdf", data="aGk=")), "messages[0].content[0]"),
        (asks(Text(text=" ")), "messages[0]"),
        (Chat(messages=(Message(role="system", parts=(Text(text="a"), Image(media="image/png", data="aGk="))),)),
         "messages[0].content[1]"),
        (Chat(messages=(Message(role="assistant", parts=(Image(media="image/png", data="aGk="),)),)), "messages[0].content[0]"),
        (Chat(messages=(HELLO, Message(role="tool", parts=(ToolResult(call="c", parts=(Image(url="https://x.example"),)),)))),
         "messages[1].content[0]"),
        (Chat(messages=(Message(role="assistant", parts=()),)), "messages"),
        (asks(stop=tuple("abcdef")), "stop"),
        (asks(effort="enormous"), "reasoning_effort"),
        (asks(tools=(Tool(name="f"),), choice=Choice(mode="one", name="g")), "tool_choice"),
        (asks(choice=Choice(mode="required")), "tool_choice"),
        (asks(tools=(Tool(name="f"),), format=Format()), "response_format"),
    ],
)  # fmt: skip
def test_what_would_change_the_answer_is_refused_with_its_place(chat: Chat, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        WIRE.put(chat, REASONING, None)
    assert refused.value.field == field
    assert "enormous" not in refused.value.message


@pytest.mark.parametrize(
    ("chat", "dropped"),
    [
        (asks(user="u", effort="low"), ("reasoning_effort", "user")),
        (asks(thinking=2048), ("thinking",)),
        (asks(tools=(Tool(name="f"),), choice=Choice(parallel=False)), ("parallel_tool_calls",)),
        (asks(top_p=1.0, top_k=900), ("top_p", "top_k")),
        (asks(frequency_penalty=-0.5, presence_penalty=1.5), ("frequency_penalty", "presence_penalty")),
        (asks(Text(text="a", cache="5m")), ("cache_control",)),
        (asks(tools=(Tool(name="f", cache="5m"),)), ("cache_control",)),
        (Chat(messages=(replace(HELLO, name="ann"),)), ("name",)),
        (Chat(messages=(HELLO, Message(role="assistant", parts=(Thinking(text="t", signature="s"), Text(text="a"))))),
         ("thinking",)),
        (Chat(messages=(HELLO, Message(role="assistant", parts=(replace(CALL, cache="5m"),)),
                        Message(role="tool", parts=(ToolResult(call="weather_1", parts=(), failed=True),)))),
         ("cache_control", "is_error")),
        (asks(top_p=0.5, top_k=0, presence_penalty=1.0, effort="none"), ()),
    ],
)  # fmt: skip
def test_what_would_not_is_left_out_and_named(chat: Chat, dropped: tuple[str, ...]) -> None:
    assert WIRE.put(chat, COMMAND, None).dropped == dropped


def test_bounds_of_sampling_are_its_own() -> None:
    told = body(asks(top_p=1.0, top_k=900))
    assert (told["p"], told["k"]) == (0.99, 500)
    assert body(asks(top_p=0.0))["p"] == 0.01
    assert "frequency_penalty" not in body(asks(frequency_penalty=-0.5))


# --- what is answered


def test_a_stream_of_words_is_read_and_ends_with_what_is_billed() -> None:
    reader = WIRE.reader()
    events = [
        {"type": "message-start", "id": "ab-1", "delta": {"message": {
            "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}},
        piece("content-start", 0, content={"type": "thinking", "thinking": ""}),
        piece("content-delta", 0, content={"thinking": "hm"}),
        {"type": "content-end", "index": 0},
        piece("content-start", 1, content={"type": "text", "text": ""}),
        piece("content-delta", 1, content={"text": "He"}),
        {"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"start": 0, "end": 2, "text": "He"}}}},
        {"type": "citation-end", "index": 0},
        {"type": "debug", "prompt": "<BOS>"},
        {"type": "invented", "index": 3, "delta": {"message": {"content": {"text": "no"}}}},
        piece("content-delta", 1, content={"text": "llo"}),
        {"type": "content-end", "index": 1},
        end(usage=USAGE),
    ]  # fmt: skip
    said = [delta for event in events for delta in reader.feed(json.dumps(event).encode())]
    assert reader.ended
    assert reader.feed(b"[DONE]") == []
    assert said == [
        Begin(id="ab-1"), ThinkingDelta(text="hm"), TextDelta(text="He"), TextDelta(text="llo"), Used(usage=USED),
        Finish(reason="stop"),
    ]  # fmt: skip


def test_a_stream_of_calls_is_read_with_its_plan() -> None:
    def call(index: int, kind: str = "tool-call-start", **told: Any) -> dict[str, Any]:
        return piece(kind, index, tool_calls=told)

    assert read(
        piece("tool-plan-delta", tool_plan="I will"),
        piece("tool-plan-delta", tool_plan=" look."),
        call(0, id="f_1", type="function", function={"name": "f", "arguments": ""}),
        call(0, "tool-call-delta", function={"arguments": '{"a"'}),
        call(0, "tool-call-delta", function={"arguments": ": 1}"}),
        {"type": "tool-call-end", "index": 0},
        call(1, id="g_1", type="function", function={"name": "g", "arguments": ""}),
        {"type": "tool-call-end", "index": 1},
        {"type": "tool-call-end", "index": 7},
        end("TOOL_CALL", usage=USAGE),
    ) == [
        ThinkingDelta(text="I will"), ThinkingDelta(text=" look."),
        ToolDelta(place=0, id="f_1", name="f"), ToolDelta(place=0, arguments='{"a"'), ToolDelta(place=0, arguments=": 1}"),
        ToolDelta(place=1, id="g_1", name="g"), ToolDelta(place=1, arguments="{}"),
        Used(usage=USED), Finish(reason="tool_calls"),
    ]  # fmt: skip


def test_a_whole_answer_says_the_same() -> None:
    message = {
        "role": "assistant",
        "tool_plan": "I will look.",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello"}],
        "citations": [{"start": 0, "end": 5, "text": "Hello"}],
        "tool_calls": [
            {"id": "f_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.50}'}},
            {"id": "g_1", "type": "function", "function": {"name": "g", "arguments": ""}},
        ],
    }
    answer = {"id": "ab-1", "message": message, "finish_reason": "TOOL_CALL", "usage": USAGE}
    assert WIRE.whole(json.dumps(answer).encode()) == [
        Begin(id="ab-1"), ThinkingDelta(text="I will look."), ThinkingDelta(text="hm"), TextDelta(text="Hello"),
        ToolDelta(place=0, id="f_1", name="f", arguments='{"a": 1.50}'), ToolDelta(place=1, id="g_1", name="g", arguments="{}"),
        Used(usage=USED), Finish(reason="tool_calls"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (USAGE, USED),
        ({"billed_units": {"input_tokens": 13.0, "output_tokens": 61.0, "search_units": 2.0}},
         Usage(input=13, output=61, searches=2, source="provider")),
        ({"billed_units": {"output_tokens": 4}, "tokens": {"input_tokens": 9}}, Usage(output=4, source="provider")),
        ({"tokens": {"input_tokens": 100, "output_tokens": 7}, "cached_tokens": 64},
         Usage(input=36, cache_read=64, output=7, source="provider")),
        ({"tokens": {"input_tokens": 10}, "cached_tokens": 64}, Usage(cache_read=10, source="provider")),
        ({"billed_units": {"search_units": 1}}, Usage(searches=1, source="provider")),
        ({"billed_units": {"classifications": 1}}, None),
        ({}, None),
        (None, None),
    ],
)  # fmt: skip
def test_what_is_billed_is_booked_and_what_is_counted_only_without_it(usage: object, wanted: Usage | None) -> None:
    assert WIRE.usage(json.dumps({"usage": usage}).encode()) == wanted
    reader = WIRE.reader()
    said = reader.feed(json.dumps(end(usage=usage)).encode())
    assert reader.ended
    assert [delta.usage for delta in said if isinstance(delta, Used)] == ([] if wanted is None else [wanted])


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [("COMPLETE", "stop"), ("STOP_SEQUENCE", "stop"), ("MAX_TOKENS", "length"), ("TOOL_CALL", "tool_calls")],
)
def test_why_it_ended(reason: str, wanted: Any) -> None:
    assert read(end(reason)) == [Finish(reason=wanted)]


@pytest.mark.parametrize("reason", ["ERROR", "TIMEOUT", "what comes next", None])
def test_a_failure_of_the_model_is_no_answer(reason: str | None) -> None:
    with pytest.raises(Upstream, match="could not finish") as broken:
        read(end(reason, error="secret words"))
    assert "secret" not in broken.value.message  # it may repeat what was sent
    assert "secret words" in broken.value.words
    with pytest.raises(Upstream):
        WIRE.whole(json.dumps({"message": {"content": []}, "finish_reason": reason}).encode())


@pytest.mark.parametrize(
    ("status", "message", "wanted"),
    [
        (400, "invalid request: valid input_type must be provided with the provided model", "bad_request"),
        (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292.", "context_exceeded"),
        (
            400,
            "too many tokens: max tokens must be less than or equal to 4096, the maximum output - received 8192.",
            "bad_request",
        ),
        (400, "too many tokens: size limit exceeded by 11326 tokens.", "context_exceeded"),
        (401, "invalid api token", "auth"),
        (402, "Please add or update your payment method", "quota"),
        (403, "", "auth"),
        (404, "model 'x' not found", "not_found"),
        (422, "invalid request: unknown field", "bad_request"),
        (429, "You are using a Trial key, which is limited to 20 API calls / minute.", "rate_limited"),
        (429, "You are using a Trial key, which is limited to 1000 API calls / month.", "quota"),
        (498, "blocked", "content_policy"),
        (499, "request cancelled", "upstream_5xx"),
        (500, "internal server error", "upstream_5xx"),
        (501, "not implemented", "bad_request"),
        (503, "", "overloaded"),
        (504, "", "upstream_5xx"),
    ],
)
def test_refusals_have_their_class(status: int, message: str, wanted: str) -> None:
    """The messages are those of https://docs.cohere.com/reference/errors and of trial keys."""
    assert WIRE.fault(status, (), json.dumps({"id": "x", "message": message}).encode()) == wanted


@pytest.mark.parametrize("payload", [b"{", b"\xff", b"3", b'{"type":3}', b'{"type":"message-end","delta":3}', b"[" * 5000])
def test_what_cannot_be_read_is_no_silence(payload: bytes) -> None:
    with pytest.raises(Upstream) as broken:
        WIRE.reader().feed(payload)
    assert broken.value.code == "malformed_stream"
    with pytest.raises(Upstream) as whole:
        WIRE.whole(payload)
    assert whole.value.code == "malformed_reply"
    assert WIRE.usage(payload) is None


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_a_fault(payload: bytes) -> None:
    for hear in (WIRE.whole, WIRE.reader().feed):
        try:
            hear(payload)
        except Upstream:
            pass
    assert WIRE.fault(400, (), payload)
    WIRE.usage(payload)


def test_nobodys_bytes_pass_through_and_its_list_prices_it() -> None:
    assert isinstance(load("cohere"), Cohere)
    assert (WIRE.name, WIRE.dialect) == ("cohere", "")
    with pytest.raises(Invalid, match="translated"):
        WIRE.ask("chat", b"{}", {}, None)
    with pytest.raises(Invalid, match="Embeddings") as refused:
        WIRE.ask("embed", b"{}", {}, None)
    assert "compatibility" in (refused.value.hint or "")
    ranks = WIRE.ask("rerank", b'{"model": "x", "query": "a", "documents": ["b"]}', {"model": b'"rerank-v4.0-fast"'}, "k")
    assert (ranks.path, ranks.body) == ("/rerank", b'{"model": "rerank-v4.0-fast", "query": "a", "documents": ["b"]}')
    assert ranks.headers[-1] == (b"authorization", b"Bearer k")
    ranked = {"results": [], "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}}
    assert WIRE.usage(json.dumps(ranked).encode()) == Usage(searches=1, source="provider")
    price = price_of(COMMAND, VENDORS["cohere"], 1_780_000_000_000_000)
    assert price is not None
    assert price.cost(USED) == 41 * 2500 + 25 * 10_000


# --- through the door


@pytest.fixture
async def http(door: House) -> AsyncIterator[httpx2.AsyncClient]:
    spread(door)
    async with httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"}) as opened:
        yield opened


async def test_a_plan_is_heard_as_thought_and_goes_back_as_a_plan(door: House, http: httpx2.AsyncClient) -> None:
    tool = {"name": "find", "description": "Finds.", "input_schema": SCHEMA}
    asked: dict[str, Any] = {"model": "cohere", "max_tokens": 100, "tools": [tool]}
    question = {"role": "user", "content": "city: Paris\nUse find."}
    first = await http.post("/anthropic/v1/messages", json={**asked, "messages": [question]})
    thought, call = first.json()["content"]
    assert (thought["type"], call["type"]) == ("thinking", "tool_use")
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "21"}
    turns = [question, {"role": "assistant", "content": [thought, call]}, {"role": "user", "content": [result]}]
    again = await http.post("/anthropic/v1/messages", json={**asked, "messages": turns})
    assert again.status_code == 200, again.text
    sent: Any = door.mock.requests()[-1]["body"]
    assert sent["messages"][1]["tool_plan"] == thought["thinking"]
    assert sent["messages"][1]["tool_calls"][0]["id"] == sent["messages"][2]["tool_call_id"]


async def test_a_refusal_of_coheres_is_told_with_its_words(http: httpx2.AsyncClient) -> None:
    asked = {"model": "cohere/no-such-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    reply = await http.post("/v1/chat/completions", json=asked)
    assert reply.status_code == 404
    assert "no-such-model" in reply.json()["error"]["message"]
