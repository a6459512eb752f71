"""Mistral as a provider: what it would refuse is said in its words, all else passes; its own SDK judges our requests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistralai.client import Mistral as Sdk

from tandem.core.chat import (
    Begin,
    Chat,
    Choice,
    Finish,
    Format,
    Message,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolDelta,
    ToolResult,
)
from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Invalid, Upstream
from tandem.gateway.prices import VENDORS, price_of
from tandem.gateway.providers.base import load
from tandem.gateway.providers.mistral import Mistral, made_id
from tandem.mock.serve import running
from tandem.mock.settings import MockSettings
from tests.gateway.conftest import KEY, House
from tests.gateway.test_across import spread

WIRE = Mistral()
SMALL = "mistral-small-2603"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
EDITS = {"model": b'"mistral-small-2603"'}
STREAMED = {**EDITS, "stream_options": b'{"include_usage":true}'}
CALL: dict[str, Any] = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def sent(body: object, edits: dict[str, bytes] = EDITS) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A caller's body as it goes out, and what was left out of it."""
    ask = WIRE.ask("chat", json.dumps(body).encode(), edits, "mk")
    return json.loads(ask.body), ask.dropped


def said(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "x", "messages": [{"role": "user", "content": "hello"}, *messages], **more}


# --- bytes


@pytest.mark.parametrize(
    "body",
    [
        b'{ "model":"x", "messages" : [{"role":"user","content":"a \\u00e9 1e400"}],"max_tokens":3, "safe_prompt":true }',
        b'{"model":"x","messages":[{"role":"assistant","tool_calls":[{"id":"abcdef123","type":"function","function":{"name":"f",'
        b'"arguments":"{\\"a\\": 1.50}"}}]},{"role":"tool","tool_call_id":"abcdef123","name":"f","content":"1"}],"odd":1e400}',
        b'{"model":"x","messages":3}',
        b'{"model":"x","messages":[{"role":3}],"tool_choice":"any"}',
    ],
)
def test_what_mistral_takes_passes_byte_by_byte(body: bytes) -> None:
    """And what nobody can read, which is Mistral's to refuse."""
    ask = WIRE.ask("chat", body, EDITS, "mk")
    assert ask.body == body.replace(b'"x"', EDITS["model"])
    assert ask.dropped == ()
    assert (ask.path, ask.headers[-1]) == ("/chat/completions", (b"authorization", b"Bearer mk"))


def test_fields_go_by_mistrals_names() -> None:
    body, dropped = sent(said(max_completion_tokens=9, seed=7, stream=True, temperature=1e-3), STREAMED)
    assert body == {
        "model": SMALL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9, "random_seed": 7, "stream": True,
        "temperature": 1e-3,
    }  # fmt: skip
    assert dropped == ()
    both, _ = sent(said(max_completion_tokens=9, max_tokens=5))
    assert both["max_tokens"] == 9
    assert sent(said(max_tokens=5, max_completion_tokens=9))[0]["max_tokens"] == 9
    assert "random_seed" not in sent(said(seed=None))[0]


def test_vectors_go_by_mistrals_names_too() -> None:
    ask = WIRE.ask("embed", b'{"model":"x","input":"a","dimensions":256,"user":"u","encoding_format":"float"}', EDITS, None)
    assert json.loads(ask.body) == {"model": SMALL, "input": "a", "output_dimension": 256, "encoding_format": "float"}
    assert (ask.path, ask.dropped) == ("/embeddings", ("user",))
    with pytest.raises(Invalid, match="no reranking"):
        WIRE.ask("rerank", b"{}", EDITS, None)
    plain = b'{"model":"x","input":["a"]}'
    assert WIRE.ask("embed", plain, EDITS, None).body == plain.replace(b'"x"', EDITS["model"])


