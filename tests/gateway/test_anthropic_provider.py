"""Anthropic as a provider: golden pairs, the traps of its protocol, and its own SDK as the oracle of requests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tandem.core import chat as words
from tandem.core.chat import Chat, Choice, Document, Finish, Format, Image, Refusal, Text, Thinking, ToolCall, ToolDelta, Used
from tandem.core.errors import Invalid, Upstream
from tandem.core.money import Usage
from tandem.gateway import sse
from tandem.gateway.prices import price_of
from tandem.gateway.providers.anthropic import Anthropic
from tandem.gateway.providers.base import load
from tandem.mock.serve import running
from tandem.mock.settings import MockSettings
from tests.gateway.anthropic_chats import CHATS, WEATHER, call, folded, result, say

GOLDEN = Path(__file__).parents[1] / "golden" / "anthropic"
ANSWERS = sorted(path.stem for path in GOLDEN.glob("answer_*.json"))
WIRE = Anthropic()
HI = Chat(messages=(say("user", "Hi"),))


def golden(name: str) -> dict[str, Any]:
    return dict(json.loads((GOLDEN / f"{name}.json").read_text()))


def put(chat: Chat, model: str = "claude-haiku-4-5") -> dict[str, Any]:
    return dict(json.loads(WIRE.put(chat, model, "sk").body))


def asked(**changes: Any) -> Chat:
    return replace(HI, **changes)


def told(rows: list[dict[str, Any]]) -> list[object]:
    """Deltas as a golden file writes them."""
    deltas: list[object] = []
    for row in rows:
        [(name, members)] = row.items()
        deltas.append(Used(usage=Usage(**members, source="provider")) if name == "Used" else getattr(words, name)(**members))
    return deltas


def unspaced(deltas: list[Any]) -> list[Any]:
    """Arguments as values: white space between them is nobody's meaning."""
    return [(one.place, one.id, one.name, json.loads(one.arguments)) if isinstance(one, ToolDelta) else one for one in deltas]


def read(events: list[dict[str, Any]]) -> tuple[list[Any], bool]:
    reader = WIRE.reader()
    deltas = [delta for event in events for delta in reader.feed(json.dumps(event).encode())]
    return deltas, reader.ended


# --- golden pairs


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_every_golden_file_names_its_source_and_its_day(path: Path) -> None:
    told = json.loads(path.read_text())
    assert told["source"].startswith("https://platform.claude.com/docs/")
    assert told["retrieved"] >= "2026-11-29"
    assert told["about"]


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_is_asked_as_published(name: str) -> None:
    model, chat = CHATS[name]
    assert put(chat, model) == golden(f"request_{name}")["request"]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_is_read_as_published(name: str) -> None:
    pair = golden(name)
    deltas, ended = read(pair["events"])
    assert folded(deltas) == told(pair["deltas"])
    assert ended


@pytest.mark.parametrize("name", ANSWERS)
def test_whole_says_what_its_stream_says(name: str) -> None:
    pair = golden(name)
    deltas, _ = read(pair["events"])
    whole = folded(WIRE.whole(json.dumps(pair["message"]).encode()))
    assert unspaced(whole) == unspaced(folded(deltas))


