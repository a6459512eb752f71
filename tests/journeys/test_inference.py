"""The Open Inference Protocol as the field's own client speaks it, and as nobody should."""

from __future__ import annotations

import gzip
import json
import random
import socket
import struct
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.journeys.conftest import ADMIN, Platform, bearer, until, with_uv
from tests.pictures import packed

pytestmark = pytest.mark.journey

DRIVE = Path(__file__).with_name("drive_triton.py")
PATH = "/v2/models/zone/infer"
ROW = {"x": 8.0, "y": 2.0}


@pytest.fixture(scope="module")
def zone(house: Platform) -> Platform:
    """A platform with a model `zone` that tells small x from large x."""
    cells = [(n % 9 + 0.25, n % 5 + 0.5 if n % 7 else "", "ab"[n % 9 > 4]) for n in range(180)]
    rows = "".join(f"{x},{y},{z}\n" for x, y, z in cells)
    house.api("POST", "/datasets/zone?format=csv", content="x,y,z\n" + rows)
    inputs = {"data": "dataset/zone", "target": "z", "folds": 2}
    run = house.api("POST", "/runs", json={"kind": "train", "name": "zone", "inputs": inputs})["id"]
    until(lambda: house.api("GET", f"/runs/{run}")["state"] == "succeeded")
    house.api("POST", "/assets/model/zone/promote", json={"version": 1})
    until(lambda: ask(house, {"rows": [ROW]}).status_code == 200)
    return house


def lights(house: Platform, folder: Path) -> None:
    """A model `shapes` that tells bright images from dark ones."""
    files = {}
    for number in range(40):
        out = BytesIO()
        Image.new("L", (16, 16), (30, 200)[number % 2] + number % 9).save(out, "PNG")
        files[f"{('dark', 'bright')[number % 2]}/{number}.png"] = out.getvalue()
    house.api("POST", "/datasets/shapes?format=zip", content=packed(folder / "shapes.zip", files).read_bytes())
    inputs = {"data": "dataset/shapes", "target": "label", "algorithm": "logistic", "folds": 2}
    run = house.api("POST", "/runs", json={"kind": "train", "name": "shapes", "inputs": inputs})["id"]
    until(lambda: house.api("GET", f"/runs/{run}")["state"] == "succeeded")
    house.api("POST", "/assets/model/shapes/promote", json={"version": 1})
    until(lambda: "shapes" in {row["name"] for row in house.api("GET", "/endpoints")})


