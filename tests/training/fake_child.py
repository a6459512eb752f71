"""Stands in for `python -m tandem.training.child`: same words in and out, no numeric library.

The task's seed says how it behaves: 13 hangs, 14 is refused, 15 dies, 16 kills its parent
the first time, any other trains in no time. Every start
adds a line to `trainings.txt`, and its order to `specs.jsonl`, beside the lake.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from pathlib import Path

import msgspec

from tandem.core.score import Estimate
from tandem.serving.signature import Field, Signature
from tandem.training.manifest import DONE, Manifest, Parity, Spec


def say(line: dict[str, object]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def main(order: Path, folder: Path) -> int:
    spec = Spec.from_json(order.read_bytes())
    with (Path(spec.lake).parent / "trainings.txt").open("a") as log:
        first = log.tell() == 0
        log.write(f"{os.getpid()}\n")
    with (Path(spec.lake).parent / "specs.jsonl").open("ab") as kept:
        kept.write(spec.to_json() + b"\n")
    say({"progress": 0.5, "stage": "fold 1 of 2"})
    match spec.task.seed:
        case 13:
            threading.Event().wait(60)
        case 14:
            say(
                {
                    "error": {
                        "code": "invalid",
                        "message": "The target has one value.",
                        "hint": "Choose another.",
                        "field": "target",
                    }
                }
            )
            return 2
        case 15:
            os.kill(os.getpid(), signal.SIGKILL)
        case 16 if first:
            os.kill(os.getppid(), signal.SIGKILL)
            return 3
    members = {"model.onnx": b"weights of seed %d" % spec.task.seed, "oof.json": b"{}", "plots/roc.png": b"PNG"}
    if spec.network is not None:  # the network's files go into the model
        members |= {path.name: path.read_bytes() for path in Path(spec.network).iterdir()}
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    manifest = Manifest(
        members={name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in members.items()},
        dataset=spec.task.dataset,
        digest=spec.digest or "",
        target=spec.task.target,
        rows=3,
        metrics={"roc_auc": Estimate(value=0.9, low=0.8, high=0.95, n=3)},
        signature=Signature(fields=(Field(name="size"),)),
        classes=("a", "b"),
        threshold=spec.task.threshold,
        runtime="onnx",
        parity=Parity(held=True, reason="same", rows=3, tolerance=1e-6, largest=0.0, changed=0),
        importances={"size": 1.0},
        environment={"python": "3", "numpy": "2"},
    )
    (folder / DONE).write_bytes(msgspec.json.encode(manifest))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[3]), Path(sys.argv[4])))
