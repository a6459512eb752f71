"""From a folder of images to an answer about one, by a network of the user's, through the SDK and `/v2`."""

from __future__ import annotations

import base64
import json
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from tandem_sdk import Blocked, Client, NotFound, RunFailed
from tests.journeys.conftest import ADMIN, Platform, bearer, until
from tests.pictures import shape, shapes
from tests.training.test_pictures import network

pytestmark = pytest.mark.journey


def ask(house: Platform, content: bytes, **headers: str) -> httpx2.Response:
    return httpx2.post(f"{house.url}/v2/models/shapes/infer", content=content, headers={**bearer(ADMIN), **headers}, timeout=30)


def tensor(count: int, **more: object) -> dict[str, Any]:
    return {"name": "image", "shape": [count], "datatype": "BYTES", **more}


def laid(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def later(count: int, *, format: str = "PNG") -> dict[str, bytes]:
    """So many images of each kind that no other dataset has."""
    return {
        f"{kind}s/later{number}.{format.lower()}": shape(kind, 500 + 2 * number + place, format=format)
        for place, kind in enumerate(("circle", "square"))
        for number in range(count)
    }


def test_images_are_added_learned_from_and_answered(house: Platform, tmp_path: Path) -> None:
    folder = laid(tmp_path / "shapes", shapes(20))
    with Client(house.url, ADMIN) as tandem:
        added = tandem.datasets.add("shapes", folder)
        assert (added.meta["rows"], added.meta["images"]) == (40, {"duplicates": 0})
        first = tandem.datasets.rows("shapes", 1).rows[0]
        assert first[:3] == ("circles/0.png", "circles", 32)
        page = httpx2.get(f"{house.url}/api/v1/assets/dataset/shapes/1/members/sheet.png", headers=bearer(ADMIN))
        assert page.content.startswith(b"\x89PNG")

        models = tmp_path / "models"
        models.mkdir()
        network(models / "edges.onnx")
        tandem.runs.wait(tandem.imports.add("vision", models, promote="production").id)
        with pytest.raises(NotFound):
            tandem.assets.version("model/edges@production")
        inputs = {"data": "dataset/shapes", "target": "label", "folds": 2}
        thumbs = tandem.runs.wait(tandem.runs.train("thumbs", algorithm="logistic", **inputs).id)
        run = tandem.runs.wait(tandem.runs.train("shapes", embed="model/edges", baseline=False, **inputs).id)
        made = tandem.assets.version(run.asset)
        assert made.meta["embed"] == "model/edges@1"
        assert made.meta["algorithm"] == "logistic"
        assert {"dataset/shapes@1", "model/edges@1"} <= set(made.parents)
        with pytest.raises(RunFailed, match="no network"):
            tandem.runs.wait(tandem.runs.train("other", embed=thumbs.asset, **inputs).id)
        tandem.assets.promote(run.asset, "production")

    file = shape("circle", 901)
    body = json.dumps({"inputs": [tensor(1, data=[base64.b64encode(file).decode()])]}).encode()
    until(lambda: ask(house, body).status_code == 200)
    plain = ask(house, body).json()["outputs"]
    assert 0 <= plain[0]["data"][0] <= 1
    assert plain[1]["data"][0] in ("circles", "squares")
    values = struct.pack("<I", len(file)) + file
    head = json.dumps({"inputs": [tensor(1, parameters={"binary_data_size": len(values)})]}).encode()
    raw = ask(house, head + values, **{"inference-header-content-length": str(len(head))})
    assert raw.json()["outputs"] == plain
    pixels = np.asarray(Image.open(BytesIO(file)))[None]
    for datatype, sent in (("UINT8", pixels), ("FP32", (pixels / np.float32(255)).astype(np.float32))):
        told = {"name": "image", "datatype": datatype, "shape": list(sent.shape)}
        head = json.dumps({"inputs": [{**told, "parameters": {"binary_data_size": sent.nbytes}}]}).encode()
        raw = ask(house, head + sent.tobytes(), **{"inference-header-content-length": str(len(head))})
        assert raw.json()["outputs"] == plain, raw.text
    for wrong, said in ((b"hello", "no image that can be read"), (file[:100], "no image that can be read")):
        reply = ask(house, json.dumps({"rows": [{"image": base64.b64encode(wrong).decode()}]}).encode())
        assert (reply.status_code, said in reply.text) == (400, True), reply.text
    assert "not base64" in ask(house, b'{"rows": [{"image": "?"}]}').text
    assert ask(house, b'{"rows": [{"image": 3}]}').status_code == 400

    scored_watched_and_learned_again(house, tmp_path)


def scored_watched_and_learned_again(house: Platform, tmp_path: Path) -> None:
    with Client(house.url, ADMIN) as tandem:
        done = tandem.runs.wait(tandem.runs.predict("shapes", data="dataset/shapes", name="shapes-scored").id)
        assert (done.outputs["rows"], done.outputs["quarantined"]) == (40, 0)
        page = tandem.datasets.rows("shapes-scored", 1)
        assert list(page.columns)[-2:] == ["probability", "label_predicted"]
        house.api("POST", "/datasets/plain?format=csv", content="digest,label\na,circles\n")
        with pytest.raises(RunFailed, match="dataset/plain@1 holds no images"):
            tandem.runs.wait(tandem.runs.predict("shapes", data="dataset/plain", name="none").id)

        with pytest.raises(Blocked, match="trained on 40 of the rows"):
            tandem.gates.evidence("model/shapes@1", "dataset/shapes-scored")
        tandem.datasets.add("others", laid(tmp_path / "others", later(20)))
        assert tandem.gates.evidence("model/shapes@1", "dataset/others").rows == 40

        tandem.monitors.add("shapes-drift", endpoint="shapes", minimum=30, on_data="retrain", cooldown=0)
        seen = [np.asarray(Image.open(BytesIO(content))) for content in later(20).values()]
        for dark in (1, 4):
            rows = np.stack(seen) // dark
            told = {"name": "image", "datatype": "UINT8", "shape": list(rows.shape)}
            asked = json.dumps({"inputs": [{**told, "data": rows.ravel().tolist()}]}).encode()
            assert ask(house, asked).status_code == 200
            house.settle()
            report = tandem.monitors.check("shapes-drift")
            drifted = {finding.subject for finding in report.findings if finding.verdict == "drifted"}
            assert drifted == (set() if dark == 1 else {"brightness", "contrast"}), report

        added = tandem.datasets.add("shapes", laid(tmp_path / "more", later(10, format="JPEG")), append=True)
        assert (added.meta["rows"], added.meta["appended"]) == (60, {"to": "dataset/shapes@1", "rows": 20, "repeated": 0})
        different = tandem.datasets.diff("shapes", 1, 2)
        assert (different.rows.added, different.rows.removed) == (20, 0)
        (request,) = until(lambda: house.api("GET", "/requests?state=open"), f"a request is opened: {house.log()}")
        assert request["subject"] == "model/shapes@2"
        tandem.runs.wait(request["run"])
        run = house.api("GET", f"/runs/{request['run']}")
        assert (run["inputs"]["data"], run["inputs"]["embed"]) == ("dataset/shapes@2", "model/edges")
        assert any("the difference to the champion is" in reason for reason in run["outputs"]["reasons"])
