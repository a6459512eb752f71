"""Bedrock's protocol: one test for each trap, and botocore, unmodified, as the judge of our requests and of what we read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import botocore.session
import httpx2
import pytest
from botocore.config import Config
from botocore.validate import ParamValidator
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
from tandem.core.endpoint import Provider
from tandem.core.errors import Invalid, Upstream
from tandem.core.money import Usage
from tandem.gateway.check import check_provider
from tandem.gateway.eventstream import EventStream
from tandem.gateway.prices import VENDORS, price_of
from tandem.gateway.providers.base import load
from tandem.gateway.providers.bedrock import Bedrock
from tandem.mock import eventstream
from tandem.mock.anthropic_wire import signature
from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings
from tests.gateway.conftest import KEY, House
from tests.gateway.test_across import spread

WIRE = Bedrock()
HAIKU, NOVA, LLAMA = "us.anthropic.claude-haiku-4-5-20251001-v1:0", "amazon.nova-lite-v1:0", "meta.llama3-1-8b-instruct-v1:0"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
HELLO = Message(role="user", parts=(Text(text="hello"),))
THOUGHT = "It is asked how warm it is."
CALL = ToolCall(id="c1", name="weather", arguments='{"city": "Paris"}')
FULL = Chat(
    messages=(
        Message(role="system", parts=(Text(text="Be brief.", cache="1h"),)),
        Message(
            role="user",
            parts=(
                Text(text="What is on the picture, and how warm is it there?"),
                Image(media="image/png", data="aGk="),
                Document(media="application/pdf", data="JVBERg==", name="report_2026.pdf", cache="5m"),
            ),
        ),
        Message(
            role="assistant",
            parts=(
                Thinking(text=THOUGHT, signature=signature(THOUGHT)),
                Text(text="Let me see."),
                CALL,
                ToolCall(id="c2", name="time", arguments=""),
            ),
        ),
        Message(role="tool", parts=(ToolResult(call="c1", parts=(Text(text="21.50"), Text(text=" ", cache="5m"))),)),
        Message(role="tool", parts=(ToolResult(call="c2", parts=(Text(text="no clock"),), failed=True),)),
        Message(role="user", parts=(Text(text="Short, please."),)),
    ),
    tools=(Tool(name="weather", description="How warm it is.", schema=SCHEMA, strict=True), Tool(name="time", cache="5m")),
    choice=Choice(mode="auto"),
    format=Format(schema=SCHEMA, name="answer"),
    max_output=4000,
    stop=("END",),
    thinking=2048,
)


def body(chat: Chat, model: str = HAIKU) -> dict[str, Any]:
    return dict(json.loads(WIRE.put(chat, model, None).body))


def asks(*parts: Any, **more: Any) -> Chat:
    return Chat(messages=(Message(role="user", parts=parts or (Text(text="hello"),)),), **more)


def read(payloads: Sequence[tuple[str, dict[str, Any]]]) -> list[Delta]:
    """What a stream of these events says."""
    reader, framing = WIRE.reader(), EventStream()
    sent = b"".join(eventstream.event(kind, json.dumps({**members, "p": "abc"}).encode()) for kind, members in payloads)
    return [delta for payload in framing.feed(sent) for delta in reader.feed(payload)]


def piece(index: int, **delta: Any) -> tuple[str, dict[str, Any]]:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": delta}


def stop(index: int) -> tuple[str, dict[str, Any]]:
    return "contentBlockStop", {"contentBlockIndex": index}


COUNTS = {"inputTokens": 3, "outputTokens": 61, "totalTokens": 2435, "cacheReadInputTokens": 2074, "cacheWriteInputTokens": 297}
USED = Usage(input=3, cache_read=2074, cache_write=97, cache_write_1h=200, output=61, source="provider")
DETAILS = [{"ttl": "1h", "inputTokens": 200}, {"ttl": "5m", "inputTokens": 97}]


# --- what is asked


@pytest.mark.parametrize("stream", [False, True])
async def test_botocore_sends_the_same_request(stream: bool) -> None:
    """Its client checks every member against the service's own model before it sends it."""
    async with running(MockSettings(port=0)) as mock:
        session = botocore.session.Session()
        session.set_credentials("AKIAEXAMPLE", "secret", "session")
        client = session.create_client(
            "bedrock-runtime", region_name="us-east-1", endpoint_url=mock.url, config=Config(retries={"max_attempts": 0})
        )
        messages = [
            {
                "role": "user",
                "content": [
                    {"text": "What is on the picture, and how warm is it there?"},
                    {"image": {"format": "png", "source": {"bytes": b"hi"}}},
                    {"document": {"format": "pdf", "name": "report 2026 pdf", "source": {"bytes": b"%PDF"}}},
                    {"cachePoint": {"type": "default"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": THOUGHT, "signature": signature(THOUGHT)}}},
                    {"text": "Let me see."},
                    {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Paris"}}},
                    {"toolUse": {"toolUseId": "c2", "name": "time", "input": {}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "c1", "content": [{"text": "21.50"}]}},
                    {"cachePoint": {"type": "default"}},
                    {"toolResult": {"toolUseId": "c2", "content": [{"text": "no clock"}], "status": "error"}},
                    {"text": "Short, please."},
                ],
            },
        ]
        specs = [
            {
                "toolSpec": {
                    "name": "weather",
                    "description": "How warm it is.",
                    "inputSchema": {"json": SCHEMA},
                    "strict": True,
                }
            },
            {"toolSpec": {"name": "time", "inputSchema": {"json": {"type": "object"}}}},
            {"cachePoint": {"type": "default"}},
        ]
        schema = json.dumps({**SCHEMA, "additionalProperties": False}, separators=(",", ":"))
        asked: dict[str, Any] = {
            "modelId": HAIKU,
            "messages": messages,
            "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
            "inferenceConfig": {"maxTokens": 4000, "stopSequences": ["END"]},
            "toolConfig": {"tools": specs, "toolChoice": {"auto": {}}},
            "outputConfig": {
                "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema, "name": "answer"}}}
            },
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            "additionalModelResponseFieldPaths": ["/stop_sequence"],
        }

        def ask() -> None:
            if stream:
                list(client.converse_stream(**asked)["stream"])
            else:
                client.converse(**asked)
            client.close()

        await asyncio.to_thread(ask)
        [seen] = mock.requests()
    put = WIRE.put(replace(FULL, stream=stream), HAIKU, "AKIAEXAMPLE:secret:session")
    assert put.dropped == ()
    assert seen["status"] == 200
    assert seen["path"] == put.path
    assert json.loads(put.body) == seen["body"]


MODEL = botocore.session.Session().get_service_model("bedrock-runtime")


def blobs(tree: Any) -> Any:
    """A body with its bytes as botocore takes them."""
    if isinstance(tree, dict):
        return {name: b"x" if name in ("bytes", "redactedContent") else blobs(value) for name, value in tree.items()}
    return [blobs(item) for item in tree] if isinstance(tree, list) else tree


PARTS = {
    "user": st.sampled_from(
        [
            Text(text="a"), Text(text=" "), Text(text="b", cache="1h"), Image(media="image/webp", data="aGk=", cache="5m"),
            Document(media="text/markdown", data="aGk=", name="/etc/passwd"), Document(media="text/csv", data="aGk="),
            ToolResult(call="x/" * 50, parts=(Text(text=""), Image(media="image/gif", data="aGk="))),
        ]
    ),
    "assistant": st.sampled_from(
        [
            Text(text="a"), Refusal(text="no"), Thinking(hidden="aGk="), Thinking(text="t", signature="s"), Thinking(text="t"),
            ToolCall(id="x/" * 50, name="f", arguments='{"a": 1}', cache="5m"),
        ]
    ),
}  # fmt: skip
SAID = st.sampled_from(["user", "assistant"]).flatmap(
    lambda role: st.lists(PARTS[role], min_size=1, max_size=4).map(
        lambda parts: Message(role=role, parts=(*parts, Text(text="z")))  # type: ignore[arg-type]
    )
)


@given(st.lists(SAID, max_size=5), st.sampled_from([HAIKU, NOVA, LLAMA]))
def test_every_chat_is_one_that_botocore_takes(said: list[Message], model: str) -> None:
    """By the members and bounds of the service's own model; and turns alternate, and no text is blank."""
    chat = Chat(messages=(HELLO, *said), tools=(Tool(name="f", cache="1h"),), max_output=9, temperature=0.5)
    tree = blobs(body(chat, model))
    shape = MODEL.operation_model("Converse").input_shape
    assert shape is not None
    report = ParamValidator().validate({**tree, "modelId": model}, shape)
    assert not report.has_errors(), report.generate_report()
    roles = [turn["role"] for turn in tree["messages"]]
    assert roles == [("user", "assistant")[at % 2] for at in range(len(roles))]
    blocks = [block for turn in tree["messages"] for block in turn["content"]]
    assert all(len(block) == 1 for block in blocks)
    assert all(block["text"].strip() for block in blocks if "text" in block)
    ids = {block["toolUse"]["toolUseId"] for block in blocks if "toolUse" in block}
    answered = {block["toolResult"]["toolUseId"] for block in blocks if "toolResult" in block}
    assert len(ids | answered) <= 1
    assert all(len(id) <= 64 for id in ids | answered)
    names = [block["document"]["name"] for block in blocks if "document" in block]
    assert len(names) == len(set(names))
    if model == LLAMA:
        assert "cachePoint" not in json.dumps(body(chat, model))


def test_a_mark_stands_beside_the_result_of_a_tool_and_not_within() -> None:
    """Portkey-AI/gateway#1762."""
    result = ToolResult(call="c1", parts=(Text(text="seen", cache="1h"),), cache="5m")
    turns = body(Chat(messages=(HELLO, Message(role="assistant", parts=(CALL,)), Message(role="tool", parts=(result,)))))
    [answer, mark] = turns["messages"][2]["content"]
    assert answer == {"toolResult": {"toolUseId": "c1", "content": [{"text": "seen"}]}}
    assert mark == {"cachePoint": {"type": "default", "ttl": "1h"}}


def test_results_of_parallel_calls_go_back_in_one_turn_and_first() -> None:
    calls = tuple(ToolCall(id=id, name="f", arguments="{}") for id in ("a", "b"))
    late = Message(role="user", parts=(Text(text="and?"), ToolResult(call="b", parts=())))
    chat = Chat(
        messages=(
            HELLO,
            Message(role="assistant", parts=calls),
            Message(role="tool", parts=(ToolResult(call="a", parts=()),)),
            late,
        )
    )
    content = body(chat)["messages"][2]["content"]
    assert [next(iter(block)) for block in content] == ["toolResult", "toolResult", "text"]


def test_a_conversation_with_calls_needs_its_tools() -> None:
    past = Chat(
        messages=(HELLO, Message(role="assistant", parts=(CALL,)), Message(role="tool", parts=(ToolResult(call="c1", parts=()),)))
    )
    assert body(past)["toolConfig"] == {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]}
    assert "toolConfig" not in body(asks())
    offered = replace(past, tools=(Tool(name="weather"),), choice=Choice(mode="none"))
    with pytest.raises(Invalid) as refused:
        body(offered)
    assert refused.value.field == "tool_choice"
    assert "toolConfig" not in body(replace(offered, messages=(HELLO,)))  # what is not offered is not called


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (Choice(mode="auto", parallel=True), {"auto": {}}),
        (Choice(mode="required"), {"any": {}}),
        (Choice(mode="one", name="f"), {"tool": {"name": "f"}}),
    ],
)
def test_how_tools_are_chosen(choice: Choice, wanted: object) -> None:
    assert body(asks(tools=(Tool(name="f"),), choice=choice))["toolConfig"]["toolChoice"] == wanted
    assert "toolChoice" not in body(asks(tools=(Tool(name="f"),)))["toolConfig"]


