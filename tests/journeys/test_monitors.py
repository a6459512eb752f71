"""A model is watched: nothing happens while nothing changes; then drift, an alarm, newer data, a retraining, a person."""

from __future__ import annotations

import random
from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, platform, until

pytestmark = [pytest.mark.journey, pytest.mark.slow]

ROWS = 400
COLUMNS = ("income", "age", "debt")


def made(seed: int, *, shift: float, rows: int) -> list[list[float]]:
    """Applicants; `shift` moves what they earn."""
    draw = random.Random(seed)
    return [[draw.gauss(50 + shift, 10), draw.uniform(20, 70), min(draw.expovariate(0.2), 20.0)] for _ in range(rows)]


def csv(rows: list[list[float]], seed: int) -> str:
    """With a truth that depends on income and debt, and not on it alone."""
    draw = random.Random(seed)
    lines = ["id,income,age,debt,late"]
    for number, (income, age, debt) in enumerate(rows):
        late = int((50 - income) / 10 + debt / 5 - 1 + draw.gauss(0, 0.7) > 0)
        lines.append(f"a{seed}-{number},{income!r},{age!r},{debt!r},{late}")
    return "\n".join(lines) + "\n"


def ask(house: Platform, rows: list[list[float]]) -> None:
    """One call a row, as an application makes them."""
    with httpx2.Client(base_url=house.url, headers=bearer(ADMIN), timeout=30, verify=TLS) as http:
        for row in rows:
            tensors = [
                {"name": name, "shape": [1], "datatype": "FP64", "data": [value]}
                for name, value in zip(COLUMNS, row, strict=True)
            ]
            reply = http.post("/v2/models/credit/infer", json={"inputs": tensors})
            assert reply.status_code == 200, reply.text
    house.settle()


def test_drift_alarm_retraining_request_approval(tmp_path: Any) -> None:
    with platform(tmp_path) as house:
        first = made(1, shift=0, rows=ROWS)
        data = {"content": csv(first, 1), "headers": {**bearer(ADMIN), "content-type": "text/csv"}}
        reply = httpx2.post(f"{house.url}/api/v1/datasets/applicants?id=id", timeout=60, verify=TLS, **data)
        assert reply.status_code == 201, reply.text
        inputs = {"data": "dataset/applicants", "target": "late", "algorithm": "logistic", "folds": 3}
        run = house.api("POST", "/runs", json={"kind": "train", "name": "credit", "inputs": inputs})["id"]
        until(lambda: house.api("GET", f"/runs/{run}")["state"] == "succeeded", "the model is trained")
        house.api("POST", "/assets/model/credit/promote", json={"version": 1})
        until(lambda: "credit" in {row["name"] for row in house.api("GET", "/endpoints")}, "it is served")
        monitor = {"name": "credit-drift", "endpoint": "credit", "on_alarm": "retrain", "promote": "ask", "cooldown": 0}
        house.api("POST", "/monitors", json=monitor)

        few = house.api("POST", "/monitors/credit-drift/check")
        assert (few["verdict"], few["alarm"]) == ("not-enough-data", False)

        ask(house, made(2, shift=0, rows=150))
        calm = house.api("POST", "/monitors/credit-drift/check")
        assert (calm["verdict"], calm["alarm"], calm["n"]) == ("stable", False, 150), calm

        ask(house, made(3, shift=9, rows=150))
        moved = house.api("POST", "/monitors/credit-drift/check")
        assert (moved["verdict"], moved["alarm"], moved["run"]) == ("drifted", True, None), moved
        assert {f["subject"] for f in moved["findings"] if f["verdict"] == "drifted"} == {"income"}
        assert moved["coverage"] == {"read": 150}
        assert "no newer version" in moved["note"]
        assert house.api("POST", "/monitors/credit-drift/check")["alarm"] is False

        both = csv(first, 1) + csv(made(4, shift=9, rows=ROWS), 4).partition("\n")[2]
        data["content"] = both
        reply = httpx2.post(f"{house.url}/api/v1/datasets/applicants?id=id", timeout=60, verify=TLS, **data)
        assert reply.status_code == 201, reply.text

        (request,) = until(lambda: house.api("GET", "/requests?state=open"), f"a request is opened: {house.log()}")
        retrained = house.api("GET", f"/runs/{request['run']}")
        assert retrained["inputs"]["data"] == "dataset/applicants@2"
        assert retrained["inputs"]["algorithm"] == "logistic"
        assert request["subject"] == "model/credit@2"
        assert request["passed"], request
        assert len([run for run in house.api("GET", "/runs") if run["kind"] == "retrain"]) == 1
        assert house.api("GET", "/assets/model/credit")["aliases"]["production"]["version"] == 1

        viewer = house.key("looks", role="editor")
        refused = httpx2.post(
            f"{house.url}/api/v1/requests/{request['id']}/approve", json={}, headers=bearer(viewer), timeout=30, verify=TLS
        )
        assert refused.status_code == 403
        done = house.api("POST", f"/requests/{request['id']}/approve", json={"note": "seen"})
        assert (done["state"], done["promotion"]["version"]) == ("approved", 2)
        assert house.api("GET", "/assets/model/credit")["aliases"]["production"]["version"] == 2

        calm = made(5, shift=0, rows=75) + made(6, shift=9, rows=75)  # as the newer data are
        ask(house, calm)
        after = house.api("POST", "/monitors/credit-drift/check")
        assert (after["verdict"], after["alarm"]) == ("stable", False), after
        assert after["reference"].startswith("dataset/applicants@2")
        told = {(row["action"], row["actor"]) for row in house.api("GET", "/audit?limit=200")}
        assert {
            ("monitor.add", "admin"),
            ("monitor.alarm", "monitor/credit-drift"),
            ("monitor.retrain", "monitor/credit-drift"),
            ("request.open", "monitor/credit-drift"),
            ("request.approve", "admin"),
            ("alias.promote", "admin"),
        } <= told, told
        assert house.api("POST", "/audit/verify")["ok"]
