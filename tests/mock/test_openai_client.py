"""OpenAI's own Python client, unmodified, in front of the mock."""

from __future__ import annotations

import math
from base64 import b64decode
from struct import unpack
from typing import Literal

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from tandem.core.secret import Secret
from tandem.mock import tokens
from tandem.mock.embed import vector
from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello world!"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}


async def test_a_chat(mock: MockHandle, client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    text = reply.choices[0].message.content
    assert text
    assert "hello world!" in text
    assert (reply.object, reply.model, reply.choices[0].finish_reason) == ("chat.completion", "gpt-4o-mini", "stop")
    assert reply.id.startswith("chatcmpl-")
    assert reply.system_fingerprint
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (13, tokens.count(text))
    assert reply.usage.total_tokens == 13 + tokens.count(text)
    [row] = mock.bill()
    assert (row.prompt_tokens, row.completion_tokens, row.outcome, row.stream) == (13, tokens.count(text), "ok", False)
    assert row.cost_nano == 13 * 150 + tokens.count(text) * 600


async def test_a_stream_says_the_same(mock: MockHandle, client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(said) == whole.choices[0].message.content
    assert said == tokens.split("".join(said))
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert mock.bill()[0].completion_tokens == mock.bill()[1].completion_tokens
    assert mock.bill()[1].stream


async def test_without_include_usage_no_chunk_has_usage(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


async def test_delta_tokens_group_the_stream() -> None:
    async with (
        running(MockSettings(port=0, delta_tokens=5)) as mock,
        AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="k") as client,
    ):
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=HELLO, stream=True, max_tokens=12, extra_headers={"x-mock-tokens": "20"}
        )
        said = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices[0].delta.content]
        assert [tokens.count(one) for one in said] == [5, 5, 2]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_the_limit_is_exact(mock: MockHandle, client: AsyncOpenAI, name: str) -> None:
    reply = await client.chat.completions.create(model="gpt-4o", messages=HELLO, extra_body={name: 7})
    assert reply.usage is not None
    assert (reply.choices[0].finish_reason, reply.usage.completion_tokens) == ("length", 7)
    assert tokens.count(reply.choices[0].message.content or "") == 7
    assert mock.bill()[0].completion_tokens == 7


async def test_several_choices_and_stop(mock: MockHandle, client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(
        model="gpt-4o", messages=HELLO, n=3, stop=["two"], extra_headers={"x-mock-reply": "one two three"}
    )
    assert [choice.message.content for choice in reply.choices] == ["one "] * 3
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 6 == mock.bill()[0].completion_tokens


async def test_several_choices_interleave_in_a_stream(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=HELLO, n=2, stream=True, extra_headers={"x-mock-reply": "one two"}
    )
    said = [(chunk.choices[0].index, chunk.choices[0].delta.content) async for chunk in stream if chunk.choices[0].delta.content]
    assert said == [(0, "one"), (1, "one"), (0, " "), (1, " "), (0, "two"), (1, "two")]


async def test_parallel_tool_calls(client: AsyncOpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "get_weather, get_time\ncity: Lyon"}]
    reply = await client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER, TIME])  # type: ignore[list-item]
    calls = reply.choices[0].message.tool_calls
    assert calls is not None
    made = [(call.function.name, call.function.arguments) for call in calls if call.type == "function"]
    assert made == [("get_weather", '{"city":"Lyon"}'), ("get_time", "{}")]
    assert reply.choices[0].finish_reason == "tool_calls"
    assert reply.choices[0].message.content is None
    assert len({call.id for call in calls}) == 2
    assert reply.usage is not None
    assert reply.usage.completion_tokens == (1 + tokens.count('{"city":"Lyon"}')) + (1 + tokens.count("{}"))


async def test_streamed_tool_calls_are_put_together_by_the_client(client: AsyncOpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "get_weather, get_time\ncity: Lyon"}]
    async with client.chat.completions.stream(model="gpt-4o", messages=messages, tools=[WEATHER, TIME]) as stream:  # type: ignore[list-item]
        done = await stream.get_final_completion()
    calls = done.choices[0].message.tool_calls
    assert calls is not None
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("get_weather", '{"city":"Lyon"}'),
        ("get_time", "{}"),
    ]
    assert done.choices[0].finish_reason == "tool_calls"


class Verdict(BaseModel):
    decision: Literal["approve", "refer"]
    risk_score: float
    reasons: list[str]


async def test_structured_output_is_parsed_by_the_client(client: AsyncOpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "risk score: 0.93\ndecision: refer"}]
    reply = await client.chat.completions.parse(model="gpt-4o", messages=messages, response_format=Verdict)
    parsed = reply.choices[0].message.parsed
    assert parsed is not None
    assert (parsed.decision, parsed.risk_score) == ("refer", 0.93)


