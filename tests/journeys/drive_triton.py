"""Drives an unmodified `tritonclient[http]` in an environment of its own: `HOST:PORT KEY MODEL` → what it found, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

ROWS = np.array([[0.5, 1.0], [8.0, np.nan]])


def columns(rows: np.ndarray, kind: Any, name: str) -> list[triton.InferInput]:
    found = []
    for place, column in enumerate("xy"):
        found.append(triton.InferInput(column, [len(rows)], name))
        found[-1].set_data_from_numpy(np.ascontiguousarray(rows[:, place]).astype(kind))
    return found


def matrix(rows: np.ndarray, *, binary: bool = True) -> list[triton.InferInput]:
    found = triton.InferInput("input", list(rows.shape), "FP64")
    found.set_data_from_numpy(rows, binary_data=binary)
    return [found]


def pixels(kind: str, *, binary: bool) -> list[triton.InferInput]:
    """A bright grey image and a dark one."""
    bright = np.array([200, 30], dtype=np.uint8).reshape(2, 1, 1, 1).repeat(256, axis=1).reshape(2, 16, 16, 1)
    values = bright if kind == "UINT8" else (bright / np.float32(255)).astype(np.float32)
    found = triton.InferInput("image", list(values.shape), kind)
    found.set_data_from_numpy(values, binary_data=binary)
    return [found]


def refused(deed: Callable[[], Any]) -> str:
    try:
        deed()
    except InferenceServerException as error:
        return str(error)
    return ""


def main(where: str, key: str, model: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    client = triton.InferenceServerClient(where)

    def infer(inputs: list[triton.InferInput], **more: Any) -> list[float]:
        got = client.infer(model, inputs, headers=dict(headers), **more)  # the client writes into what it is given
        chances, labels = got.as_numpy("probability"), got.as_numpy("label")
        assert chances.dtype == np.float64
        assert [each.decode() if isinstance(each, bytes) else each for each in labels] == ["a", "b"], labels
        assert got.get_response()["model_name"] == model
        return [float(chance) for chance in chances]

    def told(images: list[triton.InferInput]) -> list[str]:
        labels = client.infer("shapes", images, headers=dict(headers)).as_numpy("label")
        return [each.decode() if isinstance(each, bytes) else each for each in labels]

    whole = np.array([[0.0, 1.0], [8.0, 5.0]])
    asked = [triton.InferRequestedOutput("probability"), triton.InferRequestedOutput("label", binary_data=False)]
    waiting = client.async_infer(model, matrix(ROWS), headers=dict(headers))
    return {
        "live": client.is_server_live(headers=headers),
        "ready": client.is_server_ready(headers=headers),
        "model_ready": client.is_model_ready(model, headers=headers) and client.is_model_ready(model, "1", headers=headers),
        "server": client.get_server_metadata(headers=headers),
        "model": client.get_model_metadata(model, "1", headers=headers),
        "index": client.get_model_repository_index(headers=headers),
        "loaded": client.load_model(model, headers=headers),
        "unloaded": client.unload_model(model, headers=headers),
        "pixels": [told(pixels(kind, binary=binary)) for kind in ("UINT8", "FP32") for binary in (True, False)],
        "defaults": infer(matrix(ROWS)),
        "columns": infer(columns(ROWS, np.float64, "FP64")),
        "halves": infer(columns(ROWS, np.float16, "FP16")),
        "whole": {name: infer(columns(whole, kind, name)) for kind, name in ((np.int8, "INT8"), (np.uint64, "UINT64"))},
        "json": infer(matrix(whole, binary=False), outputs=asked),
        "mixed": infer(matrix(whole), outputs=asked),
        "gzip": infer(matrix(ROWS), request_compression_algorithm="gzip", response_compression_algorithm="gzip"),
        "deflate": infer(matrix(ROWS), request_compression_algorithm="deflate", response_compression_algorithm="deflate"),
        "version": infer(matrix(ROWS), model_version="1", request_id="seven"),
        "waited": [float(chance) for chance in waiting.get_result().as_numpy("probability")],
        "many": int((client.infer(model, matrix(np.tile(ROWS, (5000, 1))), headers=headers).as_numpy("probability")).size),
        "too_many": refused(lambda: infer(matrix(np.tile(ROWS, (5001, 1))))),
        "stranger": refused(lambda: client.infer("none", matrix(ROWS), headers=headers)),
        "texts": refused(lambda: infer(columns(np.array([["p", "q"]], dtype=object), np.object_, "BYTES"))),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