def test_who_forbids_several_calls_is_passed_one() -> None:
    for choice, single in ((Choice(parallel=False), True), (Choice(parallel=True), False), (None, False)):
        ask = WIRE.put(asks(tools=(Tool(name="f"),), choice=choice), HAIKU, None)
        assert (ask.single, "parallel_tool_calls" in ask.dropped) == (single, single)


@pytest.mark.parametrize(
    ("chat", "model", "field"),
    [
        (asks(Image(url="https://x.example/a.png")), HAIKU, "messages[0].content[0]"),
        (asks(Text(text="a"), Image(media="image/tiff", data="aGk=")), HAIKU, "messages[0].content[1]"),
        (asks(Document(url="https://x.example/a.pdf")), HAIKU, "messages[0].content[0]"),
        (asks(Document(media="application/zip", data="aGk=")), HAIKU, "messages[0].content[0]"),
        (asks(Text(text=" ")), HAIKU, "messages[0]"),
        (asks(temperature=1.5), NOVA, "temperature"),
        (asks(stop=("",)), NOVA, "stop[0]"),
        (asks(stop=("a", "\n")), HAIKU, "stop[1]"),
        (asks(thinking=100), HAIKU, "thinking"),
        (asks(thinking=2048, max_output=4000, temperature=0.5), HAIKU, "temperature"),
        (asks(effort="enormous"), HAIKU, "reasoning_effort"),
        (asks(tools=(Tool(name="f"),), choice=Choice(mode="one", name="g")), HAIKU, "tool_choice"),
        (asks(choice=Choice(mode="required")), HAIKU, "tool_choice"),
        (Chat(messages=(Message(role="system", parts=(Image(media="image/png", data="aGk="),)),)), NOVA,
         "messages[0].content[0]"),
        (Chat(messages=(Message(role="system", parts=(Text(text="Be brief."),)),)), HAIKU, "messages"),
        (Chat(messages=(HELLO, Message(role="assistant", parts=(replace(CALL, arguments="[1]"),)))), HAIKU,
         "messages[1].tool_calls[0].function.arguments"),
    ],
)  # fmt: skip
def test_what_would_change_the_answer_is_refused_with_its_place(chat: Chat, model: str, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        WIRE.put(chat, model, None)
    assert refused.value.field == field
    assert "enormous" not in refused.value.message


@pytest.mark.parametrize(
    ("chat", "model", "dropped"),
    [
        (asks(seed=7, frequency_penalty=0.5, presence_penalty=0.1, user="u"), HAIKU,
         ("seed", "frequency_penalty", "presence_penalty", "user")),
        (asks(top_k=5, effort="low"), NOVA, ("reasoning_effort", "top_k")),
        (asks(thinking=2048), LLAMA, ("thinking",)),
        (asks(Text(text="a", cache="5m")), LLAMA, ("cache_control",)),
        (asks(Text(text="a", cache="1h")), NOVA, ("cache_control.ttl",)),
        (asks(Image(media="image/png", data="aGk=", detail="low")), NOVA, ("image_url.detail",)),
        (asks(format=Format()), HAIKU, ("response_format",)),
        (Chat(messages=(replace(HELLO, name="ann"),)), HAIKU, ("name",)),
        (Chat(messages=(HELLO, Message(role="assistant", parts=(Thinking(text="of another"), Text(text="a"))))), HAIKU,
         ("thinking",)),
        (asks(top_k=5, effort="none"), HAIKU, ()),
        (asks(effort="none"), LLAMA, ()),
    ],
)  # fmt: skip
def test_what_would_not_is_left_out_and_named(chat: Chat, model: str, dropped: tuple[str, ...]) -> None:
    assert WIRE.put(chat, model, None).dropped == dropped


def test_what_only_claude_understands_goes_to_claude_alone() -> None:
    assert body(asks(top_k=5))["additionalModelRequestFields"] == {"top_k": 5}
    assert body(asks(effort="low", max_output=9000))["additionalModelRequestFields"] == {
        "thinking": {"type": "enabled", "budget_tokens": 2048}
    }
    later = body(asks(effort="high"), "eu.anthropic.claude-opus-4-7-v1:0")
    assert later["additionalModelRequestFields"] == {"thinking": {"type": "adaptive"}}
    assert later["outputConfig"] == {"effort": "high"}
    assert body(asks(top_k=5, effort="low", stop=("\n",)), NOVA).keys() == {"messages", "inferenceConfig"}


def test_json_without_a_schema_is_a_sentence() -> None:
    assert "JSON object" in body(asks(format=Format()))["system"][0]["text"]
    told = body(asks(format=Format(schema={"type": "object", "properties": {}})), NOVA)["outputConfig"]["textFormat"]
    assert told == {"type": "json_schema", "structure": {"jsonSchema": {"schema": (
        '{"type":"object","properties":{},"additionalProperties":false}')}}}  # fmt: skip


def test_thoughts_go_back_as_they_came_or_not_at_all() -> None:
    parts = (Thinking(text="t", signature="s"), Thinking(hidden="eHg="), Thinking(text="of another"), Text(text="a"))
    turns = body(Chat(messages=(HELLO, Message(role="assistant", parts=parts), HELLO)))
    assert turns["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "t", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "eHg="}},
        {"text": "a"},
    ]


# --- what is answered


def test_a_stream_is_read_and_ends_with_what_it_used() -> None:
    said = read(
        [
            ("messageStart", {"role": "assistant"}),
            piece(0, reasoningContent={"text": "hm"}),
            piece(0, reasoningContent={"signature": "sig"}),
            stop(0),
            piece(1, text="He"),
            piece(1, text="llo"),
            stop(1),
            ("contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t1", "name": "f"}}}),
            piece(2, toolUse={"input": ""}),
            piece(2, toolUse={"input": '{"a"'}),
            piece(2, toolUse={"input": ":1}"}),
            stop(2),
            ("contentBlockStart", {"contentBlockIndex": 3, "start": {"toolUse": {"toolUseId": "t2", "name": "g"}}}),
            stop(3),
            (
                "contentBlockStart",
                {"contentBlockIndex": 4, "start": {"toolUse": {"toolUseId": "s", "name": "w", "type": "server_tool_use"}}},
            ),
            piece(4, toolUse={"input": '{"q": 1}'}),
            piece(4, citation={"title": "a"}),
            stop(4),
            ("invented", {"contentBlockIndex": 5}),
            ("messageStop", {"stopReason": "tool_use"}),
            ("metadata", {"usage": {**COUNTS, "cacheDetails": DETAILS}, "metrics": {"latencyMs": 5}}),
        ]
    )
    assert said == [
        Begin(), ThinkingDelta(text="hm"), ThinkingDelta(signature="sig"), TextDelta(text="He"), TextDelta(text="llo"),
        ToolDelta(place=0, id="t1", name="f"), ToolDelta(place=0, arguments='{"a"'), ToolDelta(place=0, arguments=":1}"),
        ToolDelta(place=1, id="t2", name="g"), ToolDelta(place=1, arguments="{}"),
        Finish(reason="tool_calls"), Used(usage=USED),
    ]  # fmt: skip


