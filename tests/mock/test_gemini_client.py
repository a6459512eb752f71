"""Google's own Python client, unmodified, in front of the mock; and our wire, which must read what the mock bills."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from tandem.core.chat import Chat, Finish, Message, Text, TextDelta, ThinkingDelta, Used
from tandem.core.secret import Secret
from tandem.gateway.providers.gemini import Gemini
from tandem.gateway.sse import Frames, data
from tandem.mock import tokens
from tandem.mock.gemini_wire import signature
from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings

FLASH, THREE = "gemini-2.5-flash", "gemini-3-flash-preview"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(name="get_weather", description="How warm it is.", parameters_json_schema=CITY),
        types.FunctionDeclaration(name="get_time", parameters_json_schema={"type": "object", "properties": {}}),
    ]
)
BY_HAND = types.AutomaticFunctionCallingConfig(disable=True)
BODY: dict[str, Any] = {"contents": [{"parts": [{"text": "hello world!"}]}]}


@pytest.fixture
async def google(mock: MockHandle) -> AsyncIterator[Any]:
    client = genai.Client(api_key="k-test", http_options=types.HttpOptions(base_url=mock.url))
    yield client.aio.models
    await client.aio.aclose()
    client.close()


@pytest.fixture
async def http(mock: MockHandle) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=mock.url, headers={"x-goog-api-key": "k-test"}) as opened:
        yield opened


def path(model: str = FLASH, verb: str = "generateContent") -> str:
    return f"/v1beta/models/{model}:{verb}"


async def test_an_answer_is_counted_and_billed_exactly(mock: MockHandle, google: Any) -> None:
    reply = await google.generate_content(model=FLASH, contents="hello world!")
    assert "hello world!" in reply.text
    assert reply.candidates[0].finish_reason == types.FinishReason.STOP
    usage = reply.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count) == (13, tokens.count(reply.text))
    assert usage.total_token_count == 13 + tokens.count(reply.text)
    [row] = mock.bill()
    assert (row.model, row.prompt_tokens, row.completion_tokens, row.outcome) == (FLASH, 13, tokens.count(reply.text), "ok")
    assert row.cost_nano == 13 * 300 + row.completion_tokens * 2500
    assert row.price == "gemini-2.5-flash@2025-06-17"


async def test_a_stream_says_the_same_and_repeats_its_usage(mock: MockHandle, google: Any) -> None:
    whole = await google.generate_content(model=FLASH, contents="hello world!")
    chunks = [chunk async for chunk in await google.generate_content_stream(model=FLASH, contents="hello world!")]
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    counts = [chunk.usage_metadata.candidates_token_count for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == whole.usage_metadata.candidates_token_count
    assert {chunk.usage_metadata.prompt_token_count for chunk in chunks} == {13}
    assert [chunk.candidates[0].finish_reason for chunk in chunks][-1] == types.FinishReason.STOP
    assert mock.bill()[0].cost_nano == mock.bill()[1].cost_nano


async def test_thoughts_are_counted_apart_and_billed_as_output(mock: MockHandle, google: Any) -> None:
    heard = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    reply = await google.generate_content(model=FLASH, contents="x-mock-tokens: 5", config=heard)
    first = reply.candidates[0].content.parts[0]
    usage = reply.usage_metadata
    assert first.thought
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (5, tokens.count(first.text))
    assert mock.bill()[0].completion_tokens == 5 + tokens.count(first.text)


async def test_calls_come_whole_in_parallel_and_end_with_stop(mock: MockHandle, google: Any) -> None:
    config = types.GenerateContentConfig(tools=[TOOLS], automatic_function_calling=BY_HAND)
    question = "Use get_weather and get_time.\ncity: Paris"
    reply = await google.generate_content(model=FLASH, contents=question, config=config)
    calls = reply.function_calls
    assert [(call.name, call.args, call.id) for call in calls] == [
        ("get_weather", {"city": "Paris"}, None),
        ("get_time", {}, None),
    ]
    assert reply.candidates[0].finish_reason == types.FinishReason.STOP
    results = [types.Part.from_function_response(name=call.name, response={"said": "21 degrees"}) for call in calls]
    contents = [types.UserContent(question), reply.candidates[0].content, types.Content(role="user", parts=results)]
    after = await google.generate_content(model=FLASH, contents=contents, config=config)
    assert after.function_calls is None
    assert "21 degrees" in after.text
    with pytest.raises(errors.ClientError, match="number of function response parts"):
        await google.generate_content(model=FLASH, contents=[*contents[:2], types.Content(parts=results[:1])], config=config)


async def test_gemini_3_wants_its_proof_back(mock: MockHandle, google: Any) -> None:
    config = types.GenerateContentConfig(tools=[TOOLS], automatic_function_calling=BY_HAND)
    question = "Use get_weather.\ncity: Paris"
    chunks = [chunk async for chunk in await google.generate_content_stream(model=THREE, contents=question, config=config)]
    [part] = [part for chunk in chunks for part in chunk.candidates[0].content.parts if part.function_call]
    assert part.function_call.id
    assert part.thought_signature
    answered = types.Part(
        function_response=types.FunctionResponse(id=part.function_call.id, name="get_weather", response={"output": "warm"})
    )
    said = types.Content(role="model", parts=[part])
    contents = [types.UserContent(question), said, types.Content(role="user", parts=[answered])]
    assert (await google.generate_content(model=THREE, contents=contents, config=config)).text
    for wrong, message in ((None, "missing a thought_signature"), (b"other", "not valid")):
        contents[1] = types.Content(role="model", parts=[part.model_copy(update={"thought_signature": wrong})])
        with pytest.raises(errors.ClientError, match=message):
            await google.generate_content(model=THREE, contents=contents, config=config)


@pytest.mark.parametrize(
    ("mode", "allowed", "called"),
    [("ANY", None, ["get_weather"]), ("ANY", ["get_time"], ["get_time"]), ("NONE", None, None), ("AUTO", None, None)],
)
async def test_modes_of_calling(google: Any, mode: str, allowed: list[str] | None, called: list[str] | None) -> None:
    calling = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode(mode), allowed_function_names=allowed)
    config = types.GenerateContentConfig(
        tools=[TOOLS], tool_config=types.ToolConfig(function_calling_config=calling), automatic_function_calling=BY_HAND
    )
    reply = await google.generate_content(model=FLASH, contents="hello", config=config)
    assert (None if reply.function_calls is None else [call.name for call in reply.function_calls]) == called


class Case(BaseModel):
    amount: float
    country: str


async def test_structured_output_in_either_schema(google: Any) -> None:
    question = "amount: 120.5\ncountry: FR"
    media = "application/json"
    for config in (
        types.GenerateContentConfig(response_mime_type=media, response_schema=Case),
        types.GenerateContentConfig(response_mime_type=media, response_json_schema=Case.model_json_schema()),
    ):
        reply = await google.generate_content(model=FLASH, contents=question, config=config)
        assert Case.model_validate_json(reply.text) == Case(amount=120.5, country="FR")
    free = await google.generate_content(
        model=FLASH, contents=question, config=types.GenerateContentConfig(response_mime_type=media)
    )
    assert json.loads(free.text)["country"] == "FR"


async def test_limits_stops_and_files(mock: MockHandle, google: Any) -> None:
    short = await google.generate_content(
        model=FLASH, contents="hello", config=types.GenerateContentConfig(max_output_tokens=3, system_instruction="Be brief.")
    )
    assert short.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert short.usage_metadata.candidates_token_count == 3
    seen = [types.Part(text="x-mock-reply: one END two"), types.Part.from_bytes(data=b"hi", mime_type="image/png")]
    ended = await google.generate_content(model=FLASH, contents=seen, config=types.GenerateContentConfig(stop_sequences=["END"]))
    assert ended.text == "one "
    assert ended.usage_metadata.prompt_token_count == 3 + 4 + tokens.count("x-mock-reply: one END two") + 258


async def test_faults_come_in_googles_shape(mock: MockHandle, google: Any, http: httpx2.AsyncClient) -> None:
    mock.faults(["429*1", "503*1", "context*1", "refuse=400*1"])
    for code, status in ((429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE"), (400, "INVALID_ARGUMENT"), (400, "INVALID_ARGUMENT")):
        reply = await http.post(path(), json=BODY)
        assert (reply.status_code, reply.json()["error"]["code"], reply.json()["error"]["status"]) == (code, code, status)
    mock.faults(["429*1", "context*1", "refuse=400*1", "503*1", "500*1", "401*1"])
    wire = Gemini()
    classes = []
    for _ in range(6):
        reply = await http.post(path(), json=BODY)
        classes.append(wire.fault(reply.status_code, (), reply.content))
    assert classes == ["rate_limited", "context_exceeded", "content_policy", "overloaded", "upstream_5xx", "auth"]
    assert mock.bill() == []
    mock.faults(["refuse*1"])
    blocked = await google.generate_content(model=FLASH, contents="hello")
    assert blocked.candidates is None
    assert blocked.prompt_feedback.block_reason == types.BlockedReason.SAFETY
    assert [(row.prompt_tokens, row.completion_tokens) for row in mock.bill()] == [(8 + 1, 0)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({**BODY, "foo": 1}, "unknown field `foo`"),
        ({"contents": [{"parts": [{"texts": "x"}]}]}, "unknown field `texts`"),
        ({"contents": []}, "contents is not specified"),
        ({"contents": [{"parts": []}]}, "at least one parts"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role"),
        ({**BODY, "generationConfig": {"candidateCount": 2}}, "Multiple candidates"),
        ({**BODY, "generationConfig": {"maxOutputTokens": 0}}, "must be positive"),
        ({**BODY, "generationConfig": {"responseJsonSchema": {}}}, "response_mime_type"),
        ({**BODY, "generationConfig": {"responseMimeType": "text/x"}}, "response_mime_type"),
        ({**BODY, "tools": [{"functionDeclarations": [{"name": "2x"}]}]}, "Invalid function name"),
        ({**BODY, "tools": [{}]}, "tool_type"),
        ({**BODY, "toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "mode"),
        ({**BODY, "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["x"]}}}, "not declared"),
    ],
)
async def test_what_google_refuses(http: httpx2.AsyncClient, body: object, said: str) -> None:
    reply = await http.post(path(), json=body)
    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]


async def test_addresses_and_keys(mock: MockHandle, http: httpx2.AsyncClient) -> None:
    for where, code in (
        (path("gemini-9"), 404),
        (path("text-embedding-3-small"), 404),
        (path(verb="countTokens"), 404),
        (path(verb="streamGenerateContent"), 400),
        (path(verb="streamGenerateContent") + "?alt=sse", 200),
        ("/v1/models/gemini-2.5-flash:generateContent", 200),
    ):
        assert (await http.post(where, json=BODY)).status_code == code
    async with httpx2.AsyncClient(base_url=mock.url) as nobody:
        reply = await nobody.post(f"{path()}?key=k-test", json=BODY)
        assert (reply.status_code, reply.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert "k-test" not in json.dumps([{**seen, "query": ""} for seen in mock.requests()])
    async with running(MockSettings(port=0, key=Secret("k-right"))) as locked, httpx2.AsyncClient(base_url=locked.url) as client:
        wrong = await client.post(path(), json=BODY, headers={"x-goog-api-key": "k-wrong"})
        assert (wrong.status_code, wrong.json()["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")
        assert Gemini().fault(400, (), wrong.content) == "auth"
        assert (await client.post(path(), json=BODY, headers={"x-goog-api-key": "k-right"})).status_code == 200


async def frames(http: httpx2.AsyncClient, chat: Chat, model: str) -> list[bytes]:
    """The data of every frame that the mock sends for what our wire asks."""
    ask = Gemini().put(chat, model, "k-test")
    reply = await http.post(f"/v1beta{ask.path}", content=ask.body, headers=[(n.decode(), v.decode()) for n, v in ask.headers])
    assert reply.status_code == 200, reply.text
    if not chat.stream:
        return [reply.content]
    assert reply.headers["content-type"].startswith("text/event-stream")
    return [payload for frame in Frames().feed(reply.content) if (payload := data(frame)) is not None]


@pytest.mark.parametrize("fault", ["", "usage=double"])
async def test_our_wire_reads_what_the_mock_bills(mock: MockHandle, http: httpx2.AsyncClient, fault: str) -> None:
    mock.faults([fault] if fault else [])
    asked = Message(role="user", parts=(Text(text="x-mock-cached: 4\nhello"),))
    for stream in (False, True):
        reader, said = Gemini().reader(), []
        for frame in await frames(http, Chat(messages=(asked,), thinking=64, stream=stream), FLASH):
            said += reader.feed(frame)
        row = mock.bill()[-1]
        usage = [delta.usage for delta in said if isinstance(delta, Used)][-1]
        assert (usage.total_input, usage.cache_read, usage.total_output) == (row.prompt_tokens, 4, row.completion_tokens)
        assert usage.reasoning == tokens.count("".join(delta.text for delta in said if isinstance(delta, ThinkingDelta))) > 0
        assert usage.output == tokens.count("".join(delta.text for delta in said if isinstance(delta, TextDelta)))
        assert [delta for delta in said if isinstance(delta, Finish)] == [Finish(reason="stop")]
        assert row.stream is stream


async def test_a_stream_that_breaks_off_has_no_end(mock: MockHandle, http: httpx2.AsyncClient) -> None:
    mock.faults(["cut-after=3"])
    reader = Gemini().reader()
    ask = Gemini().put(Chat(messages=(Message(role="user", parts=(Text(text="hello"),)),), stream=True), FLASH, None)

    async def listen() -> None:
        async with http.stream("POST", f"/v1beta{ask.path}", content=ask.body) as reply:
            async for line in reply.aiter_lines():
                if line:
                    reader.feed(line.removeprefix("data: ").encode())

    with pytest.raises(httpx2.RemoteProtocolError):
        await listen()
    assert not reader.ended
    assert [(row.completion_tokens, row.outcome) for row in mock.bill()] == [(3, "cut")]


def test_a_proof_is_base_64() -> None:
    assert types.Part.model_validate({"thoughtSignature": signature("f")}).thought_signature == b"proof of f"
