"""Azure's client, unmodified, in front of the mock: addresses, refusals, and the chunk that comes first."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pytest

from tandem.core.secret import Secret
from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings

VERSION = "2024-10-21"
HELLO: Any = [{"role": "user", "content": "hello world!"}]


def client_of(mock: MockHandle, key: str = "k-azure") -> openai.AsyncAzureOpenAI:
    return openai.AsyncAzureOpenAI(azure_endpoint=mock.url, api_key=key, api_version=VERSION, max_retries=0)


async def test_a_deployment_answers_as_its_model(mock: MockHandle) -> None:
    async with client_of(mock) as client, openai.AsyncOpenAI(base_url=f"{mock.url}/openai/v1", api_key="k") as newer:
        old, new = [await each.chat.completions.create(model="gpt-4o-mini", messages=HELLO) for each in (client, newer)]
        vector = await client.embeddings.create(model="text-embedding-3-small", input="hello")
    assert old.choices[0].message.content == new.choices[0].message.content
    assert old.model_extra is not None
    assert old.model_extra["prompt_filter_results"][0]["prompt_index"] == 0
    assert len(vector.data) == 1
    assert [row.model for row in mock.bill()] == ["gpt-4o-mini", "gpt-4o-mini", "text-embedding-3-small"]


async def test_a_stream_begins_with_what_was_found_in_the_prompt(mock: MockHandle) -> None:
    async with client_of(mock) as client:
        stream = await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
    assert (chunks[0].choices, chunks[0].id, chunks[0].model) == ([], "", "")
    assert all(chunk.choices for chunk in chunks[1:])


async def test_a_deployment_needs_no_model_in_the_body_and_a_version_in_the_address(mock: MockHandle) -> None:
    place = "/openai/deployments/gpt-4o-mini/chat/completions"
    async with httpx2.AsyncClient(base_url=mock.url, headers={"api-key": "k"}) as http:
        found = await http.post(f"{place}?api-version={VERSION}", json={"messages": HELLO})
        assert (found.status_code, found.json()["model"]) == (200, "gpt-4o-mini")
        for path in (place, f"{place}?api-version=newest", "/openai/images", "/openai/v1/models"):
            lost = await http.post(path, json={"messages": HELLO})
            assert (lost.status_code, lost.json()["error"]["code"]) == (404, "404")


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("429", 429, "429"),
        ("503", 503, "503"),
        ("context", 400, "context_length_exceeded"),
        ("refuse=400", 400, "content_filter"),
    ],
)
async def test_faults_in_azures_words(mock: MockHandle, fault: str, status: int, code: str) -> None:
    mock.faults([fault])
    async with client_of(mock) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    assert (refused.value.status_code, refused.value.code) == (status, code)
    if fault == "refuse=400":
        assert refused.value.body["innererror"]["content_filter_result"]["violence"]["filtered"]  # type: ignore[index]


async def test_a_wrong_key_and_an_unknown_deployment_are_refused() -> None:
    async with running(MockSettings(port=0, key=Secret("right"))) as mock:
        async with client_of(mock, "wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
        async with client_of(mock, "right") as client:
            with pytest.raises(openai.NotFoundError) as lost:
                await client.chat.completions.create(model="our-own", messages=HELLO)
    assert lost.value.code == "DeploymentNotFound"
