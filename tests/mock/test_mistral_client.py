"""Mistral's own Python client, unmodified, in front of the mock: at the plain addresses, and at those as strict as Mistral's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from mistralai.client import Mistral, models

from tandem.mock import tokens
from tandem.mock.serve import MockHandle

SMALL = "mistral-small-2603"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "description": "How warm it is.", "parameters": CITY}}]
HELLO: Any = [{"role": "user", "content": "hello world!"}]
CALL: Any = {"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT: Any = {"role": "tool", "tool_call_id": "abcdefghi", "content": "1"}


@pytest.fixture(params=["", "/mistral"])
async def client(mock: MockHandle, request: pytest.FixtureRequest) -> AsyncIterator[Mistral]:
    async with Mistral(api_key="mk", server_url=f"{mock.url}{request.param}", timeout_ms=20_000) as opened:
        yield opened


async def test_an_answer_is_counted_and_billed_exactly(mock: MockHandle, client: Mistral) -> None:
    reply = await client.chat.complete_async(model=SMALL, messages=HELLO, max_tokens=200, random_seed=7)
    assert reply.choices[0].message is not None
    assert "hello world!" in str(reply.choices[0].message.content)
    [row] = mock.bill()
    said = tokens.count(str(reply.choices[0].message.content))
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (row.prompt_tokens, row.completion_tokens) == (13, said)
    assert row.cost_nano == 13 * 150 + said * 600


async def test_a_stream_says_the_same(mock: MockHandle, client: Mistral) -> None:
    whole = await client.chat.complete_async(model=SMALL, messages=HELLO)
    stream = await client.chat.stream_async(model=SMALL, messages=HELLO)
    chunks = [event.data async for event in stream]
    said = "".join(str(chunk.choices[0].delta.content or "") for chunk in chunks if chunk.choices)
    assert whole.choices[0].message is not None
    assert said == whole.choices[0].message.content
    strict = str(mock.requests()[-1]["path"]).startswith("/mistral/")
    assert not strict or chunks[-1].usage == whole.usage


async def test_a_tool_is_called_and_its_result_answered(client: Mistral) -> None:
    asked: Any = [{"role": "user", "content": "city: Paris\nUse get_weather."}]
    reply = await client.chat.complete_async(model=SMALL, messages=asked, tools=TOOLS, tool_choice="required")
    assert reply.choices[0].finish_reason == "tool_calls"
    message = reply.choices[0].message
    assert message is not None
    assert message.tool_calls
    (call,) = message.tool_calls
    assert json.loads(str(call.function.arguments)) == {"city": "Paris"}
    result = models.ToolMessage(content="warmth: 21 degrees", tool_call_id=call.id)
    again = await client.chat.complete_async(model=SMALL, messages=[*asked, message, result], tools=TOOLS)
    assert again.choices[0].message is not None
    assert "21 degrees" in str(again.choices[0].message.content)


async def test_vectors(mock: MockHandle) -> None:
    """They bear an id there, which OpenAI's do not."""
    async with Mistral(api_key="mk", server_url=f"{mock.url}/mistral") as client:
        reply = await client.embeddings.create_async(model="text-embedding-3-small", inputs=["one", "two"], output_dimension=256)
    assert [len(row.embedding or ()) for row in reply.data] == [256, 256]


async def test_the_last_chunk_tells_the_usage_unasked(mock: MockHandle) -> None:
    async with openai.AsyncOpenAI(base_url=f"{mock.url}/mistral/v1", api_key="mk", max_retries=0) as gpt:
        stream = await gpt.chat.completions.create(model=SMALL, messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_an_id_of_a_call_is_nine_letters_and_digits(mock: MockHandle) -> None:
    asked: Any = [{"role": "user", "content": "city: Paris\nUse get_weather."}]
    async with Mistral(api_key="mk", server_url=f"{mock.url}/mistral") as client:
        reply = await client.chat.complete_async(model=SMALL, messages=asked, tools=TOOLS, tool_choice="any")
        message = reply.choices[0].message
        assert message is not None
        assert message.tool_calls
        assert str(message.tool_calls[0].id).isalnum()
        assert len(str(message.tool_calls[0].id)) == 9
        stream = await client.chat.stream_async(model=SMALL, messages=asked, tools=TOOLS, tool_choice="any")
        calls = [call async for event in stream for call in event.data.choices[0].delta.tool_calls or ()]
    assert [(call.function.name, json.loads(str(call.function.arguments))) for call in calls] == [
        ("get_weather", {"city": "Paris"})
    ]


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ({"max_completion_tokens": 9}, 422, '"max_completion_tokens"'),
        ({"seed": 7}, 422, "extra_forbidden"),
        ({"stream_options": None}, 422, "Extra inputs are not permitted"),
        ({"messages": [{"role": "user", "content": "a", "name": "ann"}]}, 422, '"messages",0,"user","name"'),
        ({"messages": [{"role": "developer", "content": "a"}, *HELLO]}, 422, "union_tag_invalid"),
        (
            {"messages": [*HELLO, {"role": "assistant", "content": "a", "reasoning_content": "b"}, *HELLO]},
            422,
            "reasoning_content",
        ),
        ({"messages": [*HELLO, {"role": "assistant", "tool_calls": [{**CALL, "id": "call_1"}]}, RESULT]}, 400, "length of 9"),
        ({"messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, RESULT, *HELLO]}, 400, "after role 'tool'"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "It"}]}, 400, "prefix True"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "It", "prefix": True}]}, 200, "chat.completion"),
        ({"messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, RESULT]}, 200, "chat.completion"),
        ({"model": "no-such-model"}, 404, "no-such-model"),
    ],
)
async def test_it_refuses_what_mistral_refuses(mock: MockHandle, more: dict[str, Any], status: int, said: str) -> None:
    async with httpx2.AsyncClient(base_url=f"{mock.url}/mistral", headers={"authorization": "Bearer mk"}) as http:
        reply = await http.post("/v1/chat/completions", json={"model": SMALL, "messages": HELLO, **more})
        lost = await http.post("/v1/images", json={})
    assert (reply.status_code, lost.status_code) == (status, 404)
    assert said in reply.text
    assert status == 200 or reply.json()["object"] == "error"


@pytest.mark.parametrize(("fault", "status", "code"), [("429", 429, None), ("503", 503, None), ("context", 400, "3051")])
async def test_faults_in_mistrals_words(mock: MockHandle, fault: str, status: int, code: str | None) -> None:
    mock.faults([fault])
    async with Mistral(api_key="mk", server_url=f"{mock.url}/mistral") as client:
        with pytest.raises(Exception, match=f"Status {status}") as refused:
            await client.chat.complete_async(model=SMALL, messages=HELLO, retries=None)
    assert json.loads(refused.value.body)["code"] == code  # type: ignore[attr-defined]