@pytest.mark.parametrize("name", CHATS)
def test_the_sdk_sends_what_we_send(name: str) -> None:
    model, chat = CHATS[name]
    ask = WIRE.put(chat, model, "sk-ours")
    ours = json.loads(ask.body)
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": model, "stop_reason": "end_turn"}
        return httpx2.Response(200, json={**message, "usage": {"input_tokens": 1, "output_tokens": 1}})

    published = golden(f"request_{name}")["request"]
    sampling = {key: published[key] for key in ("temperature", "top_p", "top_k") if key in published}
    kwargs = {key: value for key, value in published.items() if key not in sampling}
    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        anthropic.Anthropic(api_key="sk-ours", base_url="http://anthropic.test", http_client=http) as client,
    ):
        client.messages.create(**kwargs, extra_body=sampling or None)
    assert json.loads(seen[0].content) == ours
    assert seen[0].url.path == f"/v1{ask.path}"
    assert {b"content-type", b"anthropic-version", b"x-api-key"} == {key for key, _ in ask.headers}
    assert seen[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", CHATS)
def test_the_sdks_types_accept_what_we_send(name: str) -> None:
    model, chat = CHATS[name]
    params = {key: value for key, value in put(chat, model).items() if key not in ("temperature", "top_p", "top_k")}
    kind = MessageCreateParamsStreaming if chat.stream else MessageCreateParamsNonStreaming
    assert consumed(TypeAdapter(kind).validate_python(params)) == params


def consumed(value: Any) -> Any:
    """Lists where pydantic puts iterators, which check only what is taken from them."""
    if isinstance(value, dict):
        return {key: consumed(one) for key, one in value.items()}
    return [consumed(one) for one in value] if hasattr(value, "__iter__") and not isinstance(value, str) else value


# --- requests


def test_parallel_tool_results_become_one_user_turn() -> None:
    chat = Chat(
        messages=(
            say("user", "Both?"),
            say("assistant", call("a", "Oslo"), call("b", "Rome")),
            result("a", "1"),
            result("b", "2"),
            say("user", "And?"),
        ),
        tools=(WEATHER,),
    )
    turns = put(chat)["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert [block["type"] for block in turns[2]["content"]] == ["tool_result", "tool_result", "text"]
    assert [block["tool_use_id"] for block in turns[2]["content"][:2]] == ["a", "b"]


def test_turns_alternate_whatever_the_caller_sends() -> None:
    chat = Chat(messages=(say("user", "a"), say("user", "b"), say("assistant", "c"), say("assistant", "d"), say("user", "e")))
    assert [turn["role"] for turn in put(chat)["messages"]] == ["user", "assistant", "user"]


def test_system_goes_to_the_top_and_keeps_its_cache_marks() -> None:
    chat = Chat(messages=(say("system", Text(text="Rules", cache="5m")), say("user", "Hi"), say("system", "More")))
    body = put(chat)
    assert body["system"] == [
        {"type": "text", "text": "Rules", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
        {"type": "text", "text": "More"},
    ]
    assert body["messages"] == [{"role": "user", "content": "Hi"}]


def test_empty_text_blocks_are_not_sent() -> None:
    chat = Chat(
        messages=(say("system", ""), say("user", "", "Hi", " \n"), say("assistant", "", call("a", "Oslo")), result("a", "")),
        tools=(WEATHER,),
    )
    body = put(chat)
    assert "system" not in body
    assert body["messages"][0]["content"] == "Hi"
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use"]
    assert body["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


def test_a_silent_assistant_turn_is_left_out_and_an_empty_user_turn_is_refused() -> None:
    silent = Chat(messages=(say("user", "a"), say("assistant"), say("user", "b")))
    assert put(silent)["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    ]
    for messages in ((say("user", "a"), say("assistant", "b"), say("user", " ")), (say("user"),)):
        with pytest.raises(Invalid) as caught:
            put(Chat(messages=messages))
        assert caught.value.field == f"messages[{len(messages) - 1}]"
    with pytest.raises(Invalid, match="nothing to answer"):
        put(Chat(messages=(say("system", "x"),)))


def test_max_tokens_is_always_sent() -> None:
    assert put(HI)["max_tokens"] == 4096
    assert put(asked(max_output=7))["max_tokens"] == 7


def test_a_calls_arguments_become_an_object_without_losing_a_digit() -> None:
    exact = '{"amount": 12345678901234567890.10, "id":9007199254740993}'
    chat = Chat(messages=(say("user", "x"), say("assistant", ToolCall(id="a", name="pay", arguments=exact)), result("a", "ok")))
    assert exact.encode() in WIRE.put(chat, "claude-haiku-4-5", None).body


@pytest.mark.parametrize("arguments", ["{", "[1]", "null", "{} {}", '{"a": \udc80}'])
def test_arguments_that_are_no_object_are_refused_by_name(arguments: str) -> None:
    chat = Chat(
        messages=(say("user", "x"), say("assistant", "y", call("a", "b"), ToolCall(id="c", name="f", arguments=arguments)))
    )
    with pytest.raises(Invalid) as caught:
        put(chat)
    assert caught.value.field == "messages[1].tool_calls[1].function.arguments"


def test_a_call_without_arguments_gets_an_empty_object() -> None:
    chat = Chat(messages=(say("user", "x"), say("assistant", ToolCall(id="a", name="f", arguments="")), result("a", "ok")))
    assert put(chat)["messages"][1]["content"][0]["input"] == {}


def test_ids_of_other_providers_fit_and_still_pair() -> None:
    chat = Chat(
        messages=(say("user", "x"), say("assistant", call("call:1/ü", "b"), call("call:1/ö", "b")), result("call:1/ü", "ok"))
    )
    messages = put(chat)["messages"]
    first, second = [block["id"] for block in messages[1]["content"]]
    assert first == messages[2]["content"][0]["tool_use_id"] != second
    assert first.replace("_", "").isalnum()
    assert first.isascii()


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        (Choice(mode="auto"), {"type": "auto"}),
        (Choice(mode="none", parallel=False), {"type": "none"}),
        (Choice(mode="required"), {"type": "any"}),
        (Choice(mode="required", parallel=False), {"type": "any", "disable_parallel_tool_use": True}),
        (Choice(mode="one", name="get_weather", parallel=True), {"type": "tool", "name": "get_weather"}),
    ],
)
def test_required_is_called_any(choice: Choice | None, sent: dict[str, object] | None) -> None:
    assert put(asked(tools=(WEATHER,), choice=choice)).get("tool_choice") == sent


def test_a_choice_needs_tools() -> None:
    assert "tool_choice" not in put(asked(choice=Choice(mode="none")))
    for choice in (Choice(mode="required"), Choice(mode="one", name="f")):
        with pytest.raises(Invalid) as caught:
            put(asked(choice=choice))
        assert caught.value.field == "tool_choice"
    with pytest.raises(Invalid):
        put(asked(tools=(WEATHER,), choice=Choice(mode="one", name="other")))


def test_thoughts_nobody_signed_are_not_sent_back() -> None:
    chat = Chat(messages=(say("user", "x"), say("assistant", Thinking(text="hm"), "y"), say("user", "z")))
    assert put(chat)["messages"][1] == {"role": "assistant", "content": "y"}


@pytest.mark.parametrize(
    ("model", "effort", "limit", "thinking", "told"),
    [
        ("claude-haiku-4-5", "high", 64000, {"type": "enabled", "budget_tokens": 16384}, None),
        ("claude-3-7-sonnet-20250219", "low", None, {"type": "enabled", "budget_tokens": 2048}, None),
        ("claude-opus-4-20250514", "high", 3000, {"type": "enabled", "budget_tokens": 1500}, None),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "minimal", 9000, {"type": "enabled", "budget_tokens": 1024}, None),
        ("claude-haiku-4-5", "none", None, None, None),
        ("claude-sonnet-4-6", "minimal", None, {"type": "adaptive"}, "low"),
        ("claude-opus-4-8", "medium", None, {"type": "adaptive"}, "medium"),
        ("claude-haiku-5-5", "xhigh", None, {"type": "adaptive"}, "xhigh"),
        ("claude-opus-5", "none", None, {"type": "disabled"}, None),
    ],
)
def test_effort_is_told_as_the_models_generation_wants_it(
    model: str, effort: str, limit: int | None, thinking: object, told: str | None
) -> None:
    body = put(asked(effort=effort, max_output=limit), model)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == told
    if isinstance(thinking, dict) and "budget_tokens" in thinking:
        assert thinking["budget_tokens"] < body["max_tokens"]


def test_an_effort_without_room_is_told_as_dropped() -> None:
    ask = WIRE.put(asked(effort="high", max_output=500), "claude-haiku-4-5", None)
    assert ask.dropped == ("reasoning_effort",)
    assert "thinking" not in json.loads(ask.body)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"temperature": 0.2}, "temperature"),
        ({"top_p": 0.5}, "top_p"),
        ({"top_k": 5}, "top_k"),
        ({"tools": (WEATHER,), "choice": Choice(mode="required")}, "tool_choice"),
    ],
)
def test_thinking_limits_what_may_be_asked_with_it(changes: dict[str, Any], field: str) -> None:
    for model in ("claude-haiku-4-5", "claude-opus-5"):
        with pytest.raises(Invalid) as caught:
            put(asked(effort="low", **changes), model)
        assert caught.value.field == field
        put(asked(**changes), model)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"temperature": 1.5}, "temperature"),
        ({"thinking": 500, "max_output": 4000}, "thinking"),
        ({"thinking": 5000, "max_output": 4000}, "thinking"),
        ({"effort": "enormous"}, "reasoning_effort"),
        ({"stop": ("x", "\n")}, "stop[1]"),
        ({"messages": (say("user", Image(media="image/tiff", data="AA==")),)}, "messages[0].content[0]"),
        ({"messages": (say("user", Document(media="text/plain", data="%")),)}, "messages[0].content[0]"),
        ({"messages": (say("user", Document(media="application/zip", data="AA==")),)}, "messages[0].content[0]"),
        ({"messages": (say("user", "a"), say("assistant", Image(url="https://x")))}, "messages[1].content[0]"),
        ({"messages": (say("system", Image(url="https://x")), say("user", "a"))}, "messages[0].content[0]"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        put(asked(**changes))
    assert caught.value.field == field


def test_what_has_no_place_is_told_as_dropped() -> None:
    chat = asked(
        messages=(words.Message(role="user", name="Ann", parts=(Image(url="https://x/y.png", detail="high"),)),),
        seed=0,
        frequency_penalty=0.0,
        presence_penalty=0.5,
        user="u" * 300,
        format=Format(),
    )
    ask = WIRE.put(chat, "claude-haiku-4-5", None)
    assert ask.dropped == (
        "seed",
        "presence_penalty",
        "name",
        "image_url.detail",
        "response_format",
        "user",
    )


def test_json_without_a_schema_is_asked_for_in_words() -> None:
    assert "JSON object" in put(asked(format=Format()))["system"]


def test_a_schema_is_closed_where_it_lists_its_properties() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "string"}}}
    schema = {"type": "object", "properties": {"one": inner, "map": {"type": "object", "additionalProperties": True}}}
    many = {"anyOf": [inner, {"type": "array", "items": inner}], "$defs": {"x": inner, "y": True}, "enum": [{"properties": 1}]}
    closed = put(asked(format=Format(schema={**schema, **many})))["output_config"]["format"]["schema"]
    assert closed["additionalProperties"] is False
    shut = {**inner, "additionalProperties": False}
    assert closed["properties"] == {"one": shut, "map": {"type": "object", "additionalProperties": True}}
    assert closed["anyOf"] == [shut, {"type": "array", "items": shut}]
    assert closed["$defs"] == {"x": shut, "y": True}
    assert closed["enum"] == [{"properties": 1}]


