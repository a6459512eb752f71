"""One training in a process of its own: `python -m tandem.training.child SPEC.json OUTDIR [--watch-parent]`.

Prints JSON lines: `{"progress": 0.5, "stage": "fold 3 of 5"}`, and on failure one
`{"error": {"code": …, "message": …, "hint": …, "field": …}}`. Writes the model's members into OUTDIR, each put in
place whole, and the manifest `done.json` last. Exit codes: 0 done, 2 refused (the error line says why), 3 the
parent is gone, anything else a fault. With `--watch-parent`, the end of standard input means that the parent died.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path

import msgspec
import polars as pl

from tandem.core.errors import Conflict, TandemError
from tandem.data.digest import content_digest
from tandem.evaluation.latency import measure
from tandem.store.lake import IMAGES, Lake
from tandem.training.fit import Fitted, fit
from tandem.training.manifest import DONE, Manifest, Spec
from tandem.training.pictures import see
from tandem.training.recommend import recommend
from tandem.training.windows import windowed

REFUSED, ORPHANED = 2, 3
TRIALS = "trials.jsonl"
"""Where finished trials of a search are kept, so that a repeated training goes on from them."""


def main(arguments: list[str]) -> int:
    """Runs one training; see the module."""
    if len(arguments) not in (2, 3) or arguments[2:] not in ([], ["--watch-parent"]):
        print("usage: python -m tandem.training.child SPEC.json OUTDIR [--watch-parent]", file=sys.stderr)
        return 64
    if arguments[2:]:
        threading.Thread(target=_watch, daemon=True).start()
    try:
        train(Spec.from_json(Path(arguments[0]).read_bytes()), Path(arguments[1]))
    except TandemError as error:
        _say({"error": {"code": error.code, "message": error.said, "hint": error.hint, "field": error.field}})
        return REFUSED
    return 0


def train(spec: Spec, directory: Path) -> Manifest:
    """Reads the dataset, fits, and writes the members and the manifest into `directory`.

    Raises:
        Conflict: the table does not hold the content that was ordered.
        NotFound: no such table or version.
        Invalid: see `tandem.training.fit.fit`.
    """
    _report(0.0, "reading the dataset")
    frame = Lake(Path(spec.lake)).read(spec.table, spec.version)
    if spec.digest is not None and content_digest(frame) != spec.digest:
        raise Conflict(
            f"Table '{spec.table}' at version {spec.version} does not hold the content of {spec.task.dataset}.",
            hint="The lake was changed outside the platform; add the dataset again.",
        )
    directory.mkdir(parents=True, exist_ok=True)
    if spec.task.task == "recommendation":
        return write(recommend(spec.task, frame, _report), spec, frame, directory)
    if spec.task.signal is not None:
        windows = windowed(spec.task, frame)
        fitted = fit(windows.task, windows.frame, _report, trials=directory / TRIALS, windows=windows)
        return write(fitted, spec, windows.sample, directory)
    network = None if spec.network is None else Path(spec.network)
    seen = see(spec.task, frame, Path(spec.lake, IMAGES), network, _report, spec.trust) if spec.images else None
    fitted = fit(spec.task, frame, _report, trials=directory / TRIALS, seen=seen, compute=spec.compute)
    return write(fitted, spec, frame, directory)


def write(fitted: Fitted, spec: Spec, frame: pl.DataFrame, directory: Path) -> Manifest:
    """Puts every member in place whole, measures how fast they answer, then writes the manifest.

    What a former attempt left is replaced.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / DONE).unlink(missing_ok=True)
    for name, content in fitted.members.items():
        _place(directory / name, content)
    manifest = Manifest(
        members={name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in sorted(fitted.members.items())},
        dataset=spec.task.dataset,
        digest=fitted.oof.digest,
        target=spec.task.target,
        rows=len(fitted.oof.rows),
        metrics=fitted.metrics,
        signature=fitted.signature,
        classes=fitted.classes,
        threshold=fitted.threshold,
        runtime=fitted.runtime,
        parity=fitted.parity,
        importances=fitted.importances,
        environment=fitted.environment,
        latency=measure(directory, frame, fitted.signature, spec.trust, Path(spec.lake, IMAGES)),
        task=fitted.oof.task,
        algorithm=fitted.algorithm,
        warnings=fitted.warnings,
        calibration=fitted.calibration,
        params=fitted.params,
        tuning=fitted.tuning,
        beyond=fitted.beyond,
    )
    _place(directory / DONE, msgspec.json.encode(manifest))
    return manifest


def _place(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _report(share: float, stage: str) -> None:
    _say({"progress": round(share, 4), "stage": stage})


def _say(line: dict[str, object]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def _watch() -> None:
    """A child must not outlive the parent that would take its result: a second one might write the same place."""
    while os.read(0, 1024):  # not sys.stdin: a daemon thread holding its lock breaks the interpreter's exit
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
