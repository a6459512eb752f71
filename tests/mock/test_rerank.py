"""The mock as a reranker: an order that can be foretold, tokens that are counted, refusals."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.mock import tokens
from tandem.mock.rerank import score
from tandem.mock.serve import MockHandle

MODEL = "@cf/baai/bge-reranker-base"


async def ask(mock: MockHandle, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
    asked = {"model": MODEL, "query": "a b", "documents": ["c", "a", "b a"], **body}
    async with httpx2.AsyncClient() as http:
        return await http.post(f"{mock.url}/v1/rerank", json=asked, headers={"authorization": "Bearer k", **(headers or {})})


async def test_an_order_and_its_bill(mock: MockHandle) -> None:
    told = (await ask(mock)).json()
    assert [(row["index"], row["relevance_score"]) for row in told["results"]] == [(2, 1.0), (1, 0.5), (0, 0.0)]
    size = 3 * tokens.count("a b") + sum(map(tokens.count, ("c", "a", "b a")))
    assert told["usage"] == {"total_tokens": size}
    (row,) = mock.bill()
    assert (row.prompt_tokens, row.completion_tokens, row.cost_nano) == (size, 0, -(-size * 3_000 // 1000))
    fewer = (await ask(mock, top_n=1, return_documents=False, documents=[{"text": "b"}, {"text": "z"}])).json()
    assert fewer["results"] == [{"index": 0, "relevance_score": 0.5}]


async def test_faults_hit_it_too(mock: MockHandle) -> None:
    assert (await ask(mock, {"x-mock-fault": "503"})).status_code == 503
    assert "usage" not in (await ask(mock, {"x-mock-fault": "usage=missing"})).json()


@pytest.mark.parametrize(
    ("wrong", "status"),
    [({"documents": []}, 400), ({"documents": [1]}, 400), ({"top_n": 0}, 400), ({"model": "gpt-4o"}, 403), ({"model": "x"}, 404)],
)
async def test_refusals(mock: MockHandle, wrong: dict[str, object], status: int) -> None:
    assert (await ask(mock, **wrong)).status_code == status
    assert mock.bill() == []


@given(st.text(), st.text())
def test_a_score_is_a_share_and_the_same_both_ways(one: str, other: str) -> None:
    assert 0 <= score(one, other) == score(other, one) <= 1