def test_a_whole_answer_says_the_same() -> None:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "eHg="}},
        {"text": "Hello"},
        {"citationsContent": {"content": [{"text": "cited"}], "citations": [{"title": "a"}]}},
        {"toolUse": {"toolUseId": "s1", "name": "nova_grounding", "input": {}, "type": "server_tool_use"}},
        {"toolResult": {"toolUseId": "s1", "content": [{"text": "found"}]}},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1.50}}},
    ]
    answer = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "stop_sequence",
        "additionalModelResponseFields": {"stop_sequence": "END"},
        "usage": {**COUNTS, "cacheDetails": DETAILS},
        "metrics": {"latencyMs": 5},
    }
    assert WIRE.whole(json.dumps(answer).encode().replace(b"1.5}", b"1.50}")) == [
        Begin(), ThinkingDelta(text="hm", signature="sig"), ThinkingDelta(hidden="eHg="), TextDelta(text="Hello"),
        TextDelta(text="cited"), ToolDelta(place=0, id="t1", name="f", arguments='{"a": 1.50}'), Used(usage=USED),
        Finish(reason="stop", sequence="END"),
    ]  # fmt: skip
    assert WIRE.usage(json.dumps(answer).encode()) == USED


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [("end_turn", "stop"), ("max_tokens", "length"), ("model_context_window_exceeded", "length"), ("tool_use", "tool_calls"),
     ("guardrail_intervened", "content_filter"), ("content_filtered", "content_filter")],
)  # fmt: skip
def test_why_it_ended(reason: str, wanted: Any) -> None:
    assert read([("messageStop", {"stopReason": reason})]) == [Finish(reason=wanted)]


