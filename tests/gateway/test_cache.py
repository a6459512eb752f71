"""Answers that are given again: to whom, when not, at what cost, and what erasing does."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tandem.core.clock import MICROS, SystemClock
from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Invalid
from tandem.core.principal import Principal
from tandem.gateway import cache as caching
from tandem.gateway.cache import Cache, Kept
from tandem.gateway.check import check_endpoint
from tandem.gateway.snapshot import Served
from tandem.governance.digest import PEPPER, digest
from tandem.store.vault import Vault
from tests.gateway.conftest import KEY, House

ASK = {"model": "assistant", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
POLICY = b'{"guards": [{"detector": "email", "on": ["in", "out"], "action": "mask"}]}'


@pytest.fixture
async def remembering(door: House) -> House:
    """A door whose endpoints give answers again for a minute."""
    held = door.handler.door
    door.handler.answering.hosts.cache = Cache(door.home / "cache.db", held.vault, held.clock)
    door.publish(endpoints={name: replace(endpoint, cache_seconds=60) for name, endpoint in door.snapshot.endpoints.items()})
    for number, (key, team) in enumerate((("tdm_mate", "risk"), ("tdm_other", "sales"))):
        principal = Principal(id=f"key_{key}", name=key.removeprefix("tdm_"), team=team)
        door.publisher.write(None, 2 + number, [(digest(held.vault.derive(PEPPER), key), principal)])
    held.replica.refresh()
    return door


async def ask(door: House, *, key: str = KEY, headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=20) as http:
        sent = {"authorization": f"Bearer {key}", **(headers or {})}
        reply = await http.post(f"{door.url}/v1/chat/completions", json={**ASK, **more}, headers=sent)
    settled(door)
    return reply


def settled(door: House) -> None:
    """Waits until what was answered is kept."""
    cache = door.handler.answering.hosts.cache
    assert cache is not None
    cache._thread.submit(lambda: None).result()


def hit(reply: httpx2.Response) -> bool:
    return reply.headers.get("x-tandem-cache") == "hit"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_question_gets_the_same_answer_for_nothing(remembering: House, stream: bool) -> None:
    first, again = await ask(remembering, stream=stream), await ask(remembering, stream=stream)
    assert (hit(first), hit(again)) == (False, True)
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-tandem-trace-id"] != first.headers["x-tandem-trace-id"]
    assert len(remembering.mock.bill()) == 1
    remembering.move()
    one, two = (remembering.traces.find(reply.headers["x-tandem-trace-id"], team=None).calls[0] for reply in (first, again))
    assert (two.outcome, two.cost, two.attempts) == ("ok", 0, [])
    assert two.attributes["tandem.cache"] == {"from": one.id, "saved_nano_usd": one.cost}
    assert [span.name for span in two.spans][-2:] == ["admit", "cache"]
    assert remembering.ledger.spend("key/demo", since=0, until=2**62)[0] == one.cost


@pytest.mark.parametrize(
    "other",
    [
        {"temperature": 0.1},
        {"messages": [{"role": "user", "content": "ho"}]},
        {"max_tokens": 6},
        {"stream": True},
        {"user": "someone"},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
        {"key": "tdm_other"},
        {"headers": {"x-tandem-subject": "patient-7"}},
        {"headers": {"openai-beta": "x=1"}},
        {"headers": {"cache-control": "no-cache"}},
    ],
    ids=str,
)
async def test_another_question_is_asked_anew(remembering: House, other: dict[str, Any]) -> None:
    """Caches that crossed teams: vllm-project/semantic-router#2134, maximhq/bifrost#5769, Portkey's memory cache."""
    await ask(remembering)
    assert not hit(await ask(remembering, **other))
    assert len(remembering.mock.bill()) == 2


async def test_a_conversation_that_a_provider_keeps_goes_on_each_time(remembering: House) -> None:
    """The same words are another question there; without it, and after the same answer, they are the same one."""
    hosts = {name: replace(host, protocol="responses") for name, host in remembering.snapshot.hosts.items()}
    remembering.publish(hosts=hosts)
    async with openai.AsyncOpenAI(base_url=f"{remembering.url}/v1", api_key=KEY, max_retries=0) as client:

        async def hits(**more: Any) -> tuple[bool, str]:
            raw = await client.responses.with_raw_response.create(model="assistant", input="hi", **more)
            settled(remembering)
            return raw.headers.get("x-tandem-cache") == "hit", raw.parse().id

        first, again = await hits(), await hits()
        assert (first[0], again[0], again[1]) == (False, True, first[1])
        assert [(await hits(previous_response_id=first[1]))[0] for _ in range(2)] == [False, True]
        assert [(await hits(conversation="conv_1"))[0] for _ in range(2)] == [False, False]


