"""Gemini's protocol: golden pairs, one test for each trap, and the vendor's own SDK as the judge of our requests."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import types
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
from tandem.gateway.providers.gemini import Gemini
from tandem.gateway.sse import Frames
from tandem.gateway.sse import data as payload_of
from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings

GOLDEN = Path(__file__).parents[1] / "golden" / "gemini"
ANSWERS = sorted(path.stem for path in GOLDEN.glob("*.json") if "frames" in json.loads(path.read_text()))
WIRE = Gemini()
FLASH, THREE = "gemini-2.5-flash", "gemini-3-flash-preview"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/city"}},
    "$defs": {"city": {"type": "string"}},
    "additionalProperties": False,
}
HELLO = Message(role="user", parts=(Text(text="hello"),))
CALL = ToolCall(id="c1", name="weather", arguments='{"city": "Paris"}', signature="c2ln")
FULL = Chat(
    messages=(
        Message(role="system", parts=(Text(text="Be brief."),)),
        Message(
            role="user",
            parts=(
                Text(text="What is on the picture, and how warm is it there?"),
                Image(media="image/png", data="aGk="),
                Document(url="https://x.example/a.pdf"),
            ),
        ),
        Message(role="assistant", parts=(Text(text="Let me see."), CALL, ToolCall(id="c2", name="time", arguments=""))),
        Message(role="tool", parts=(ToolResult(call="c1", parts=(Text(text='{"celsius":21.50}'),)),)),
        Message(role="tool", parts=(ToolResult(call="c2", parts=(Text(text="no clock"),), failed=True),)),
        Message(role="user", parts=(Text(text="Short, please."),)),
    ),
    tools=(Tool(name="weather", description="How warm it is.", schema=SCHEMA), Tool(name="time")),
    choice=Choice(mode="one", name="weather"),
    format=Format(schema={"type": "object"}, name="answer"),
    max_output=200,
    temperature=0.5,
    top_p=0.9,
    top_k=40,
    stop=("END",),
    seed=7,
    frequency_penalty=0.2,
    presence_penalty=0.1,
    effort="low",
    stream=True,
)


def golden(name: str) -> dict[str, Any]:
    return dict(json.loads((GOLDEN / f"{name}.json").read_text()))


def frames(name: str) -> list[bytes]:
    return [json.dumps(frame).encode() for frame in golden(name)["frames"]]


def plain(delta: Delta) -> list[object]:
    """A delta as the golden files write it: its name, and what is not the default."""
    source: Any = delta.usage if isinstance(delta, Used) else delta
    said = {field.name: getattr(source, field.name) for field in fields(source)}
    return [type(delta).__name__, {name: value for name, value in said.items() if value not in (0, "") and name != "source"} | (
        {"place": said["place"]} if "place" in said else {}
    )]  # fmt: skip


def read(payloads: Sequence[bytes]) -> list[Delta]:
    reader = WIRE.reader()
    return [delta for payload in payloads for delta in reader.feed(payload)]


def folded(deltas: Sequence[Delta]) -> dict[str, object]:
    """What an answer says, however it was cut: the last usage counts."""
    said: dict[str, Any] = {"text": "", "thought": "", "calls": {}}
    for delta in deltas:
        match delta:
            case Begin():
                said["begin"] = delta
            case TextDelta(text=text):
                said["text"] += text
            case ThinkingDelta(text=text, signature=signature):
                said["thought"] += text + signature
            case ToolDelta():
                assert delta.place not in said["calls"]
                said["calls"][delta.place] = (delta.id, delta.name, delta.arguments, delta.signature)
            case Used(usage=usage):
                said["usage"] = usage
            case Finish():
                assert "finish" not in said
                said["finish"] = delta
            case _:
                raise AssertionError(delta)
    return said


def camel(value: Any) -> Any:
    """Google takes names in camelCase and snake_case; its SDK sends both."""
    if isinstance(value, dict):
        return {re.sub(r"_([a-z])", lambda found: found[1].upper(), key): camel(inner) for key, inner in value.items()}
    return [camel(item) for item in value] if isinstance(value, list) else value


def asked(chat: Chat, model: str = FLASH) -> dict[str, Any]:
    return dict(json.loads(WIRE.put(chat, model, "k").body))


def config(chat: Chat, model: str = FLASH) -> dict[str, Any]:
    return dict(asked(chat, model)["generationConfig"])


def reply(*parts: dict[str, object], reason: str = "STOP", **more: object) -> bytes:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": reason, "index": 0}
    return json.dumps({"candidates": [candidate], "responseId": "abcdefgh", **more}).encode()


# --- golden pairs


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_read_as_they_are_published(name: str) -> None:
    assert [plain(delta) for delta in read(frames(name))] == golden(name)["deltas"]


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.json")))
def test_every_golden_file_names_its_source_and_day(name: str) -> None:
    assert golden(name)["source"].startswith("https://")
    assert golden(name)["read"] >= "2026-01-01"


def test_a_request_is_put_as_it_is_published() -> None:
    pair = golden("request")
    put = WIRE.put(FULL, pair["model"], "secret")
    assert json.loads(put.body) == pair["body"]
    assert b'{"celsius":21.50}' in put.body  # numbers stay as they were written
    assert put.path == pair["path"]
    assert put.dropped == ()


@pytest.mark.parametrize(("status", "wanted", "body"), golden("faults")["faults"])
def test_refusals_have_their_class(status: int, wanted: str, body: object) -> None:
    assert WIRE.fault(status, (), json.dumps(body).encode()) == wanted


@pytest.mark.parametrize(
    ("status", "wanted"),
    [(400, "bad_request"), (401, "auth"), (403, "auth"), (404, "not_found"), (429, "rate_limited"), (500, "upstream_5xx"),
     (503, "overloaded"), (418, "bad_request")],
)  # fmt: skip
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"error":null}'])
def test_a_refusal_that_cannot_be_read_is_classed_by_its_status(status: int, wanted: str, body: bytes) -> None:
    assert WIRE.fault(status, (), body) == wanted


# --- the traps


def test_the_key_is_in_a_header_and_never_in_the_address() -> None:
    put = WIRE.put(FULL, FLASH, "very-secret")
    assert (b"x-goog-api-key", b"very-secret") in put.headers
    assert "very-secret" not in put.path
    assert b"very-secret" not in put.body
    assert all(name != b"x-goog-api-key" for name, _ in WIRE.put(FULL, FLASH, None).headers)


def test_a_models_name_cannot_leave_its_place_in_the_address() -> None:
    hello = Chat(messages=(HELLO,))
    assert WIRE.put(hello, "../x?key=1", None).path == "/models/..%2Fx%3Fkey%3D1:generateContent"
    assert WIRE.put(hello, "models/gemini-2.5-pro", None).path == "/models/gemini-2.5-pro:generateContent"


def test_usage_that_every_chunk_repeats_is_not_summed() -> None:
    reader = WIRE.reader()
    ends = []
    for frame in frames("text_stream"):
        reader.feed(frame)
        ends.append(reader.ended)
    assert ends == [False, True]
    assert folded(read(frames("text_stream")))["usage"] == Usage(input=8, output=5, source="provider")


def test_cached_tokens_are_part_of_the_prompt_and_thoughts_are_beside_the_answer() -> None:
    """Cached tokens billed twice (BerriAI/litellm#14849), thoughts not billed at all."""
    body = json.dumps({"usageMetadata": {
        "promptTokenCount": 100, "cachedContentTokenCount": 60, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 7,
        "thoughtsTokenCount": 11, "totalTokenCount": 123}}).encode()  # fmt: skip
    usage = WIRE.usage(body)
    assert usage == Usage(input=45, cache_read=60, output=7, reasoning=11, source="provider")
    assert usage.total_input + usage.total_output == 123
    assert WIRE.usage(b"{}") is None
    assert WIRE.usage(b"no") is None
    more_cached = WIRE.usage(b'{"usageMetadata":{"promptTokenCount":3,"cachedContentTokenCount":9}}')
    assert more_cached == Usage(cache_read=3, source="provider")


def test_parallel_calls_get_places_of_their_own() -> None:
    """All of them at index 0 (BerriAI/litellm#21331)."""
    one = reply({"functionCall": {"name": "a", "args": {"x": 1}}}, reason="")
    two = reply({"functionCall": {"name": "a", "args": {"x": 2}}}, {"functionCall": {"name": "b"}})
    calls = [delta for delta in read([one, two]) if isinstance(delta, ToolDelta)]
    assert [(call.place, call.name, call.arguments) for call in calls] == [
        (0, "a", '{"x":1}'),
        (1, "a", '{"x":2}'),
        (2, "b", "{}"),
    ]
    assert len({call.id for call in calls}) == 3


def test_the_arguments_of_a_call_are_not_dropped_in_a_stream() -> None:
    """BerriAI/litellm#25836, #25561, #25390."""
    said = read([reply({"functionCall": {"name": "f", "args": {"deep": {"a": [1, "é"]}}}})])
    [call] = [delta for delta in said if isinstance(delta, ToolDelta)]
    assert json.loads(call.arguments) == {"deep": {"a": [1, "é"]}}


def test_a_call_without_an_id_gets_the_same_one_however_it_is_read() -> None:
    bare = json.loads(reply({"functionCall": {"name": "f", "args": {"x": 1}}}))
    del bare["responseId"]
    pretty, small = json.dumps(bare, indent=4).encode(), json.dumps(bare).encode()
    ids = [delta.id for body in (pretty, small) for delta in WIRE.whole(body) if isinstance(delta, ToolDelta)]
    assert ids[0] == ids[1]
    assert ids[0].startswith("call_")


def test_calls_end_with_tool_calls_though_gemini_says_stop() -> None:
    assert read([reply({"functionCall": {"name": "f"}})])[-1] == Finish(reason="tool_calls")
    assert read([reply({"text": "x"})])[-1] == Finish(reason="stop")
    assert read([reply({"functionCall": {"name": "f"}}, reason="MAX_TOKENS")])[-1] == Finish(reason="length")


def test_a_blocked_prompt_has_no_candidate_and_is_an_answer_all_the_same() -> None:
    for name in ("blocked_prompt", "blocked_answer"):
        assert WIRE.whole(frames(name)[0])[-1] == Finish(reason="content_filter")
    reader = WIRE.reader()
    reader.feed(frames("blocked_prompt")[0])
    assert reader.ended


@pytest.mark.parametrize("reason", ["RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST", "LANGUAGE"])
def test_what_the_filter_withholds_is_no_plain_stop(reason: str) -> None:
    assert read([reply(reason=reason)])[-1] == Finish(reason="content_filter")


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "OTHER", "TOO_MANY_TOOL_CALLS", "what comes next"])
def test_a_failure_of_the_model_is_no_answer(reason: str) -> None:
    with pytest.raises(Upstream, match="could not finish"):
        read([reply(reason=reason)])