def test_a_refusal_comes_back_as_text() -> None:
    chat = Chat(messages=(say("user", "x"), say("assistant", Refusal(text="No.")), say("user", "y")))
    assert put(chat)["messages"][1]["content"] == "No."


def test_no_key_no_header_and_no_embeddings() -> None:
    assert b"x-api-key" not in dict(WIRE.ask("chat", b'{"model":"a"}', {}, None).headers)
    with pytest.raises(Invalid):
        WIRE.ask("embed", b"{}", {}, None)


def test_bytes_of_the_same_dialect_pass_but_for_the_edits() -> None:
    ask = WIRE.ask("chat", b'{ "model":"chat", "x": 1e400 }', {"model": b'"claude-opus-5"'}, "sk")
    assert (ask.path, ask.body) == ("/messages", b'{ "model":"claude-opus-5", "x": 1e400 }')
    assert dict(ask.headers)[b"x-api-key"] == b"sk"
    assert dict(ask.headers)[b"anthropic-version"] == b"2023-06-01"


# --- usage


def meter(events: list[dict[str, Any]]) -> tuple[Usage | None, list[bool]]:
    counting = WIRE.meter()
    lasts = [counting.frame(json.dumps(event).encode()) for event in events]
    assert not any(alone for alone, _ in lasts)
    return counting.usage, [last for _, last in lasts]


