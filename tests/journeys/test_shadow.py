"""Shadows of predictions: they hear what was answered, nobody hears them, and labels say which of the two is right more often."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, Platform, bearer, platform, until

pytestmark = pytest.mark.journey
CALLS = 60


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with two versions of `zone`: the first, in production, learned the labels turned round."""
    with platform(tmp_path_factory.mktemp("shadow")) as running:
        for name, labels in (("wrong", "ba"), ("right", "ab")):
            cells = "".join(f"{n % 9 + 0.25},{n % 5 + 0.5},{labels[n % 9 > 4]}\n" for n in range(180))
            running.api("POST", f"/datasets/{name}?format=csv", content="x,y,z\n" + cells)
            inputs = {"data": f"dataset/{name}", "target": "z", "folds": 2, "algorithm": "logistic"}
            run = running.api("POST", "/runs", json={"kind": "train", "name": "zone", "inputs": inputs})["id"]
            until(lambda run=run: running.api("GET", f"/runs/{run}")["state"] == "succeeded")  # type: ignore[misc]
        running.api("POST", "/assets/model/zone/promote", json={"version": 1})
        until(lambda: ask(running, 0).status_code == 200)
        yield running


def ask(house: Platform, number: int) -> httpx2.Response:
    row = {"x": number % 9 + 0.25, "y": 1.5}
    return httpx2.post(f"{house.url}/v2/models/zone/infer", json={"id": f"call-{number}", "rows": [row]}, headers=bearer(ADMIN))


def tandem(house: Platform, *words: str) -> str:
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": ADMIN}
    command = [sys.executable, "-m", "tandem", "endpoint", "shadow", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def calls(house: Platform, trace: str) -> list[dict[str, Any]]:
    """The calls of a trace, once the shadow's is there too."""
    reply = httpx2.get(f"{house.url}/api/v1/traces/{trace}", headers=bearer(ADMIN))
    found = reply.json()["calls"] if reply.status_code == 200 else []
    return list(found) if len(found) == 2 else []


def heard(house: Platform) -> dict[str, Any]:
    found = house.api("GET", "/endpoints/zone/shadow")
    return dict(found[0]) if found else {"calls": 0, "labelled": 0}


def test_a_shadow_is_heard_by_nobody_and_judged_by_labels(house: Platform) -> None:
    assert "has no shadow" in tandem(house, "show", "zone")
    assert "hears 100% of the calls" in tandem(house, "start", "zone", "--target", "model/zone@2")
    until(lambda: ask(house, 0).status_code == 200 and heard(house)["calls"])  # the door hears of it within a second
    before = heard(house)["calls"]
    again = httpx2.put(f"{house.url}/api/v1/endpoints/zone/shadow", json={"target": "model/zone@2"}, headers=bearer(ADMIN))
    assert again.status_code == 409
    replies = [ask(house, number) for number in range(1, CALLS + 1)]
    assert {reply.json()["model_version"] for reply in replies} == {"1"}
    trace = replies[-1].headers["x-tandem-trace-id"]
    _, below = until(lambda: calls(house, trace))
    assert below["parent"]
    assert below["attributes"]["tandem.route.role"] == "shadow"
    assert below["attempts"][0]["target"] == "model/zone@2"
    found = heard(house)
    assert found["calls"] >= before + CALLS
    assert found["failed"]["value"] == 0
    assert found["same"]["value"] < 0.2
    assert found["verdict"] == "not-enough-data"

    labels = [{"key": f"call-{number}", "label": "ab"[number % 9 > 4]} for number in range(1, CALLS + 1)]
    taken = house.api("POST", "/outcomes", json={"endpoint": "zone", "outcomes": labels})
    assert (taken["kept"], taken["unknown"]) == (CALLS, 0)
    found = heard(house)
    assert (found["labelled"], found["verdict"]) == (CALLS, "improved")
    assert found["better"]["low"] > 0.7
    assert "improved: +" in tandem(house, "show", "zone", "--last", "1h")

    told = json.loads(tandem(house, "stop", "zone", "--json"))
    assert [target["target"] for target in told["route"]] == ["model/zone@production"]
    until(lambda: len(house.api("GET", "/endpoints")[0]["route"]) == 1)
    assert heard(house)["share"] is None  # what it said is still there
    rows = house.rows("control", "SELECT detail FROM audit WHERE action = 'endpoint.put' ORDER BY seq")
    assert sum("shadow" in str(detail) for (detail,) in rows) == 2


def test_monitors_do_not_count_what_a_shadow_heard(house: Platform) -> None:
    house.api("POST", "/monitors", json={"name": "zone", "endpoint": "zone", "minimum": 30})
    house.api("PUT", "/endpoints/zone/shadow", json={"target": "model/zone@2", "share": 1.0})
    until(lambda: len(house.api("GET", "/endpoints")[0]["route"]) == 2)
    asked = 0
    while heard(house)["calls"] < CALLS // 2:  # the door hears of the shadow within a second
        assert ask(house, asked).status_code == 200
        asked += 1
    report = house.api("POST", "/monitors/zone/check")
    assert report["n"] <= asked + 10  # those of the fixture were answered too