async def test_a_key_of_the_same_team_is_answered_too(remembering: House) -> None:
    await ask(remembering)
    assert hit(await ask(remembering, key="tdm_mate"))


async def test_where_a_route_depends_on_the_caller_so_does_the_answer(remembering: House) -> None:
    route = (Target(target="mock/gpt-4o-mini", when={"principal.team": "risk"}),)
    remembering.publish(endpoints={"assistant": Endpoint(name="assistant", kind="chat", route=route, cache_seconds=60)})
    await ask(remembering)
    assert not hit(await ask(remembering, key="tdm_mate"))
    assert hit(await ask(remembering))


async def test_a_changed_endpoint_or_policy_asks_anew(remembering: House) -> None:
    await ask(remembering)
    own = remembering.snapshot.endpoints["assistant"]
    remembering.publish(endpoints={"assistant": replace(own, max_output_tokens=17)})
    assert not hit(await ask(remembering))
    for version in (1, 2):
        served = Served(ref=f"policy/default@{version}", members="", digest="", meta=POLICY)
        remembering.publish(policies={"policy/default@production": served})
        assert not hit(await ask(remembering))
        assert hit(await ask(remembering))


async def test_what_guards_mask_is_not_told_to_who_sent_another(remembering: House) -> None:
    """Two questions that are the same once they are masked are two questions."""
    served = Served(ref="policy/default@1", members="", digest="", meta=POLICY)
    remembering.publish(policies={"policy/default@production": served})
    first = await ask(remembering, messages=[{"role": "user", "content": "Say ann@example.org"}], max_tokens=50)
    other = await ask(remembering, messages=[{"role": "user", "content": "Say bob@example.org"}], max_tokens=50)
    assert not hit(other)
    assert "ann@" not in other.text
    again = await ask(remembering, messages=[{"role": "user", "content": "Say ann@example.org"}], max_tokens=50)
    assert hit(again)
    assert again.content == first.content
    remembering.move()
    found = remembering.traces.find(again.headers["x-tandem-trace-id"], team=None)
    assert found.calls[0].attributes["guards"]  # what comes in is looked at all the same


async def test_failures_and_cut_streams_are_not_kept(remembering: House) -> None:
    own = remembering.snapshot.endpoints["assistant"]
    remembering.publish(endpoints={"assistant": replace(own, retries=0)})
    for fault, stream in (("500*1", False), ("cut-after=2*1", True)):
        remembering.mock.faults([fault])
        await ask(remembering, stream=stream)
        assert not hit(await ask(remembering, stream=stream))