@pytest.mark.parametrize("reason", ["malformed_tool_use", "malformed_model_output", "what comes next", None])
def test_a_failure_of_the_model_is_no_answer(reason: str | None) -> None:
    with pytest.raises(Upstream, match="could not finish"):
        read([("messageStop", {"stopReason": reason})])


def test_a_stream_ends_with_its_metadata_and_not_before() -> None:
    reader = WIRE.reader()
    reader.feed(b'{"metadata":{"usage":null}}')
    assert not reader.ended
    reader.feed(b'{"messageStop":{"stopReason":"end_turn"}}')
    assert not reader.ended
    assert reader.feed(b'{"metadata":{"metrics":{"latencyMs":1}}}') == []
    assert reader.ended


def test_counters_are_disjoint_and_the_hour_is_part_of_what_was_written() -> None:
    """Cached tokens stand beside the input, as in Anthropic's own protocol."""
    assert USED.total_input == 3 + 2074 + 297
    more = {**COUNTS, "cacheDetails": [{"ttl": "1h", "inputTokens": 9999}]}
    assert WIRE.usage(json.dumps({"usage": more}).encode()) == replace(USED, cache_write=0, cache_write_1h=297)
    assert WIRE.usage(json.dumps({"usage": {"inputTokens": 7, "outputTokens": 2}}).encode()) == Usage(
        input=7, output=2, source="provider"
    )
    for nothing in (b"{}", b"no", b'{"usage":{}}', b'{"usage":null}'):
        assert WIRE.usage(nothing) is None


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("throttlingException", "Too many requests", "rate_limited"),
        ("throttlingException", "Too many tokens per day, please wait before trying again.", "quota"),
        ("modelStreamErrorException", "oh", "upstream_5xx"),
        ("serviceUnavailableException", "busy", "overloaded"),
        ("validationException", "bad", "bad_request"),
        ("validationException", "Input is too long for requested model.", "context_exceeded"),
        ("internalServerException", "oh", "upstream_5xx"),
        ("inventedException", "oh", "upstream_5xx"),
    ],
)
def test_an_exception_within_a_stream_has_its_class(kind: str, message: str, code: str) -> None:
    [payload] = EventStream().feed(eventstream.exception(kind, json.dumps({"message": message}).encode()))
    with pytest.raises(Upstream) as broken:
        WIRE.reader().feed(payload)
    assert broken.value.code == code
    assert message not in broken.value.message  # it may repeat what was sent
    assert message in broken.value.words