async def test_cached_tokens_by_order(mock: MockHandle, client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(
        model="gpt-4o", messages=HELLO, max_tokens=1, extra_headers={"x-mock-cached": "10"}
    )
    assert reply.usage is not None
    assert reply.usage.prompt_tokens_details is not None
    assert reply.usage.prompt_tokens_details.cached_tokens == 10
    assert mock.bill()[0].cost_nano == 3 * 2500 + 10 * 1250 + 10_000


async def test_embeddings(mock: MockHandle, client: AsyncOpenAI) -> None:
    texts = ["refund period", "the refund periods", "weather in Lyon"]
    reply = await client.embeddings.create(model="text-embedding-3-small", input=texts)
    vectors = [row.embedding for row in reply.data]
    assert [len(one) for one in vectors] == [1536] * 3
    assert all(math.isclose(math.hypot(*one), 1, rel_tol=1e-5) for one in vectors)
    assert reply.usage.prompt_tokens == sum(map(tokens.count, texts)) == mock.bill()[0].prompt_tokens
    assert mock.bill()[0].cost_nano == reply.usage.prompt_tokens * 20


def test_embeddings_are_near_where_texts_are() -> None:
    def near(one: str, other: str) -> float:
        return sum(a * b for a, b in zip(vector(one), vector(other), strict=True))

    assert near("refund period", "the refund periods") > 0.5 > 0.2 > near("refund period", "weather in Lyon")


async def test_embeddings_in_both_formats_and_fewer_dimensions(client: AsyncOpenAI) -> None:
    floats = await client.embeddings.create(model="text-embedding-3-small", input="hi", encoding_format="float", dimensions=8)
    packed = await client.embeddings.with_raw_response.create(
        model="text-embedding-3-small", input="hi", encoding_format="base64", dimensions=8
    )
    raw = packed.http_response.json()["data"][0]["embedding"]
    assert list(unpack("<8f", b64decode(raw))) == floats.data[0].embedding
    tokenized = await client.embeddings.create(model="text-embedding-3-small", input=[[1, 2], [3]])
    assert (len(tokenized.data), tokenized.usage.prompt_tokens) == (2, 3)


async def test_models(client: AsyncOpenAI) -> None:
    listed = [model.id async for model in client.models.list()]
    openais = ["gpt-4o-mini", "gpt-4o", "gpt-4.1-nano", "gpt-5-nano", "text-embedding-3-small"]
    others = ["claude-haiku-4-5", "claude-sonnet-4-6", "gemini-2.5-flash", "gemini-3-flash-preview"]
    amazons = ["us.anthropic.claude-haiku-4-5-20251001-v1:0", "amazon.nova-lite-v1:0"]
    ranker = "@cf/baai/bge-reranker-base"
    more = ["command-a-03-2025", "command-a-reasoning-08-2025", "mistral-small-2603"]
    assert listed == [*openais, ranker, *others, *amazons, *more, "mock-unpriced"]
    assert (await client.models.retrieve("gpt-4o")).id == "gpt-4o"
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found"


async def test_unknown_and_unfit_models(mock: MockHandle, client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="gpt-9", messages=HELLO)
    assert (caught.value.code, caught.value.type) == ("model_not_found", "invalid_request_error")
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="text-embedding-3-small", messages=HELLO)
    with pytest.raises(openai.PermissionDeniedError):
        await client.embeddings.create(model="gpt-4o", input="hi")
    assert mock.bill() == []


async def test_keys() -> None:
    async with running(MockSettings(port=0, key=Secret("sk-right"))) as mock:
        async with AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="sk-right", max_retries=0) as client:
            await client.chat.completions.create(model="gpt-4o", messages=HELLO)
        async with AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="sk-wrong-one", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as caught:
                await client.chat.completions.create(model="gpt-4o", messages=HELLO)
        assert caught.value.code == "invalid_api_key"
        assert "sk-wrong-one" not in str(caught.value)
        assert len(mock.bill()) == 1
        assert "sk-right" not in str(mock.requests()) + str(mock.bill())


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"n": 129}, "n"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"function": {"name": "g"}}}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"n": "two"}, "n"),
    ],
)
async def test_bad_requests_name_the_parameter(client: AsyncOpenAI, body: dict[str, object], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="gpt-4o", messages=HELLO, extra_body=body)
    assert caught.value.param == param


async def test_a_prompt_that_does_not_fit_is_refused(mock: MockHandle, client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "a " * 65_000}])
    assert caught.value.code == "context_length_exceeded"
    assert mock.bill() == []


async def test_the_client_retries_a_scripted_429(mock: MockHandle, client: AsyncOpenAI) -> None:
    mock.faults(["429*2;retry-after=0.01"])
    await client.with_options(max_retries=2).chat.completions.create(model="gpt-4o", messages=HELLO)
    assert [one["status"] for one in mock.requests()] == [429, 429, 200]
    assert len(mock.bill()) == 1