def test_a_stream_without_a_finish_reason_is_cut() -> None:
    reader = WIRE.reader()
    reader.feed(frames("text_stream")[0])
    assert not reader.ended
    reader.feed(frames("text_stream")[1])
    assert reader.ended
    with pytest.raises(Upstream) as cut:
        WIRE.whole(frames("text_stream")[0])
    assert cut.value.code == "malformed_reply"


def test_an_error_inside_a_stream_is_told_with_its_class() -> None:
    reader = WIRE.reader()
    reader.feed(frames("text_stream")[0])
    with pytest.raises(Upstream) as broken:
        reader.feed(b'{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}')
    assert broken.value.code == "overloaded"


@pytest.mark.parametrize("payload", [b"", b"[DONE]", b"{", b"\xff", b'{"candidates":3}', b"[" * 5000])
def test_what_cannot_be_read_is_no_silence(payload: bytes) -> None:
    with pytest.raises(Upstream) as broken:
        WIRE.reader().feed(payload)
    assert broken.value.code == "malformed_stream"
    with pytest.raises(Upstream) as whole:
        WIRE.whole(payload)
    assert whole.value.code == "malformed_reply"


def test_a_file_that_cannot_be_passed_on_is_not_swallowed() -> None:
    with pytest.raises(Upstream, match="cannot be passed on"):
        read([reply({"inlineData": {"mimeType": "image/png", "data": "aGk="}})])


