"""A release on a whole platform: two assets promoted together, under a gate and people, and rolled back together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, platform

pytestmark = pytest.mark.journey

GUARDS = [{"detector": "card", "action": "block"}]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("releases")) as running:
        yield running


def tandem(house: Platform, *words: str, key: str = ADMIN) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": key}
    return subprocess.run([sys.executable, "-m", "tandem", *words], env=environment, capture_output=True, text=True, check=False)


def stands(house: Platform) -> list[int | None]:
    names = ("release/triage", "prompt/triage", "policy/strict")
    found = [house.api("GET", f"/assets/{name}")["aliases"].get("production") for name in names]
    return [None if state is None else int(state["version"]) for state in found]


def told(house: Platform) -> list[dict[str, Any]]:
    return [row for row in house.api("GET", "/audit?limit=1000") if row["action"].startswith("alias.")]


def test_two_assets_are_promoted_together_and_rolled_back_together(house: Platform) -> None:
    for text, guards in (("Say it", GUARDS), ("Say it twice", [{"detector": "card", "action": "mask"}])):
        house.api("POST", "/prompts/triage", json={"template": text})
        house.api("POST", "/policies/strict", json={"guards": guards})
        added = tandem(house, "release", "add", "triage", "prompt/triage", "policy/strict")
        assert added.returncode == 0, added.stderr
        promoted = tandem(house, "promote", added.stdout.split()[0], "production")
        assert promoted.returncode == 0, promoted.stderr
    assert stands(house) == [2, 2, 2]
    assert len(told(house)) == 6
    shown = tandem(house, "release", "show", "triage@1")
    assert "prompt/triage@1" in shown.stdout, shown.stderr
    assert "@2" in shown.stdout

    back = tandem(house, "rollback", "release/triage", "production", "--json")
    assert [pin["ref"] for pin in json.loads(back.stdout)["pins"]] == ["policy/strict@1", "prompt/triage@1"], back.stderr
    assert stands(house) == [1, 1, 1]
    assert sorted(row["detail"].get("release", "") for row in told(house) if row["action"] == "alias.rollback") == [
        "",
        "release/triage@2",
        "release/triage@2",
    ]


def test_one_gate_refuses_all_and_people_approve_all(house: Platform) -> None:
    before = stands(house)
    house.api("POST", "/datasets/rows?format=csv", content=b"id,q\n1,a\n2,b\n")
    suite = {"data": "dataset/rows", "endpoint": "assistant", "scorers": [{"scorer": "regex", "options": {"pattern": "x"}}]}
    house.api("POST", "/suites/check", json=suite)
    house.api("POST", "/prompts/gated", json={"template": "Say it"})
    house.api("PUT", "/gates/prompt/gated", json={"suite": "suite/check"})
    wide = house.api("POST", "/releases/triage", json={"pins": ["prompt/gated", "prompt/triage@2", "policy/strict@2"]})
    refused = tandem(house, "promote", wide["ref"], "production")
    assert refused.returncode != 0
    assert "prompt/gated@1 has not been evaluated" in refused.stderr
    assert stands(house) == before

    house.api("PUT", "/approvals/promote", json={"people": 1})
    ada, ben = (house.key(name, role="approver") for name in ("ada", "ben"))
    narrow = house.api("POST", "/releases/triage", json={"pins": ["prompt/triage@2", "policy/strict@2"]})
    body = {"version": narrow["version"]}
    asked = httpx2.post(
        f"{house.url}/api/v1/assets/release/triage/promote", json=body, headers=bearer(ada), timeout=60, verify=TLS
    )
    assert (asked.status_code, asked.json()["action"]) == (202, "promote"), asked.text
    assert stands(house) == before
    approved = tandem(house, "request", "approve", asked.json()["id"], "--json", key=ben)
    assert len(json.loads(approved.stdout)["promotion"]["pins"]) == 2, approved.stderr
    assert stands(house) == [narrow["version"], 2, 2]