def test_cache_counters_are_outside_input_tokens_and_counted_once() -> None:
    pair = golden("answer_cached")
    expected = Usage(input=50, cache_read=1800, cache_write=148, cache_write_1h=100, output=503, source="provider")
    usage, lasts = meter(pair["events"])
    assert usage == expected
    assert lasts == [False] * (len(lasts) - 1) + [True]
    assert WIRE.usage(json.dumps(pair["message"]).encode()) == expected
    assert expected.total_input == 2098


@pytest.mark.parametrize("name", ANSWERS)
def test_output_is_cumulative_and_not_added_up(name: str) -> None:
    pair = golden(name)
    used = next(row["Used"] for row in pair["deltas"] if "Used" in row)
    assert meter(pair["events"])[0] == Usage(**used, source="provider") == WIRE.usage(json.dumps(pair["message"]).encode())


def test_a_cut_stream_is_not_billed_by_the_opening_count() -> None:
    events = golden("answer_cached")["events"][:4]
    assert meter(events) == (None, [False] * 4)
    assert not any(isinstance(delta, Used) for delta in read(events)[0])


def test_several_message_deltas_replace_one_another() -> None:
    events = golden("answer_text")["events"]
    first = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 5}}
    usage, _ = meter([*events[:-2], first, *events[-2:]])
    assert usage == Usage(input=25, output=15, source="provider")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"usage":null}', b'{"usage":{}}', b"[", b'{"usage":{"input_tokens":"a"}}'])
