"""Cohere's own Python client, unmodified, in front of the mock; and our wire, which must read what the mock bills."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import cohere
import httpx2
import pytest
from cohere.core.api_error import ApiError

from tandem.core.chat import Chat, Finish, Message, Text, TextDelta, ThinkingDelta, ToolDelta, Used
from tandem.core.secret import Secret
from tandem.gateway.providers.cohere import Cohere
from tandem.gateway.sse import Events
from tandem.mock import tokens
from tandem.mock.cohere_reply import OWN_ANSWER, OWN_PROMPT, PLAN
from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings

COMMAND, REASONING = "command-a-03-2025", "command-a-reasoning-08-2025"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "description": "How warm it is.", "parameters": CITY}}]
HELLO: Any = [{"role": "user", "content": "hello world!"}]


def client_of(mock: MockHandle, key: str = "co-key") -> cohere.AsyncClientV2:
    return cohere.AsyncClientV2(api_key=key, base_url=mock.url, timeout=20, max_retries=0)


@pytest.fixture
async def client(mock: MockHandle) -> AsyncIterator[cohere.AsyncClientV2]:
    async with client_of(mock) as opened:
        yield opened


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def heard(stream: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in stream]


async def test_an_answer_is_counted_and_billed_exactly(mock: MockHandle, client: cohere.AsyncClientV2) -> None:
    """The bill holds what is billed, and not what is counted."""
    reply = await client.chat(model=COMMAND, messages=HELLO)
    assert reply.message.content is not None
    (block,) = reply.message.content
    assert block.type == "text"
    assert "hello world!" in block.text
    assert reply.finish_reason == "COMPLETE"
    assert reply.usage is not None
    billed, counted = reply.usage.billed_units, reply.usage.tokens
    assert billed is not None
    assert counted is not None
    said = tokens.count(block.text)
    assert (billed.input_tokens, billed.output_tokens) == (13, said)
    assert (counted.input_tokens, counted.output_tokens) == (13 + OWN_PROMPT, said + OWN_ANSWER)
    [row] = mock.bill()
    assert (row.model, row.prompt_tokens, row.completion_tokens, row.outcome) == (COMMAND, 13, said, "ok")
    assert row.cost_nano == 13 * 2500 + said * 10_000


async def test_a_stream_says_the_same_event_by_event(mock: MockHandle, client: cohere.AsyncClientV2) -> None:
    whole = await client.chat(model=COMMAND, messages=HELLO)
    events = await heard(client.chat_stream(model=COMMAND, messages=HELLO))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message-start", "content-start"]
    assert kinds[-2:] == ["content-end", "message-end"]
    assert set(kinds[2:-2]) == {"content-delta"}
    assert whole.message.content is not None
    said = "".join(event.delta.message.content.text for event in events if event.type == "content-delta")
    assert said == whole.message.content[0].text  # type: ignore[union-attr]
    assert events[-1].delta.usage == whole.usage
    assert mock.bill()[0].cost_nano == mock.bill()[1].cost_nano


async def test_a_tool_is_called_after_a_plan_and_its_result_answered(client: cohere.AsyncClientV2) -> None:
    asked = user("city: Paris\nUse get_weather.")
    reply = await client.chat(model=COMMAND, messages=asked, tools=TOOLS)
    assert (reply.finish_reason, reply.message.tool_plan) == ("TOOL_CALL", PLAN)
    assert reply.message.tool_calls is not None
    (call,) = reply.message.tool_calls
    assert call.function is not None
    assert json.loads(call.function.arguments or "") == {"city": "Paris"}
    events = await heard(client.chat_stream(model=COMMAND, messages=asked, tools=TOOLS))
    assert "".join(event.delta.message.tool_plan for event in events if event.type == "tool-plan-delta") == PLAN
    (start,) = [event.delta.message.tool_calls for event in events if event.type == "tool-call-start"]
    assert (start.function.name, start.function.arguments) == ("get_weather", "")
    pieces = [event.delta.message.tool_calls.function.arguments for event in events if event.type == "tool-call-delta"]
    assert len(pieces) > 1
    assert json.loads("".join(pieces)) == {"city": "Paris"}
    assert [event.type for event in events][-2:] == ["tool-call-end", "message-end"]
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "warmth: 21 degrees"}
    again = await client.chat(model=COMMAND, messages=[*asked, reply.message, result], tools=TOOLS)
    assert again.message.content is not None
    assert "21 degrees" in again.message.content[0].text  # type: ignore[union-attr]


async def test_a_model_thinks_unless_it_is_told_not_to(mock: MockHandle, client: cohere.AsyncClientV2) -> None:
    thought = await client.chat(model=REASONING, messages=HELLO)
    assert thought.message.content is not None
    assert [block.type for block in thought.message.content] == ["thinking", "text"]
    events = await heard(client.chat_stream(model=REASONING, messages=HELLO))
    pieces = [event.delta.message.content.thinking for event in events if event.type == "content-delta"]
    assert "".join(piece or "" for piece in pieces) == thought.message.content[0].thinking  # type: ignore[union-attr]
    plain = await client.chat(model=REASONING, messages=HELLO, thinking=cohere.Thinking(type="disabled"))
    assert plain.message.content is not None
    assert [block.type for block in plain.message.content] == ["text"]
    assert mock.bill()[0].completion_tokens > mock.bill()[2].completion_tokens
    with pytest.raises(cohere.BadRequestError, match="not supported"):
        await client.chat(model=COMMAND, messages=HELLO, thinking=cohere.Thinking(type="enabled"))


async def test_a_form_is_filled_and_a_sequence_ends_an_answer(client: cohere.AsyncClientV2) -> None:
    form = cohere.JsonObjectResponseFormatV2(json_schema=CITY)
    reply = await client.chat(model=COMMAND, messages=user("city: Oslo"), response_format=form)
    assert reply.message.content is not None
    assert json.loads(reply.message.content[0].text) == {"city": "Oslo"}  # type: ignore[union-attr]
    stopped = await client.chat(model=COMMAND, messages=HELLO, stop_sequences=["world"])
    assert stopped.finish_reason == "STOP_SEQUENCE"
    short = await client.chat(model=COMMAND, messages=HELLO, max_tokens=3)
    assert short.finish_reason == "MAX_TOKENS"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"p": 1.0}, "p must be between"),
        ({"k": 501}, "k must be between"),
        ({"frequency_penalty": -0.5}, "frequency_penalty must be between"),
        ({"stop_sequences": list("abcdef")}, "at most 5"),
        ({"messages": []}, "must not be empty"),
        ({"messages": user("")}, "at least 1 token long"),
        ({"tool_choice": "REQUIRED"}, "only allowed when tools are provided"),
        ({"tools": TOOLS, "response_format": cohere.JsonObjectResponseFormatV2()}, "response_format is not supported"),
        ({"messages": [*HELLO, {"role": "tool", "tool_call_id": "c", "content": "1"}]}, "was not called"),
    ],
)
async def test_it_refuses_what_cohere_refuses(
    mock: MockHandle, client: cohere.AsyncClientV2, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(cohere.BadRequestError) as refused:
        await client.chat(**{"model": COMMAND, "messages": HELLO, **asked})
    assert said in refused.value.body["message"]
    assert mock.bill() == []


async def test_what_it_does_not_know_is_refused(client: cohere.AsyncClientV2) -> None:
    with pytest.raises(cohere.UnprocessableEntityError, match="top_p"):
        await client.chat(model=COMMAND, messages=HELLO, request_options={"additional_body_parameters": {"top_p": 0.5}})


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("429;retry-after=2", cohere.TooManyRequestsError),
        ("503", cohere.ServiceUnavailableError),
        ("500", cohere.InternalServerError),
        ("context", cohere.BadRequestError),
        ("refuse=400", ApiError),
    ],
)
async def test_faults_in_coheres_words(mock: MockHandle, client: cohere.AsyncClientV2, fault: str, kind: type[ApiError]) -> None:
    mock.faults([fault])
    with pytest.raises(kind) as refused:
        await client.chat(model=COMMAND, messages=HELLO)
    assert refused.value.status_code == (498 if fault == "refuse=400" else int(fault[:3]) if fault[0].isdigit() else 400)
    if fault == "context":
        assert refused.value.body["message"].startswith("too many tokens")


async def test_a_stream_breaks_off_by_an_end_that_is_an_error(mock: MockHandle, client: cohere.AsyncClientV2) -> None:
    mock.faults(["error-after=2"])
    events = await heard(client.chat_stream(model=COMMAND, messages=HELLO))
    assert (events[-1].delta.finish_reason, events[-1].delta.error) == ("ERROR", "the model is overloaded")
    assert mock.bill()[0].outcome == "cut"


async def test_a_wanted_key_must_be_borne() -> None:
    async with running(MockSettings(port=0, key=Secret("right"))) as mock:
        async with client_of(mock, "right") as client:
            await client.chat(model=COMMAND, messages=HELLO)
        async with client_of(mock, "wrong") as client:
            with pytest.raises(cohere.UnauthorizedError):
                await client.chat(model=COMMAND, messages=HELLO)
        assert "wrong" not in json.dumps(mock.requests()[-1])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [COMMAND, REASONING])
async def test_our_wire_reads_what_it_bills(mock: MockHandle, model: str, stream: bool) -> None:
    wire = Cohere()
    chat = Chat(messages=(Message(role="user", parts=(Text(text="hello world!"),)),), max_output=3000, stream=stream)
    put = wire.put(chat, model, "key")
    async with httpx2.AsyncClient(base_url=f"{mock.url}/v2") as http:
        reply = await http.post(put.path, content=put.body, headers=[(name, value) for name, value in put.headers])
    assert reply.status_code == 200, reply.text
    if stream:
        reader = wire.reader()
        said = [delta for payload in Events().feed(reply.content) for delta in reader.feed(payload)]
        assert reader.ended
    else:
        said = wire.whole(reply.content)
    [used] = [delta.usage for delta in said if isinstance(delta, Used)]
    [row] = mock.bill()
    assert (used.total_input, used.total_output) == (row.prompt_tokens, row.completion_tokens)
    assert "hello world!" in "".join(delta.text for delta in said if isinstance(delta, TextDelta))
    assert any(isinstance(delta, ThinkingDelta) for delta in said) == (model == REASONING)
    assert not any(isinstance(delta, ToolDelta) for delta in said)
    assert [delta.reason for delta in said if isinstance(delta, Finish)] == ["stop"]