@pytest.mark.parametrize(
    ("status", "name", "message", "wanted"),
    [
        (429, "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/", "slow", "rate_limited"),
        (400, "ServiceQuotaExceededException", "", "quota"),
        (403, "AccessDeniedException", "You don't have access to the model with the specified model ID.", "auth"),
        (403, "com.amazon.coral.service#ExpiredTokenException", "", "auth"),
        (403, "InvalidSignatureException", "", "auth"),
        (404, "ResourceNotFoundException", "", "not_found"),
        (429, "ModelNotReadyException", "", "overloaded"),
        (503, "ServiceUnavailableException", "", "overloaded"),
        (424, "ModelErrorException", "", "upstream_5xx"),
        (408, "ModelTimeoutException", "", "upstream_5xx"),
        (500, "InternalServerException", "", "upstream_5xx"),
        (400, "ValidationException", "The provided model identifier is invalid.", "bad_request"),
        (400, "ValidationException", "The model returned: prompt is too long: 300000 tokens", "context_exceeded"),
        (400, "ValidationException", "input length and `max_tokens` exceed context limit: 1 + 2 > 3", "context_exceeded"),
        (400, "ValidationException", "The model returned: Output blocked by content filtering policy", "content_policy"),
        (400, "", "", "bad_request"), (401, "", "", "auth"), (403, "", "", "auth"), (404, "", "", "not_found"),
        (429, "", "", "rate_limited"), (503, "", "", "overloaded"), (502, "", "", "upstream_5xx"),
    ],
)  # fmt: skip
def test_refusals_have_their_class(status: int, name: str, message: str, wanted: str) -> None:
    told = json.dumps({"message": message}).encode()
    headers = [(b"x-amzn-errortype", name.encode())] if name else []
    assert WIRE.fault(status, headers, told) == wanted
    if name:
        assert WIRE.fault(status, (), json.dumps({"__type": name, "Message": message}).encode()) == wanted


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"\xff", b"3", b'{"contentBlockDelta":3}', b'{"contentBlockDelta":{}}', b"[" * 5000]
)
def test_what_cannot_be_read_is_no_silence(payload: bytes) -> None:
    with pytest.raises(Upstream) as broken:
        WIRE.reader().feed(payload)
    assert broken.value.code == "malformed_stream"
    with pytest.raises(Upstream) as whole:
        WIRE.whole(payload)
    assert whole.value.code == "malformed_reply"


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_a_fault(payload: bytes) -> None:
    for hear in (WIRE.whole, WIRE.reader().feed, EventStream().feed):
        try:
            hear(payload)
        except Upstream:
            pass
    assert WIRE.fault(400, (), payload)
    WIRE.usage(payload)


