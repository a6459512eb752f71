"""OpenAI's own Python client, unmodified, in front of the mock's Responses API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, RateLimitError

from tandem.core.errors import Invalid
from tandem.mock import tokens
from tandem.mock.responses_wire import MOST_KEPT, Kept, Memory, seal
from tandem.mock.serve import MockHandle

NANO, FIVE = "gpt-4.1-nano", "gpt-5-nano"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [
    {"type": "function", "name": "get_weather", "description": "How warm it is.", "parameters": CITY, "strict": False},
    {"type": "function", "name": "get_time", "parameters": {"type": "object", "properties": {}}, "strict": False},
]


async def test_an_answer_is_counted_and_billed_exactly(mock: MockHandle, client: AsyncOpenAI) -> None:
    reply = await client.responses.create(model=NANO, input="hello world!")
    assert "hello world!" in reply.output_text
    assert reply.status == "completed"
    usage = reply.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (13, tokens.count(reply.output_text))
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    [row] = mock.bill()
    assert (row.model, row.prompt_tokens, row.completion_tokens, row.outcome) == (NANO, 13, usage.output_tokens, "ok")
    assert row.cost_nano == 13 * 100 + row.completion_tokens * 400
    items: Any = [{"role": "user", "content": [{"type": "input_text", "text": "hello world!"}]}]
    assert (await client.responses.create(model=NANO, input=items)).output_text == reply.output_text
    cached = await client.responses.create(model=NANO, input="hello world!", extra_headers={"x-mock-cached": "5"})
    assert cached.usage is not None
    assert cached.usage.input_tokens_details.cached_tokens == mock.bill()[-1].cached_tokens == 5


@pytest.mark.parametrize("more", [{}, {"tools": TOOLS, "tool_choice": "required"}, {"max_output_tokens": 16}])
async def test_a_stream_says_the_same_in_events_with_numbers(mock: MockHandle, client: AsyncOpenAI, more: Any) -> None:
    whole = await client.responses.create(model=NANO, input="radius: 17.9 Use get_weather and get_time.", **more)
    asked: Any = {"model": NANO, "input": "radius: 17.9 Use get_weather and get_time.", **more}
    async with client.responses.stream(**asked) as running:
        events = [event async for event in running]
    final = events[-1].response  # type: ignore[union-attr]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (final.status, final.incomplete_details) == (whole.status, whole.incomplete_details)
    assert final.output_text == whole.output_text
    assert [item.type for item in final.output] == [item.type for item in whole.output]
    said = ("".join([getattr(event, "delta", "") for event in events])).strip()
    called = "".join([item.arguments for item in whole.output if item.type == "function_call"])
    assert said == (called or whole.output_text).strip()
    assert final.usage == whole.usage
    first, second = mock.bill()
    assert (first.cost_nano, first.completion_tokens) == (second.cost_nano, second.completion_tokens)


async def test_it_goes_on_from_what_it_has_said(mock: MockHandle, client: AsyncOpenAI) -> None:
    first = await client.responses.create(model=NANO, input="radius: 17.9")
    second = await client.responses.create(model=NANO, input="What is it?", previous_response_id=first.id)
    assert "17.9" in second.output_text
    assert first.usage is not None
    assert second.usage is not None
    asked = tokens.PER_MESSAGE + tokens.count("What is it?")
    assert second.usage.input_tokens == first.usage.total_tokens + asked
    assert second.previous_response_id == first.id
    forgotten = await client.responses.create(model=NANO, input="hi", store=False)
    for name, key in ((forgotten.id, "sk-test"), ("resp_none", "sk-test"), (first.id, "sk-other")):
        with pytest.raises(BadRequestError) as refused:
            await client.with_options(api_key=key).responses.create(model=NANO, input="hi", previous_response_id=name)
        assert refused.value.code == "previous_response_not_found"


def test_what_it_remembers_is_bounded() -> None:
    memory, kept = Memory(), Kept(turns=(), tokens=1, calls=frozenset())
    for number in range(MOST_KEPT + 1):
        memory.keep("k", f"r{number}", kept)
    assert memory.find("k", "r1") is kept
    with pytest.raises(Invalid):
        memory.find("k", "r0")


async def test_a_call_is_answered_by_its_output(client: AsyncOpenAI) -> None:
    asked: Any = {"model": NANO, "tools": TOOLS}
    first = await client.responses.create(**asked, input="city: Rome. Use get_weather.")
    [call] = first.output
    assert call.type == "function_call"
    assert json.loads(call.arguments)["city"]
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "warm: 21"}]
    reply = await client.responses.create(**asked, input=output, previous_response_id=first.id)
    assert "warm is 21" in reply.output_text
    with pytest.raises(BadRequestError, match="No tool output found"):
        await client.responses.create(**asked, input="hi", previous_response_id=first.id)
    with pytest.raises(BadRequestError, match="No tool call found"):
        await client.responses.create(**asked, input=output)


async def test_it_thinks_where_it_can(mock: MockHandle, client: AsyncOpenAI) -> None:
    sealed: Any = {"model": FIVE, "include": ["reasoning.encrypted_content"], "store": False}
    reply = await client.responses.create(**sealed, input="radius: 17.9", reasoning={"effort": "low", "summary": "auto"})
    thought, message = reply.output
    assert thought.type == "reasoning"
    assert reply.usage is not None
    assert reply.usage.output_tokens_details.reasoning_tokens == tokens.count(thought.summary[0].text) > 0
    assert mock.bill()[0].completion_tokens == reply.usage.output_tokens
    told = [item.model_dump(exclude_none=True) for item in (thought, message)]
    turns: Any = [{"role": "user", "content": "radius: 17.9"}, *told, {"role": "user", "content": "And?"}]
    assert (await client.responses.create(**sealed, input=turns)).status == "completed"
    assert thought.encrypted_content == seal(thought.id)
    told[0]["encrypted_content"] = "other"
    with pytest.raises(BadRequestError) as altered:
        await client.responses.create(**sealed, input=turns)
    assert altered.value.code == "invalid_encrypted_content"
    del told[0]["encrypted_content"]
    with pytest.raises(NotFoundError):
        await client.responses.create(**sealed, input=turns)
    silent = await client.responses.create(model=FIVE, input="hi", reasoning={"effort": "minimal"})
    assert [item.type for item in silent.output] == ["message"]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"max_output_tokens": 15}, "max_output_tokens"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"background": True}, "background"),
        ({"input": []}, "input"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "shell_call"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": 3}]}, "input[0].content"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"input": 3}, "input"),
    ],
)
async def test_it_refuses_what_the_real_one_refuses(mock: MockHandle, client: AsyncOpenAI, more: Any, param: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        await client.responses.create(**{"model": NANO, "input": "hi", **more})
    assert refused.value.param == param
    assert mock.bill() == []


async def test_it_fails_on_demand(mock: MockHandle, client: AsyncOpenAI) -> None:
    with pytest.raises(RateLimitError):
        await client.responses.create(model=NANO, input="x-mock-fault: 429")
    with pytest.raises(BadRequestError) as long:
        await client.responses.create(model=NANO, input="x-mock-fault: context")
    assert long.value.code == "context_length_exceeded"
    refused = await client.responses.create(model=NANO, input="x-mock-fault: refuse")
    assert refused.incomplete_details is not None
    assert (refused.status, refused.incomplete_details.reason) == ("incomplete", "content_filter")
    missing = await client.responses.create(model=NANO, input="x-mock-fault: usage=missing")
    assert missing.usage is None
    stream = await client.responses.create(model=NANO, input="radius: 17.9\nx-mock-fault: error-after=2", stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "error"
    assert events[-1].code == "server_is_overloaded"
    assert mock.bill()[-1].outcome == "cut"


async def test_what_it_does_not_read_is_shown(mock: MockHandle, client: AsyncOpenAI) -> None:
    await client.responses.create(model=NANO, input="hi", truncation="auto", extra_body={"invented": 3})
    assert mock.requests()[0]["unknown"] == {"truncation": "auto", "invented": 3}
