"""Whole datasets scored: by command and API, through a kill, with rights, lineage and what was refused."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import polars as pl
import pytest

from tandem.store.lake import Lake
from tests.journeys.conftest import ADMIN, Platform, bearer, platform, until

pytestmark = pytest.mark.journey
ROWS = 450_000


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with a model `zone` in production, and rows to score in datasets `few` and `many`."""
    with platform(tmp_path_factory.mktemp("scoring")) as running:
        cells = "".join(f"{n % 9 + 0.25},{n % 5 + 0.5},{'ab'[n % 9 > 4]}\n" for n in range(180))
        running.api("POST", "/datasets/zone?format=csv", content="x,y,z\n" + cells)
        inputs = {"data": "dataset/zone", "target": "z", "folds": 2}
        ended(running, running.api("POST", "/runs", json={"kind": "train", "name": "zone", "inputs": inputs}))
        running.api("POST", "/assets/model/zone/promote", json={"version": 1})
        running.api("POST", "/datasets/few?format=csv&id=id", content="id,x,y\n1,0.25,1\n2,8.25,1\n3,999,1\n4,8.25,\n")
        running.api("POST", "/datasets/many?format=parquet", content=many())
        yield running


def many() -> bytes:
    at = pl.Series("n", range(ROWS))
    file = io.BytesIO()
    pl.DataFrame({"n": at, "x": at % 9 + 0.25, "y": at % 5 + 0.5}).write_parquet(file)
    return file.getvalue()


def ended(house: Platform, run: dict[str, Any]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = house.api("GET", f"/runs/{run['id']}")
        except (AssertionError, httpx2.HTTPError):  # while the control process starts again
            return None
        return found if found["state"] in ("succeeded", "failed", "cancelled") else None

    return dict(until(look))


def order(house: Platform, name: str, data: str, model: str = "zone") -> dict[str, Any]:
    body = {"kind": "predict", "name": name, "inputs": {"model": model, "data": f"dataset/{data}"}}
    return dict(house.api("POST", "/runs", json=body))


def rows(house: Platform, ref: str) -> pl.DataFrame:
    meta = house.api("GET", f"/assets/dataset/{ref.replace('@', '/').partition('/')[2]}")["meta"]
    return Lake(house.home / "lake").read(meta["lake"]["table"], meta["lake"]["version"])


def test_a_model_that_is_not_in_production_is_asked_by_its_number(house: Platform) -> None:
    body = {"kind": "predict", "name": "early", "inputs": {"model": "zone-baseline", "data": "dataset/few"}}
    reply = httpx2.post(f"{house.url}/api/v1/runs", json=body, headers=bearer(ADMIN))
    assert reply.status_code == 404
    run = ended(house, order(house, "early", "few", "model/zone-baseline@1"))
    assert run["state"] == "succeeded", run["reason"]
    assert run["outputs"]["model"] == "model/zone-baseline@1"
    editor, viewer = house.key("plain-editor", role="editor"), house.key("plain-viewer", role="viewer")
    asked = {**body, "inputs": {"model": "model/zone-baseline@1", "data": "dataset/few"}}
    assert httpx2.post(f"{house.url}/api/v1/runs", json=asked, headers=bearer(editor)).status_code == 403
    house.api("POST", "/assets/model/zone-baseline/promote", json={"version": 1})
    assert httpx2.post(f"{house.url}/api/v1/runs", json=asked, headers=bearer(editor)).status_code == 202
    assert httpx2.post(f"{house.url}/api/v1/runs", json=body, headers=bearer(viewer)).status_code == 403


def test_the_command_scores_a_dataset_as_calls_are_scored(house: Platform) -> None:
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": ADMIN}
    words = [sys.executable, "-m", "tandem", "predict", "zone", "--data", "few", "--as", "few-scored", "--json"]
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    said = json.loads(told.stdout)
    assert (said["asset"], said["rows"], said["quarantined"]) == ("dataset/few-scored@1", 4, 2)
    scored, page = rows(house, said["asset"]), house.api("GET", "/datasets/few-scored/1/quarantine")
    left = [dict(zip(page["columns"], row, strict=True)) for row in page["rows"]]
    assert scored["label"].to_list() == ["a", "b", None, None]
    asked = httpx2.post(
        f"{house.url}/v2/models/zone/infer", json={"rows": [{"x": 0.25, "y": 1}, {"x": 8.25, "y": 1}]}, headers=bearer(ADMIN)
    )
    assert scored["probability"].to_list()[:2] == pytest.approx(asked.json()["outputs"][0]["data"])
    assert [row["_row"] for row in left] == [3, 4]
    assert left[0]["_reasons"].startswith("x is above the highest value")
    version = house.api("GET", "/assets/dataset/few-scored/1")
    assert set(version["parents"]) == {"dataset/few@1", "model/zone@1"}
    assert version["meta"]["id"] == "id"
    plain = subprocess.run(words[:-1], env=environment, capture_output=True, text=True, check=False).stdout
    assert "2 rows were kept apart" in plain


def test_killed_in_the_middle_each_row_is_scored_once(house: Platform) -> None:
    run = order(house, "many-scored", "many")
    until(lambda: house.api("GET", f"/runs/{run['id']}")["stage"].startswith("scoring"))
    for pid in house.pids("control"):
        os.kill(pid, signal.SIGKILL)
    done = ended(house, run)
    assert done["state"] == "succeeded", done["reason"]
    assert (done["outputs"]["rows"], done["outputs"]["quarantined"]) == (ROWS, 0)
    scored = rows(house, done["outputs"]["asset"])
    assert scored["n"].equals(pl.Series("n", range(ROWS)))
    assert scored["label"].null_count() == 0
    assert [each["version"] for each in house.api("GET", "/assets/dataset/many-scored")["versions"]] == [1]
    assert not (house.home / "work" / run["id"]).exists()


def test_a_scoring_is_cancelled_and_leaves_nothing(house: Platform) -> None:
    run = order(house, "dropped", "many")
    until(lambda: house.api("GET", f"/runs/{run['id']}")["state"] == "running")
    house.api("POST", f"/runs/{run['id']}/cancel")
    assert ended(house, run)["state"] == "cancelled"
    assert httpx2.get(f"{house.url}/api/v1/assets/dataset/dropped", headers=bearer(ADMIN)).status_code == 404
    until(lambda: not Path(house.home / "work" / run["id"]).exists())
