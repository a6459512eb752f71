"""OpenAI's chat as words and back: nothing is lost on the way, however an answer is cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
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
from tandem.core.errors import Invalid, Upstream
from tandem.core.money import Usage
from tandem.gateway.providers.anthropic import Anthropic
from tandem.gateway.providers.base import Wire
from tandem.gateway.providers.openai import OpenAI, OpenAIReader
from tandem.gateway.sse import Frames, data
from tandem.gateway.wires.base import Letterhead, dialect_of
from tandem.gateway.wires.openai_chat import OpenAIDialect

HEAD = Letterhead(id="trc_1", model="assistant", at=5)
WIRE, DIALECT = OpenAI(), OpenAIDialect()
PNG = "iVBORw0KGgo="


def said(chat: Chat, model: str = "gpt-4o") -> dict[str, Any]:
    """What goes out for a chat."""
    tree: dict[str, Any] = json.loads(WIRE.put(chat, model, None).body)
    return tree


def again(chat: Chat, model: str = "gpt-4o") -> Chat:
    """The chat, written and read."""
    return DIALECT.chat(WIRE.put(chat, model, None).body)


CHATS = [
    Chat(messages=(Message(role="system", parts=(Text(text="Be brief."),)), Message(role="user", parts=(Text(text="Hi"),)))),
    Chat(
        messages=(
            Message(role="user", parts=(Text(text="What is it?"), Image(media="image/png", data=PNG, detail="low"))),
            Message(role="assistant", parts=(Text(text="I look it up."), ToolCall(id="c1", name="find", arguments='{"q":1}'))),
            Message(role="tool", parts=(ToolResult(call="c1", parts=(Text(text="A cat."),)),)),
        ),
        tools=(Tool(name="find", description="Finds.", schema={"type": "object"}, strict=True),),
        choice=Choice(mode="one", name="find", parallel=False),
        max_output=50,
        temperature=0.5,
        top_p=0.9,
        stop=("END", "STOP"),
        seed=7,
        frequency_penalty=0.1,
        presence_penalty=-0.2,
        user="u1",
        stream=True,
    ),
    Chat(
        messages=(
            Message(role="user", parts=(Document(media="application/pdf", data="JVBERi0=", name="a.pdf"), Text(text="Sum up."))),
            Message(role="assistant", parts=(Refusal(text="I will not."),)),
            Message(role="user", name="ann", parts=(Image(url="https://example.org/a.png"),)),
        ),
        format=Format(schema={"type": "object", "properties": {}}, name="sum", strict=True),
        choice=None,
    ),
    Chat(
        messages=(
            Message(role="user", parts=(Text(text="Both."),)),
            Message(
                role="assistant",
                parts=(
                    ToolCall(id="a", name="f", arguments="{}", signature="sig"),
                    ToolCall(id="b", name="g", arguments='{"x": "\\u00e9"}'),
                ),
            ),
            Message(role="tool", parts=(ToolResult(call="a", parts=(Text(text="1"),)),)),
            Message(role="tool", parts=(ToolResult(call="b", parts=(Text(text="2"),)),)),
        ),
        tools=(Tool(name="f"), Tool(name="g")),
        choice=Choice(mode="required"),
        format=Format(),
    ),
]


@pytest.mark.parametrize("chat", CHATS, ids=["plain", "tools", "files", "parallel"])
def test_a_chat_comes_back_as_it_went(chat: Chat) -> None:
    assert again(chat) == chat


def test_results_in_one_turn_become_one_message_each_and_words_follow_them() -> None:
    results = tuple(ToolResult(call=name, parts=(Text(text=name),), failed=name == "b") for name in "ab")
    chat = Chat(messages=(Message(role="user", parts=(*results, Text(text="Go on."))),))
    ask = WIRE.put(chat, "gpt-4o", "sk")
    told = json.loads(ask.body)["messages"]
    assert [(each["role"], each.get("tool_call_id"), each["content"]) for each in told] == [
        ("tool", "a", "a"),
        ("tool", "b", "b"),
        ("user", None, "Go on."),
    ]
    assert ask.dropped == ("is_error",)
    assert (b"authorization", b"Bearer sk") in ask.headers


def test_what_has_no_place_is_named() -> None:
    chat = Chat(
        messages=(
            Message(role="user", parts=(Text(text="Hi", cache="5m"),)),
            Message(role="assistant", parts=(Thinking(text="hm", signature="s"), Text(text="Hello."))),
        ),
        top_k=5,
        thinking=4000,
    )
    assert set(WIRE.put(chat, "gpt-4o", None).dropped) == {"cache_control", "thinking", "top_k"}
    assert "thinking" not in WIRE.put(Chat(messages=(), thinking=4000), "o3-mini", None).dropped


def test_a_model_that_thinks_takes_its_bound_by_another_name_and_an_effort() -> None:
    chat = Chat(messages=(), max_output=9, thinking=4000)
    assert said(chat, "gpt-5-mini") | {"max_completion_tokens": 9, "reasoning_effort": "medium"} == said(chat, "gpt-5-mini")
    assert said(chat, "gpt-4o-mini")["max_tokens"] == 9
    assert "reasoning_effort" not in said(chat, "gpt-4o-mini")


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
        (
            "messages[0].content[0].file",
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        ),
        ("messages[0].role", {"messages": [{"role": "robot", "content": ""}]}),
        ("messages[0]", {"messages": ["hi"]}),
        ("messages[0].tool_calls[0]", {"messages": [{"role": "assistant", "tool_calls": [{"type": "custom"}]}]}),
        ("tools[0]", {"messages": [], "tools": [{"type": "web_search"}]}),
        ("tool_choice", {"messages": [], "tool_choice": {"type": "allowed_tools"}}),
        ("response_format", {"messages": [], "response_format": {"type": "grammar"}}),
        ("stop", {"messages": [], "stop": 5}),
        ("temperature", {"messages": [], "temperature": "hot"}),
        ("max_tokens", {"messages": [], "max_tokens": True}),
    ],
)
def test_what_has_no_words_is_refused_by_its_name(field: str, body: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        DIALECT.chat(json.dumps(body).encode())
    assert refused.value.field == field


TEXTS = st.text(min_size=1, max_size=8)
PIECES = st.one_of(
    TEXTS.map(lambda text: TextDelta(text=text)),
    TEXTS.map(lambda text: RefusalDelta(text=text)),
    TEXTS.map(lambda text: ThinkingDelta(text=text)),
    st.tuples(st.integers(0, 2), TEXTS).map(lambda told: ToolDelta(place=told[0], arguments=told[1])),
)
USAGE = Usage(input=7, cache_read=3, output=5, reasoning=2, source="provider")


def answer(pieces: Sequence[Delta], places: int = 3) -> list[Delta]:
    calls = [ToolDelta(place=place, id=f"c{place}", name="f") for place in range(places)]
    return [Begin(), *calls, *pieces, Used(usage=USAGE), Finish(reason="tool_calls")]


def folded(deltas: Sequence[Delta]) -> dict[str, object]:
    """What an answer says in all."""
    text: dict[str, str] = {"text": "", "refusal": "", "thinking": ""}
    calls: dict[int, list[str]] = {}
    rest: dict[str, object] = {}
    for delta in deltas:
        match delta:
            case TextDelta():
                text["text"] += delta.text
            case RefusalDelta():
                text["refusal"] += delta.text
            case ThinkingDelta():
                text["thinking"] += delta.text
            case ToolDelta():
                known = calls.setdefault(delta.place, ["", "", ""])
                known[0], known[1], known[2] = known[0] or delta.id, known[1] or delta.name, known[2] + delta.arguments
            case Used():
                rest["usage"] = delta.usage
            case Finish():
                rest["reason"] = delta.reason
            case Begin():
                pass
    return {**text, "calls": calls, **rest}


def read(stream: bytes, cuts: Sequence[int] = ()) -> tuple[list[Delta], OpenAIReader]:
    frames, reader = Frames(), WIRE.reader()
    marks = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    payloads = [
        payload for one, two in pairwise(marks) for frame in frames.feed(stream[one:two]) if (payload := data(frame)) is not None
    ]
    return [delta for payload in payloads for delta in reader.feed(payload)], reader


@settings(deadline=None)
@given(st.lists(PIECES, max_size=12), st.lists(st.integers(0, 5000), max_size=8))
def test_an_answer_says_the_same_whole_streamed_and_cut_anywhere(pieces: list[Delta], cuts: list[int]) -> None:
    deltas = answer(pieces)
    writer = DIALECT.writer(HEAD)
    stream = b"".join(writer.feed([delta]) for delta in deltas) + writer.end()
    streamed, reader = read(stream, cuts)
    assert reader.ended
    assert folded(streamed) == folded(deltas)
    assert folded(WIRE.whole(DIALECT.whole(deltas, HEAD))) == folded(deltas)


def test_parallel_calls_that_a_host_numbers_zero_are_told_apart_by_their_ids() -> None:
    def chunk(call: dict[str, Any]) -> bytes:
        return json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).encode()

    reader = WIRE.reader()
    pieces = [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":'}},
        {"index": 0, "function": {"arguments": "1}"}},
        {"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}},
        {"id": "c", "function": {"name": "h", "arguments": "{}"}},
    ]
    deltas = [delta for piece in pieces for delta in reader.feed(chunk(piece))]
    assert folded(deltas)["calls"] == {0: ["a", "f", '{"x":1}'], 1: ["b", "g", "{}"], 2: ["c", "h", "{}"]}


def test_an_error_inside_a_stream_is_one() -> None:
    reader = WIRE.reader()
    with pytest.raises(Upstream) as failed:
        reader.feed(b'{"error": {"message": "busy", "code": "rate_limit_exceeded"}}')
    assert failed.value.code == "rate_limited"
    with pytest.raises(Upstream):
        WIRE.whole(b"<html>")
    with pytest.raises(Upstream):
        WIRE.whole(b'{"choices": []}')


def test_thinking_of_another_provider_comes_back_with_its_proof() -> None:
    deltas = [
        Begin(),
        ThinkingDelta(text="hm"),
        ThinkingDelta(signature="sig"),
        ThinkingDelta(hidden="secret"),
        TextDelta(text="Yes."),
        Finish(reason="stop"),
    ]
    message = json.loads(DIALECT.whole(deltas, HEAD))["choices"][0]["message"]
    (kept,) = DIALECT.chat(json.dumps({"messages": [message]}).encode()).messages
    assert kept.parts == (Thinking(text="hm", signature="sig"), Thinking(hidden="secret"), Text(text="Yes."))


USED = Usage(
    input=7, cache_read=11, cache_write=13, cache_write_1h=17, input_audio=19, input_image=23, cache_read_audio=29,
    output=31, reasoning=37, output_audio=41, output_image=43, searches=2, source="provider",
)  # fmt: skip


@pytest.mark.parametrize(("dialect", "reader"), [("openai", OpenAI()), ("anthropic", Anthropic())])
def test_no_token_is_lost_between_the_books_and_what_a_caller_is_told(dialect: str, reader: Wire) -> None:
    """Each counter differs, so a counter that is left out or told twice changes a sum."""
    head = Letterhead(id="t", model="m", at=0)
    deltas = [Begin(id="a", model="m"), TextDelta(text="one"), Used(usage=USED), Finish(reason="stop")]
    told = reader.usage(dialect_of(dialect).whole(deltas, head))
    assert told is not None
    assert (told.total_input, told.total_output) == (USED.total_input, USED.total_output)
    cached = told.cache_read + told.cache_read_audio, told.cache_write + told.cache_write_1h
    assert cached == (USED.cache_read + USED.cache_read_audio, USED.cache_write + USED.cache_write_1h)
    assert told.reasoning == USED.reasoning