def test_nobodys_bytes_pass_through_and_a_price_is_found_by_the_models_id() -> None:
    assert isinstance(load("bedrock"), Bedrock)
    assert (WIRE.name, WIRE.dialect) == ("bedrock", "")
    for verb in ("chat", "embed"):
        with pytest.raises(Invalid):
            WIRE.ask(verb, b"{}", {}, None)
    now = 1_780_000_000_000_000
    arn = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{HAIKU}"
    regional, anywhere = price_of(HAIKU, VENDORS["bedrock"], now), price_of(HAIKU.replace("us.", "global."), "aws", now)
    assert regional is not None
    assert anywhere is not None
    assert price_of(arn, "aws", now) == regional
    assert regional.input * 10 == anywhere.input * 11  # a profile that stays in a region costs a tenth more
    assert price_of("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1", "aws", now) is None


@pytest.mark.parametrize(
    ("protocol", "query", "fits"),
    [("bedrock", "region=us-east-1", True), ("azure", "api-version=2025-04-01-preview", True),
     ("bedrock", "api-version=1", False), ("openai", "region=us-east-1", False),
     ("azure", "api-version=2024-10-21&key=s", False), ("azure", "api-version=", False)],
)  # fmt: skip
def test_an_address_may_say_in_its_query_what_its_protocol_needs_and_no_more(protocol: str, query: str, fits: bool) -> None:
    provider = Provider(name="own", protocol=protocol, base_url=f"https://proxy.example/x?{query}")
    if fits:
        check_provider(provider)
        return
    with pytest.raises(Invalid) as refused:
        check_provider(provider)
    assert refused.value.field == "base_url"


