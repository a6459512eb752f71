"""A platform whose settings name a Ray cluster: trainings that search and scorings are done there, and told as ever."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.journeys.conftest import platform, until

pytestmark = [pytest.mark.journey, pytest.mark.files]
ROWS = 150_000


def test_a_search_and_a_scoring_are_done_by_the_cluster_and_come_to_the_same(tmp_path: Path, ray_cluster: str) -> None:
    with platform(tmp_path) as house:

        def ended(kind: str, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
            run = house.api("POST", "/runs", json={"kind": kind, "name": name, "inputs": inputs})

            def look() -> dict[str, Any] | None:
                found: dict[str, Any] = house.api("GET", f"/runs/{run['id']}")
                return found if found["state"] in ("succeeded", "failed") else None

            return dict(until(look))

        cells = "".join(f"{n % 9 + 0.25},{n % 5 + 0.5},{'ab'[n % 9 > 4]}\n" for n in range(120))
        house.api("POST", "/datasets/zone?format=csv", content="x,y,z\n" + cells)
        at, file = pl.Series("n", range(ROWS)), io.BytesIO()
        pl.DataFrame({"n": at, "x": at % 9 + 0.25, "y": at % 5 + 0.5}).write_parquet(file)
        house.api("POST", "/datasets/many?format=parquet", content=file.getvalue())
        train = {"data": "dataset/zone", "target": "z", "folds": 2, "algorithm": "logistic", "tune": 2}
        score = {"model": "model/zone@1", "data": "dataset/many"}
        here = [ended("train", "zone", train), ended("predict", "scored", score)]

        house.down()
        house.environment["TANDEM_COMPUTE__RAY"] = ray_cluster
        house.up()
        there = [ended("train", "zone", train), ended("predict", "scored", score)]
        assert [run["state"] for run in (*here, *there)] == ["succeeded"] * 4, there
        assert here[0]["outputs"]["trials"] == there[0]["outputs"]["trials"]
        assert here[0]["outputs"]["asset"] == there[0]["outputs"]["asset"]  # the same members are the same version
        scored = [run["outputs"]["asset"].replace("@", "/") for run in (here[1], there[1])]
        assert len({house.api("GET", f"/assets/{asset}")["meta"]["digest"] for asset in scored}) == 1
