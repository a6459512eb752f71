"""Reads a decision's types before it is published, in a process of its own: publishing must not run a user's code here."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from tandem.core.errors import Invalid
from tandem.decisions.worker import SOURCE
from tandem.jobs.apart import bare_environment

SECONDS = 20.0
SOURCE_BYTES = 1024 * 1024
WORKER = "tandem.decisions.worker"


def describe(source: bytes, entry: str, *, module: str = WORKER, python: str = sys.executable) -> dict[str, Any]:
    """JSON Schemas of a decision's input and output: `{"input": …, "output": …}`.

    Args:
        module: what describes it in the other process; a pipeline has its own, which tells its steps and parameters.

    Raises:
        Invalid: the source cannot be imported, has no such function, or its types have no JSON form.
    """
    if len(source) > SOURCE_BYTES:
        raise Invalid(f"The source has {len(source)} bytes; {SOURCE_BYTES} are allowed.", field="source")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, SOURCE).write_bytes(source)
        command = [python, "-m", module, "--describe", folder, entry]
        try:
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, env=bare_environment())
        except subprocess.TimeoutExpired:
            raise Invalid(
                f"Importing the source took longer than {SECONDS:g} s.", hint="Do no work at import time.", field="source"
            ) from None
    try:
        told: dict[str, Any] = msgspec.json.decode(done.stdout)
    except msgspec.DecodeError:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise Invalid(f"The source cannot be read: {last[0]}", field="source") from None
    error = told.get("error")
    if error is not None:
        raise Invalid(error["message"], hint=error["hint"], field=error["field"] or "source")
    return told
