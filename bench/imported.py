"""A folder of eight models of five frameworks: seconds of the one command, and how far the answers are. See README.md.

    python -m bench.imported [--json FILE]

What is compared is what the endpoints answer over HTTP with what the frameworks themselves say of the same rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from bench import command, zoo
from bench.figures import Report, Round, rows
from bench.stage import ADMIN_KEY, Failed, Platform, tandem, until
from tandem.serving.columns import Floats
from tandem.training.parity import difference

ROWS = 100
TRUST = ("pickle", "python")


def measure() -> Report:
    """Imports the eight models and asks each.

    Raises:
        Failed: a model was not imported, or does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, models = Path(name), Path(name) / "models"
        models.mkdir()
        own = {str(make.__defaults__[0]): np.asarray(make(models), dtype=np.float64)[:ROWS] for make in zoo.EIGHT}
        with tandem(folder, {}, settings=f"[serving]\ntrust = {json.dumps(TRUST)}\n") as platform:
            begun = time.perf_counter()
            told = _import(platform, models)
            seconds = time.perf_counter() - begun
            largest = max(_far(platform, each["name"], own[each["name"]]) for each in told["models"])
    count = len(own)
    notes = [
        f"{count} models of {len({each['framework'] for each in told['models']})} frameworks into endpoints and one decision: "
        f"{seconds:.1f} s, largest difference {largest:.2g} over {ROWS} rows of each."
    ]
    one = Round(
        target="import", load=f"{count} models", requests=count, per_second=count / seconds, p50=seconds * 1e6, p99=seconds * 1e6
    )
    return Report(title="Import of models", rows=rows([one], {}), notes=notes, rounds=[one])


def _import(platform: Platform, models: Path) -> dict[str, Any]:
    words = [sys.executable, "-m", "tandem", "import", str(models), "--decision", "together", "--json"]
    words += [word for each in TRUST for word in ("--trust", each)]
    environment = {**os.environ, "TANDEM_URL": platform.target.url, "TANDEM_KEY": ADMIN_KEY}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"The import ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
    return dict(json.loads(done.stdout))


def _far(platform: Platform, name: str, own: Floats) -> float:
    """How far the endpoint's answers are from the framework's own; it answers within a second of its promotion."""
    names = [field["name"] for field in platform.api("GET", f"/assets/model/{name}/1")["meta"]["signature"]["fields"]]
    body = json.dumps({"rows": zoo.cases(names)[:ROWS]}).encode()
    until(lambda: _asked(platform, name, body) is not None, f"{name} answers")
    said = _asked(platform, name, body)
    assert said is not None
    own = own.reshape(len(own), -1)
    return difference(own[:, 1:] if own.shape[1] == 2 else own, np.array(said["data"]).reshape(len(own), -1))


def _asked(platform: Platform, name: str, body: bytes) -> dict[str, Any] | None:
    address = f"{platform.target.url}/v2/models/{name}/infer"
    request = urllib.request.Request(address, body, {"authorization": f"Bearer {ADMIN_KEY}"})
    try:
        with urllib.request.urlopen(request) as reply:
            return dict(json.load(reply)["outputs"][0])
    except urllib.error.HTTPError:
        return None


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m bench.imported", description="Measures the import of a folder of models.")
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    return command.run(lambda: [measure()], given.json)


if __name__ == "__main__":
    sys.exit(main())
