"""Anthropic's wire towards callers: what they ask, what they are answered, and its SDK reading every frame of it."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message as TheirMessage
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
    Reason,
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
from tandem.core.errors import (
    Broken,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    OverBudget,
    RateLimited,
    Rejected,
    TandemError,
    TimedOut,
    Unauthenticated,
    Unavailable,
    Upstream,
)
from tandem.core.money import Usage
from tandem.gateway import sse
from tandem.gateway.providers.anthropic import Anthropic
from tandem.gateway.wires import anthropic as wire
from tandem.gateway.wires import anthropic_say
from tandem.gateway.wires.base import Letterhead
from tests.gateway.anthropic_chats import folded, say

DIALECT = wire.AnthropicDialect()
HEAD = Letterhead(id="msg_trc1", model="assistant", at=1)
USED = Used(usage=Usage(input=10, cache_read=3, cache_write=2, output=7, reasoning=4, source="provider"))
ASK: dict[str, Any] = {"model": "assistant", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}


def chat(**members: Any) -> Chat:
    return DIALECT.chat(json.dumps({**ASK, **members}).encode())


def streamed(*batches: list[Delta]) -> bytes:
    writer = DIALECT.writer(HEAD)
    return b"".join([*[writer.feed(batch) for batch in batches], writer.end()])


def theirs(frames: bytes, status: int = 200, headers: dict[str, str] | None = None) -> TheirMessage:
    """The message that Anthropic's SDK makes of frames."""
    given = {"content-type": "text/event-stream" if status == 200 else "application/json", **(headers or {})}

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers=given, content=frames)

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        anthropic.Anthropic(api_key="k", base_url="http://door.test", http_client=http, max_retries=0) as client,
        client.messages.stream(model="assistant", max_tokens=5, messages=[{"role": "user", "content": "Hi"}]) as stream,
    ):
        return stream.get_final_message()


def payloads(frames: bytes) -> list[dict[str, Any]]:
    return [json.loads(sse.data(frame) or b"") for frame in sse.Frames().feed(frames)]


def plain(message: TheirMessage) -> dict[str, Any]:
    return message.to_dict(mode="json", exclude_none=True)


# --- what is asked


def test_a_request_is_read_in_full() -> None:
    tool = {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True}
    read = chat(
        system=[{"type": "text", "text": "Rules", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "xx"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1.50}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "So?"},
                    {"type": "tool_result", "tool_use_id": "t1", "content": "ok", "is_error": True},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
                    {"type": "image", "source": {"type": "url", "url": "https://x"}},
                    {"type": "document", "title": "d", "source": {"type": "text", "media_type": "text/plain", "data": "ü"}},
                ],
            },
        ],
        tools=[tool],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        thinking={"type": "enabled", "budget_tokens": 2000},
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop_sequences=["x"],
        metadata={"user_id": "u"},
        stream=True,
        service_tier="auto",
        container=None,
    )
    assert read == Chat(
        messages=(
            say("system", Text(text="Rules", cache="1h")),
            say("user", "Hi"),
            say(
                "assistant",
                Thinking(text="hm", signature="sig"),
                Thinking(hidden="xx"),
                ToolCall(id="t1", name="f", arguments='{"a": 1.5}'),
            ),
            say("tool", ToolResult(call="t1", parts=(Text(text="ok"),), failed=True)),
            say(
                "user",
                "So?",
                Image(media="image/png", data="AA=="),
                Image(url="https://x"),
                Document(media="text/plain", data="w7w=", name="d"),
            ),
        ),
        tools=(Tool(name="f", description="d", schema={"type": "object"}, strict=True),),
        choice=Choice(mode="required", parallel=False),
        format=Format(schema={"type": "object"}, strict=True),
        max_output=50,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop=("x",),
        effort="low",
        thinking=2000,
        user="u",
        stream=True,
        rest={"service_tier": "auto"},
    )


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ({"type": "auto"}, Choice()),
        ({"type": "none"}, Choice(mode="none")),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": False}, Choice(mode="one", name="f", parallel=True)),
    ],
)
def test_every_choice_has_a_word(given: object, choice: Choice) -> None:
    assert chat(tool_choice=given).choice == choice


@pytest.mark.parametrize(("given", "tokens"), [({"type": "disabled"}, 0), ({"type": "adaptive"}, None), (None, None)])
def test_thinking_that_is_forbidden_stays_forbidden(given: object, tokens: int | None) -> None:
    assert chat(thinking=given).thinking == tokens