def test_what_changes_no_answer_is_left_out_and_named() -> None:
    cached = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    body, dropped = sent(
        said(
            {"role": "user", "content": [cached], "name": "ann"},
            {"role": "assistant", "content": "b", "reasoning_content": "hm", "refusal": None, "annotations": []},
            {"role": "assistant", "tool_calls": [{**CALL, "extra_content": {"google": {}}}], "content": None},
            {"role": "tool", "tool_call_id": "call_1", "content": "1", "name": "f"},
            user="u", safety_identifier="s", store=True, verbosity="low", metadata={"a": "b"}, prompt_cache_key="k",
        )
    )  # fmt: skip
    assert dropped == ("user", "safety_identifier", "store", "verbosity", "cache_control", "name", "reasoning_content",
                       "extra_content")  # fmt: skip
    assert body.keys() == {"model", "messages", "metadata", "prompt_cache_key"}
    assert body["messages"][1:] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": "b"},
        {"role": "assistant", "tool_calls": [{**CALL, "id": made_id("call_1")}], "content": None},
        {"role": "tool", "tool_call_id": made_id("call_1"), "content": "1", "name": "f"},
    ]
    quiet, named = sent(said(user="", store=False, logit_bias={}, modalities=["text"], functions=[], audio=None))
    assert (quiet.keys(), named) == ({"model", "messages"}, ())


@pytest.mark.parametrize(
    ("field", "value"),
    [("logit_bias", {"1": -100}), ("modalities", ["text", "audio"]), ("audio", {}), ("web_search_options", {}),
     ("functions", [{"name": "f"}]), ("function_call", "auto")],
)  # fmt: skip
def test_what_would_change_it_is_refused(field: str, value: object) -> None:
    with pytest.raises(Invalid) as refused:
        sent(said(**{field: value}))
    assert (refused.value.field, refused.value.code) == (field, "not_carried")


def test_a_message_is_one_of_mistrals() -> None:
    body, _ = sent(said({"role": "developer", "content": "b"}, {"role": "assistant", "content": None, "refusal": "I won't."},
                        {"role": "assistant", "content": "c", "tool_calls": []}, {"role": "user", "content": "d"}))  # fmt: skip
    assert body["messages"][1:] == [
        {"role": "system", "content": "b"}, {"role": "assistant", "content": "I won't."},
        {"role": "assistant", "content": "c"}, {"role": "user", "content": "d"},
    ]  # fmt: skip


def test_an_answer_that_was_begun_is_gone_on_with() -> None:
    assert sent(said({"role": "assistant", "content": "It"}))[0]["messages"][-1] == {
        "role": "assistant", "content": "It", "prefix": True}  # fmt: skip
    assert sent(said({"role": "assistant", "content": "It", "prefix": False}))[0]["messages"][-1]["prefix"] is False
    assert "prefix" not in sent(said({"role": "assistant", "tool_calls": [CALL]}))[0]["messages"][-1]


@given(st.text(max_size=80))
def test_every_id_becomes_nine_letters_and_digits_always_the_same(id: str) -> None:
    made = made_id(id)
    assert len(made) == 9
    assert made.isascii()
    assert made.isalnum()
    assert made_id(id) == made


def test_no_two_of_many_ids_meet() -> None:
    assert len({made_id(f"call_{number}") for number in range(20_000)}) == 20_000


# --- words


async def test_mistrals_sdk_sends_the_same_request() -> None:
    chat = Chat(
        messages=(
            Message(role="system", parts=(Text(text="Be brief."),)),
            Message(role="user", parts=(Text(text="How warm is it?"),)),
            Message(
                role="assistant",
                parts=(Text(text="Let me see."), ToolCall(id="toolu_01", name="weather", arguments='{"city": "Paris"}')),
            ),
            Message(role="tool", parts=(ToolResult(call="toolu_01", parts=(Text(text="21.50"),)),)),
        ),
        tools=(Tool(name="weather", description="How warm it is.", schema=SCHEMA, strict=True),),
        choice=Choice(mode="required", parallel=False),
        format=Format(schema=SCHEMA, name="answer", strict=True),
        max_output=400,
        temperature=0.5,
        top_p=0.9,
        stop=("END",),
        seed=7,
        frequency_penalty=0.5,
        presence_penalty=0.1,
    )
    call = {"id": made_id("toolu_01"), "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    function = {"name": "weather", "description": "How warm it is.", "parameters": SCHEMA, "strict": True}
    asked: dict[str, Any] = {
        "model": SMALL,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How warm is it?"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": made_id("toolu_01"), "content": "21.50"},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}},
        "max_tokens": 400,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "random_seed": 7,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.1,
    }
    async with running(MockSettings(port=0)) as mock, Sdk(api_key="mk", server_url=f"{mock.url}/mistral") as client:
        await client.chat.complete_async(**asked)
        stream = await client.chat.stream_async(**asked)
        _ = [event async for event in stream]
        whole, streamed = mock.requests()
    for stream_it, seen in ((False, whole), (True, streamed)):
        theirs: Any = seen["body"]
        for message in theirs["messages"]:
            assert message.pop("prefix", False) is False  # the SDK writes what is so anyway
            assert [call.pop("index") for call in message.get("tool_calls", ())] in ([], [0])
        assert theirs.pop("stream") is stream_it
        put = WIRE.put(replace(chat, stream=stream_it), SMALL, "mk")
        ours = json.loads(put.body)
        assert ours.pop("stream", False) is stream_it
        assert ours == theirs
        assert put.dropped == ()
        assert seen["path"] == f"/mistral/v1{put.path}"


