"""The Anthropic wire, driven by the unmodified `anthropic` client, in front of a provider that speaks OpenAI's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import msgspec
import pytest

from tandem.gateway.snapshot import Served
from tests.gateway.conftest import KEY, House

ASK: Any = [{"role": "user", "content": "Explain: radius = 17.9, texture = 10.4"}]
TOOL: Any = {"name": "find", "description": "Finds.", "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}}}


@pytest.fixture
async def client(door: House) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=f"{door.url}/anthropic", api_key=KEY, max_retries=0) as client:
        yield client


def booked(door: House) -> tuple[Any, Any]:
    """The newest call as it was recorded, and the mock's bill for it."""
    door.move()
    (row, *_) = door.traces.list(team=None)
    return door.traces.find(row.trace, team=None).calls[0], door.mock.bill()[-1]


async def test_a_whole_answer_is_booked_as_the_bill_says(door: House, client: anthropic.AsyncAnthropic) -> None:
    raw = await client.messages.with_raw_response.create(model="assistant", max_tokens=30, system="Be brief.", messages=ASK)
    message = await raw.parse()
    (block,) = message.content
    assert block.type == "text"
    assert block.text
    assert message.stop_reason in ("end_turn", "max_tokens")
    call, bill = booked(door)
    assert raw.headers["x-tandem-trace-id"] == call.id
    assert (call.outcome, call.cost) == ("ok", bill.cost_nano)
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) == call.attempts[0].usage.total_input
    assert message.usage.output_tokens == call.attempts[0].usage.total_output


async def test_a_stream_says_what_it_would_say_whole(door: House, client: anthropic.AsyncAnthropic) -> None:
    whole = await client.messages.create(model="assistant", max_tokens=40, messages=ASK)
    async with client.messages.stream(model="assistant", max_tokens=40, messages=ASK) as stream:
        pieces = [text async for text in stream.text_stream]
        final = await stream.get_final_message()
    assert len(pieces) > 3
    assert [getattr(block, "text", None) for block in final.content] == [getattr(block, "text", None) for block in whole.content]
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    call, bill = booked(door)
    assert call.cost == bill.cost_nano


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_are_called_and_their_results_go_back(door: House, client: anthropic.AsyncAnthropic, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "assistant", "max_tokens": 60, "tools": [TOOL], "tool_choice": {"type": "any"}}
    if stream:
        async with client.messages.stream(**asked, messages=ASK) as running:
            message = await running.get_final_message()
    else:
        message = await client.messages.create(**asked, messages=ASK)
    assert message.stop_reason == "tool_use"
    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert call.name == "find"
    assert isinstance(call.input, dict)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Nothing was found."}
    again = await client.messages.create(
        model="assistant",
        max_tokens=30,
        tools=[TOOL],
        messages=[*ASK, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}],
    )
    assert again.content
    sent: Any = door.mock.requests()[-1]["body"]
    assert sent["messages"][-1] == {"role": "tool", "tool_call_id": call.id, "content": "Nothing was found."}


async def test_what_the_providers_protocol_has_no_place_for_is_named(door: House, client: anthropic.AsyncAnthropic) -> None:
    raw = await client.messages.with_raw_response.create(
        model="assistant",
        max_tokens=10,
        messages=ASK,
        extra_body={"top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 2000}},
    )
    assert set(raw.headers["x-tandem-dropped"].split(", ")) == {"top_k", "thinking"}
    call, _ = booked(door)
    assert set(call.attributes["tandem.dropped"]) == {"top_k", "thinking"}


async def test_a_field_of_any_name_is_no_header_of_ours(door: House) -> None:
    body = {"model": "assistant", "max_tokens": 5, "messages": ASK, "a\r\nset-cookie: x": 1, "\0": 2, "é": 3, "fine": 4}
    async with httpx2.AsyncClient() as http:
        reply = await http.post(f"{door.url}/anthropic/v1/messages", json=body, headers={"x-api-key": KEY})
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-tandem-dropped"] == "?, fine"


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"model": "nothing-here"}, 404, "not_found_error"),
        ({"max_tokens": -1}, 400, "invalid_request_error"),
        ({"messages": "hello"}, 400, "invalid_request_error"),
        ({"mcp_servers": [{"type": "url", "url": "https://example.org", "name": "x"}]}, 400, "invalid_request_error"),
    ],
    ids=["model", "bound", "messages", "mcp"],
)
async def test_a_refusal_is_one_that_their_clients_know(door: House, change: dict[str, Any], status: int, kind: str) -> None:
    body = {"model": "assistant", "max_tokens": 5, "messages": ASK, **change}
    async with httpx2.AsyncClient() as http:
        reply = await http.post(f"{door.url}/anthropic/v1/messages", json=body, headers={"x-api-key": KEY})
    assert reply.status_code == status
    told = reply.json()
    assert (told["type"], told["error"]["type"], told["request_id"]) == ("error", kind, reply.headers["x-tandem-trace-id"])
    assert door.mock.bill() == []