# --- through the door


@pytest.fixture
async def http(door: House) -> AsyncIterator[httpx2.AsyncClient]:
    spread(door)
    async with httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"}) as opened:
        yield opened


def last(mock: MockHandle) -> dict[str, Any]:
    return dict(mock.requests()[-1])


async def test_a_models_arn_is_named_as_it_is(door: House, http: httpx2.AsyncClient) -> None:
    """Its colons and its slash reach the provider encoded; the signature covers them so."""
    arn = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{HAIKU}"
    asked = {"model": f"bedrock/{arn}", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    reply = await http.post("/v1/chat/completions", json=asked)
    assert reply.status_code == 200, reply.text
    seen = last(door.mock)
    assert seen["path"].startswith("/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic")
    assert "session" not in json.dumps(seen)
    assert "x-amz-date" in seen["headers"]


async def test_a_provider_whose_address_names_no_region_is_told_so(door: House, http: httpx2.AsyncClient) -> None:
    hosts = dict(door.snapshot.hosts)
    hosts["bedrock"] = replace(hosts["bedrock"], base_url=door.mock.url)
    door.publish(hosts=hosts)
    reply = await http.post("/v1/chat/completions", json={"model": "bedrock", "messages": [{"role": "user", "content": "hi"}]})
    assert reply.status_code == 502
    assert "names no region" in reply.text
    assert door.mock.bill() == []


async def test_a_refusal_of_bedrocks_is_told_with_its_words(door: House, http: httpx2.AsyncClient) -> None:
    asked = {"model": "bedrock/no.such-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    reply = await http.post("/v1/chat/completions", json=asked)
    assert reply.status_code == 400
    assert "The provided model identifier is invalid." in reply.json()["error"]["message"]