def test_a_proof_comes_back_on_its_own_call() -> None:
    """A lost thoughtSignature is a 400 on the next turn (maximhq/bifrost#1437)."""
    calls = [delta for delta in read(frames("signed_call")) if isinstance(delta, ToolDelta)]
    said = tuple(ToolCall(id=call.id, name=call.name, arguments=call.arguments, signature=call.signature) for call in calls)
    results = tuple(ToolResult(call=call.id, parts=(Text(text="ok"),)) for call in calls)
    chat = Chat(messages=(HELLO, Message(role="assistant", parts=said), Message(role="tool", parts=results)))
    turns = asked(chat, THREE)["contents"]
    assert [part.get("thoughtSignature") for part in turns[1]["parts"]] == ["U2lnbmF0dXJlX0E=", None]
    assert [part["functionResponse"]["name"] for part in turns[2]["parts"]] == ["check_flight", "check_weather"]


def test_a_call_of_another_provider_gets_the_documented_stand_in_for_its_proof() -> None:
    bare = (replace(CALL, signature=""), ToolCall(id="c2", name="time", arguments="{}"))
    results = tuple(ToolResult(call=call.id, parts=(Text(text="ok"),)) for call in bare)
    chat = Chat(messages=(HELLO, Message(role="assistant", parts=bare), Message(role="tool", parts=results)))
    proofs = [part.get("thoughtSignature") for part in asked(chat, THREE)["contents"][1]["parts"]]
    assert proofs == ["skip_thought_signature_validator", None]
    assert "thoughtSignature" not in json.dumps(asked(chat, FLASH))


