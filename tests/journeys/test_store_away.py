"""PostgreSQL, and then Redis, killed under load: calls go on with what the doors hold, only what needs more is refused, and
when the store is back everything goes on by itself, nothing lost and nothing double."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tandem.governance.ledger import LEASE_SECONDS
from tests.journeys.conftest import ADMIN, TOML, Platform, bearer, mock_upstream, until
from tests.ports import free_port
from tests.postgres import Server, needed
from tests.redis_server import RedisServer
from tests.redis_server import needed as needs_redis

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.files, needed, needs_redis]


class Callers:
    """Callers of one key that go on until told to stop; what they were answered, with the trace of each."""

    def __init__(self, house: Platform, key: str, count: int = 2) -> None:
        self.house, self.key = house, key
        self.said: list[tuple[int, str]] = []
        self.hints: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def answered(self) -> list[str]:
        return [trace for status, trace in self.said if status == 200]

    @property
    def statuses(self) -> Counter[int]:
        return Counter(status for status, _ in self.said)

    def _call(self) -> None:
        while not self._stop.is_set():
            reply = self.house.chat(self.key)
            self.said.append((reply.status_code, reply.headers["x-tandem-trace-id"]))
            if reply.status_code == 503:
                self.hints.add(reply.headers.get("retry-after", "none"))
                time.sleep(0.05)


class Stores:
    """A platform on servers of its own."""

    def __init__(self, house: Platform, postgres: Server, redis: RedisServer) -> None:
        self.house, self.postgres, self.redis = house, postgres, redis

    def pids(self) -> dict[str, list[int]]:
        return {kind: self.house.pids(kind) for kind in ("door", "control")}

    def count(self, scope: str) -> int:
        """Attempts that the ledger has booked."""
        return int(self.house.api("GET", f"/spend?scope={scope}")["attempts"])

    def calls(self) -> dict[str, int]:
        """Trace → its calls in the trace store, of every outcome."""
        return dict(self.house.rows("traces", "SELECT trace, count(*) FROM calls GROUP BY trace"))

    def limit(self, scope: str) -> Any:
        return next(row for row in self.house.api("GET", "/limits") if row["scope"] == scope)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    home = tmp_path_factory.mktemp("away") / "home"
    home.mkdir(mode=0o700)
    postgres, redis = Server(), RedisServer()
    try:
        with mock_upstream("--latency", "5") as mock_url:
            (home / "tandem.toml").write_text(TOML.format(mock=mock_url))
            named = {"TANDEM_STORE__URL": postgres.database("away"), "TANDEM_STORE__REDIS": redis.url}
            house = Platform(home=home, port=free_port(), mock_url=mock_url, workers=2, environment=named)
            try:
                house.up()
                yield Stores(house, postgres, redis)
            finally:
                house.down()
    finally:
        redis.close()
        postgres.close()


def billed(stores: Stores) -> int:
    return int(httpx2.get(f"{stores.house.mock_url}/bill?limit=0", headers=bearer("mk")).json()["totals"]["cost_nano"])


def test_postgresql_is_killed_under_load_and_nothing_is_lost_or_double(stores: Stores) -> None:
    house = stores.house
    free, capped = house.key("free"), house.key("capped")
    for key in (free, capped):
        until(lambda key=key: house.chat(key).status_code == 200, "the key")  # type: ignore[misc]
    house.api("PUT", "/budgets/key/capped", json={"cap": "5", "window": "total"})
    before = stores.pids()
    with Callers(house, free) as going, Callers(house, capped) as spending:
        until(lambda: len(going.answered) > 20 and len(spending.answered) > 20, "calls are answered")
        stores.postgres.stop()
        began = len(going.said)
        until(lambda: 503 in spending.statuses, "the slices end", LEASE_SECONDS + 15)
        refused = house_api(house, "GET", "/keys")
        assert refused.status_code == 503
        assert "tandem doctor" in refused.text
        assert httpx2.get(f"{house.url}/health").status_code == 200
        during = len(going.said)
        until(lambda: len(going.said) > during + 50, "calls without a cap go on")
        time.sleep(LEASE_SECONDS)  # every lease is over before the server is back
        stores.postgres.start()
        until(lambda: spending.said[-1][0] == 200, "capped calls are answered again", 60)
        until(lambda: house_api(house, "GET", "/keys").status_code == 200, "control is back", 60)
        until(lambda: len(going.said) > during + 100, "calls go on")
    assert going.statuses.keys() == {200}
    assert began > 0
    assert spending.statuses.keys() == {200, 503}
    assert spending.hints == {"1"}
    assert stores.pids() == before, "no process ended"
    answered = going.answered + spending.answered
    assert len(set(answered)) == len(answered)
    until(lambda: set(answered) <= stores.calls().keys(), "the journals are moved", 60)
    house.settle(60)
    counted = stores.calls()
    assert [trace for trace in answered if counted.get(trace) != 1] == []
    assert stores.count("key/free") == len(going.answered) + 1
    assert stores.count("key/capped") == len(spending.answered) + 1
    assert house.api("GET", "/spend?scope=org")["cost"] == billed(stores)
    assert house.api("POST", "/audit/verify")["ok"]
    (budget,) = [row for row in house.api("GET", "/budgets") if row["scope"] == "key/capped"]
    until(lambda: next(row for row in house.api("GET", "/budgets") if row["scope"] == "key/capped")["reserved"] == 0, "no lease")
    assert budget["settled"] <= budget["cap"]


def test_redis_is_killed_under_load_and_only_what_needs_it_waits(stores: Stores) -> None:
    house = stores.house
    free, limited = house.key("free-too"), house.key("limited")
    for key in (free, limited):
        until(lambda key=key: house.chat(key).status_code == 200, "the key")  # type: ignore[misc]
    house.settle()  # what was called before the limit was set is booked, and counts not
    house.api("PUT", "/limits/key/limited", json={"cap": 100_000, "unit": "requests", "window": "day"})
    before = stores.pids()
    with Callers(house, free) as going, Callers(house, limited) as counted:
        until(lambda: len(counted.answered) > 20, "calls are answered")
        stores.redis.stop()
        until(lambda: 503 in counted.statuses, "the slices end", LEASE_SECONDS + 15)
        assert house_api(house, "GET", "/keys").status_code == 200, "control needs nothing of Redis"
        during = len(going.said)
        until(lambda: len(going.said) > during + 50, "calls without a limit go on")
        booked = "what was answered is booked: a Redis that lost everything begins with that"
        until(lambda: stores.count("key/limited") == len(counted.answered) + 1, booked)
        held = len(counted.answered)
        stores.redis.start()
        until(lambda: len(counted.answered) > held, "limited calls are answered again", 60)
        lowered = len(counted.answered) + 500
        house.api("PUT", "/limits/key/limited", json={"cap": lowered, "unit": "requests", "window": "day"})
        until(lambda: 429 in counted.statuses, "the limit is reached", 120)
    assert going.statuses.keys() == {200}
    assert counted.hints == {"1"}
    assert stores.pids() == before, "no process ended"
    until(lambda: set(counted.answered) <= stores.calls().keys(), "the journals are moved", 60)
    house.settle(60)
    standing = stores.limit("key/limited")
    assert standing["settled"] == len(counted.answered) == lowered
    traces = stores.calls()
    assert [trace for trace in going.answered + counted.answered if traces.get(trace) != 1] == []
    assert house.api("GET", "/spend?scope=org")["cost"] == billed(stores)


def house_api(house: Platform, method: str, path: str) -> httpx2.Response:
    return httpx2.request(method, f"{house.url}/api/v1{path}", headers=bearer(ADMIN), timeout=60)
