from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tandem.core.errors import Broken, Conflict, Invalid, NotFound
from tandem.data.digest import content_digest
from tandem.store.lake import Lake
from tandem.training.manifest import DONE, Manifest, Spec
from tandem.training.run import run_child
from tandem.training.task import Task

ROWS = 300


def order(folder: Path, *, rounds: int = 5, target: str = "y", version: int = 0, digest: str | None = None) -> Spec:
    if not (folder / "lake").exists():
        random = np.random.default_rng(1)
        labels = np.arange(ROWS) % 2
        frame = pl.DataFrame({"a": random.normal(size=ROWS) + labels, "b": random.normal(size=ROWS), "y": labels})
        Lake(folder / "lake").write("made", frame)
    task = Task(name="made", dataset="dataset/made@1", target=target, params={"rounds": rounds})
    return Spec(lake=str(folder / "lake"), table="made", version=version, task=task, digest=digest)


def never() -> bool:
    return False


def children() -> set[int]:
    """Process ids of our children, from the kernel's own list."""
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def test_a_training_reports_progress_and_leaves_its_members(tmp_path: Path) -> None:
    seen: list[tuple[float, str]] = []
    got = run_child(order(tmp_path), tmp_path / "out", lambda share, stage: seen.append((share, stage)), never)
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert any("fold 3 of 5" in stage for _, stage in seen)
    assert got == Manifest.read(tmp_path / "out")
    assert got.rows == ROWS
    assert all((tmp_path / "out" / name).is_file() for name in got.members)
    assert not list((tmp_path / "out").rglob("*.part"))


def test_refusals_keep_their_kind_message_hint_and_field(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no target column 'z'") as caught:
        run_child(order(tmp_path, target="z"), tmp_path / "out", lambda share, stage: None, never)
    assert caught.value.field == "target"
    assert "Columns are: a, b, y" in str(caught.value.hint)
    with pytest.raises(NotFound, match="no version 9"):
        run_child(order(tmp_path, version=9), tmp_path / "out", lambda share, stage: None, never)
    assert not (tmp_path / "out" / DONE).exists()


def test_other_content_than_ordered_is_refused(tmp_path: Path) -> None:
    spec = order(tmp_path)
    good = content_digest(Lake(Path(spec.lake)).read("made", 0))
    with pytest.raises(Conflict, match="does not hold the content"):
        run_child(order(tmp_path, digest="sha256:0"), tmp_path / "out", lambda share, stage: None, never)
    assert run_child(order(tmp_path, digest=good), tmp_path / "out", lambda share, stage: None, never).digest == good


def test_cancel_kills_the_child(tmp_path: Path) -> None:
    before = children()
    begun = threading.Event()
    with pytest.raises(Conflict, match="cancelled") as caught:
        run_child(order(tmp_path, rounds=5000), tmp_path / "out", lambda share, stage: begun.set(), begun.is_set)
    assert caught.value.code == "cancelled"
    assert children() == before
    assert not (tmp_path / "out" / DONE).exists()


def test_a_killed_child_is_reported_as_such(tmp_path: Path) -> None:
    before = children()

    def kill(share: float, stage: str) -> None:
        if "fold" in stage:
            for pid in children() - before:
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(Broken, match="killed by signal 9") as caught:
        run_child(order(tmp_path, rounds=5000), tmp_path / "out", kill, never)
    assert "memory" in str(caught.value.hint)


def test_a_child_that_dies_says_why(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'no module named xgboost' >&2\nexit 7\n")
    python.chmod(0o755)
    with pytest.raises(Broken, match="ended with code 7: no module named xgboost"):
        run_child(order(tmp_path), tmp_path / "out", lambda share, stage: None, never, python=str(python))


def test_a_child_that_lies_about_being_done_is_found_out(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'a library says hello'\nexit 0\n")
    python.chmod(0o755)
    with pytest.raises(Broken, match="left no manifest"):
        run_child(order(tmp_path), tmp_path / "out", lambda share, stage: None, never, python=str(python))


def test_a_second_training_replaces_what_a_broken_one_left(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.json").write_text("half")
    (out / DONE).write_text("{}")
    got = run_child(order(tmp_path), out, lambda share, stage: None, never)
    assert got.metrics["roc_auc"].n == ROWS


PARENT = """
import sys
from pathlib import Path
from tandem.training.manifest import Spec
from tandem.training.run import run_child
spec = Spec.from_json(Path(sys.argv[1]).read_bytes())
run_child(spec, Path(sys.argv[2]), lambda share, stage: print(stage, flush=True), lambda: False)
"""


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_bytes(order(tmp_path, rounds=5000).to_json())
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "order.json"), str(tmp_path / "out")], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    for line in parent.stdout:
        if b"fold 1" in line:
            break
    child = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_bytes()
    assert not (tmp_path / "out" / DONE).exists()


def test_the_child_explains_its_usage() -> None:
    got = subprocess.run([sys.executable, "-m", "tandem.training.child"], capture_output=True, text=True, check=False)
    assert got.returncode == 64
    assert "usage" in got.stderr


def test_the_parent_side_needs_no_numeric_library() -> None:
    code = "import sys, tandem.training.run; assert not {'numpy', 'polars', 'sklearn', 'xgboost'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