def test_usage_that_is_not_said_is_not_made_up(body: bytes) -> None:
    assert WIRE.usage(body) is None


def test_odd_counters_never_become_negative() -> None:
    body = b'{"usage":{"input_tokens":-5,"output_tokens":3,"output_tokens_details":{"thinking_tokens":9}}}'
    assert WIRE.usage(body) == Usage(output=0, reasoning=3, source="provider")


def test_the_meter_survives_what_it_cannot_read() -> None:
    counting = WIRE.meter()
    for payload in (b'{"type":"message_delta"', b'"message_', b"\xff", b'{"type":"message_delta","usage":{"output_tokens":"x"}}'):
        assert counting.frame(payload) == (False, False)
    assert counting.usage is None


# --- answers


def test_a_stream_without_message_stop_is_cut() -> None:
    events = golden("answer_text")["events"]
    for end in range(len(events)):
        deltas, ended = read(events[:end])
        assert not ended
        assert not any(isinstance(delta, Finish) for delta in deltas)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("overloaded_error", "overloaded"),
        ("rate_limit_error", "rate_limited"),
        ("api_error", "upstream_5xx"),
        ("invalid_request_error", "bad_request"),
        ("invented_error", "upstream_5xx"),
    ],
)
def test_an_error_event_inside_a_200_is_an_error(kind: str, code: str) -> None:
    reader = WIRE.reader()
    with pytest.raises(Upstream) as caught:
        reader.feed(json.dumps({"type": "error", "error": {"type": kind, "message": "Overloaded"}}).encode())
    assert caught.value.code == code
    assert "Overloaded" in caught.value.said
    assert "Overloaded" not in caught.value.message
    assert not reader.ended


def test_an_error_event_without_words_is_an_error_too() -> None:
    with pytest.raises(Upstream):
        WIRE.reader().feed(b'{"type":"error"}')


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "paused"),
        ("refusal", "refusal"),
        ("invented", "stop"),
    ],
)
def test_every_stop_reason_has_a_word(said: str, reason: str) -> None:
    events = [{"type": "message_delta", "delta": {"stop_reason": said}, "usage": {"output_tokens": 1}}, {"type": "message_stop"}]
    assert read(events)[0][-1] == Finish(reason=reason)  # type: ignore[arg-type]
    whole = WIRE.whole(json.dumps({"content": [], "stop_reason": said}).encode())
    assert whole[-1] == Finish(reason=reason)  # type: ignore[arg-type]


def block(index: int, name: str, *pieces: str) -> list[dict[str, Any]]:
    opened = {"type": "tool_use", "id": f"t{index}", "name": name, "input": {}}
    return [
        {"type": "content_block_start", "index": index, "content_block": opened},
        *[
            {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": p}}
            for p in pieces
        ],
        {"type": "content_block_stop", "index": index},
    ]


def test_a_streamed_call_without_arguments_is_an_empty_object() -> None:
    deltas, _ = read([*block(0, "a"), *block(1, "b", ""), *block(2, "c", '{"x"', ":1}")])
    assert [(one.place, one.arguments) for one in folded(deltas)] == [(0, "{}"), (1, "{}"), (2, '{"x":1}')]  # type: ignore[union-attr]


def test_parallel_calls_keep_their_places_around_blocks_that_are_none() -> None:
    other = {"type": "content_block_start", "index": 1, "content_block": {"type": "server_tool_use", "name": None, "text": 5}}
    deltas, _ = read([*block(0, "a", "{}"), other, *block(2, "b", "{}")])
    assert [(one.place, one.id) for one in folded(deltas)] == [(0, "t0"), (1, "t2")]  # type: ignore[union-attr]


def test_events_and_deltas_of_the_future_are_passed_over() -> None:
    events = [
        {"type": "invented"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "invented", "data": {"a": 1}, "input": 3}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "invented_delta"}},
        {"type": "content_block_delta", "index": 9, "delta": {"type": "input_json_delta", "partial_json": "{"}},
        {"type": "content_block_stop", "index": 0},
    ]
    assert read(events) == ([], False)
    assert WIRE.whole(b'{"content":[{"type":"invented","text":{"a":1}}],"stop_reason":"end_turn"}')[-1] == Finish(reason="stop")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"type":"message_start"}',
        b'{"type":"content_block_start","index":0}',
        b'{"type":"content_block_delta","index":0}',
        b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":5}}',
    ],
)
def test_a_malformed_frame_is_an_error_of_the_upstream(payload: bytes) -> None:
    with pytest.raises(Upstream) as caught:
        WIRE.reader().feed(payload)
    assert caught.value.code == "malformed_stream"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"content":5}', b'{"content":[{"type":"text","text":1}]}'])
