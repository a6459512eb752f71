"""The OpenAI wire, driven by the unmodified `openai` client."""

from __future__ import annotations

import json
import re

import httpx2
import openai
import pytest
from pydantic import BaseModel

from tests.gateway.conftest import KEY, House


@pytest.fixture
async def client(door: House):  # type: ignore[no-untyped-def]
    async with openai.AsyncOpenAI(base_url=f"{door.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


ASK = [{"role": "user", "content": "Explain: radius = 17.9, texture = 10.4"}]


async def test_a_whole_answer_is_priced_as_the_bill_says(door: House, client: openai.AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="assistant", messages=ASK, max_tokens=20)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.usage is not None
    trace = raw.headers["x-tandem-trace-id"]
    door.move()
    found = door.traces.find(trace, team="risk")
    (call,) = found.calls
    (attempt,) = call.attempts
    (row,) = door.mock.bill()
    assert attempt.usage.source == "provider"
    assert attempt.usage.total_input == answer.usage.prompt_tokens
    assert call.cost == row.cost_nano
    assert row.call == call.call
    assert [span.name for span in call.spans] == ["identify", "resolve", "admit", "chat gpt-4o-mini"]


async def test_the_trace_context_of_a_caller_reaches_the_upstream_and_the_trace(door: House, client: openai.AsyncOpenAI) -> None:
    given = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "vendor=1"}
    asked = client.chat.completions.with_raw_response
    with_one = await asked.create(model="assistant", messages=ASK, max_tokens=5, extra_headers=given)
    without = await asked.create(model="assistant", messages=ASK, max_tokens=5)
    async with httpx2.AsyncClient() as http:
        seen = (await http.get(f"{door.mock.url.removesuffix('/v1')}/requests")).json()["data"]
    first, second = (one["headers"] for one in sorted(seen, key=lambda one: one["id"]))
    assert {name: first[name] for name in given} == given
    made = re.fullmatch("00-([0-9a-f]{32})-[0-9a-f]{16}-01", second["traceparent"])
    assert made is not None
    assert "tracestate" not in second
    door.move()
    (told,) = door.traces.find(with_one.headers["x-tandem-trace-id"], team="risk").calls
    (own,) = door.traces.find(without.headers["x-tandem-trace-id"], team="risk").calls
    assert told.attributes["traceparent"] == given["traceparent"]
    assert "traceparent" not in own.attributes
    assert len(set(made[1])) > 1  # of this call's own making, not zeros, which mean none


async def test_a_stream_is_passed_on_and_booked(door: House, client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="assistant", messages=ASK, max_tokens=20, stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.choices for chunk in chunks)  # the usage frame was asked for by the door, not by the caller
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    door.move()
    (row,) = door.traces.list(team=None)
    (billed,) = door.mock.bill()
    assert (row.outcome, row.cost) == ("ok", billed.cost_nano)


async def test_the_caller_gets_the_usage_frame_when_asked(door: House, client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="assistant", messages=ASK, max_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5


async def test_tools_and_structured_output(door: House, client: openai.AsyncOpenAI) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
        },
    }
    answer = await client.chat.completions.create(model="assistant", messages=ASK, tools=[tool], tool_choice="required")  # type: ignore[list-item]
    (call,) = answer.choices[0].message.tool_calls or []
    assert isinstance(json.loads(call.function.arguments)["id"], int)  # type: ignore[union-attr]

    class Opinion(BaseModel):
        malignant: bool
        reason: str

    parsed = await client.chat.completions.parse(model="assistant", messages=ASK, response_format=Opinion)
    assert parsed.choices[0].message.parsed is not None


async def test_embeddings_and_models(door: House, client: openai.AsyncOpenAI) -> None:
    vectors = await client.embeddings.create(model="embedder", input=["one", "two"])
    assert len(vectors.data) == 2
    assert sorted(model.id for model in (await client.models.list()).data) == ["assistant", "embedder"]
    assert (await client.models.retrieve("assistant")).id == "assistant"
    door.move()
    rows = door.traces.list(team=None, endpoint="embedder")
    (billed,) = door.mock.bill()
    assert rows[0].cost == billed.cost_nano


async def test_refusals_have_openai_shape_and_a_trace(door: House, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="nobody", messages=ASK)
    assert missing.value.response.headers["x-tandem-trace-id"].startswith("trc_")
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="tdm_wrong").chat.completions.create(model="assistant", messages=ASK)
    with pytest.raises(openai.BadRequestError) as bad:
        await client.chat.completions.create(model="assistant", messages=ASK, max_tokens=0)
    assert bad.value.param == "max_tokens"
    door.move()
    assert sorted(row.outcome for row in door.traces.list(team=None)) == ["invalid", "model_not_found", "unauthenticated"]
    assert door.mock.bill() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"{}",
        b'{"model":1,"messages":[]}',
        b'{"model":"assistant","messages":"x"}',
        b'{"model":"assistant","messages":[],"stream_options":7,"stream":true}',
        b"\xff\xfe",
        b'{"model":"x","model":"assistant","messages":[]}',
    ],
)
async def test_bad_bodies_are_400_and_nothing_is_sent(door: House, body: bytes) -> None:
    async with httpx2.AsyncClient() as http:
        reply = await http.post(f"{door.url}/v1/chat/completions", content=body, headers={"authorization": f"Bearer {KEY}"})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]
    assert door.mock.bill() == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/embeddings", "POST"),
        ("GET", "/v1/decide/x", "POST"),
        ("POST", "/v1/models", "GET"),
    ],
)
async def test_a_wrong_method_is_told_the_right_one(door: House, method: str, path: str, allowed: str) -> None:
    async with httpx2.AsyncClient() as http:
        reply = await http.request(method, door.url + path, headers={"authorization": f"Bearer {KEY}"})
        unknown = await http.request(method, door.url + path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allowed)
    assert unknown.status_code == 401
    door.move()
    (call,) = door.traces.find(reply.headers["x-tandem-trace-id"], team="risk").calls
    assert call.outcome == "method_not_allowed"


