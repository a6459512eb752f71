"""Canaries: harm takes the share back by itself; without harm a promotion is asked for or made; a person may stop it."""

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
GOOD, BAD = {"x": 3.25, "y": 1}, {"x": 8.25, "y": 1}
"""Rows that both versions take; and one that the version trained on small numbers alone refuses."""


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with two versions of `zone`, the first of them in production. The second knows small numbers only."""
    with platform(tmp_path_factory.mktemp("canary")) as running:
        for name, most in (("wide", 9), ("narrow", 5)):
            cells = "".join(f"{n % most + 0.25},{n % 5 + 0.5},{'ab'[n % most > most // 2]}\n" for n in range(180))
            running.api("POST", f"/datasets/{name}?format=csv", content="x,y,z\n" + cells)
            inputs = {"data": f"dataset/{name}", "target": "z", "folds": 2, "algorithm": "logistic"}
            run = running.api("POST", "/runs", json={"kind": "train", "name": "zone", "inputs": inputs})["id"]
            until(lambda run=run: running.api("GET", f"/runs/{run}")["state"] == "succeeded")  # type: ignore[misc]
        running.api("POST", "/assets/model/zone/promote", json={"version": 1})
        until(lambda: ask(running, GOOD) == 200)
        yield running


def ask(house: Platform, row: dict[str, float]) -> int:
    return httpx2.post(f"{house.url}/v2/models/zone/infer", json={"rows": [row]}, headers=bearer(ADMIN)).status_code


def targets(house: Platform) -> list[str]:
    (found,) = [each for each in house.api("GET", "/endpoints") if each["name"] == "zone"]
    return [target["target"] for target in found["route"]]


def start(house: Platform, **more: Any) -> dict[str, Any]:
    body = {"target": "model/zone@2", "share": 0.5, "seconds": 600, **more}
    run = dict(house.api("POST", "/endpoints/zone/canary", json=body))
    until(lambda: targets(house) == ["model/zone@1", "model/zone@2"])
    return run


def tandem(house: Platform, *words: str) -> str:
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": ADMIN}
    command = [sys.executable, "-m", "tandem", "endpoint", "canary", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def deeds(house: Platform) -> list[str]:
    rows = house.rows("control", "SELECT action FROM audit WHERE action LIKE 'canary.%' ORDER BY seq")
    return [action for (action,) in rows]


def test_harm_takes_the_share_back_by_itself(house: Platform) -> None:
    run = start(house)
    again = {"target": "model/zone@2", "share": 0.1}
    assert httpx2.post(f"{house.url}/api/v1/endpoints/zone/canary", json=again, headers=bearer(ADMIN)).status_code == 409

    def rolled_back() -> bool:
        for _ in range(10):
            ask(house, BAD)  # the canary refuses it, the champion answers
        return bool(house.api("GET", f"/runs/{run['id']}")["state"] == "succeeded")

    until(rolled_back)
    said = house.api("GET", "/endpoints/zone/canary")["outputs"]
    assert said["outcome"] == "rolled-back"
    (found,) = [each for each in said["evidence"] if each["question"] == "errors"]
    assert found["harm"]
    assert found["canary"] > 0.9 > 0.1 > found["champion"]
    assert found["more"]["low"] > found["margin"]
    assert deeds(house) == ["canary.started", "canary.rolled-back"]
    until(lambda: targets(house) == ["model/zone@1"])
    assert "errors: 100.0% of" in tandem(house, "show", "zone")


def test_a_person_stops_it(house: Platform) -> None:
    told = json.loads(tandem(house, "start", "zone", "--target", "model/zone@2", "--for", "1h", "--json"))
    until(lambda: targets(house) == ["model/zone@1", "model/zone@2"])
    tandem(house, "stop", "zone")
    until(lambda: targets(house) == ["model/zone@1"])
    until(lambda: house.api("GET", f"/runs/{told['id']}")["state"] == "cancelled")
    assert deeds(house) == ["canary.started", "canary.stopped"]


def test_without_harm_the_promotion_is_asked_for_or_made(house: Platform) -> None:
    run = start(house, seconds=3)
    until(lambda: ask(house, GOOD) == 200 and house.api("GET", f"/runs/{run['id']}")["state"] == "succeeded")
    said = house.api("GET", "/endpoints/zone/canary")["outputs"]
    assert said["outcome"] == "asked"
    (asked,) = [each for each in house.api("GET", "/requests") if each["id"] == said["request"]]
    assert asked["subject"] == "model/zone@2"
    until(lambda: targets(house) == ["model/zone@1"])
    house.api("PUT", "/gates/model/zone", json={"metric": "roc_auc", "minimum": 0.1, "margin": 1})
    run = start(house, seconds=3, at_end="promote")
    until(lambda: house.api("GET", f"/runs/{run['id']}")["state"] == "succeeded")
    assert house.api("GET", "/endpoints/zone/canary")["outputs"]["outcome"] == "promoted"
    until(lambda: targets(house) == ["model/zone@2"])
