"""Features from end to end: defined once, joined for training, read for serving, the same values in both."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, Platform, bearer, platform, until
from tests.redis_server import RedisServer

pytestmark = pytest.mark.journey

DEFINED = """
[views.spending]
source = "dataset/orders"
entity = ["customer"]
ttl = "60d"
features = ["amount", "spent_7d = sum(amount) over 7d", "orders_7d = count(*) over 7d"]

[services.lending]
features = ["spending"]
inputs = { wanted = "number" }
computed = ["share = wanted / (spent_7d + 1)"]
"""


@pytest.fixture(params=["store", "redis"])
def redis(request: pytest.FixtureRequest) -> RedisServer | None:
    """The server that holds a copy of the features; None where there is none."""
    if request.param == "store":
        return None
    server: RedisServer = request.getfixturevalue("redis_server")
    server.flush()
    return server


@pytest.fixture
def serving(request: pytest.FixtureRequest, redis: RedisServer | None, tmp_path: Path) -> Iterator[Platform]:
    if redis is None:
        yield request.getfixturevalue("house")
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TANDEM_STORE__REDIS", redis.url)
        with platform(tmp_path) as running:
            yield running


def reads(redis: RedisServer) -> int:
    """How often features were looked up there."""
    told: Any = redis.run("INFO", "commandstats")
    return int(told.get("cmdstat_hmget", {"calls": 0})["calls"])


def moment(ago: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=ago)).isoformat().replace("+00:00", "Z")


def tandem(house: Platform, *arguments: str) -> Any:
    environment = {"TANDEM_URL": house.url, "TANDEM_KEY": ADMIN, "PATH": ""}
    told = subprocess.run(
        [sys.executable, "-m", "tandem", *arguments, "--json"], env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def ask(house: Platform, *entities: dict[str, object], model: str = "lending") -> httpx2.Response:
    body = {"entities": list(entities)}
    return httpx2.post(f"{house.url}/v2/models/{model}/infer", json=body, headers=bearer(ADMIN), timeout=30)


def test_defined_once_the_same_for_training_and_serving(serving: Platform, redis: RedisServer | None, tmp_path: Path) -> None:
    house = serving
    draw = random.Random(4)
    orders = [f"{draw.randint(1, 40)},{moment(draw.uniform(0, 30 * 86_400))},{draw.randint(1, 90)}" for _ in range(2_000)]
    (tmp_path / "orders.csv").write_text("customer,at,amount\n" + "\n".join(orders) + "\n")
    asked = [(number, draw.randint(1, 42), draw.uniform(0, 20 * 86_400), draw.randint(1, 500)) for number in range(400)]
    lines = [f"{number},{who},{moment(ago)},{wanted},{int(wanted > 250)}" for number, who, ago, wanted in asked]
    (tmp_path / "loans.csv").write_text("id,customer,asked,wanted,late\n" + "\n".join(lines) + "\n")
    (tmp_path / "features.toml").write_text(DEFINED)
    tandem(house, "data", "add", "orders", str(tmp_path / "orders.csv"), "--time", "at")
    tandem(house, "data", "add", "loans", str(tmp_path / "loans.csv"), "--id", "id", "--time", "asked")

    made = tandem(house, "features", "define", str(tmp_path / "features.toml"))
    assert [each["asset"] for each in made] == ["view/spending@1", "service/lending@1"]
    assert made[0]["entities"] == 40
    joined = tandem(house, "features", "join", "lending", "loans", "--as", "lending-rows", "--states")
    assert (joined["asset"], joined["rows"]) == ("dataset/lending-rows@1", 400)
    tandem(house, "train", "lending", "--data", "lending-rows", "--target", "late", "--no-baseline")
    version = house.api("GET", "/assets/model/lending/1")
    assert version["meta"]["service"] == "service/lending@1"
    assert {"customer", "asked", "amount__state"} <= set(version["meta"]["exclude"])
    tandem(house, "promote", "model/lending@1", "production")
    until(lambda: ask(house, {"customer": 1, "wanted": 10}).status_code == 200)

    reply = ask(house, {"customer": 1, "wanted": 400}, {"customer": 99, "wanted": 400})
    told = {output["name"]: output for output in reply.json()["outputs"]}
    assert reply.json()["parameters"] == {"service": "service/lending@1"}
    names = json.loads(told["feature_state"]["parameters"]["columns"])
    assert names == ["amount", "spent_7d", "orders_7d", "share"]
    assert told["feature_state"]["data"][4:7] == ["not-found"] * 3
    assert told["feature_age_seconds"]["shape"] == [2, 4]

    read = tandem(house, "features", "read", "lending", "customer=1", "wanted=400")["vectors"][0]
    row = {**{name: cell["value"] for name, cell in read.items()}, "wanted": 400}
    columns = [field["name"] for field in house.api("GET", "/assets/model/lending/1")["meta"]["signature"]["fields"]]
    inputs = [{"name": name, "shape": [1], "datatype": "FP64", "data": [row[name]]} for name in columns]
    plain = httpx2.post(f"{house.url}/v2/models/lending/infer", json={"inputs": inputs}, headers=bearer(ADMIN), timeout=30)
    assert plain.json()["outputs"][0]["data"] == told["probability"]["data"][:1]

    before = read["orders_7d"]["value"]
    (tmp_path / "more.jsonl").write_text(json.dumps({"customer": 1, "at": moment(1), "amount": 5}) + "\n")
    assert tandem(house, "features", "push", "spending", str(tmp_path / "more.jsonl")) == {"rows": 1, "again": 0}
    assert tandem(house, "features", "push", "spending", str(tmp_path / "more.jsonl")) == {"rows": 1, "again": 1}
    after = tandem(house, "features", "read", "lending", "customer=1", "wanted=400")["vectors"][0]
    assert (after["orders_7d"]["value"], after["amount"]["value"]) == (before + 1, 5)

    trace = reply.headers["x-tandem-trace-id"]
    until(lambda: any(each["trace"] == trace for each in house.api("GET", "/traces")))
    found = json.dumps(house.api("GET", f"/traces/{trace}"))
    assert "service/lending@1" in found
    assert "oldest_feature_seconds" in found
    if redis is not None:
        answers_from(redis, house)


def answers_from(redis: RedisServer, house: Platform) -> None:
    """Doors and control read the copy, and answer the same without it."""

    def answered() -> list[object]:
        reply = ask(house, {"customer": 1, "wanted": 400})
        assert reply.status_code == 200, reply.text
        told = {output["name"]: output["data"] for output in reply.json()["outputs"]}
        read = tandem(house, "features", "read", "lending", "customer=1", "wanted=400")["vectors"][0]
        return [told["probability"], told["feature_state"], {name: cell["value"] for name, cell in read.items()}]

    def by_both() -> bool:
        before = reads(redis)
        answered()
        return reads(redis) == before + 2 * len(["spending"])

    until(by_both)
    expected = answered()
    redis.stop()
    try:
        assert answered() == expected
        pushed = {"rows": [{"customer": 1, "at": moment(0.5), "amount": 6}]}
        house.api("POST", "/views/spending/facts", json=pushed)
        changed = answered()
        assert changed != expected
    finally:
        redis.start()
    until(by_both)
    assert answered() == changed


def test_what_cannot_be_asked_by_entity_says_so(house: Platform) -> None:
    house.api("POST", "/datasets/plain?format=csv", content="x,y\n" + "".join(f"{n},{n % 2}\n" for n in range(60)))
    inputs = {"data": "dataset/plain", "target": "y", "baseline": False, "algorithm": "logistic"}
    run = house.api("POST", "/runs", json={"kind": "train", "name": "plain", "inputs": inputs})["id"]
    until(lambda: house.api("GET", f"/runs/{run}")["state"] == "succeeded")
    house.api("PUT", "/gates/model/plain", json={"minimum": 0.0, "metric": "roc_auc"})
    house.api("POST", "/assets/model/plain/promote", json={"version": 1})
    until(lambda: ask(house, {"customer": 1}, model="plain").status_code != 404)
    refused = ask(house, {"customer": 1}, model="plain")
    assert refused.status_code == 400
    assert "was not trained on features" in refused.json()["error"]
