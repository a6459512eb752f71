"""Reranking at the door: passed as it is, admitted, guarded, priced and traced like every other call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tandem.core.endpoint import Endpoint, Target
from tandem.core.money import Usage
from tandem.gateway.prices import price_of
from tandem.gateway.providers.openai import OpenAI
from tandem.gateway.snapshot import Host, Served
from tests.gateway.conftest import KEY, House, house

MODEL = "@cf/baai/bge-reranker-base"
DOCUMENTS = ["Shoes are returned in a box.", "The refund period is thirty days.", "Refund by card."]
ASK = {"model": "ranker", "query": "refund period", "documents": DOCUMENTS}


@pytest.fixture
async def ranking(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as found:
        price = price_of(MODEL, "cloudflare", found.snapshot.compiled_at)
        assert price is not None
        endpoints = {
            **found.snapshot.endpoints,
            "ranker": Endpoint(name="ranker", kind="rerank", route=(Target(target=f"mock/{MODEL}"),)),
        }
        found.publish(endpoints=endpoints, prices={**found.snapshot.prices, f"mock/{MODEL}": price})
        yield found


async def ask(door: House, **body: Any) -> httpx2.Response:
    async with httpx2.AsyncClient() as http:
        return await http.post(f"{door.url}/v1/rerank", json={**ASK, **body}, headers={"authorization": f"Bearer {KEY}"})


async def test_documents_come_in_their_order_and_the_books_agree_with_the_bill(ranking: House) -> None:
    reply = await ask(ranking)
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert [row["index"] for row in told["results"]] == [1, 2, 0]
    scores = [row["relevance_score"] for row in told["results"]]
    assert scores == sorted(scores, reverse=True)
    assert told["results"][0]["document"] == {"text": DOCUMENTS[1]}
    ranking.move()
    (call,) = ranking.traces.find(reply.headers["x-tandem-trace-id"], team="risk").calls
    (attempt,) = call.attempts
    (row,) = ranking.mock.bill()
    assert (call.kind, call.outcome, attempt.usage.source) == ("rerank", "ok", "provider")
    assert attempt.usage.total_input == row.prompt_tokens == told["usage"]["total_tokens"]
    assert call.cost == row.cost_nano > 0
    assert attempt.reserved >= attempt.cost
    assert [span.name for span in call.spans][-1] == f"rerank {MODEL}"


async def test_what_is_asked_goes_through_as_it_is(ranking: House) -> None:
    documents = [{"text": "refund", "id": 7}, "refund period"]
    reply = await ask(ranking, documents=documents, top_n=1, return_documents=False, max_chunks_per_doc=3)
    assert [set(row) for row in reply.json()["results"]] == [{"index", "relevance_score"}]
    async with httpx2.AsyncClient() as http:
        (seen,) = (await http.get(f"{ranking.mock.url}/requests")).json()["data"]
    assert seen["path"] == "/v1/rerank"
    assert seen["body"] == {
        **ASK,
        "model": MODEL,
        "documents": documents,
        "top_n": 1,
        "return_documents": False,
        "max_chunks_per_doc": 3,
    }


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"documents": []}, "documents"),
        ({"documents": [1]}, "documents"),
        ({"documents": ["a", None]}, "documents"),
        ({"documents": ["a"] * 10_001}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"query": 1}, "query"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": "1"}, "top_n"),
    ],
)
async def test_what_cannot_be_ranked_is_refused_with_its_field(ranking: House, wrong: dict[str, object], field: str) -> None:
    reply = await ask(ranking, **wrong)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)
    assert ranking.mock.bill() == []


async def test_a_cap_holds_the_query_once_for_every_document(ranking: House) -> None:
    """The query is counted with every document, so a bound by the body's size alone would be too low."""
    query, documents = "refund " * 100, ["a"] * 200
    reply = await ask(ranking, query=query, documents=documents)
    ranking.move()
    (call,) = ranking.traces.find(reply.headers["x-tandem-trace-id"], team="risk").calls
    assert call.attempts[0].usage.total_input > len(json.dumps({**ASK, "query": query, "documents": documents}))
    assert call.attempts[0].reserved >= (call.cost or 0) > 0
    ranking.cap(call.attempts[0].reserved - 1)
    refused = await ask(ranking, query=query, documents=documents)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "over_budget")


