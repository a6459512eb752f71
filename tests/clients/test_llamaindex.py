"""LlamaIndex, unmodified, before every protocol of providers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.conftest import FACTS, PNG, PROTOCOLS, Client, driven
from tests.journeys.conftest import Platform

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def client(across: Platform) -> Iterator[Client]:
    with driven("drive_llamaindex.py", across) as found:
        yield found


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_is_answered_whole_and_streamed(client: Client, protocol: str) -> None:
    whole = client.does("plain", endpoint=protocol, text=FACTS)
    assert "17.9" in whole["text"]
    assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"]
    later = client.does("later", endpoint=protocol, text=FACTS)
    streamed = client.does("stream", endpoint=protocol, text=FACTS, usage=True)
    assert len([piece for piece in streamed["pieces"] if piece]) > 3
    assert "".join(streamed["pieces"]) == streamed["text"] == later["text"]
    assert streamed["usage"] == later["usage"]
    quiet = client.does("stream", endpoint=protocol, text=FACTS, usage=False)
    assert (quiet["text"], quiet["usage"]) == (later["text"], None)
    assert client.does("complete", endpoint=protocol, text=FACTS)["text"] == later["text"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_calls_tools_one_and_several(client: Client, protocol: str, streamed: bool) -> None:
    both = "city: Bern\nzone: CET\nx-mock-tools: weather,clock"
    made = [("weather", {"city": "Bern"}), ("clock", {"zone": "CET"})]
    for parallel, wanted in ((True, made), (False, made[:1])):
        calls, said = client.does("tools", endpoint=protocol, text=both, streamed=streamed, required=False, parallel=parallel)
        assert [(call["name"], call["args"]) for call in calls["calls"]] == wanted
        assert len({call["id"] for call in calls["calls"]}) == len(wanted)
        assert said["text"]
    calls, said = client.does("tools", endpoint=protocol, text="city: Bern", streamed=streamed, required=True, parallel=False)
    assert [call["name"] for call in calls["calls"]] == ["weather"]
    assert said["text"]


@pytest.mark.parametrize("by_form", [False, True], ids=["tool", "form"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_its_answers_are_instances_of_a_class(client: Client, protocol: str, by_form: bool) -> None:
    assert client.does("structured", endpoint=protocol, text=FACTS, by_form=by_form) == {"radius": 17.9, "verdict": "malignant"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_shows_an_image(client: Client, protocol: str) -> None:
    blind = client.does("plain", endpoint=protocol, text=FACTS)
    seen = client.does("picture", endpoint=protocol, text=FACTS, base64=PNG)
    assert "17.9" in seen["text"]
    assert seen["usage"]["prompt_tokens"] > blind["usage"]["prompt_tokens"] + 100


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("order", "raised"),
    [("context", "BadRequestError"), ("400", "BadRequestError"), ("429", "RateLimitError"), ("500", "InternalServerError")],
)
def test_what_a_provider_refuses_is_the_clients_own_error(client: Client, protocol: str, order: str, raised: str) -> None:
    for deed, more in (("plain", {}), ("stream", {"usage": False})):
        error = client.fails(deed, endpoint=protocol, text=f"{FACTS}\nx-mock-fault: {order}", **more)
        assert raised in error["classes"], error
        assert (error["code"] == "context_length_exceeded") == (order == "context")


@pytest.mark.parametrize("order", ["error-after=3", "cut-after=3"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stream_that_breaks_off_raises(client: Client, protocol: str, order: str) -> None:
    error = client.fails("stream", endpoint=protocol, text=f"{FACTS}\nx-mock-fault: {order}", usage=False)
    assert "APIError" in error["classes"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_we_refuse_is_the_clients_own_error(client: Client, poor: str, protocol: str) -> None:
    over = client.fails("plain", endpoint=protocol, text=FACTS, api_key=poor)
    assert "RateLimitError" in over["classes"]
    assert over["code"] == "over_budget"
    stranger = client.fails("plain", endpoint=protocol, text=FACTS, api_key="tdm_nobody")
    assert "AuthenticationError" in stranger["classes"]
    wrong = client.fails("plain", endpoint=protocol, text=FACTS, additional_kwargs={"n": 0})
    assert "BadRequestError" in wrong["classes"]
    assert wrong["param"] == "n"
    nowhere = client.fails("plain", endpoint="nobody", text=FACTS)
    assert "NotFoundError" in nowhere["classes"]
