"""Runs one training in a child process: progress as it comes, killed on cancel, its end mapped to our errors."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from tandem.core.errors import Broken, Conflict, Invalid, NotFound, TandemError, Unavailable
from tandem.jobs.apart import bare_environment
from tandem.training.manifest import Manifest, Spec

POLL = 0.1
"""Seconds between two looks at `cancelled`."""
TAIL = 2_000
"""Characters of the child's last words that an error quotes."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
_KINDS: dict[str, type[TandemError]] = {kind.code: kind for kind in (Invalid, NotFound, Conflict, Broken, Unavailable)}


def run_child(
    spec: Spec,
    outdir: Path,
    progress: Callable[[float, str], None],
    cancelled: Callable[[], bool],
    *,
    python: str = sys.executable,
) -> Manifest:
    """Trains in a child process and returns the manifest; the members lie in `outdir`.

    Args:
        spec: What to train on what.
        outdir: Made if missing; a repeated training replaces what a former one left.
        progress: Called in this thread with a share between 0 and 1 and a stage for people.
        cancelled: Asked about ten times a second; true kills the child at once.
        python: The interpreter that has the `ml` extra.

    Raises:
        Invalid, NotFound: the training was refused; message and hint are the child's.
        Conflict: it was cancelled (code `cancelled`), or the data are not what was ordered.
        Broken: the child died, was killed or left no manifest.
    """
    outdir.mkdir(parents=True, exist_ok=True)
    order = outdir / "spec.json"
    order.write_bytes(spec.to_json())
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [python, "-m", "tandem.training.child", str(order), str(outdir), "--watch-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
            env={**(bare_environment() if spec.trust else os.environ), **dict.fromkeys(THREADS, "1")},
        )
        try:
            refusal = _follow(child, progress, cancelled, spec)
            code = child.wait()
        finally:
            _end(child)
        if refusal is not None:
            raise refusal
        if code != 0:
            raise _death(code, complaints, spec)
    return Manifest.read(outdir)


def _follow(
    child: subprocess.Popen[bytes], progress: Callable[[float, str], None], cancelled: Callable[[], bool], spec: Spec
) -> TandemError | None:
    """Passes progress on until the child closes its output; returns the error it reported."""
    lines: queue.Queue[bytes | None] = queue.Queue()
    assert child.stdout is not None
    reader = threading.Thread(target=_read, args=(child.stdout, lines), daemon=True)
    reader.start()
    refusal: TandemError | None = None
    while True:
        if cancelled():
            raise Conflict(f"The training of {spec.task.name} was cancelled.", code="cancelled")
        try:
            line = lines.get(timeout=POLL)
        except queue.Empty:
            continue
        if line is None:
            reader.join()
            return refusal
        refusal = _take(line, progress) or refusal


def _read(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _take(line: bytes, progress: Callable[[float, str], None]) -> TandemError | None:
    """One line of the child: progress, an error, or something a library printed."""
    try:
        said = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    match said:
        case {"progress": int() | float() as share, "stage": str() as stage}:
            progress(float(share), stage)
        case {"error": {"code": str() as code, "message": str() as message, "hint": hint, "field": field}}:
            return _KINDS.get(code, Broken)(message, hint=hint, field=field)
    return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kills the child's whole session if it still lives, and closes its pipes."""
    if child.poll() is None:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()


def _death(code: int, complaints: IO[bytes], spec: Spec) -> Broken:
    if code < 0:
        return Broken(
            f"The training of {spec.task.name} was killed by signal {-code} ({signal.Signals(-code).name}).",
            hint="A kill from outside is most often the machine running out of memory: use fewer rows or a larger machine.",
        )
    complaints.seek(0)
    last = complaints.read().decode(errors="replace").strip()[-TAIL:]
    return Broken(
        f"The training of {spec.task.name} ended with code {code}: {last or 'it said nothing'}.", hint="Report this fault."
    )