async def test_a_stranger_and_a_full_purse_raise_what_they_should(door: House, client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError):
        await client.with_options(api_key="tdm_nobody").messages.create(model="assistant", max_tokens=5, messages=ASK)
    door.cap(1)
    with pytest.raises(anthropic.RateLimitError) as refused:
        await client.messages.create(model="assistant", max_tokens=5, messages=ASK)
    assert "budget" in str(refused.value)
    assert door.mock.bill() == []


async def test_a_cap_holds_and_the_bound_reaches_the_provider(door: House, client: anthropic.AsyncAnthropic) -> None:
    door.cap(10_000_000)
    await client.messages.create(model="assistant", max_tokens=7, messages=ASK)
    call, bill = booked(door)
    assert call.attempts[0].usage.total_output <= 7
    assert call.attempts[0].reserved >= (call.cost or 0) == bill.cost_nano


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("429*9", anthropic.RateLimitError),
        ("500*9", anthropic.InternalServerError),
        ("400*9", anthropic.BadRequestError),
    ],
)
async def test_an_error_of_the_provider_is_told_in_their_words(
    door: House, client: anthropic.AsyncAnthropic, fault: str, error: type[anthropic.APIStatusError]
) -> None:
    door.mock.faults([fault])
    with pytest.raises(error) as failed:
        await client.messages.create(model="assistant", max_tokens=5, messages=ASK)
    assert failed.value.body is not None
    call, _ = booked(door) if door.mock.bill() else (None, None)
    assert call is None or call.cost is not None


@pytest.mark.parametrize("fault", ["cut-after=3", "malformed-after=3"])
async def test_a_stream_that_breaks_is_an_error_and_no_short_answer(
    door: House, client: anthropic.AsyncAnthropic, fault: str
) -> None:
    door.mock.faults([f"{fault}*9"])
    with pytest.raises(anthropic.APIError):
        async with client.messages.stream(model="assistant", max_tokens=60, messages=ASK) as stream:
            await stream.get_final_message()
    door.move()
    (row, *_) = door.traces.list(team=None)
    assert row.outcome in ("truncated_stream", "malformed_reply", "malformed_stream")


async def test_before_the_first_word_another_attempt_takes_over(door: House, client: anthropic.AsyncAnthropic) -> None:
    door.mock.faults(["500*1"])
    async with client.messages.stream(model="assistant", max_tokens=20, messages=ASK) as stream:
        assert (await stream.get_final_message()).content
    call, _ = booked(door)
    assert [attempt.outcome for attempt in call.attempts] == ["upstream_5xx", "ok"]


POLICY = msgspec.json.encode(
    {
        "guards": [
            {"detector": "email", "action": "mask", "on": ["in", "out"]},
            {"detector": "card", "action": "block", "on": ["in"]},
        ]
    }
)


@pytest.mark.parametrize("stream", [False, True])
async def test_guards_hold_on_this_wire_too(door: House, client: anthropic.AsyncAnthropic, stream: bool) -> None:
    """What is masked never goes upstream and comes back to the caller, streams included; what is blocked is not sent."""
    door.publish(policies={"policy/default@production": Served(ref="policy/default@1", members="", digest="", meta=POLICY)})
    told: Any = [{"role": "user", "content": "Repeat: write to ann.lee@example.org today"}]
    if stream:
        async with client.messages.stream(model="assistant", max_tokens=60, messages=told) as running:
            message = await running.get_final_message()
    else:
        message = await client.messages.create(model="assistant", max_tokens=60, messages=told)
    (block,) = message.content
    assert block.type == "text"
    assert "EMAIL" not in block.text
    assert "ann.lee@example.org" in block.text
    before = len(door.mock.bill())
    with pytest.raises(anthropic.PermissionDeniedError):
        await client.messages.create(
            model="assistant", max_tokens=5, messages=[{"role": "user", "content": "4111 1111 1111 1111"}]
        )
    assert len(door.mock.bill()) == before
    door.move()
    for row in door.traces.list(team=None):
        sealed = door.traces.sealed(row.call, row.trace)
        if sealed is not None:
            plain = door.subjects.open(*sealed)
            assert plain is not None
            assert b"ann.lee" not in plain


async def test_tokens_are_counted_for_who_may_ask_and_nobody_pays(door: House, client: anthropic.AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model="assistant", messages=ASK)
    assert counted.input_tokens > 5
    assert door.mock.bill() == []
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.count_tokens(model="nothing-here", messages=ASK)