def test_thoughts_of_another_provider_are_not_sent_as_ours() -> None:
    said = Message(role="assistant", parts=(Thinking(text="hm", signature="of Anthropic"), Text(text="yes")))
    put = WIRE.put(Chat(messages=(HELLO, said, HELLO)), FLASH, None)
    assert b"Anthropic" not in put.body
    assert put.dropped == ("thinking",)


def test_results_of_parallel_calls_go_back_in_one_turn() -> None:
    roles = [turn["role"] for turn in asked(FULL)["contents"]]
    assert roles == ["user", "model", "user"]


def test_a_result_of_an_unknown_call_is_refused() -> None:
    chat = Chat(messages=(HELLO, Message(role="tool", parts=(ToolResult(call="lost", parts=()),))))
    with pytest.raises(Invalid) as refused:
        WIRE.put(chat, FLASH, None)
    assert refused.value.field == "messages[1]"


def test_files_of_a_tool_go_with_its_result() -> None:
    result = ToolResult(call="c1", parts=(Text(text="seen"), Image(media="image/png", data="aGk=")))
    chat = Chat(messages=(HELLO, Message(role="assistant", parts=(CALL,)), Message(role="tool", parts=(result,))))
    answer = asked(chat)["contents"][2]["parts"][0]["functionResponse"]
    assert answer["response"] == {"output": "seen"}
    assert answer["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]


@pytest.mark.parametrize("arguments", ["[1]", "{", "3", '"x"', "\ud800"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    said = Message(role="assistant", parts=(replace(CALL, arguments=arguments),))
    with pytest.raises(Invalid):
        WIRE.put(Chat(messages=(HELLO, said)), FLASH, None)


def test_an_instruction_alone_is_asked_as_a_question() -> None:
    body = asked(Chat(messages=(Message(role="system", parts=(Text(text="Say hi."),)),)))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Say hi."}]}]}
    with pytest.raises(Invalid):
        asked(Chat(messages=(Message(role="user", parts=(Text(text=""),)),)))


@pytest.mark.parametrize(
    ("chat", "model", "wanted"),
    [
        ({"effort": "high"}, FLASH, {"thinkingBudget": 24576}),
        ({"effort": "high"}, THREE, {"thinkingLevel": "HIGH"}),
        ({"effort": "none"}, THREE, {"thinkingBudget": 0}),
        ({"thinking": 0}, FLASH, {"thinkingBudget": 0}),
        ({"thinking": 2048}, FLASH, {"thinkingBudget": 2048, "includeThoughts": True}),
    ],
)
def test_thinking(chat: dict[str, Any], model: str, wanted: object) -> None:
    assert config(Chat(messages=(HELLO,), **chat), model)["thinkingConfig"] == wanted


def test_an_unknown_effort_is_refused_without_repeating_it() -> None:
    with pytest.raises(Invalid) as refused:
        asked(Chat(messages=(HELLO,), effort="secret word"))
    assert refused.value.field == "reasoning_effort"
    assert "secret word" not in refused.value.message


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (Choice(mode="auto"), {"mode": "AUTO"}),
        (Choice(mode="none", parallel=False), {"mode": "NONE"}),
        (Choice(mode="required", parallel=True), {"mode": "ANY"}),
        (Choice(mode="one", name="time"), {"mode": "ANY", "allowedFunctionNames": ["time"]}),
    ],
)
def test_how_tools_are_chosen(choice: Choice, wanted: object) -> None:
    chat = Chat(messages=(HELLO,), tools=(Tool(name="time"),), choice=choice)
    assert asked(chat)["toolConfig"] == {"functionCallingConfig": wanted}
    assert "toolConfig" not in asked(replace(chat, tools=(), choice=replace(choice, parallel=None)))


def test_what_would_change_the_answer_is_refused_and_what_would_not_is_told() -> None:
    chat = Chat(messages=(replace(HELLO, name="ann"),), user="u1", tools=(Tool(name="time", strict=True, cache="5m"),))
    assert WIRE.put(chat, FLASH, None).dropped == ("user", "name", "tools.strict", "cache_control")
    one = WIRE.put(replace(chat, choice=Choice(parallel=False)), FLASH, None)
    assert (one.single, "parallel_tool_calls" in one.dropped) == (True, True)
    for several in (Choice(parallel=True), Choice(), Choice(mode="none", parallel=False)):
        other = WIRE.put(replace(chat, choice=several), FLASH, None)
        assert (other.single, "parallel_tool_calls" in other.dropped) == (False, False)
    picture = Image(media="image/png", data="aGk=", detail="low")
    files = Message(role="user", parts=(picture, Document(media="text/plain", data="aGk=", name="a")))
    assert WIRE.put(Chat(messages=(files,)), FLASH, None).dropped == ("image_url.detail", "document.name")


def test_a_picture_has_a_type_and_stays_out_of_the_instruction() -> None:
    for message in (
        Message(role="user", parts=(Image(data="aGk="),)),
        Message(role="system", parts=(Image(media="image/png", data="aGk="),)),
    ):
        with pytest.raises(Invalid):
            asked(Chat(messages=(message, HELLO)))


def test_a_seed_of_64_bits_fits_into_32() -> None:
    assert config(Chat(messages=(HELLO,), seed=2**40 + 5))["seed"] == 5


def test_nobodys_bytes_pass_through() -> None:
    assert isinstance(load("gemini"), Gemini)
    assert (WIRE.name, WIRE.dialect) == ("gemini", "")
    for verb in ("chat", "embed"):
        with pytest.raises(Invalid):
            WIRE.ask(verb, b"{}", {}, None)
    price = price_of("gemini-2.5-pro", VENDORS["gemini"], 1_780_000_000_000_000)
    assert price is not None
    assert price.longer[0][0] == 200_000  # above it every token costs more


# --- properties

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PART = st.one_of(
    TEXT.map(lambda text: {"text": text}),
    TEXT.map(lambda text: {"text": text, "thought": True}),
    st.builds(
        lambda name, args, sign: {"functionCall": {"name": name, "args": args}, **({"thoughtSignature": "c2ln"} if sign else {})},
        st.sampled_from(["a", "b"]),
        st.dictionaries(TEXT, st.integers() | TEXT, max_size=3),
        st.booleans(),
    ),
)


@given(st.lists(PART, max_size=6), st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY"]), st.data())
def test_a_whole_answer_says_what_its_stream_says_however_it_is_cut(parts: list[Any], reason: str, data: st.DataObject) -> None:
    usage = {"promptTokenCount": 9, "candidatesTokenCount": len(parts)}
    whole = reply(*parts, reason=reason, usageMetadata=usage)
    pieces: list[Any] = []
    for part in parts:
        text = part.get("text")
        at = data.draw(st.integers(0, len(text))) if text is not None else 0
        pieces += [{**part, "text": text[:at]}, {**part, "text": text[at:]}] if text is not None else [part]
    stream: list[bytes] = []
    while pieces:
        size = data.draw(st.integers(1, len(pieces)))
        chunk = json.loads(reply(*pieces[:size], usageMetadata={**usage, "candidatesTokenCount": len(stream)}))
        del chunk["candidates"][0]["finishReason"]
        stream.append(json.dumps(chunk).encode())
        pieces = pieces[size:]
    stream.append(reply(reason=reason, usageMetadata=usage))
    assert folded(WIRE.whole(whole)) == folded(read(stream))
    reader, ends = WIRE.reader(), []
    for frame in stream:
        reader.feed(frame)
        ends.append(reader.ended)
    assert ends == [False] * (len(stream) - 1) + [True]
    assert folded(read(stream))["usage"] == folded(WIRE.whole(whole))["usage"] == WIRE.usage(whole)


@given(st.sampled_from(ANSWERS), st.data())
def test_bytes_may_be_cut_anywhere(name: str, data: st.DataObject) -> None:
    """Google ends lines with CRLF; a cut may fall into it, or into a character."""
    sent = b"".join(b"data: %b\r\n\r\n" % frame for frame in frames(name))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    cutter, reader = Frames(), WIRE.reader()
    said: list[Delta] = []
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        for frame in cutter.feed(sent[start:end]):
            payload = payload_of(frame)
            assert payload is not None
            said += reader.feed(payload)
    assert cutter.rest() == b""
    assert said == read(frames(name))
    assert reader.ended


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_a_fault(payload: bytes) -> None:
    try:
        WIRE.whole(payload)
    except Upstream:
        pass
    assert WIRE.fault(400, (), payload)
    WIRE.usage(payload)


# --- the vendor's own SDK


@pytest.fixture
async def mock() -> AsyncIterator[MockHandle]:
    async with running(MockSettings(port=0)) as handle:
        yield handle


def told(**more: Any) -> types.GenerateContentConfig:
    """What FULL asks for, in the SDK's words."""
    declared = [
        types.FunctionDeclaration(name="weather", description="How warm it is.", parameters_json_schema=SCHEMA),
        types.FunctionDeclaration(name="time"),
    ]
    calling = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["weather"])
    return types.GenerateContentConfig(
        system_instruction="Be brief.",
        tools=[types.Tool(function_declarations=declared)],
        tool_config=types.ToolConfig(function_calling_config=calling),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        max_output_tokens=200,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["END"],
        seed=7,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        response_mime_type="application/json",
        response_json_schema={"type": "object"},
        thinking_config=types.ThinkingConfig(thinking_budget=1024),
        **more,
    )


CONTENTS: list[Any] = [
    types.Content(
        role="user",
        parts=[
            types.Part(text="What is on the picture, and how warm is it there?"),
            types.Part.from_bytes(data=b"hi", mime_type="image/png"),
            types.Part.from_uri(file_uri="https://x.example/a.pdf", mime_type="application/pdf"),
        ],
    ),
    types.Content(
        role="model",
        parts=[
            types.Part(text="Let me see."),
            types.Part(
                function_call=types.FunctionCall(id="c1", name="weather", args={"city": "Paris"}), thought_signature=b"sig"
            ),
            types.Part(function_call=types.FunctionCall(id="c2", name="time", args={})),
        ],
    ),
    types.Content(
        role="user",
        parts=[
            types.Part(function_response=types.FunctionResponse(id="c1", name="weather", response={"celsius": 21.5})),
            types.Part(function_response=types.FunctionResponse(id="c2", name="time", response={"error": "no clock"})),
            types.Part(text="Short, please."),
        ],
    ),
]


@pytest.mark.parametrize("stream", [True, False])
async def test_the_sdk_sends_the_same_request(mock: MockHandle, stream: bool) -> None:
    client = genai.Client(api_key="k-1", http_options=types.HttpOptions(base_url=mock.url))

    def ask() -> None:
        if stream:
            list(client.models.generate_content_stream(model=FLASH, contents=CONTENTS, config=told()))
        else:
            client.models.generate_content(model=FLASH, contents=CONTENTS, config=told())

    await asyncio.to_thread(ask)
    client.close()
    [seen] = mock.requests()
    put = WIRE.put(replace(FULL, stream=stream), FLASH, "k-1")
    query = f"?{seen['query']}" if seen["query"] else ""
    assert f"{seen['path']}{query}" == f"/v1{put.path}"  # the SDK's own default is the stable version
    assert camel(seen["body"]) == json.loads(put.body)
    assert "k-1" not in json.dumps(seen)
    assert seen["status"] == 200


@pytest.mark.parametrize(
    ("chat", "thinking", "media"),
    [
        (Chat(messages=(HELLO,), thinking=512), types.ThinkingConfig(thinking_budget=512, include_thoughts=True), None),
        (Chat(messages=(HELLO,), effort="high"), types.ThinkingConfig(thinking_level=types.ThinkingLevel.HIGH), None),
        (Chat(messages=(HELLO,), format=Format()), None, "application/json"),
    ],
)
async def test_the_sdk_configures_the_same(
    mock: MockHandle, chat: Chat, thinking: types.ThinkingConfig | None, media: str | None
) -> None:
    client = genai.Client(api_key="k-1", http_options=types.HttpOptions(base_url=mock.url))
    configured = types.GenerateContentConfig(thinking_config=thinking, response_mime_type=media)
    await asyncio.to_thread(lambda: client.models.generate_content(model=THREE, contents="hello", config=configured))
    client.close()
    [seen] = mock.requests()
    assert camel(seen["body"]) == json.loads(WIRE.put(chat, THREE, None).body)


def test_modalities_are_counted_apart_and_never_twice() -> None:
    told = {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 300,
        "toolUsePromptTokenCount": 20,
        "candidatesTokenCount": 200,
        "thoughtsTokenCount": 50,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 600}, {"modality": "AUDIO", "tokenCount": 400}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 100}, {"modality": "TEXT", "tokenCount": 200}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 150}],
    }
    usage = WIRE.usage(json.dumps({"usageMetadata": told}).encode())
    assert usage == Usage(
        input=420,
        input_audio=300,
        cache_read=200,
        cache_read_audio=100,
        output=50,
        output_image=150,
        reasoning=50,
        source="provider",
    )
    assert (usage.total_input, usage.total_output) == (1020, 250)
