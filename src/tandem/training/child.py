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

from tandem.core.errors import Conflict, TandemError
from tandem.data.digest import content_digest
from tandem.store.lake import Lake
from tandem.training.fit import Fitted, fit
from tandem.training.manifest import DONE, Manifest, Spec

REFUSED, ORPHANED = 2, 3


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
        _say({"error": {"code": error.code, "message": error.message, "hint": error.hint, "field": error.field}})
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
    fitted = fit(spec.task, frame, _report)
    return write(fitted, spec, directory)


def write(fitted: Fitted, spec: Spec, directory: Path) -> Manifest:
    """Puts every member in place whole, then the manifest; what a former attempt left is replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / DONE).unlink(missing_ok=True)
    manifest = Manifest(
        members={name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in sorted(fitted.members.items())},
        dataset=spec.task.dataset,
        digest=fitted.oof.digest,
        target=spec.task.target,
        rows=len(fitted.oof.rows),
        metrics=fitted.metrics,
        signature=fitted.signature,
        classes=fitted.classes,
        threshold=spec.task.threshold,
        runtime=fitted.runtime,
        parity=fitted.parity,
        importances=fitted.importances,
        environment=fitted.environment,
    )
    for name, content in fitted.members.items():
        _place(directory / name, content)
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
