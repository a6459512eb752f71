"""The loop closes by itself, in compressed time: the world moves, an alarm, a retraining, a gate, a canary, a promotion.

And where the new rows were sabotaged, so that the gate lets a harmful version pass: the labels that come say so, and the
canary's share goes back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from tandem.mock.world import Applicant, applicants, written
from tests.journeys.conftest import ADMIN, Platform, bearer, platform, until

pytestmark = [pytest.mark.journey, pytest.mark.slow]
SEED = 11


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose model of `loans` was trained before the world moved; it is watched, and may retrain itself."""
    with platform(tmp_path_factory.mktemp("loop")) as running:
        add(running, applicants(1_200, seed=SEED))
        inputs = {"data": "dataset/loans", "target": "late", "algorithm": "logistic", "baseline": False, "folds": 3}
        run = running.api("POST", "/runs", json={"kind": "train", "name": "loans", "inputs": inputs})["id"]
        until(lambda: running.api("GET", f"/runs/{run}")["state"] == "succeeded")
        running.api("PUT", "/gates/model/loans", json={"metric": "roc_auc", "minimum": 0.55, "margin": 0.05})
        running.api("POST", "/assets/model/loans/promote", json={"version": 1})
        until(lambda: ask(running, applicants(1, seed=1)[0]) is not None)
        told = {"endpoint": "loans", "window": 2000, "minimum": 150, "every": 10, "on_alarm": "retrain", "promote": "canary"}
        running.api("POST", "/monitors", json={"name": "loans", **told, "canary_share": 0.4, "canary_seconds": 20, "cooldown": 0})
        yield running


def add(house: Platform, rows: list[Applicant]) -> None:
    """The next version of the dataset."""
    house.api("POST", "/datasets/loans?format=csv&id=id", content=written(rows))


def ask(house: Platform, row: Applicant, key: str | None = None) -> str | None:
    """The label that is answered; None where it is not answered yet."""
    body: dict[str, Any] = {"rows": [row.asked]} if key is None else {"id": key, "rows": [row.asked]}
    reply = httpx2.post(f"{house.url}/v2/models/loans/infer", json=body, headers=bearer(ADMIN), timeout=30)
    if reply.status_code != 200:
        return None
    return str(next(output for output in reply.json()["outputs"] if output["name"] == "label")["data"][0])


@contextmanager
def life(house: Platform) -> Iterator[None]:
    """Applicants of the moved world ask, and a little later it is known whether they paid."""
    over = threading.Event()

    def live() -> None:
        batch = 0
        while not over.is_set():
            rows = applicants(40, seed=SEED + 1, first=10_000 + 40 * batch, moved=True)
            for row in rows:
                ask(house, row, f"loan-{row.id}")
            outcomes = [{"key": f"loan-{row.id}", "label": [str(row.late)]} for row in rows]
            until(lambda outcomes=outcomes: known(house, outcomes))  # type: ignore[misc]
            batch += 1

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)


def known(house: Platform, outcomes: list[dict[str, Any]]) -> bool:
    """Whether the calls are moved and their labels kept."""
    told = house.api("POST", "/outcomes", json={"endpoint": "loans", "outcomes": outcomes})
    return bool(told["unknown"] == 0)


def run_of(house: Platform, kind: str) -> dict[str, Any] | None:
    """The newest Run of a kind, once it has ended well."""
    found = [run for run in house.api("GET", "/runs") if run["kind"] == kind]
    if not found or found[0]["state"] in ("queued", "running"):
        return None
    assert found[0]["state"] == "succeeded", found[0]["reason"]
    return dict(found[0])


def production(house: Platform) -> int:
    return int(house.api("GET", "/assets/model/loans")["aliases"]["production"]["version"])


def deeds(house: Platform) -> set[str]:
    return {entry["action"] for entry in house.api("GET", "/audit?limit=1000")}


def test_the_world_moves_and_the_model_follows(house: Platform) -> None:
    add(house, applicants(1_200, seed=SEED, first=2_000, moved=True))
    with life(house):
        retrained = until(lambda: run_of(house, "retrain"), seconds=180)
        assert retrained["outputs"]["canary"]
        canary = until(lambda: run_of(house, "canary"), seconds=180)
    assert canary["outputs"]["outcome"] == "promoted", canary["outputs"]
    assert production(house) == 2
    assert {"monitor.alarm", "monitor.retrain", "canary.started", "canary.ended"} <= deeds(house)


def test_a_sabotaged_candidate_is_rolled_back(house: Platform) -> None:
    """Its gate lets it pass, for the rows that it is judged by are sabotaged too."""
    add(house, applicants(1_200, seed=SEED, first=2_000, moved=True, sabotaged=True))
    with life(house):
        retrained = until(lambda: run_of(house, "retrain"), seconds=180)
        assert retrained["outputs"]["canary"]
        canary = until(lambda: run_of(house, "canary"), seconds=180)
    assert canary["outputs"]["outcome"] == "rolled-back", canary["outputs"]
    (bad,) = [each for each in canary["outputs"]["evidence"] if each["question"] == "bad"]
    assert bad["harm"]
    assert production(house) == 1
    assert "canary.rolled-back" in deeds(house)