async def test_answers_end_by_their_time(remembering: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await ask(remembering)
    cache = remembering.handler.answering.hosts.cache
    assert cache is not None
    later = SystemClock()
    monkeypatch.setattr(later, "now", lambda: SystemClock().now() + 61 * MICROS, raising=False)
    cache._clock = later
    assert not hit(await ask(remembering))


async def test_an_exhausted_cap_does_not_keep_what_costs_nothing(remembering: House) -> None:
    await ask(remembering)
    remembering.cap(1)
    assert hit(await ask(remembering))
    assert (await ask(remembering, max_tokens=7)).status_code == 429


async def test_embeddings_and_anthropics_client_are_answered_too(remembering: House) -> None:
    async with openai.AsyncOpenAI(base_url=f"{remembering.url}/v1", api_key=KEY) as client:
        one = await client.embeddings.create(model="embedder", input="a biopsy")
        settled(remembering)
        two = await client.embeddings.create(model="embedder", input="a biopsy")
        assert one.data[0].embedding == two.data[0].embedding
    async with anthropic.AsyncAnthropic(base_url=f"{remembering.url}/anthropic", api_key=KEY) as claude:
        for _ in range(2):
            said = await claude.messages.create(model="assistant", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
            settled(remembering)
            assert said.content[0].type == "text"
    assert len(remembering.mock.bill()) == 2
    async with httpx2.AsyncClient() as http:
        told = (await http.get(f"{remembering.url}/metrics")).text
    assert 'tandem_cache_total{worker="0",result="hit"} 2' in told


async def test_what_was_left_out_is_named_again(remembering: House) -> None:
    sent = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    body = {"model": "assistant", "max_tokens": 9, "top_k": 3, "messages": [{"role": "user", "content": "hi"}]}
    async with httpx2.AsyncClient() as http:
        replies = []
        for _ in range(2):
            replies.append(await http.post(f"{remembering.url}/anthropic/v1/messages", json=body, headers=sent))
            settled(remembering)
    assert hit(replies[1])
    assert [reply.headers["x-tandem-dropped"] for reply in replies] == ["top_k", "top_k"]


# --- the file


def kept(said: bytes = b"{}", at: int = 0) -> Kept:
    return Kept(content_type=b"application/json", said=said, recorded=said, trace="trc_1", at=at, cost=5)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache.db", Vault(bytes(32)), SystemClock())


def put(cache: Cache, key: bytes, subject: str, *, begun: int | None = None, said: bytes = b"{}") -> None:
    now = SystemClock().now()
    cache.keep(key, subject, kept(said, now), begun=now if begun is None else begun, seconds=60)
    cache._thread.submit(lambda: None).result()


def test_erasing_deletes_and_keeps_out_what_is_still_under_way(cache: Cache, tmp_path: Path) -> None:
    begun = SystemClock().now()
    put(cache, b"a" * 32, "patient-7")
    put(cache, b"b" * 32, "patient-8")
    assert cache.erase("patient-7") == 1
    assert cache.find(b"a" * 32) is None
    assert cache.find(b"b" * 32) is not None
    put(cache, b"a" * 32, "patient-7", begun=begun)
    assert cache.find(b"a" * 32) is None
    put(cache, b"a" * 32, "patient-7")  # a new call of the same person
    assert cache.find(b"a" * 32) is not None


def test_nothing_stands_in_the_clear(cache: Cache, tmp_path: Path) -> None:
    put(cache, b"a" * 32, "patient-7", said=b"a secret answer")
    cache.close()
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"secret" not in files
    assert b"patient" not in files
    assert b"trc_1" not in files


def test_two_processes_share_the_answers_and_another_key_opens_none(cache: Cache, tmp_path: Path) -> None:
    put(cache, b"a" * 32, "x")
    other = Cache(tmp_path / "cache.db", Vault(bytes(32)), SystemClock())
    assert other.find(b"a" * 32) == cache.find(b"a" * 32)
    stranger = Cache(tmp_path / "cache.db", Vault(bytes([1]) * 32), SystemClock())
    assert stranger.find(b"a" * 32) is None
    with sqlite3.connect(tmp_path / "cache.db") as db:
        db.execute("UPDATE kept SET key = ?", (b"z" * 32,))
    assert other.find(b"z" * 32) is None  # an answer belongs to its question


def test_many_processes_may_make_the_file_at_once(tmp_path: Path) -> None:
    """All workers of a home start together."""
    script = (
        "import sys; from pathlib import Path; from tandem.core.clock import SystemClock; from tandem.store.vault import Vault;"
        "from tandem.gateway.cache import Cache; cache = Cache(Path(sys.argv[1]), Vault(bytes(32)), SystemClock());"
        "sys.stdin.read(); print(cache.find(bytes(32)), cache._reads is not None); cache.close()"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "cache.db")]
    started = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    said = [process.communicate("")[0] for process in started]
    assert said == ["None True\n"] * 6


def test_a_cache_whose_place_is_not_there_is_an_empty_one(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "none" / "cache.db", Vault(bytes(32)), SystemClock())
    put(cache, b"a" * 32, "x")
    assert cache.find(b"a" * 32) is None
    cache.close()


def test_there_is_room_for_so_much_and_the_oldest_go(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "ROOM", 5000)
    monkeypatch.setattr(caching, "SWEEP", 1)
    for number in range(600):
        put(cache, number.to_bytes(32), "x", said=b"y" * 1000)
    assert cache.find((599).to_bytes(32)) is None or cache.find((598).to_bytes(32)) is not None
    (size,) = sqlite3.connect(cache._path).execute("SELECT coalesce(sum(size), 0) FROM kept").fetchone()
    assert size <= 5000


def test_what_is_over_is_swept(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "SWEEP", 1)
    now = SystemClock().now()
    cache.keep(b"a" * 32, "x", kept(at=now - 100 * MICROS), begun=now, seconds=60)
    put(cache, b"b" * 32, "x")
    assert sqlite3.connect(cache._path).execute("SELECT count(*) FROM kept").fetchone() == (1,)


def test_a_cache_that_cannot_be_read_or_written_is_an_empty_one(cache: Cache) -> None:
    with sqlite3.connect(cache._path) as db:
        db.executescript("DROP TABLE IF EXISTS kept; CREATE TABLE kept (another INTEGER)")
    put(cache, b"a" * 32, "x")
    assert cache.find(b"a" * 32) is None


@pytest.mark.parametrize(("seconds", "records"), [(-1, True), (60, False)])
def test_what_must_not_be_kept_is_not_given_again(seconds: int, records: bool) -> None:
    with pytest.raises(Invalid) as caught:
        check_endpoint(
            Endpoint(name="e", kind="chat", route=(Target(target="p/a"),), cache_seconds=seconds, record_content=records)
        )
    assert caught.value.field == "cache_seconds"