def test_thoughts_of_a_list_of_contents_are_read_and_stay_behind() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}, {"type": "reference", "reference_ids": [1]}]}
    message = {"role": "assistant", "content": [thought, {"type": "text", "text": "Hello"}]}
    whole = {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert WIRE.whole(json.dumps(whole).encode()) == [
        Begin(id="c", model="m"), ThinkingDelta(text="hm"), TextDelta(text="Hello"), Finish(reason="stop")
    ]  # fmt: skip
    past = Message(role="assistant", parts=(Thinking(text="hm"), Text(text="Hello")))
    put = WIRE.put(Chat(messages=(past, Message(role="user", parts=(Text(text="b"),)))), SMALL, None)
    assert (json.loads(put.body)["messages"][0], put.dropped) == ({"role": "assistant", "content": "Hello"}, ("thinking",))


def test_a_call_may_have_an_object_for_its_arguments() -> None:
    calls = [{"id": "abcdefghi", "function": {"name": "f", "arguments": {"a": [1, None]}}, "index": 0}]
    reader = WIRE.reader()
    frame = {"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}
    assert reader.feed(json.dumps(frame).encode())[1:] == [
        ToolDelta(place=0, id="abcdefghi", name="f", arguments='{"a":[1,null]}'), Finish(reason="tool_calls")
    ]  # fmt: skip


def test_an_end_of_its_own() -> None:
    def ended(reason: str) -> bytes:
        return json.dumps({"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": reason}]}).encode()

    assert WIRE.whole(ended("model_length"))[-1] == Finish(reason="length")
    for hear in (WIRE.whole, WIRE.reader().feed):
        with pytest.raises(Upstream, match="could not finish"):
            hear(ended("error").replace(b'"message"', b'"delta"') if hear != WIRE.whole else ended("error"))


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (400, {"message": "Prompt contains 40110 tokens and 0 draft tokens, too large for model with 32768 maximum context",
               "type": "invalid_request_error", "code": "3051"}, "context_exceeded"),
        (400, {"message": "Tool call id was x but must be a-z, A-Z, 0-9, with a length of 9.", "code": "3280"}, "bad_request"),
        (401, {"message": "Unauthorized"}, "auth"),
        (402, {"message": "Payment required"}, "quota"),
        (404, {"message": "no Route matched with those values"}, "not_found"),
        (422, {"message": {"detail": [{"type": "extra_forbidden"}]}, "type": "invalid_request_error"}, "bad_request"),
        (429, {"message": "Requests rate limit exceeded"}, "rate_limited"),
        (429, {"message": "Service tier capacity exceeded for this model.", "code": "3505"}, "overloaded"),
        (500, {"message": "Internal server error"}, "upstream_5xx"),
        (503, {}, "overloaded"),
    ],
)  # fmt: skip
def test_refusals_have_their_class(status: int, body: dict[str, object], wanted: str) -> None:
    assert WIRE.fault(status, (), json.dumps({"object": "error", **body}).encode()) == wanted
    assert WIRE.fault(400, (), b"\xff") == "bad_request"


def test_its_bytes_are_openais_and_its_list_prices_it() -> None:
    assert isinstance(load("mistral"), Mistral)
    assert (WIRE.name, WIRE.dialect) == ("mistral", "openai")
    assert price_of(SMALL, VENDORS["mistral"], 1_780_000_000_000_000) is not None


# --- through the door


@pytest.fixture
async def http(door: House) -> AsyncIterator[httpx2.AsyncClient]:
    spread(door)
    async with httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"}) as opened:
        yield opened


