"""Imports: folders of models of other frameworks."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlencode

from tandem_sdk.errors import Invalid
from tandem_sdk.runs import Run
from tandem_sdk.wire import API, Wire, read_reply, segment

TAR = "application/x-tar"
FILES, BYTES = 5_000, 2 * 1024**3
"""What the platform takes at once."""
GIT_SECONDS = 5.0
PASSED_OVER = ("__pycache__", "node_modules")


class Imports:
    """`client.imports`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(
        self,
        name: str,
        folder: str | Path,
        *,
        prefix: str = "",
        trust: Sequence[str] = (),
        promote: str = "",
        decision: str = "",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Run:
        """Sends a folder of models, and starts the Run that imports them; returns at once.

        The Run's outputs are `models` (of each `ref`, `framework`, `runtime`, `largest` difference, `promoted`, or the
        `reason` why not), `failed`, and `decision`.

        Args:
            name: of the Run.
            folder: files of scikit-learn, XGBoost, LightGBM, ONNX or PyTorch, directories of MLflow, folders with `model.py`.
            prefix: before the name of each model.
            trust: what may be executed to open them: `pickle`, `torch`, `mlflow`, `python`; the settings trust it too.
            promote: an alias that each version moves to, such as `production`; empty: none.
            decision: of that name, over all models, promoted with them; empty: none.
            on_progress: called with (bytes sent, bytes in all).

        Raises:
            Invalid: there is nothing to send, or too much.
            Forbidden: the settings do not trust what was named.
        """
        source = Path(folder)
        files = files_in(source)
        commit, remote = repository(source)
        words = [("prefix", prefix), ("promote", promote), ("decision", decision), ("commit", commit), ("remote", remote)]
        query = urlencode([(key, word) for key, word in words if word] + [("trusted", word) for word in trust])
        address = f"{API}/imports/{segment(name)}" + (f"?{query}" if query else "")
        with tempfile.TemporaryDirectory() as work:
            bundle = Path(work) / "models.tar"
            with tarfile.open(bundle, "w") as archive:
                for file in files:
                    archive.add(file.resolve(), arcname=file.relative_to(source).as_posix(), recursive=False)
            return read_reply(Run, self._wire.upload(address, bundle, TAR, query=None, on_progress=on_progress))


def files_in(folder: Path) -> tuple[Path, ...]:
    """The files of a folder, in order; hidden ones and caches are left out.

    Raises:
        Invalid: it is no folder, holds nothing, or more than the platform takes.
    """
    if not folder.is_dir():
        raise Invalid(f"{folder} is no folder.", hint="Name the folder that the models lie in.", field="folder")
    found = tuple(
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(_passed_over(part) for part in file.relative_to(folder).parts)
    )
    size = sum(file.stat().st_size for file in found)
    if not found or len(found) > FILES or size > BYTES:
        told = f"{len(found):,} files with {size:,} bytes"
        raise Invalid(f"{folder} holds {told}; 1 to {FILES:,} with {BYTES:,} are imported.", hint="Split it.", field="folder")
    return found


def repository(folder: Path) -> tuple[str, str]:
    """Commit and remote of the git repository that a folder is in; empty where there is none. Secrets in the address are cut."""
    commit, remote = _git(folder, "rev-parse", "HEAD"), _git(folder, "remote", "get-url", "origin")
    scheme, slashes, rest = remote.partition("://")
    return commit, f"{scheme}{slashes}{rest.rpartition('@')[2]}" if slashes else remote


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip()[:500] if said.returncode == 0 else ""


def _passed_over(part: str) -> bool:
    return part.startswith(".") or part in PASSED_OVER
