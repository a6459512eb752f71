"""The platform's own calls pass the door as their asker's."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from tandem.core.clock import SystemClock
from tandem.core.errors import TandemError, Unreachable
from tandem.core.principal import Principal
from tandem.gateway.inside import Inside
from tests.gateway.conftest import KEY, House

ANN = Principal(id="run_1", name="ann", team="risk", role="editor")
ASK = {"model": "assistant", "max_tokens": 8, "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def secret(door: House) -> bytes:
    return door.handler.door.vault.derive("lent-keys")


async def test_a_call_is_its_askers_in_trace_and_budget(door: House, secret: bytes) -> None:
    inside = Inside(door.url, secret, SystemClock())
    said = await asyncio.to_thread(inside.post, "/v1/chat/completions", ASK, ANN)
    assert said.raise_for_status().body["choices"][0]["message"]["content"]
    door.move()
    (call,) = door.traces.find(said.trace, team="risk").calls
    assert call.principal == "ann"
    door.cap(1, "key/ann")
    refused = await asyncio.to_thread(inside.post, "/v1/chat/completions", ASK, ANN)
    assert refused.status == 429
    with pytest.raises(TandemError) as caught:
        refused.raise_for_status()
    assert caught.value.code == "over_budget"
    inside.close()


async def test_a_strangers_secret_opens_nothing(door: House) -> None:
    stranger = Inside(door.url, b"x" * 32, SystemClock())
    said = await asyncio.to_thread(stranger.post, "/v1/chat/completions", ASK, ANN)
    assert said.status == 401
    stranger.close()


def test_a_door_that_is_away_is_unreachable() -> None:
    inside = Inside("http://127.0.0.1:9", b"x" * 32, SystemClock())
    with pytest.raises(Unreachable):
        inside.post("/v1/chat/completions", ASK, ANN)
    inside.close()


async def test_a_line_of_a_batch_has_its_senders_rights_and_names_its_batch(door: House, secret: bytes) -> None:
    inside = Inside(door.url, secret, SystemClock())
    body = b'{"model":"assistant","max_tokens":8, "messages":[{"role":"user","content":"hello"}]}'
    said = await asyncio.to_thread(inside.send, "/v1/chat/completions", body, ANN, batch="batch_1")
    assert said.status == 200
    door.move()
    (call,) = door.traces.find(said.trace, team="risk").calls
    assert (call.principal, call.attributes["tandem.batch"]) == ("ann", "batch_1")
    direct = await asyncio.to_thread(
        inside.send, "/v1/chat/completions", body.replace(b"assistant", b"mock/gpt-4o"), ANN, batch="b"
    )
    assert direct.status == 403  # an evaluation may name any version, a batch only what its sender may
    inside.close()


async def test_only_the_platform_itself_says_what_is_part_of_a_batch(door: House) -> None:
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}", "x-tandem-batch": "batch_1"}) as http:
        said = await http.post(f"{door.url}/v1/chat/completions", json=ASK)
    door.move()
    (call,) = door.traces.find(said.headers["x-tandem-trace-id"], team="risk").calls
    assert "tandem.batch" not in call.attributes


async def test_openais_clients_hear_in_their_own_form_that_control_is_away(door: House) -> None:
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http:
        away = await http.get(f"{door.url}/v1/files")
    assert away.status_code == 503
    assert set(away.json()["error"]) == {"message", "type", "param", "code"}