def test_one_mark_for_the_whole_request_falls_on_its_last_block() -> None:
    assert chat(cache_control={"type": "ephemeral"}).messages[-1].parts[-1] == Text(text="Hi", cache="5m")


USER = "messages[0].content[0]"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, f"{USER}.type"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, f"{USER}.source"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, f"{USER}.text"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, f"{USER}.type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
            f"{USER}.source.type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "context": "c", "source": {"type": "url"}}]}]},
            f"{USER}.context",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "document", "citations": {"enabled": True}, "source": {"type": "url"}}],
                    }
                ]
            },
            f"{USER}.citations",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "content", "content": "x"}}]}]},
            None,
        ),
        ({"messages": [{"role": "user", "content": [{"type": "tool_use", "toolset_name": "browser"}]}]}, f"{USER}.toolset_name"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_use"}]}]}
                ]
            },
            f"{USER}.content[0]",
        ),
        ({"tools": [{"type": "web_search_20260209", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"stop_sequences": 5}, "stop_sequences"),
    ],
)
def test_what_only_anthropic_has_is_refused_by_name(members: dict[str, Any], field: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        chat(**members)
    assert field is None or caught.value.field == field


def test_a_document_as_text_is_kept_letter_by_letter() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Zürich – 東京"}
    (document,) = chat(messages=[{"role": "user", "content": [{"type": "document", "source": source}]}]).messages[0].parts
    assert isinstance(document, Document)
    assert b64decode(document.data).decode() == "Zürich – 東京"


def test_anothers_proof_comes_back_with_its_call() -> None:
    deltas: list[Delta] = [ToolDelta(place=0, id="call_1", name="f", arguments="{}", signature="a+/b=="), Finish(reason="stop")]
    (block,) = theirs(streamed(deltas)).content
    assert block.type == "tool_use"
    assert block.id.replace("_", "").replace("-", "").isalnum()
    assert json.loads(DIALECT.whole(deltas, HEAD))["content"][0]["id"] == block.id
    back = chat(
        messages=[
            {"role": "assistant", "content": [block.to_dict()]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "ok"}]},
        ]
    )
    assert back.messages[0].parts == (ToolCall(id="call_1", name="f", arguments="{}", signature="a+/b=="),)
    assert back.messages[1].parts == (ToolResult(call="call_1", parts=(Text(text="ok"),)),)


@pytest.mark.parametrize("id", ["a__proof_", "a__proof_!", "a__proof_/w"])
def test_an_id_that_only_looks_as_if_it_carried_a_proof_breaks_nothing(id: str) -> None:
    assert wire.anthropic_chat.without_proof(id)[0] in (id, "a")


# --- what the door reads


def test_a_request_is_understood() -> None:
    body = json.dumps({**ASK, "stream": True, "metadata": {"user_id": "u-1"}, "temperature": 1}).encode()
    read = wire.read_messages(body, ((b"traceparent", b"x"),))
    assert (read.address, read.subject, read.declared, read.choices) == ("assistant", "u-1", True, 1)
    assert (read.asked.verb, read.asked.stream, read.asked.tokens_in, read.asked.tokens_out) == ("chat", True, len(body), 50)
    assert read.asked.edits == {}
    assert read.asked.body is body
    assert read.asked.headers == ((b"traceparent", b"x"),)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", None),
        (b"\xff", None),
        (b'{"model":"a","messages":[]}', "max_tokens"),
        (b'{"model":"a","max_tokens":1}', "messages"),
        (b'{"messages":[],"max_tokens":1}', "model"),
        (b'{"model":"a","messages":{},"max_tokens":1}', "messages"),
        (b'{"model":"a","messages":[],"max_tokens":-1}', "max_tokens"),
        (b'{"model":"a","messages":[],"max_tokens":99999999}', "max_tokens"),
        (b'{"model":"a","messages":[],"max_tokens":"many"}', "max_tokens"),
        (b'{"model":"a","messages":[],"max_tokens":1,"metadata":{"user_id":5}}', "metadata.user_id"),
    ],
)
def test_bad_requests_name_the_field(body: bytes, field: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        wire.read_messages(body, ())
    assert caught.value.field == field


def test_a_small_file_of_a_large_picture_is_reserved_for() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="}}
    linked = {"type": "document", "source": {"type": "url", "url": "https://x"}}
    text = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}

    def bound(*blocks: object) -> int:
        body = json.dumps({**ASK, "messages": [{"role": "user", "content": blocks}]}).encode()
        return wire.read_messages(body, ()).asked.tokens_in - len(body)

    assert bound(image, image) == 2 * wire.IMAGE_TOKENS
    assert bound(pdf) >= wire.DOCUMENT_TOKENS
    assert bound(linked) >= wire.DOCUMENT_TOKENS
    assert bound(text) == 0