async def test_a_chat_endpoint_ranks_nothing_and_a_ranker_does_not_chat(ranking: House) -> None:
    other = await ask(ranking, model="assistant")
    assert (other.status_code, other.json()["error"]["code"]) == (404, "not_found")
    assert "POST /v1/chat/completions" in other.json()["error"]["message"]
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http:
        body = {"model": "ranker", "messages": [{"role": "user", "content": "hi"}]}
        chat = await http.post(f"{ranking.url}/v1/chat/completions", json=body)
        assert (chat.status_code, "POST /v1/rerank" in chat.text) == (404, True)
        assert (await http.get(f"{ranking.url}/v1/rerank")).status_code == 405
        names = [row["id"] for row in (await http.get(f"{ranking.url}/v1/models")).json()["data"]]
    assert "ranker" in names


@pytest.mark.parametrize("protocol", ["anthropic", "azure", "bedrock", "gemini", "responses"])
async def test_a_protocol_without_reranking_says_so(ranking: House, protocol: str) -> None:
    url = f"{ranking.mock.url}?region=us-east-1" if protocol == "bedrock" else ranking.mock.url
    hosts = {**ranking.snapshot.hosts, "other": Host(name="other", protocol=protocol, base_url=url)}
    route = (Target(target="other/x"),)
    ranking.publish(hosts=hosts, endpoints={"ranker": Endpoint(name="ranker", kind="rerank", route=route)})
    reply = await ask(ranking)
    assert reply.status_code == 400, reply.text
    assert "reranking" in reply.json()["error"]["message"]


async def test_what_a_guard_masks_comes_back_in_the_documents(ranking: House) -> None:
    card = "4111 1111 1111 1111"
    policy = msgspec.json.encode({"guards": [{"detector": "card", "action": "mask", "on": ["in", "out"]}]})
    strict = Served(ref="policy/strict@1", members="", digest="sha256:p", meta=policy)
    ranker = replace(ranking.snapshot.endpoints["ranker"], guards="policy/strict@production")
    ranking.publish(endpoints={"ranker": ranker}, policies={"policy/strict@production": strict})
    reply = await ask(ranking, documents=[f"paid by {card}", "nothing"])
    assert reply.status_code == 200, reply.text
    assert f"paid by {card}" in [row["document"]["text"] for row in reply.json()["results"]]
    async with httpx2.AsyncClient() as http:
        (seen,) = (await http.get(f"{ranking.mock.url}/requests")).json()["data"]
    assert card not in json.dumps(seen["body"])


RESULTS = [{"index": 0, "relevance_score": 0.5}]


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"usage": {"total_tokens": 12}}, Usage(input=12, source="provider")),  # Jina
        ({"usage": {"prompt_tokens": 12, "total_tokens": 12}}, Usage(input=12, source="provider")),  # vLLM
        ({"meta": {"billed_units": {"search_units": 2}}}, Usage(searches=2, source="provider")),  # Cohere
        ({"meta": {"billed_units": {"input_tokens": 9.0}}}, Usage(input=9, source="provider")),
        ({"meta": {"api_version": {"version": "2"}}}, None),
        ({"meta": {"billed_units": {"search_units": 1e400}}}, None),
        ({"usage": {"total_tokens": "12"}}, None),
        ({}, None),
    ],
)
def test_every_host_tells_usage_in_its_own_way(told: dict[str, object], usage: Usage | None) -> None:
    assert OpenAI().usage(json.dumps({"id": "1", "results": RESULTS, **told}).encode()) == usage


def test_a_chat_that_speaks_of_scores_is_counted_as_a_chat() -> None:
    said = {
        "choices": [{"message": {"content": '{"relevance_score": 1}'}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    assert OpenAI().usage(json.dumps(said).encode()) == Usage(input=3, output=4, source="provider")
