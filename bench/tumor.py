"""A model to predict with, made the way a user makes one: the Wisconsin biopsies, uploaded, trained on, promoted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench import stage
from bench.stage import Failed, Platform
from tandem.cli.demo import write_biopsies

NAME, DATA = "tumor", "dataset/biopsies"
RUN_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Case:
    """One biopsy as its measurements."""

    names: tuple[str, ...]
    values: tuple[float, ...]

    def infer(self, rows: int = 1) -> bytes:
        """The Open Inference Protocol's JSON: the row, so many times, as one tensor."""
        tensor = {
            "name": "input",
            "shape": [rows, len(self.values)],
            "datatype": "FP64",
            "data": self.values * rows,
            "parameters": {"columns": self.names},
        }
        return json.dumps({"inputs": [tensor]}).encode()


def add_data(platform: Platform, folder: Path) -> Case:
    """Uploads the biopsies; returns the first of them."""
    path = folder / "biopsies.csv"
    row = write_biopsies(path)[0]
    platform.api("POST", "/datasets/biopsies?id=record&time=taken_at", raw=path.read_bytes(), kind="text/csv")
    measured = {name: float(value) for name, value in row.items() if name not in ("record", "taken_at", "diagnosis")}
    return Case(tuple(measured), tuple(measured.values()))


def start_run(platform: Platform, name: str = NAME, **params: float) -> str:
    """Orders a training of gradient-boosted trees; the Run's id."""
    inputs = {
        "data": DATA,
        "target": "diagnosis",
        "algorithm": "gradient-boosting",
        "params": params,
        "positive": "malignant",
        "baseline": False,
    }
    return str(platform.api("POST", "/runs", {"kind": "train", "name": name, "inputs": inputs})["id"])


def train(platform: Platform, **params: float) -> None:
    """Trains the model and promotes it, which gives it an endpoint of its name.

    Raises:
        Failed: the training did not succeed.
    """
    identifier = start_run(platform, **params)
    stage.until(lambda: platform.api("GET", f"/runs/{identifier}")["ended_at"] is not None, "Training", RUN_SECONDS)
    run = platform.api("GET", f"/runs/{identifier}")
    if run["state"] != "succeeded":
        raise Failed(f"The training {run['state']}: {run['reason']}")
    platform.api("POST", f"/assets/model/{NAME}/promote", {"version": 1, "alias": "production"})