def test_an_estimate_of_tokens_counts_what_is_said_and_not_the_pictures_bytes() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 90_000}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * 90_000}}

    def estimate(content: object, **more: object) -> int:
        return wire.read_count(json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **more}).encode())[1]

    empty = estimate("")
    assert estimate("word " * 300) - empty == 500
    assert estimate([image]) - estimate([]) == wire.SEEN_TOKENS
    assert estimate([pdf]) - estimate([]) == 2 * wire.READ_TOKENS
    assert estimate("", system="s" * 30, tools=[{"name": "t" * 30}]) - empty >= 20
    assert json.loads(wire.count(7)) == {"input_tokens": 7}
    assert wire.read_count(b'{"model":"m","messages":[]}') == ("m", 0)
    for body in (b"{", b'{"model":"m"}', b'{"model":"m","messages":5}'):
        with pytest.raises(Invalid):
            wire.read_count(body)


# --- refusals


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Unauthenticated("x"), anthropic.AuthenticationError),
        (Forbidden("x"), anthropic.PermissionDeniedError),
        (NotFound("x"), anthropic.NotFoundError),
        (Conflict("x"), anthropic.ConflictError),
        (Invalid("x"), anthropic.BadRequestError),
        (Invalid("x", status=413), anthropic.RequestTooLargeError),
        (RateLimited("x"), anthropic.RateLimitError),
        (OverBudget("x"), anthropic.RateLimitError),
        (Upstream("x", code="overloaded"), anthropic.OverloadedError),
        (Unavailable("x"), anthropic.ServiceUnavailableError),
        (TimedOut("x"), anthropic.DeadlineExceededError),
        (Upstream("x"), anthropic.InternalServerError),
        (Broken("x"), anthropic.InternalServerError),
    ],
)
def test_the_sdk_raises_the_class_that_fits(error: TandemError, kind: type[anthropic.APIStatusError]) -> None:
    status, headers, body = wire.refusal(error, "trc_1")
    with pytest.raises(kind) as caught:
        theirs(body, status, {name.decode(): value.decode() for name, value in headers})
    assert type(caught.value) is kind
    assert caught.value.request_id == "trc_1"
    assert caught.value.api_message == "x"
    assert caught.value.error_code == error.code
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["request_id"] == "trc_1"


def test_a_refusal_names_the_field_and_when_to_come_back() -> None:
    _, headers, body = wire.refusal(RateLimited("Too many.", field="model", retry_after=1.2), "trc_1")
    assert (b"retry-after", b"2") in headers
    assert json.loads(body)["error"]["message"] == "model: Too many."
    assert b"x-should-retry" not in dict(headers)


def test_clients_do_not_hammer_an_empty_budget() -> None:
    _, headers, _ = wire.refusal(OverBudget("Spent."), "trc_1")
    assert (b"x-should-retry", b"false") in headers


def test_only_what_anthropic_wrote_is_passed_on() -> None:
    own, foreign, broken = (Rejected("x", status=400) for _ in range(3))
    own.body = b'{"type":"error","error":{"type":"invalid_request_error","message":"theirs"}}'
    foreign.body, broken.body = b'{"error":{"message":"not theirs"}}', b"<html>"
    assert wire.refusal(own, "t")[2] is own.body
    for error in (foreign, broken):
        assert json.loads(wire.refusal(error, "t")[2])["error"]["message"] == "x"


# --- what is answered


def test_a_whole_answer_has_anthropics_shape() -> None:
    deltas: list[Delta] = [
        Begin(id="chatcmpl-1", model="gpt"),
        ThinkingDelta(text="h"),
        ThinkingDelta(text="m"),
        ThinkingDelta(signature="s"),
        ThinkingDelta(hidden="xx"),
        TextDelta(text="Hel"),
        TextDelta(text="lo"),
        ToolDelta(place=0, id="a", name="f", arguments='{"x": 1.50}'),
        ToolDelta(place=1, id="b", name="g"),
        USED,
        Finish(reason="tool_calls"),
    ]
    body = DIALECT.whole(deltas, HEAD)
    assert b'"input":{"x": 1.50}' in body
    assert json.loads(body) == {
        "id": "msg_trc1",
        "type": "message",
        "role": "assistant",
        "model": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "xx"},
            {"type": "text", "text": "Hello"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1.5}},
            {"type": "tool_use", "id": "b", "name": "g", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 2,
            "cache_read_input_tokens": 3,
            "output_tokens": 11,
            "output_tokens_details": {"thinking_tokens": 4},
        },
    }


