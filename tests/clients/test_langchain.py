"""LangChain, unmodified, before every protocol of providers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.conftest import FACTS, PNG, PROTOCOLS, Client, driven
from tests.journeys.conftest import Platform

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def client(across: Platform) -> Iterator[Client]:
    with driven("drive_langchain.py", across) as found:
        yield found


def counted(message: Any) -> bool:
    """Whether it tells usage that adds up."""
    used = message["usage"]
    return bool(used["input_tokens"] > 0 < used["output_tokens"] and used["total_tokens"] == sum(sides(used)))


def sides(used: Any) -> tuple[int, int]:
    return used["input_tokens"], used["output_tokens"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_is_answered_whole_and_streamed(client: Client, protocol: str) -> None:
    whole = client.does("plain", endpoint=protocol, text=FACTS)
    assert "17.9" in whole["text"]
    assert whole["finish"] == "stop"
    assert counted(whole)
    later = client.does("later", endpoint=protocol, text=FACTS)
    streamed = client.does("stream", endpoint=protocol, text=FACTS, usage=True)
    assert len([piece for piece in streamed["pieces"] if piece]) > 3
    assert "".join(streamed["pieces"]) == streamed["text"] == later["text"]
    assert sides(streamed["usage"]) == sides(later["usage"])
    assert streamed["finish"] == "stop"
    quiet = client.does("stream", endpoint=protocol, text=FACTS, usage=False)
    assert (quiet["text"], quiet["usage"]) == (later["text"], None)
    assert client.does("later_stream", endpoint=protocol, text=FACTS)["text"] == later["text"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_calls_tools_one_and_several(client: Client, protocol: str, streamed: bool) -> None:
    both = "city: Bern\nzone: CET\nx-mock-tools: weather,clock"
    calls, said = client.does("tools", endpoint=protocol, text=both, streamed=streamed, choice=None)
    assert [(call["name"], call["args"]) for call in calls["calls"]] == [
        ("weather", {"city": "Bern"}),
        ("clock", {"zone": "CET"}),
    ]
    assert (calls["spoilt"], calls["finish"]) == (0, "tool_calls")
    assert len({call["id"] for call in calls["calls"]}) == 2
    assert (said["finish"], said["calls"]) == ("stop", [])
    assert said["text"]
    alone = {"endpoint": protocol, "text": both, "streamed": streamed, "choice": None, "parallel": False}
    assert [call["name"] for call in client.does("tools", **alone)[0]["calls"]] == ["weather"]
    for choice, text, name in (("any", "city: Bern", "weather"), ("clock", "zone: CET", "clock")):
        calls, said = client.does("tools", endpoint=protocol, text=text, streamed=streamed, choice=choice)
        assert [call["name"] for call in calls["calls"]] == [name]
        assert said["text"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_its_answers_are_instances_of_a_class(client: Client, protocol: str, method: str, streamed: bool) -> None:
    if (protocol, method) == ("anthropic", "json_mode"):
        return  # JSON without a schema is asked for by a sentence there, which the mock does not heed
    made = client.does("structured", endpoint=protocol, text=FACTS, method=method, streamed=streamed)
    assert made["parsed"]["radius"] == 17.9
    assert made["parsed"]["verdict"] == "malignant"


@pytest.mark.parametrize("form", ["url", "block"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_shows_an_image(client: Client, protocol: str, form: str) -> None:
    blind = client.does("plain", endpoint=protocol, text=FACTS)
    seen = client.does("picture", endpoint=protocol, text=FACTS, base64=PNG, form=form)
    assert "17.9" in seen["text"]
    assert seen["usage"]["input_tokens"] > blind["usage"]["input_tokens"] + 100


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("order", "status", "raised"),
    [
        ("context", 400, "ContextOverflowError"),
        ("400", 400, "ModelInvalidRequestError"),
        ("429", 429, "ModelRateLimitError"),
        ("500", 500, "ModelAPIError"),
    ],
)
def test_what_a_provider_refuses_is_the_clients_own_error(
    client: Client, protocol: str, order: str, status: int, raised: str
) -> None:
    for deed, more in (("plain", {}), ("stream", {"usage": True})):
        error = client.fails(deed, endpoint=protocol, text=f"{FACTS}\nx-mock-fault: {order}", **more)
        assert raised in error["classes"], error
        assert error["status"] == status


@pytest.mark.parametrize("order", ["error-after=3", "cut-after=3"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stream_that_breaks_off_raises(client: Client, protocol: str, order: str) -> None:
    error = client.fails("stream", endpoint=protocol, text=f"{FACTS}\nx-mock-fault: {order}", usage=False)
    assert "APIError" in error["classes"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_we_refuse_is_the_clients_own_error(client: Client, poor: str, protocol: str) -> None:
    over = client.fails("plain", endpoint=protocol, text=FACTS, api_key=poor, max_retries=2)
    assert "ModelRateLimitError" in over["classes"]
    assert over["code"] == "over_budget"
    assert "tandem budget set" in over["message"]
    stranger = client.fails("plain", endpoint=protocol, text=FACTS, api_key="tdm_nobody")
    assert "ModelAuthenticationError" in stranger["classes"]
    wrong = client.fails("plain", endpoint=protocol, text=FACTS, max_tokens=-1)
    assert "ModelInvalidRequestError" in wrong["classes"]
    assert wrong["param"] == "max_tokens"
    nowhere = client.fails("plain", endpoint="nobody", text=FACTS)
    assert "ModelNotFoundError" in nowhere["classes"]
    assert nowhere["code"] == "model_not_found"


def test_what_cannot_be_carried_across_names_its_field(client: Client) -> None:
    assert client.does("plain", endpoint="openai", text=FACTS, n=2)["text"]
    for protocol in ("anthropic", "gemini"):
        error = client.fails("plain", endpoint=protocol, text=FACTS, n=2)
        assert (error["status"], error["code"], error["param"]) == (400, "not_carried", "n")


@pytest.mark.parametrize("as_tokens", [False, True], ids=["texts", "tokens"])
def test_its_embeddings_are_made_from_texts_and_from_tokens(client: Client, as_tokens: bool) -> None:
    made = client.does("embed", endpoint="embedder", texts=["the risk of a tumour", "rain"], as_tokens=as_tokens)
    assert [len(vector) for vector in made["documents"]] == [1536, 1536]
    assert made["query"] == pytest.approx(made["documents"][0])
    assert made["documents"][0] != made["documents"][1]
