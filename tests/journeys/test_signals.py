"""From a folder of signals to an answer about a window, through the SDK, `/v2` and a batch, past a gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import polars as pl
import pytest

from tandem_sdk import Client, Invalid, Report
from tests.journeys.conftest import ADMIN, Platform, bearer, until
from tests.signals import machines

pytestmark = pytest.mark.journey
COUNT, WINDOW = 40, 64


def folder(path: Path, frame: pl.DataFrame) -> Path:
    """A file for each machine, and what is known of it."""
    path.mkdir()
    for (unit,), rows in frame.group_by("unit", maintain_order=True):
        rows.select("at", "x", "y").write_csv(path / f"{unit}.csv")
    frame.group_by("unit", maintain_order=True).agg(pl.col("fault").first()).select(
        (pl.col("unit") + ".csv").alias("file"), "fault"
    ).write_csv(path / "labels.csv")
    return path


def rows(windows: np.ndarray[Any, Any]) -> list[dict[str, list[float]]]:
    """As simple JSON rows."""
    return [{"x": one[:, 0].tolist(), "y": one[:, 1].tolist()} for one in windows]


def watched(house: Platform, tandem: Client, windows: np.ndarray[Any, Any]) -> Report:
    """What the monitor says of these windows; sent in several calls, since the content of a large one is not kept whole."""
    for part in np.split(windows, 10):
        tandem.predict("pump", rows(part))
    house.settle()
    return tandem.monitors.check("pump-drift")


def test_signals_are_added_learned_from_gated_answered_and_scored(house: Platform, tmp_path: Path) -> None:
    frame = machines(COUNT)
    cut = {"signal": "unit", "time": "at", "window": WINDOW, "stride": 32}
    with Client(house.url, ADMIN) as tandem:
        added = tandem.datasets.add("shakes", folder(tmp_path / "shakes", frame), signals=True)
        assert (added.meta["rows"], added.meta["signals"]) == (frame.height, {"units": COUNT})
        page = httpx2.get(f"{house.url}/api/v1/assets/dataset/shakes/1/members/sheet.png", headers=bearer(ADMIN))
        assert page.content.startswith(b"\x89PNG")
        with pytest.raises(Invalid, match="one file for each unit"):
            tandem.datasets.add("shakes", next((tmp_path / "shakes").iterdir()), signals=True)

        house.api("PUT", "/gates/model/pump", json={"metric": "roc_auc", "minimum": 0.8})
        given = {"data": "dataset/shakes", "target": "fault", "folds": 4, **cut}
        run = tandem.runs.wait(tandem.runs.train("pump", **given).id)
        made = tandem.assets.version(run.asset)
        told = {name: made.meta[name] for name in ("signal", "time", "window", "stride")}
        assert told == {"signal": "unit", "time": "at", "window": WINDOW, "stride": 32}
        assert made.meta["split"] == {"by": "group", "group": "unit", "time": None}
        assert made.meta["metrics"]["roc_auc"]["n"] == COUNT
        tandem.assets.promote(run.asset, "production")

        with httpx2.Client(base_url=house.url, follow_redirects=True, timeout=30) as browser:
            browser.post("/console/sign-in", data={"key": ADMIN}, headers={"Sec-Fetch-Site": "same-origin"})
            for page in ("dataset/shakes/1", "dataset/shakes/1/profile", "model/pump/1", "model/pump/1/card"):
                shown = browser.get(f"/assets/{page}")
                assert (shown.status_code, "sign-in" in str(shown.url)) == (200, False), page

        windows = np.stack([frame.filter(unit=name).select("x", "y").head(WINDOW).to_numpy() for name in ("m00", "m01", "m02")])
        url = f"{house.url}/v2/models/pump"
        whole = {"name": "all", "shape": list(windows.shape), "datatype": "FP64", "data": windows.ravel().tolist()}
        ask = lambda body: httpx2.post(f"{url}/infer", json=body, headers=bearer(ADMIN), timeout=30)  # noqa: E731
        until(lambda: ask({"inputs": [whole]}).status_code == 200)
        answer = ask({"inputs": [whole]}).json()["outputs"]
        assert answer[1]["data"] == ["good", "bad", "good"]
        apart = [
            {"name": name, "shape": [3, WINDOW], "datatype": "FP64", "data": windows[:, :, place].tolist()}
            for place, name in enumerate("xy")
        ]
        assert ask({"inputs": apart}).json()["outputs"] == answer
        simple = rows(windows)
        assert ask({"instances": simple}).json()["outputs"] == answer
        explained = ask({"inputs": [whole], "parameters": {"explain": True}}).json()["outputs"]
        assert explained[2]["parameters"] == {"columns": '["x","y"]'}
        refused = ask({"rows": [{"x": [1, 2], "y": simple[0]["y"]}]})
        assert (refused.status_code, "x has 2 samples; the model takes 64" in refused.text) == (400, True)
        inputs = httpx2.get(url, headers=bearer(ADMIN)).json()["inputs"]
        assert [(each["name"], each["shape"]) for each in inputs] == [("x", [-1, WINDOW]), ("y", [-1, WINDOW])]

        scored = tandem.runs.wait(tandem.runs.predict("pump", name="scored", data="dataset/shakes").id)
        found = tandem.datasets.rows("scored", 1, limit=1000)
        assert (scored.outputs["rows"], found.columns) == (5 * COUNT, ("unit", "at", "probability", "label"))
        first = {row[0]: row[2] for row in found.rows if row[1] == WINDOW - 1}
        assert [first[name] for name in ("m00", "m01", "m02")] == answer[0]["data"]

        tandem.monitors.add("pump-drift", endpoint="pump")
        some = np.concatenate(
            [frame.filter(unit=f"m{unit:02d}").select("x", "y").to_numpy().reshape(-1, WINDOW, 2) for unit in range(COUNT)]
        )
        calm = watched(house, tandem, some)
        assert (calm.verdict, calm.n) == ("stable", len(some))
        other = some[:, ::-1]
        other[:, 1::2, 0] = other[:, ::2, 0] + 1
        drifted = {finding.subject for finding in watched(house, tandem, other).findings if finding.verdict == "drifted"}
        assert {"x[centroid]", "x[crossings]"} <= drifted
        assert not any(name.startswith("y[") for name in drifted)
