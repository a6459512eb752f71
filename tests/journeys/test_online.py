"""A model goes on learning from labels as they come: it follows the world, wrong labels do not get through, a person stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tandem.mock.world import Applicant, applicants, written
from tests.journeys.conftest import ADMIN, Platform, bearer, platform, until

pytestmark = pytest.mark.journey
SEED = 11
STEP, CALL = 200, 50
"""Rows of a step, and of a call."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose model of `loans` was trained before the world moved."""
    with platform(tmp_path_factory.mktemp("online")) as running:
        running.api("POST", "/datasets/loans?format=csv&id=id", content=written(applicants(1_200, seed=SEED)))
        inputs = {"data": "dataset/loans", "target": "late", "algorithm": "logistic", "baseline": False, "folds": 2}
        run = running.api("POST", "/runs", json={"kind": "train", "name": "loans", "inputs": inputs})["id"]
        until(lambda: running.api("GET", f"/runs/{run}")["state"] == "succeeded")
        running.api("PUT", "/gates/model/loans", json={"metric": "accuracy", "margin": 0.05})
        running.api("POST", "/assets/model/loans/promote", json={"version": 1})
        until(lambda: ask(running, "first", applicants(1, seed=1)) == 200)
        yield running


def ask(house: Platform, key: str, rows: list[Applicant]) -> int:
    body = {"id": key, "rows": [row.asked for row in rows]}
    return httpx2.post(f"{house.url}/v2/models/loans/infer", json=body, headers=bearer(ADMIN), timeout=30).status_code


def live(house: Platform, steps: int, first: int, *, kill: bool = False, **world: bool) -> list[dict[str, Any]]:
    """Applicants ask, and what is true of them comes to be known. So many steps follow from it, the oldest first."""
    done = len(shown(house)["steps"])
    rows = applicants(STEP * steps, seed=SEED + 1, first=first, **world)
    outcomes = []
    for at in range(0, len(rows), CALL):
        assert ask(house, f"loan-{first + at}", rows[at : at + CALL]) == 200
        outcomes.append({"key": f"loan-{first + at}", "label": [str(row.late) for row in rows[at : at + CALL]]})
    until(lambda: house.api("POST", "/outcomes", json={"endpoint": "loans", "outcomes": outcomes})["unknown"] == 0)
    if kill:
        until(lambda: len(shown(house)["steps"]) > done)
        for pid in house.pids("control"):
            os.kill(pid, signal.SIGKILL)
        house.wait()
    until(lambda: len(shown(house)["steps"]) == done + steps)
    return list(reversed(shown(house)["steps"][:steps]))


def shown(house: Platform) -> dict[str, Any]:
    found = dict(house.api("GET", "/endpoints/loans/online"))
    assert found["state"] != "failed", found["reason"]
    return found


def production(house: Platform) -> str:
    return str(house.api("GET", "/assets/model/loans")["aliases"]["production"]["version"])


def served(house: Platform) -> str:
    (found,) = [each for each in house.api("GET", "/endpoints") if each["name"] == "loans"]
    return str(found["route"][0]["target"])


def deeds(house: Platform, like: str) -> list[str]:
    rows = house.rows("control", f"SELECT action FROM audit WHERE action LIKE '{like}' ORDER BY seq")
    return [action for (action,) in rows]


def tandem(house: Platform, *words: str) -> str:
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": ADMIN}
    command = [sys.executable, "-m", "tandem", "endpoint", "online", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_follows_the_world_and_a_person_has_the_last_word(house: Platform) -> None:
    """A person declines, all is killed, a better version is promoted, wrong labels come, a person stops it."""
    tandem(house, "start", "loans", "--every", str(STEP), "--confirm", str(STEP))
    assert httpx2.post(f"{house.url}/api/v1/endpoints/loans/online", json={}, headers=bearer(ADMIN)).status_code == 409

    house.api("PUT", "/gates/model/loans", json={"metric": "accuracy", "margin": 0.05, "minimum": 0.99})
    *_, asked = live(house, 3, 10_000, moved=True)
    assert (asked["outcome"], asked["version"], production(house)) == ("asked", "model/loans@2", "1")
    house.api("POST", f"/requests/{asked['request']}/decline", json={})
    house.api("PUT", "/gates/model/loans", json={"metric": "accuracy", "margin": 0.05})

    first, *_, last = live(house, 5, 20_000, kill=True, moved=True)
    assert first["losses"].keys() == {"champion", "first", "learner"}  # what was declined is thrown away
    assert (last["outcome"], last["version"], last["champion"], production(house)) == ("promoted", *["model/loans@3"] * 2, "3")
    made = house.api("GET", "/assets/model/loans/3")
    assert made["parents"] == ["dataset/loans@1", "model/loans@1"]
    assert made["meta"]["online"]["labels"] == 200  # of the candidate; it learned no more while it was judged
    until(lambda: served(house) == "model/loans@3")

    poisoned, judged, *after = live(house, 1, 30_000, moved=True, sabotaged=True) + live(house, 4, 40_000, moved=True)
    assert poisoned["losses"]["champion"] > 0.5 > judged["losses"]["champion"]
    assert (poisoned["outcome"], judged["outcome"]) == ("started", "thrown-away")  # a copy of the poisoned learner was judged
    assert judged["losses"]["candidate"] > judged["losses"]["champion"] + 0.2
    assert production(house) == "3"
    right = [sum(step["losses"][name] for step in (judged, *after)) / 4 for name in ("champion", "first")]
    assert right[0] < right[1] - 0.02  # better than the model that never learned again

    assert deeds(house, "online.%") == [f"online.{deed}" for deed in ("started", "asked", "promoted", "thrown-away")]
    assert deeds(house, "alias.%") == ["alias.promote"] * 2
    assert sum(step["labels"] for step in shown(house)["steps"]) == 13 * STEP  # each label once
    assert [each["endpoint"] for each in house.api("GET", "/online")] == ["loans"]
    assert "thrown-away" in tandem(house, "stop", "loans")
    assert shown(house)["state"] == "stopped"
    assert house.api("GET", "/online") == []
    assert len(list((house.home / "online" / "loans").iterdir())) <= 5
