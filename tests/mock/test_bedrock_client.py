"""AWS's own Python client, unmodified, in front of the mock; and our wire, which must read what the mock bills."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import botocore.session
import httpx2
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from tandem.core.chat import Chat, Finish, Message, Text, TextDelta, ThinkingDelta, Used
from tandem.core.secret import Secret
from tandem.gateway.eventstream import EventStream
from tandem.gateway.providers.bedrock import Bedrock
from tandem.mock import tokens
from tandem.mock.anthropic_wire import signature
from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings

HAIKU, NOVA = "us.anthropic.claude-haiku-4-5-20251001-v1:0", "amazon.nova-lite-v1:0"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {"tools": [{"toolSpec": {"name": "get_weather", "description": "How warm it is.", "inputSchema": {"json": CITY}}}]}
HELLO = [{"role": "user", "content": [{"text": "hello world!"}]}]
THINKS = {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}}}


def client_of(url: str, secret: str = "secret") -> Any:
    session = botocore.session.Session()
    session.set_credentials("AKIAEXAMPLE", secret, "session")
    config = Config(retries={"max_attempts": 0}, read_timeout=20)
    return session.create_client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, config=config)


class Aws:
    """The client, asked from the loop that the mock runs on."""

    def __init__(self, url: str, secret: str = "secret") -> None:
        self.client = client_of(url, secret)

    async def converse(self, model: str = HAIKU, messages: Any = HELLO, **more: Any) -> Any:
        return await asyncio.to_thread(lambda: self.client.converse(modelId=model, messages=messages, **more))

    async def stream(self, model: str = HAIKU, messages: Any = HELLO, **more: Any) -> list[Any]:
        def run() -> list[Any]:
            events = self.client.converse_stream(modelId=model, messages=messages, **more)["stream"]
            try:
                return list(events)
            finally:
                events.close()

        return await asyncio.to_thread(run)


@pytest.fixture
async def aws(mock: MockHandle) -> AsyncIterator[Aws]:
    found = Aws(mock.url)
    yield found
    found.client.close()


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": [{"text": text}]}]


def text_of(events: list[Any]) -> str:
    return "".join(event["contentBlockDelta"]["delta"].get("text", "") for event in events if "contentBlockDelta" in event)


async def test_an_answer_is_counted_and_billed_exactly(mock: MockHandle, aws: Aws) -> None:
    reply = await aws.converse()
    [block] = reply["output"]["message"]["content"]
    assert "hello world!" in block["text"]
    assert reply["stopReason"] == "end_turn"
    usage = reply["usage"]
    assert (usage["inputTokens"], usage["outputTokens"]) == (13, tokens.count(block["text"]))
    assert usage["totalTokens"] == 13 + usage["outputTokens"]
    [row] = mock.bill()
    assert (row.model, row.prompt_tokens, row.completion_tokens, row.outcome) == (HAIKU, 13, usage["outputTokens"], "ok")
    assert row.cost_nano == 13 * 1100 + row.completion_tokens * 5500


async def test_a_stream_says_the_same_and_tells_its_usage_after_its_end(mock: MockHandle, aws: Aws) -> None:
    whole = await aws.converse()
    events = await aws.stream()
    assert text_of(events) == whole["output"]["message"]["content"][0]["text"]
    assert [next(iter(event)) for event in events][-3:] == ["contentBlockStop", "messageStop", "metadata"]
    assert events[-1]["metadata"]["usage"] == whole["usage"]
    assert mock.bill()[0].cost_nano == mock.bill()[1].cost_nano


@pytest.mark.parametrize("model", [HAIKU, f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{HAIKU}"])
async def test_a_tool_is_called_and_its_result_answered(mock: MockHandle, aws: Aws, model: str) -> None:
    asked = user("city: Paris\nUse get_weather.")
    reply = await aws.converse(model, asked, toolConfig=TOOLS)
    assert reply["stopReason"] == "tool_use"
    [block] = reply["output"]["message"]["content"]
    assert block["toolUse"]["input"] == {"city": "Paris"}
    events = await aws.stream(model, asked, toolConfig=TOOLS)
    [start] = [event["contentBlockStart"]["start"]["toolUse"] for event in events if "contentBlockStart" in event]
    assert start["name"] == "get_weather"
    pieces = [event["contentBlockDelta"]["delta"]["toolUse"]["input"] for event in events if "contentBlockDelta" in event]
    assert len(pieces) > 1
    assert json.loads("".join(pieces)) == {"city": "Paris"}
    result = {"toolResult": {"toolUseId": block["toolUse"]["toolUseId"], "content": [{"text": "warmth: 21 degrees"}]}}
    turns = [*asked, reply["output"]["message"], {"role": "user", "content": [result]}]
    again = await aws.converse(model, turns, toolConfig=TOOLS)
    assert "21 degrees" in again["output"]["message"]["content"][0]["text"]
    with pytest.raises(ClientError, match="toolConfig field must be defined"):
        await aws.converse(model, turns)


async def test_it_thinks_and_wants_its_proof_back(mock: MockHandle, aws: Aws) -> None:
    reply = await aws.converse(inferenceConfig={"maxTokens": 2000}, **THINKS)
    thought, _ = reply["output"]["message"]["content"]
    proven = thought["reasoningContent"]["reasoningText"]
    assert proven["signature"] == signature(proven["text"])
    events = await aws.stream(inferenceConfig={"maxTokens": 2000}, **THINKS)
    deltas = [event["contentBlockDelta"]["delta"].get("reasoningContent", {}) for event in events if "contentBlockDelta" in event]
    assert "".join(delta.get("text", "") for delta in deltas) == proven["text"]
    assert [delta["signature"] for delta in deltas if "signature" in delta] == [proven["signature"]]
    assert mock.bill()[0].completion_tokens == reply["usage"]["outputTokens"] == mock.bill()[1].completion_tokens
    forged = {**thought, "reasoningContent": {"reasoningText": {**proven, "signature": "forged"}}}
    turns = [*HELLO, {"role": "assistant", "content": [forged, {"text": "a"}]}, *HELLO]
    with pytest.raises(ClientError, match="Invalid `signature`"):
        await aws.converse(messages=turns)


async def test_a_cache_point_writes_and_reads(mock: MockHandle, aws: Aws) -> None:
    system = [{"text": "Be brief. " * 40}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    first, second = [(await aws.converse(system=system))["usage"] for _ in range(2)]
    assert first["cacheWriteInputTokens"] == second["cacheReadInputTokens"] > 40
    assert first["cacheDetails"] == [{"ttl": "1h", "inputTokens": first["cacheWriteInputTokens"]}]
    assert first["inputTokens"] == second["inputTokens"] == 13
    written, read = mock.bill()
    assert written.cost_nano is not None
    assert read.cost_nano is not None
    assert written.cost_nano - read.cost_nano == first["cacheWriteInputTokens"] * (2200 - 110)


async def test_a_form_is_filled(aws: Aws) -> None:
    form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(CITY), "name": "place"}}}
    reply = await aws.converse(messages=user("city: Oslo"), outputConfig={"textFormat": form})
    assert json.loads(reply["output"]["message"]["content"][0]["text"]) == {"city": "Oslo"}


async def test_it_says_which_sequence_ended_it_where_it_is_asked(aws: Aws) -> None:
    stop: Any = {"inferenceConfig": {"stopSequences": ["world"]}}
    plain = await aws.converse(**stop)
    assert (plain["stopReason"], "additionalModelResponseFields" in plain) == ("stop_sequence", False)
    told = await aws.converse(**stop, additionalModelResponseFieldPaths=["/stop_sequence"])
    assert told["additionalModelResponseFields"] == {"stop_sequence": "world"}
    events = await aws.stream(**stop, additionalModelResponseFieldPaths=["/stop_sequence"])
    assert events[-2]["messageStop"] == {
        "stopReason": "stop_sequence",
        "additionalModelResponseFields": {"stop_sequence": "world"},
    }


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"messages": [{"role": "assistant", "content": [{"text": "a"}]}]}, "must start with a user message"),
        ({"messages": HELLO * 2}, "must alternate"),
        ({"messages": user(" ")}, r"messages.0.content.0 is blank"),
        ({"messages": [{"role": "user", "content": []}]}, "content field in the Message object at messages.0 is empty"),
        ({"system": [{"text": "\n"}]}, "system.0 is blank"),
        ({"additionalModelRequestFields": {"reasoning_effort": "low"}}, "extraneous key"),
        ({"model": "no.such-model"}, "model identifier is invalid"),
        ({"toolConfig": {"tools": [{"cachePoint": {"type": "default"}}]}}, "nothing before it"),
    ],
)
async def test_it_refuses_what_bedrock_refuses(mock: MockHandle, aws: Aws, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ClientError, match=said) as refused:
        await aws.converse(**asked)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert mock.bill() == []


async def test_every_call_is_answered_in_the_very_next_turn(aws: Aws) -> None:
    calls = [{"toolUse": {"toolUseId": id, "name": "get_weather", "input": {}}} for id in ("a", "b")]
    results = [{"toolResult": {"toolUseId": id, "content": []}} for id in ("a", "b", "c")]
    said = [*HELLO, {"role": "assistant", "content": calls}]
    with pytest.raises(ClientError, match=r"Expected toolResult blocks at messages.2.content for the following Ids: b"):
        await aws.converse(messages=[*said, {"role": "user", "content": results[:1]}], toolConfig=TOOLS)
    with pytest.raises(ClientError, match="exceeds the number of toolUse blocks"):
        await aws.converse(messages=[*said, {"role": "user", "content": results}], toolConfig=TOOLS)


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [("429;retry-after=2", "ThrottlingException", 429), ("503", "ServiceUnavailableException", 503),
     ("500", "InternalServerException", 500), ("context", "ValidationException", 400), ("refuse=400", "ValidationException", 400),
     ("424", "ModelErrorException", 424)],
)  # fmt: skip
async def test_faults_in_bedrocks_words(mock: MockHandle, aws: Aws, fault: str, code: str, status: int) -> None:
    mock.faults([fault])
    with pytest.raises(ClientError) as refused:
        await aws.converse()
    assert refused.value.response["Error"]["Code"] == code
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


async def test_a_stream_breaks_off_by_an_exception(mock: MockHandle, aws: Aws) -> None:
    mock.faults(["error-after=2"])
    with pytest.raises(EventStreamError, match="serviceUnavailableException"):
        await aws.stream()
    assert mock.bill()[0].outcome == "cut"


async def test_a_refusal_is_an_end_of_its_own(mock: MockHandle, aws: Aws) -> None:
    mock.faults(["refuse"])
    reply = await aws.converse()
    assert (reply["stopReason"], reply["output"]["message"]["content"]) == ("content_filtered", [])


@pytest.mark.parametrize(("fault", "more"), [("usage=wrong", 1000), ("usage=double", 0)])
async def test_usage_that_is_not_true(mock: MockHandle, aws: Aws, fault: str, more: int) -> None:
    mock.faults([fault])
    events = await aws.stream()
    told = [event["metadata"]["usage"]["inputTokens"] for event in events if "metadata" in event]
    assert told == [13 + more] * (2 if fault == "usage=double" else 1)
    mock.faults(["usage=missing"])
    assert "usage" not in (await aws.stream())[-1]["metadata"]


async def test_a_wanted_key_must_have_signed() -> None:
    async with running(MockSettings(port=0, key=Secret("AKIAEXAMPLE:secret:session"))) as mock:
        right, wrong = Aws(mock.url), Aws(mock.url, "another")
        assert (await right.converse())["stopReason"] == "end_turn"
        assert (await right.stream())[-1].keys() == {"metadata"}
        with pytest.raises(ClientError) as refused:
            await wrong.converse()
        right.client.close()
        wrong.client.close()
        assert refused.value.response["Error"]["Code"] == "InvalidSignatureException"
        async with httpx2.AsyncClient(base_url=mock.url) as http:
            for headers in ({}, {"authorization": "Bearer other"}):
                reply = await http.post(f"/model/{NOVA}/converse", json={"messages": HELLO}, headers=headers)
                assert reply.status_code == 403
        [*_, last] = mock.requests()
        assert "other" not in json.dumps(last)


async def test_a_prompt_is_counted_with_a_pencil(aws: Aws) -> None:
    """What is no text counts as its JSON, and so does a tool."""
    call = {"toolUse": {"toolUseId": "a", "name": "f", "input": {"a": [1]}}}
    result = {"toolResult": {"toolUseId": "a", "content": [{"json": {"b": 2}}]}}
    turns = [*HELLO, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    spec = {"name": "f", "inputSchema": {"json": CITY}}
    usage = (await aws.converse(messages=turns, toolConfig={"tools": [{"toolSpec": spec}]}))["usage"]
    told = [json.dumps(block, separators=(",", ":")) for block in (call, result, spec)]
    assert usage["inputTokens"] == 3 + 3 * 4 + tokens.count("hello world!") + sum(map(tokens.count, told))


@pytest.mark.parametrize("stream", [False, True])
async def test_our_wire_reads_what_it_bills(mock: MockHandle, stream: bool) -> None:
    chat = Chat(
        messages=(Message(role="user", parts=(Text(text="hello world!"),)),), max_output=3000, thinking=1024, stream=stream
    )
    wire = Bedrock()
    put = wire.put(chat, HAIKU, "key")
    async with httpx2.AsyncClient(base_url=mock.url) as http:
        reply = await http.post(put.path, content=put.body, headers=[(name, value) for name, value in put.headers])
    if stream:
        assert reply.headers["content-type"] == "application/vnd.amazon.eventstream"
        reader = wire.reader()
        said = [delta for payload in EventStream().feed(reply.content) for delta in reader.feed(payload)]
        assert reader.ended
    else:
        said = wire.whole(reply.content)
    [used] = [delta.usage for delta in said if isinstance(delta, Used)]
    [row] = mock.bill()
    assert (used.total_input, used.total_output) == (row.prompt_tokens, row.completion_tokens)
    assert "hello world!" in "".join(delta.text for delta in said if isinstance(delta, TextDelta))
    thought = [delta for delta in said if isinstance(delta, ThinkingDelta)]
    assert "".join(delta.signature for delta in thought) == signature("".join(delta.text for delta in thought))
    assert [delta.reason for delta in said if isinstance(delta, Finish)] == ["stop"]