def test_a_malformed_answer_is_an_error_of_the_upstream(body: bytes) -> None:
    with pytest.raises(Upstream):
        WIRE.whole(body)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_readers_otherwise(data: bytes) -> None:
    WIRE.meter().frame(b'"message_' + data)
    WIRE.usage(data)
    WIRE.fault(400, (), data)
    for act in (WIRE.reader().feed, WIRE.whole):
        try:
            act(data)
        except Upstream:
            pass


# --- against the mock, which knows the protocol from elsewhere


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", [name for name in CHATS if name != "thought"])
async def test_the_mock_takes_what_we_send_and_its_bill_says_what_we_read(name: str, stream: bool) -> None:
    _, chat = CHATS[name]
    async with running(MockSettings(port=0)) as mock, httpx2.AsyncClient(base_url=f"{mock.url}/anthropic/v1") as http:
        for _ in range(2):  # the second time, what is marked comes from the cache
            ask = WIRE.put(replace(chat, stream=stream), "claude-sonnet-4-6", "sk")
            reply = await http.post(ask.path, content=ask.body, headers=list(ask.headers))
            assert reply.status_code == 200, reply.text
            [*_, row] = mock.bill()
            if stream:
                reader, counting = WIRE.reader(), WIRE.meter()
                payloads = [sse.data(frame) or b"" for frame in sse.Frames().feed(reply.content)]
                deltas = [delta for payload in payloads for delta in reader.feed(payload)]
                assert [counting.frame(payload)[1] for payload in payloads][-1]
                assert reader.ended
                usage = counting.usage
            else:
                deltas, usage = WIRE.whole(reply.content), WIRE.usage(reply.content)
            assert usage is not None
            assert [delta.usage for delta in deltas if isinstance(delta, Used)] == [usage]
            assert (usage.total_input, usage.cache_read, usage.cache_write + usage.cache_write_1h, usage.total_output) == (
                row.prompt_tokens,
                row.cached_tokens,
                row.written_tokens,
                row.completion_tokens,
            )
            assert isinstance(deltas[-1], Finish)


# --- faults


@pytest.mark.parametrize(
    ("status", "kind", "message", "canon"),
    [
        (401, "authentication_error", "invalid x-api-key", "auth"),
        (403, "permission_error", "not allowed", "auth"),
        (402, "billing_error", "unpaid", "quota"),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.", "quota"),
        (404, "not_found_error", "model: claude-0", "not_found"),
        (413, "request_too_large", "Request exceeds the maximum size", "context_exceeded"),
        (429, "rate_limit_error", "slow down", "rate_limited"),
        (500, "api_error", "Internal server error", "upstream_5xx"),
        (504, "timeout_error", "too slow", "upstream_5xx"),
        (529, "overloaded_error", "Overloaded", "overloaded"),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", "context_exceeded"),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 2", "context_exceeded"),
        (400, "invalid_request_error", "Output blocked by content filtering policy", "content_policy"),
        (400, "invalid_request_error", "messages: at least one message is required", "bad_request"),
        (529, "", "", "overloaded"),
        (502, "", "", "upstream_5xx"),
        (418, "invented_error", "", "bad_request"),
    ],
)
def test_every_fault_has_its_class(status: int, kind: str, message: str, canon: str) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    assert WIRE.fault(status, (), body) == canon


def test_a_fault_that_is_no_json_goes_by_its_status() -> None:
    assert WIRE.fault(503, (), b"<html>") == "upstream_5xx"
    assert WIRE.fault(429, (), b'{"error":"slow"}') == "rate_limited"


def test_the_protocol_is_known_and_priced() -> None:
    assert isinstance(load("anthropic"), Anthropic)
    row = price_of("claude-haiku-4-5", "anthropic", 1_780_000_000_000_000)
    assert row is not None
    assert (row.input, row.output, row.cache_read, row.cache_write) == (1_000_000, 5_000_000, 100_000, 1_250_000)