@pytest.mark.parametrize(
    ("finish", "stop"),
    [
        (Finish(reason="stop"), "end_turn"),
        (Finish(reason="stop", sequence="x"), "stop_sequence"),
        (Finish(reason="length"), "max_tokens"),
        (Finish(reason="content_filter"), "refusal"),
        (Finish(reason="refusal"), "refusal"),
        (Finish(reason="paused"), "pause_turn"),
    ],
)
def test_every_reason_has_a_stop_reason(finish: Finish, stop: str) -> None:
    for message in (json.loads(DIALECT.whole([finish], HEAD)), theirs(streamed([finish])).to_dict()):
        assert message["stop_reason"] == stop
        assert message["stop_sequence"] == (finish.sequence or None)


def test_a_plain_stop_after_a_call_or_a_refusal_says_what_it_was() -> None:
    called: list[Delta] = [ToolDelta(place=0, id="a", name="f", arguments="{}"), Finish(reason="stop")]
    refused: list[Delta] = [RefusalDelta(text="No."), Finish(reason="stop")]
    for deltas, stop in ((called, "tool_use"), (refused, "refusal")):
        assert theirs(streamed(deltas)).stop_reason == stop == json.loads(DIALECT.whole(deltas, HEAD))["stop_reason"]


def test_arguments_that_were_cut_short_do_not_break_the_answer() -> None:
    deltas: list[Delta] = [ToolDelta(place=0, id="a", name="f", arguments='{"x": "un'), Finish(reason="length")]
    assert json.loads(DIALECT.whole(deltas, HEAD))["content"][0]["input"] == {"INVALID_JSON": '{"x": "un'}
    assert theirs(streamed(deltas)).stop_reason == "max_tokens"


def test_a_call_without_id_gets_one() -> None:
    deltas: list[Delta] = [ToolDelta(place=1, name="f", arguments="{}"), Finish(reason="stop")]
    (block,) = theirs(streamed(deltas)).content
    assert block.type == "tool_use"
    assert block.id == "toolu_msg_trc1_1"


def test_usage_and_the_end_wait_for_the_record() -> None:
    writer = DIALECT.writer(HEAD)
    said = writer.feed([TextDelta(text="Hi"), USED, Finish(reason="stop")])
    assert b"message_delta" not in said
    assert b"message_stop" not in said
    assert writer.feed([]) == b""
    assert [one["type"] for one in payloads(writer.end())] == ["content_block_stop", "message_delta", "message_stop"]


def test_cache_counters_reach_the_client_outside_input_tokens() -> None:
    usage = theirs(streamed([TextDelta(text="Hi"), USED, Finish(reason="stop")])).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (10, 3, 2)
    assert usage.output_tokens == 11


def test_every_frame_carries_its_events_name() -> None:
    frames = streamed([TextDelta(text="a\n\nb"), ToolDelta(place=0, id="a", name="f", arguments="{}")])
    for frame in sse.Frames().feed(frames):
        name = frame.split(b"\n")[0].removeprefix(b"event: ").decode()
        assert json.loads(sse.data(frame) or b"")["type"] == name


def test_an_error_within_a_stream_reaches_the_client_as_one() -> None:
    writer = DIALECT.writer(HEAD)
    frames = writer.feed([TextDelta(text="Hi")]) + writer.fail(Upstream("Cut.", code="overloaded"))
    with pytest.raises(anthropic.APIStatusError) as caught:
        theirs(frames)
    assert caught.value.type == "overloaded_error"
    assert caught.value.api_message == "Cut."


def test_calls_that_alternate_come_one_after_the_other() -> None:
    deltas: list[Delta] = [
        ToolDelta(place=0, id="a", name="f", arguments='{"x": "}'),
        ToolDelta(place=1, id="b", name="g", arguments='{"y":'),
        TextDelta(text="meanwhile"),
        ToolDelta(place=0, arguments='\\" ]"'),
        ToolDelta(place=1, arguments="2}"),
        ToolDelta(place=0, arguments="}"),
        ToolDelta(place=2, id="c", name="h", arguments="{}"),
        ToolDelta(place=0, arguments="\n"),
        Finish(reason="tool_calls"),
    ]
    message = theirs(streamed(*[[delta] for delta in deltas]))
    assert [(one.type, getattr(one, "input", None)) for one in message.content] == [
        ("tool_use", {"x": '}" ]'}),
        ("tool_use", {"y": 2}),
        ("text", None),
        ("tool_use", {}),
    ]