async def test_a_null_stream_option_is_no_option(door: House) -> None:
    body = {"model": "assistant", "messages": ASK, "stream": True, "stream_options": None, "max_tokens": 3}
    async with httpx2.AsyncClient() as http:
        reply = await http.post(f"{door.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
    assert reply.status_code == 200
    assert reply.text.rstrip().endswith("[DONE]")


async def test_failures_before_the_first_byte_are_retried_and_each_attempt_is_booked(
    door: House, client: openai.AsyncOpenAI
) -> None:
    answer = await client.chat.completions.create(
        model="assistant", messages=ASK, max_tokens=5, extra_headers={}, extra_body={}, user="u1"
    )
    assert answer.choices
    async with httpx2.AsyncClient() as http:
        await http.post(f"{door.mock.url}/faults", json={"faults": ["500*2"]})
    raw = await client.chat.completions.with_raw_response.create(model="assistant", messages=ASK, max_tokens=5)
    door.move()
    (call,) = door.traces.find(raw.headers["x-tandem-trace-id"], team=None).calls
    assert [attempt.outcome for attempt in call.attempts] == ["upstream_5xx", "upstream_5xx", "ok"]
    assert call.cost == door.mock.bill()[-1].cost_nano


async def test_a_cut_stream_ends_with_a_typed_error(door: House, client: openai.AsyncOpenAI) -> None:
    async with httpx2.AsyncClient() as http:
        await http.post(f"{door.mock.url}/faults", json={"faults": ["cut-after=3"]})
    stream = await client.chat.completions.create(model="assistant", messages=ASK, max_tokens=20, stream=True)
    with pytest.raises(openai.APIError) as cut:
        async for _ in stream:
            pass
    assert cut.value.code == "truncated_stream"
    door.move()
    (row,) = door.traces.list(team=None)
    (billed,) = door.mock.bill()
    assert row.outcome == "truncated_stream"
    assert row.cost is not None
    assert row.cost >= billed.cost_nano


async def test_a_cap_holds_under_concurrency(door: House, client: openai.AsyncOpenAI) -> None:
    import asyncio

    cap = 60_000  # nano-dollars
    door.cap(cap)

    async def one() -> str:
        try:
            await client.chat.completions.create(model="assistant", messages=ASK, max_tokens=20)
        except openai.RateLimitError as error:
            return str(error.code)
        return "ok"

    outcomes = await asyncio.gather(*[one() for _ in range(60)])
    assert set(outcomes) == {"ok", "over_budget"}
    door.move()
    (account,) = door.ledger.accounts()
    billed = door.mock.bill()
    assert account.settled == sum(row.cost_nano for row in billed)
    assert account.settled + account.reserved <= cap


@pytest.mark.slow
async def test_a_vanished_caller_cancels_the_upstream_and_is_booked(door: House) -> None:
    import asyncio

    body = {"model": "assistant", "messages": ASK, "max_tokens": 400, "stream": True}
    async with httpx2.AsyncClient() as http:
        await http.post(f"{door.mock.url}/faults", json={"faults": ["drip=5"]})
        async with http.stream(
            "POST", f"{door.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"}
        ) as reply:
            async for _ in reply.aiter_bytes():
                break
    for _ in range(100):
        await asyncio.sleep(0.02)
        if any(row.outcome == "client_gone" for row in door.mock.bill()):
            break
    (billed,) = door.mock.bill()
    assert billed.outcome == "client_gone"
    door.move()
    (row,) = door.traces.list(team=None)
    assert row.outcome == "gone"
    (call,) = door.traces.find(row.trace, team=None).calls
    (attempt,) = call.attempts
    assert attempt.cost is not None
    assert billed.cost_nano <= attempt.cost <= attempt.reserved


async def test_content_is_sealed_under_the_subject(door: House, client: openai.AsyncOpenAI) -> None:
    await client.chat.completions.create(
        model="assistant", messages=[{"role": "user", "content": "canary-417"}], user="patient-9", max_tokens=5
    )
    door.move()
    (row,) = door.traces.list(team=None)
    sealed = door.traces.sealed(row.call, row.trace)
    assert sealed is not None
    assert door.subjects.name(sealed[0]) == "patient-9"
    plain = door.subjects.open(*sealed)
    assert plain is not None
    assert b"canary-417" in plain
    for path in door.home.rglob("*"):
        if path.is_file():
            assert b"canary-417" not in path.read_bytes(), path
    assert door.subjects.erase("patient-9", now=2**60)
    assert door.subjects.open(*sealed) is None