@pytest.mark.parametrize("stream", [False, True])
async def test_an_openai_client_asks_as_it_always_does(door: House, http: httpx2.AsyncClient, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "mistral", "messages": [{"role": "developer", "content": "Be brief."},
                             {"role": "user", "content": "hello"}], "max_completion_tokens": 30, "seed": 7, "user": "u",
                             "stream": stream}  # fmt: skip
    reply = await http.post("/v1/chat/completions", json=asked)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-tandem-dropped"] == "user"
    assert ("data: [DONE]" in reply.text) == stream
    door.move()
    (row, *_) = door.traces.list(team=None)
    call = door.traces.find(row.trace, team=None).calls[0]
    assert call.cost == door.mock.bill()[-1].cost_nano
    plain = await http.post("/v1/chat/completions", json={**asked, "user": None})
    assert "x-tandem-dropped" not in plain.headers


async def test_a_conversation_of_another_vendor_goes_on_at_mistral(door: House, http: httpx2.AsyncClient) -> None:
    """Its ids have another form, its client another wire."""
    use = {"type": "tool_use", "id": "toolu_01A09q90qw90lq917835lq9", "name": "find", "input": {"city": "Paris"}}
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": "21 degrees"}
    async with anthropic.AsyncAnthropic(base_url=f"{door.url}/anthropic", api_key=KEY, max_retries=0) as claude:
        said = await claude.messages.create(
            model="mistral",
            max_tokens=60,
            messages=[
                {"role": "user", "content": "How warm?"},
                {"role": "assistant", "content": [use]},  # type: ignore[list-item]
                {"role": "user", "content": [result]},  # type: ignore[list-item]
            ],
        )
    assert said.content
    seen: Any = door.mock.requests()[-1]["body"]
    assert seen["messages"][1]["tool_calls"][0]["id"] == seen["messages"][2]["tool_call_id"] == made_id(str(use["id"]))


async def test_what_mistral_cannot_do_goes_to_who_can(door: House, http: httpx2.AsyncClient) -> None:
    route = (Target(target=f"mistral/{SMALL}", priority=0), Target(target="openai/gpt-4o-mini", priority=1))
    door.publish(endpoints={**door.snapshot.endpoints, "either": Endpoint(name="either", kind="chat", route=route)})
    asked = {"model": "either", "messages": [{"role": "user", "content": "hello"}], "logit_bias": {"1": -100}, "user": "u"}
    reply = await http.post("/v1/chat/completions", json=asked)
    assert (reply.status_code, reply.json()["model"]) == (200, "gpt-4o-mini")
    assert "x-tandem-dropped" not in reply.headers
    door.mock.faults([f"429;model={SMALL}"])  # what was left out for it is not told of another's answer
    busy = await http.post("/v1/chat/completions", json={**asked, "logit_bias": None})
    assert (busy.status_code, busy.json()["model"]) == (200, "gpt-4o-mini")
    assert "x-tandem-dropped" not in busy.headers
    door.mock.faults([])
    alone = await http.post("/v1/chat/completions", json={**asked, "model": "mistral"})
    assert (alone.status_code, alone.json()["error"]["param"]) == (400, "logit_bias")


async def test_a_user_behind_a_result_is_for_another_target(door: House, http: httpx2.AsyncClient) -> None:
    """Mistral refuses it, whoever asks (NousResearch/hermes-agent#20154), and so do we, before it is asked."""
    turns: Any = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [CALL]},
                  {"role": "tool", "tool_call_id": "call_1", "content": "1"}, {"role": "user", "content": "b"}]  # fmt: skip
    async with openai.AsyncOpenAI(base_url=f"{door.url}/v1", api_key=KEY, max_retries=0) as gpt:
        with pytest.raises(openai.BadRequestError, match="right behind the result") as refused:
            await gpt.chat.completions.create(model="mistral", messages=turns, max_tokens=9)
    assert refused.value.param == "messages[3]"
    assert door.mock.requests() == []
    route = (Target(target=f"mistral/{SMALL}", priority=0), Target(target="openai/gpt-4o-mini", priority=1))
    door.publish(endpoints={**door.snapshot.endpoints, "either": Endpoint(name="either", kind="chat", route=route)})
    reply = await http.post("/v1/chat/completions", json={"model": "either", "messages": turns})
    assert (reply.status_code, reply.json()["model"]) == (200, "gpt-4o-mini")


async def test_a_refusal_of_mistrals_is_told_in_openais_form(http: httpx2.AsyncClient) -> None:
    unknown = {"model": "mistral", "max_tokens": 9, "messages": [{"role": "user", "content": "a", "tool_calls": [CALL]}]}
    reply = await http.post("/v1/chat/completions", json=unknown)
    assert reply.status_code == 422
    assert "extra_forbidden" in reply.json()["error"]["message"]
