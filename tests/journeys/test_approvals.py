"""Deeds that need people, on a whole platform: by API and command line, at the same instant, and across kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, platform, until

pytestmark = pytest.mark.journey

SOURCE = """
from dataclasses import dataclass
from tandem.decisions import Calls

@dataclass
class Case:
    n: float

def answer(case: Case, calls: Calls) -> Case:
    return case
"""
PEOPLE = ("ada", "ben", "cat", "dan")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, dict[str, str]]]:
    with platform(tmp_path_factory.mktemp("approvals")) as house:
        keys = {name: house.key(name, role="approver") for name in PEOPLE}
        for number in range(6):
            house.api("POST", "/prompts/greeting", json={"template": f"Say it {number} times"})
        house.api("PUT", "/approvals/promote", json={"people": 2})
        house.api("PUT", "/approvals/budget.raise", json={"people": 1})
        house.api("PUT", "/approvals/key.broad", json={"people": 1})
        yield house, keys


def ask(house: Platform, key: str, method: str, path: str, **request: Any) -> httpx2.Response:
    return httpx2.request(method, f"{house.url}/api/v1{path}", headers=bearer(key), timeout=60, verify=TLS, **request)


def approve(house: Platform, key: str, request: str) -> httpx2.Response:
    return ask(house, key, "POST", f"/requests/{request}/approve", json={})


def promote(house: Platform, key: str, version: int) -> str:
    asked = ask(house, key, "POST", "/assets/prompt/greeting/promote", json={"version": version})
    assert (asked.status_code, asked.json()["state"]) == (202, "open"), asked.text
    assert asked.headers["x-tandem-request"] == asked.json()["id"]
    return str(asked.json()["id"])


def stands(house: Platform) -> int | None:
    named = house.api("GET", "/assets/prompt/greeting")["aliases"]
    return None if "production" not in named else int(named["production"]["version"])


def told(house: Platform, action: str) -> list[dict[str, Any]]:
    return [row for row in house.api("GET", "/audit?limit=1000") if row["action"] == action]


def tandem(house: Platform, key: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": key}
    return subprocess.run([sys.executable, "-m", "tandem", *words], env=environment, capture_output=True, text=True, check=False)


def test_a_promotion_waits_for_two_people_and_every_call_names_them(place: tuple[Platform, dict[str, str]]) -> None:
    house, keys = place
    asked = tandem(house, keys["ada"], "promote", "prompt/greeting@1", "production", "--json")
    assert asked.returncode == 6, asked.stderr
    request = json.loads(asked.stdout)["error"]["request"]["id"]
    assert "waits for 2 people" in asked.stderr
    refused = approve(house, keys["ada"], request)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert tandem(house, keys["ben"], "request", "approve", request).returncode == 0
    assert stands(house) is None
    shown = tandem(house, keys["cat"], "request", "approve", request, "--json")
    assert json.loads(shown.stdout)["promotion"]["version"] == 1, shown.stderr
    assert stands(house) == 1
    (row,) = told(house, "alias.promote")
    assert (row["detail"]["asked_by"], row["detail"]["approved_by"]) == ("ada", ["ben", "cat"])
    listed = tandem(house, keys["ada"], "approval", "list")
    assert "promote" in listed.stdout, listed.stderr


def test_a_served_version_names_everybody_who_approved_it(place: tuple[Platform, dict[str, str]]) -> None:
    house, keys = place
    house.api("POST", "/decisions/twice", json={"source": SOURCE, "entry": "answer"})
    asked = ask(house, keys["ada"], "POST", "/assets/decision/twice/promote", json={"version": 1})
    for name in ("ben", "cat"):
        assert approve(house, keys[name], asked.json()["id"]).status_code == 200
    done = until(
        lambda: (found := ask_door(house, keys["ada"], "/v1/decide/twice", {"n": 1})).status_code == 200 and found, "it answers"
    )
    trace = until(lambda: found_trace(house, done.headers["x-tandem-trace-id"]), "the trace is there")
    assert "ben, cat" in json.dumps(trace)


def ask_door(house: Platform, key: str, path: str, body: object) -> httpx2.Response:
    return httpx2.post(house.url + path, json=body, headers=bearer(key), timeout=30, verify=TLS)


def found_trace(house: Platform, id: str) -> Any:
    reply = ask(house, ADMIN, "GET", f"/traces/{id}")
    return reply.json() if reply.status_code == 200 else None


def test_approvals_at_one_instant_move_the_alias_once(place: tuple[Platform, dict[str, str]]) -> None:
    house, keys = place
    before = len(told(house, "alias.promote"))
    request = promote(house, keys["ada"], 2)
    start, ends = threading.Barrier(3), []

    def say(name: str) -> None:
        start.wait()
        ends.append(approve(house, keys[name], request).status_code)

    threads = [threading.Thread(target=say, args=(name,)) for name in ("ben", "cat", "dan")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == [200, 200, 409]
    assert stands(house) == 2
    assert len(told(house, "alias.promote")) == before + 1


def test_a_moved_alias_makes_another_request_stale(place: tuple[Platform, dict[str, str]]) -> None:
    house, keys = place
    first, second = promote(house, keys["ada"], 3), promote(house, keys["ada"], 4)
    for name in ("ben", "cat"):
        approve(house, keys[name], first)
    late = approve(house, keys["ben"], second)
    assert late.status_code == 409
    assert "is stale" in late.json()["error"]["message"]
    assert house.api("GET", f"/requests/{second}")["state"] == "stale"


def test_kill_9_leaves_the_deed_and_its_record_together_or_neither(place: tuple[Platform, dict[str, str]]) -> None:
    house, keys = place
    house.api("PUT", "/budgets/team/default", json={"cap": "5"})
    for attempt in range(3):
        version = 5 + attempt % 2
        request = promote(house, keys["ada"], version)
        cap = f"{6 + attempt}"
        raised = ask(house, ADMIN, "PUT", "/budgets/team/default", json={"cap": cap})
        assert raised.status_code == 202, raised.text
        approve(house, keys["ben"], request)
        rows = len(told(house, "alias.promote"))

        def say(path: str, name: str) -> None:
            try:
                approve(house, keys[name], path)
            except httpx2.HTTPError:
                pass  # the process that should have answered is dead

        voices = [(request, "cat"), (str(raised.json()["id"]), "dan")]
        threads = [threading.Thread(target=say, args=each) for each in voices]
        for thread in threads:
            thread.start()
        for pid in house.pids("control"):
            os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
        house.wait()
        done = house.api("GET", f"/requests/{request}")["state"] == "approved"
        assert (stands(house) == version) is done
        assert len(told(house, "alias.promote")) == rows + done
        if not done:
            assert approve(house, keys["cat"], request).status_code == 200
        money = str(raised.json()["id"])
        if house.api("GET", f"/requests/{money}")["state"] == "open":
            assert approve(house, keys["dan"], money).status_code == 200
        (account,) = (row for row in house.api("GET", "/budgets") if row["scope"] == "team/default")
        assert float(account["cap_usd"]) == float(cap)
        assert stands(house) == version
    assert len(told(house, "budget.set")) == 4
    assert house.api("POST", "/audit/verify")["ok"]


def test_a_broad_key_works_once_somebody_approved_it(place: tuple[Platform, dict[str, str]]) -> None:
    house, keys = place
    made = tandem(house, ADMIN, "key", "create", "--name", "boss", "--role", "approver", "--json")
    assert made.returncode == 6, made.stderr
    told = json.loads(made.stdout)
    assert ask(house, told["key"], "GET", "/whoami").status_code == 401
    assert approve(house, keys["ben"], told["request"]["id"]).status_code == 200
    assert ask(house, told["key"], "GET", "/whoami").json()["role"] == "approver"
    assert told["key"] not in json.dumps(house.api("GET", "/requests"))


def test_a_rule_is_dropped_by_the_people_it_names(place: tuple[Platform, dict[str, str]]) -> None:
    house, keys = place
    dropped = tandem(house, ADMIN, "approval", "drop", "promote")
    assert dropped.returncode == 6, dropped.stderr
    (request,) = (row for row in house.api("GET", "/requests?state=open") if row["does"] == "approval.drop")
    for name in ("ben", "cat"):
        assert approve(house, keys[name], request["id"]).status_code == 200
    assert "promote" not in {rule["action"] for rule in house.api("GET", "/approvals")}
    assert ask(house, keys["ada"], "POST", "/assets/prompt/greeting/promote", json={"version": 1}).status_code == 200


def test_the_settings_file_declares_rules(tmp_path: Path) -> None:
    with platform(tmp_path) as house:
        house.down()
        settings = house.home / "tandem.toml"
        settings.write_text(settings.read_text() + '\n[approvals.prod]\naction = "promote"\npeople = 2\n')
        house.up()
        (rule,) = house.api("GET", "/approvals")
        assert (rule["action"], rule["people"], rule["managed"]) == ("promote", 2, f"file:tandem.toml:{line(settings)}")
        assert ask(house, ADMIN, "DELETE", "/approvals/promote").status_code == 409


def line(path: Path) -> int:
    return path.read_text().splitlines().index("[approvals.prod]") + 1
