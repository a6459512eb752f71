"""The master key and a provider's keys are replaced under load: no call is dropped, nothing is lost, and kill -9 ends nothing."""

from __future__ import annotations

import base64
import csv
import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tandem.mock.keys import fingerprint
from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, platform, until
from tests.journeys.test_audit import tandem

pytestmark = pytest.mark.journey

FIRST, SECOND = "sk-first-key-of-the-provider", "sk-second-key-of-the-provider"
SAID = "what was said before the key was replaced"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("rotation")) as house:
        put_keys(house, FIRST)
        route = [{"target": "own/gpt-4o-mini"}]
        house.api("PUT", "/endpoints/own", json={"kind": "chat", "route": route})
        until(lambda: chat(house, ADMIN).status_code == 200, "it answers")
        yield house


def put_keys(house: Platform, *keys: str) -> None:
    body = {"protocol": "openai", "base_url": f"{house.mock_url}/v1", "keys": list(keys)}
    house.api("PUT", "/providers/own", json=body)


def billed(house: Platform) -> set[str]:
    """The keys that the provider was asked with, as its bill names them."""
    return {row["key"] for row in csv.DictReader(io.StringIO(httpx2.get(f"{house.mock_url}/bill.csv").text))}


def chat(house: Platform, key: str, text: str = "hello", client: httpx2.Client | None = None) -> httpx2.Response:
    body = {"model": "own", "max_tokens": 8, "user": "ada", "messages": [{"role": "user", "content": text}]}
    post = httpx2.post if client is None else client.post
    extra = {"verify": TLS} if client is None else {}
    return post(f"{house.url}/v1/chat/completions", json=body, headers=bearer(key), timeout=30, **extra)


@contextmanager
def calling(house: Platform, key: str) -> Iterator[Callable[[], int]]:
    """Calls without a pause while the block runs; all of them must be answered. Yields how many there were."""
    stop, statuses = threading.Event(), list[int]()

    def call() -> None:
        with httpx2.Client(verify=TLS) as client:
            while not stop.is_set():
                statuses.append(chat(house, key, client=client).status_code)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: len(statuses)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}


def more(count: Callable[[], int], by: int = 20) -> None:
    """Waits until so many more calls were answered."""
    now = count()
    until(lambda: count() >= now + by, "calls go on")


def test_a_provider_s_key_is_replaced_without_a_dropped_call(place: Platform) -> None:
    with calling(place, ADMIN) as count:
        more(count)
        put_keys(place, FIRST, SECOND)
        more(count)
        put_keys(place, SECOND)
        until(lambda: billed(place) >= {fingerprint(FIRST), fingerprint(SECOND)}, "the door has changed to the new key")
        more(count)
        httpx2.delete(f"{place.mock_url}/bill")
        more(count)
        assert billed(place) == {fingerprint(SECOND)}, "the old key is asked with no more"
    shown = place.api("GET", "/providers")
    assert FIRST not in str(shown)
    assert SECOND not in str(shown)


def test_the_master_key_is_replaced_under_load_and_across_kill_9(place: Platform) -> None:
    kept = chat(place, ADMIN, SAID).headers["x-tandem-trace-id"]
    until(lambda: seen(place, kept), "the trace is there")
    made = place.key("made-before", role="viewer")
    old = place.api("GET", "/vault")["fingerprint"]
    with calling(place, ADMIN) as count:
        more(count)
        done = tandem(place, "vault", "rotate", "--json")
        assert done.returncode == 0, done.stderr
        for pid in place.pids("control"):
            os.kill(pid, signal.SIGKILL)
        more(count)
        place.wait()
        standing = until(lambda: (found := place.api("GET", "/vault"))["before"] == [] and found, "everything is sealed anew")
        more(count)
    assert standing["fingerprint"] != old
    assert chat(place, made).status_code == 200, "keys are known as before"
    assert SAID in seen(place, kept), "content of before is read"
    after = chat(place, ADMIN, f"{SAID} again").headers["x-tandem-trace-id"]
    assert f"{SAID} again" in until(lambda: seen(place, after), "content is kept")
    assert place.api("POST", "/audit/verify")["ok"]
    assert {row["action"] for row in place.api("GET", "/audit?limit=50")} >= {"vault.rotate", "vault.settle"}
    key = (place.home / "master.key").read_text().split()
    assert len(key) == 1
    assert len(base64.b64decode(key[0])) == 32
    for name in [name for name in ("subjects.db", "replica.db") if (place.home / name).exists()]:
        assert bytes.fromhex(f"01{old}") not in (place.home / name).read_bytes(), name
    place.down()
    place.up()
    assert chat(place, made).status_code == 200
    assert SAID in seen(place, kept)
    assert tandem(place, "vault", "show").stdout.startswith("master key")


def seen(house: Platform, trace: str) -> str:
    """A trace with its content; empty while it is not there."""
    reply = httpx2.get(f"{house.url}/api/v1/traces/{trace}?content=1", headers=bearer(ADMIN), timeout=30, verify=TLS)
    return reply.text if reply.status_code == 200 else ""