def test_a_complete_call_does_not_hold_up_the_next() -> None:
    writer = DIALECT.writer(HEAD)
    writer.feed([ToolDelta(place=0, id="a", name="f", arguments="{}")])
    assert b"tool_use" in writer.feed([ToolDelta(place=1, id="b", name="g", arguments='{"a"')])


def test_what_has_to_wait_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anthropic_say, "LARGEST_HELD", 100)
    writer = DIALECT.writer(HEAD)
    later: list[Delta] = [ToolDelta(place=1, id="b", name="g", arguments="xx")] * 60
    writer.feed([ToolDelta(place=0, id="a", name="f", arguments="{"), *later[:50]])
    with pytest.raises(Upstream, match="has to wait"):
        writer.feed(later)


def test_a_call_that_goes_on_after_its_end_is_an_error_and_not_lost() -> None:
    writer = DIALECT.writer(HEAD)
    with pytest.raises(Upstream, match="was complete"):
        writer.feed(
            [
                ToolDelta(place=0, id="a", name="f", arguments="{}"),
                TextDelta(text="x"),
                ToolDelta(place=0, arguments='{"b":1}'),
            ]
        )


# --- any answer, cut anyhow

TEXTS = st.text(alphabet=st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
VALUES = st.dictionaries(
    st.text(max_size=4), st.one_of(st.text(alphabet='\\"{}[]a ü', max_size=8), st.integers(), st.lists(st.booleans()))
)


@st.composite
def answers(draw: st.DrawFn) -> list[Delta]:
    """Blocks in any order, cut into pieces; the pieces of calls may alternate."""
    deltas: list[Delta] = [Begin(id="x", model="y")]
    place = 0
    for kind in draw(st.lists(st.sampled_from(["text", "thinking", "hidden", "calls"]), max_size=5)):
        match kind:
            case "text":
                deltas += [TextDelta(text=one) for one in draw(st.lists(TEXTS, min_size=1, max_size=3))]
            case "thinking":
                deltas += [ThinkingDelta(text=one) for one in draw(st.lists(TEXTS, min_size=1, max_size=3))]
                deltas.append(ThinkingDelta(signature=draw(TEXTS)))
            case "hidden":
                deltas.append(ThinkingDelta(hidden=draw(TEXTS)))
            case _:
                queues: list[list[Delta]] = []
                for _ in range(draw(st.integers(1, 3))):
                    text = json.dumps(draw(VALUES), ensure_ascii=draw(st.booleans()))
                    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
                    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
                    first: Delta = ToolDelta(place=place, id=f"t{place}", name="f", arguments=pieces[0])
                    rest: list[Delta] = [ToolDelta(place=place, arguments=piece) for piece in pieces[1:]]
                    queues.append([first, *rest])
                    place += 1
                begun = 0  # calls begin in the order of their places
                while any(queues):
                    at = draw(st.sampled_from([at for at, queue in enumerate(queues) if queue and at <= begun]))
                    begun = max(begun, at + 1)
                    deltas.append(queues[at].pop(0))
    reasons: list[Reason] = ["stop", "length", "refusal", "paused"]
    return [*deltas, USED, Finish(reason="tool_calls" if place else draw(st.sampled_from(reasons)))]


@settings(deadline=None, max_examples=150)
@given(answers(), st.integers(1, 6))
def test_their_accumulator_makes_the_same_message_of_any_pieces(deltas: list[Delta], size: int) -> None:
    frames = streamed(*[deltas[at : at + size] for at in range(0, len(deltas), size)])
    whole = TheirMessage.model_validate_json(DIALECT.whole(deltas, HEAD))
    assert plain(theirs(frames)) == plain(whole)


@settings(deadline=None, max_examples=150)
@given(answers(), st.integers(1, 40))
def test_reading_what_was_written_gives_back_what_was_said(deltas: list[Delta], cut: int) -> None:
    reader, frames, out = Anthropic().reader(), sse.Frames(), []
    data = streamed(deltas)
    for at in range(0, len(data), cut):
        for frame in frames.feed(data[at : at + cut]):
            out += reader.feed(sse.data(frame) or b"")
    assert reader.ended
    expected = [Begin(id=HEAD.id, model=HEAD.model), *deltas[1:]]
    assert folded(out) == folded(expected)
    assert folded(Anthropic().whole(DIALECT.whole(deltas, HEAD))) == folded(expected)