def ask(house: Platform, body: Any, **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx2.post(house.url + PATH, content=content, headers={**bearer(ADMIN), **headers}, timeout=30)


def chances(reply: httpx2.Response) -> list[float]:
    assert reply.status_code == 200, reply.text
    return list(reply.json()["outputs"][0]["data"])


def binary(*values: float, size: int | None = None) -> tuple[bytes, int]:
    size = 8 * len(values) if size is None else size
    shape = [len(values) // 2, 2]
    tensor = {"name": "input", "shape": shape, "datatype": "FP64", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + struct.pack(f"<{len(values)}d", *values), len(head)


@pytest.mark.slow
def test_the_unmodified_client_of_triton(zone: Platform, tmp_path: Path) -> None:
    try:
        with_uv(tmp_path / "triton", "tritonclient[http]")
    except subprocess.CalledProcessError:
        try:
            with_uv(tmp_path / "any", "tabulate")
        except subprocess.CalledProcessError:
            pytest.skip("There is no package index to install tritonclient from.")
        raise
    lights(zone, tmp_path)
    words = [tmp_path / "triton" / "bin" / "python", DRIVE, zone.url.removeprefix("http://"), ADMIN, "zone"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["live"] is told["ready"] is told["model_ready"] is True
    assert "binary_tensor_data" in told["server"]["extensions"]
    assert [each["name"] for each in told["model"]["inputs"]] == ["x", "y"]
    assert {"name": "zone", "version": "1", "state": "READY"} in told["index"]
    expected = chances(ask(zone, {"rows": [{"x": 0.5, "y": 1}, {"x": 8, "y": None}]}))
    for way in ("defaults", "columns", "halves", "gzip", "deflate", "version", "waited"):
        assert told[way] == pytest.approx(expected), way
    whole = chances(ask(zone, {"instances": [[0, 1], [8, 5]]}))
    for each in (*told["whole"].values(), told["json"], told["mixed"]):
        assert each == pytest.approx(whole)
    assert told["many"] == 10_000
    assert "more values than a call may" in told["too_many"]
    assert "[404]" in told["stranger"]
    assert "datatype" in told["texts"]
    assert told["pixels"] == [["bright", "dark"]] * 4


def test_what_was_sent_as_bytes_is_recorded_in_json(zone: Platform) -> None:
    body, length = binary(8.0, 2.0)
    reply = ask(zone, body, **{"inference-header-content-length": str(length)})
    head = json.loads(reply.content[: int(reply.headers["inference-header-content-length"])])
    assert [each["parameters"]["binary_data_size"] for each in head["outputs"]] == [8, 5]
    trace = reply.headers["x-tandem-trace-id"]
    shown = f"{zone.url}/api/v1/traces/{trace}?content=true"
    until(lambda: httpx2.get(shown, headers=bearer(ADMIN)).status_code == 200)
    (kept,) = httpx2.get(shown, headers=bearer(ADMIN)).json()["content"].values()
    assert json.loads(kept["request"])["inputs"][0]["data"] == [8.0, 2.0]
    assert json.loads(kept["answer"])["outputs"][1]["data"] == ["b"]


HOSTILE = ["-1", "0", "1", "x", "", "9" * 30, "1e2", "+5", "0x10", "٣", "5, 5", "1000000"]


@pytest.mark.parametrize("header", HOSTILE)
def test_a_lie_about_the_length_of_the_json_is_refused(zone: Platform, header: str) -> None:
    body, _ = binary(8.0, 2.0)
    headers = {**bearer(ADMIN), "inference-header-content-length": header.encode()}
    reply = httpx2.post(zone.url + PATH, content=body, headers=headers, timeout=30)
    assert (reply.status_code, set(reply.json())) == (400, {"error", "code", "field", "hint", "trace"}), reply.text


def test_however_the_bytes_arrive_the_answer_is_the_same(zone: Platform) -> None:
    body, length = binary(8.0, 2.0, 0.0, 1.0)
    expected = ask(zone, body, **{"inference-header-content-length": str(length)}).content
    dice = random.Random(3)
    for _ in range(20):
        cuts = sorted(dice.sample(range(1, len(body)), dice.randint(0, 12)))
        pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        assert chunked(zone, pieces, length).endswith(expected)


def chunked(house: Platform, pieces: list[bytes], length: int) -> bytes:
    """The whole reply to a body that is sent as these chunks."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {ADMIN}\r\nconnection: close\r\n"
    head += f"transfer-encoding: chunked\r\ninference-header-content-length: {length}\r\n\r\n"
    with socket.create_connection((house.host, house.port), timeout=30) as connection:
        connection.sendall(head.encode())
        for piece in pieces:
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_encoded_bodies_are_opened_and_bombs_are_not(zone: Platform) -> None:
    body = json.dumps({"rows": [ROW]}).encode()
    assert chances(ask(zone, gzip.compress(body), **{"content-encoding": "gzip"})) == chances(ask(zone, body))
    bomb = ask(zone, gzip.compress(bytes(40 << 20)), **{"content-encoding": "gzip"})
    assert (bomb.status_code, bomb.json()["code"]) == (413, "body_too_large")
    assert ask(zone, body, **{"content-encoding": "br"}).status_code == 415
    assert ask(zone, body, **{"content-encoding": "gzip"}).status_code == 400


def test_a_model_is_loaded_and_unloaded_by_whoever_may_call_it(zone: Platform) -> None:
    key = zone.key("caller", role="viewer")
    until(lambda: httpx2.get(f"{zone.url}/v2", headers=bearer(key)).status_code == 200)
    for deed in ("load", "load", "unload", "unload"):
        reply = httpx2.post(f"{zone.url}/v2/repository/models/zone/{deed}", headers=bearer(key), timeout=30)
        assert (reply.status_code, reply.content) == (200, b"{}")
    assert chances(ask(zone, {"rows": [ROW]}))
    assert httpx2.post(f"{zone.url}/v2/repository/models/none/load", headers=bearer(key)).status_code == 404
    other = zone.key("other", endpoints=["assistant"])
    until(lambda: httpx2.get(f"{zone.url}/v2", headers=bearer(other)).status_code in (200, 403))
    assert httpx2.post(f"{zone.url}/v2/repository/models/zone/unload", headers=bearer(other)).status_code in (403, 404)
    assert httpx2.post(f"{zone.url}/v2/repository/index", headers=bearer(other)).json() == []
    ready = httpx2.post(f"{zone.url}/v2/repository/index", headers=bearer(key), json={"ready": True}).json()
    assert {"name": "zone", "version": "1", "state": "READY"} in ready
    assert httpx2.post(f"{zone.url}/v2/repository/index", headers=bearer(key), content=b"[").status_code == 400
