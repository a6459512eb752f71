"""Disks that can be filled: a small file system of one's own, where it may be mounted."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A tmpfs at `folder`, e.g. of size `40m`."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)], check=True, capture_output=True
    )
    try:
        yield
    finally:
        if subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@cache
def may_mount() -> bool:
    if os.geteuid() != 0:
        return False
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.suppress(OSError, subprocess.CalledProcessError),
        mounted(Path(folder), "1m"),
    ):
        return True
    return False


def kinds() -> list[str]:
    """The disks a test of a full one may run on, the truest first."""
    return ["mounted", "limited"] if may_mount() else ["limited"]


def fill(folder: Path) -> None:
    """Fills the file system that holds `folder` to the last byte."""
    with (folder / "ballast").open("ab", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while ballast.write(bytes(size)):
                    pass
