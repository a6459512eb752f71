"""Room on the disk that a journal keeps for what must still be written when there is none.

A file beside the segments, whose blocks are taken beforehand and given back step by step. It holds no data,
and it knows nothing of records. [door]
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

RESERVE_BYTES = 8 * 1024 * 1024
OWED_BYTES = 2048
"""What the end of a call takes without its content; the reserve holds that of every call a worker may run."""
STEP_BYTES = 128 * 1024
"""What is given back at once: others on the same disk can take little of it, and it lasts for many ends."""
BLOCK_BYTES = 4096
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Where giving back helps; a limit on the size of one file (EFBIG) is none of them."""
WITHOUT = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

take: Callable[[int, int, int], None] | None = getattr(os, "posix_fallocate", None)
"""macOS has no posix_fallocate."""


def reserve_of(folder: Path, boot: str) -> Path:
    """Where the reserve of a worker lies."""
    return folder / f"{boot}.reserve"


def write_zeros(file: int, start: int, size: int) -> None:
    """Takes `size` bytes of the disk from `start` on by writing them.

    Raises:
        OSError: the disk does not have them.
    """
    while size > 0:
        done = os.pwrite(file, bytes(min(size, STEP_BYTES)), start)
        start, size = start + done, size - done


class Reserve:
    """The reserve of one journal, used by its owner's thread only."""

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self._file: int | None = None
        self.left = 0
        """Bytes that can still be given."""
        self.fault: str | None = None
        """Why it is not whole; None while it is."""
        self._fill()

    def fill(self) -> None:
        """Makes it whole again where the disk has the room; takes nothing where it has not all of it."""
        if self.fault is not None:
            self._fill()

    def give(self, need: int) -> bool:
        """Gives room for `need` bytes back to the disk, as far as there is; False when nothing is left."""
        step = -(-(need + BLOCK_BYTES) // STEP_BYTES) * STEP_BYTES
        fewer = max(0, self.left - step)
        if self._file is None or fewer == self.left:
            return False
        try:
            os.ftruncate(self._file, fewer)
        except OSError:
            return False
        self.left = fewer
        self.fault = os.strerror(errno.ENOSPC)
        return True

    def drop(self) -> None:
        """Gives everything back for good."""
        if self._file is not None:
            os.close(self._file)
        with suppress(OSError):  # the mover removes what a worker leaves
            self._path.unlink()
        self._file, self.left, self.fault = None, 0, None

    def _fill(self) -> None:
        missing = self._size - self.left
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < missing:  # asked first: a try that fails takes from others what there is
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            _take(self._file, self.left, missing)
        except OSError as error:
            self.fault = error.strerror or str(error)
            if self._file is not None:
                with suppress(OSError):
                    os.ftruncate(self._file, self.left)
            return
        self.left, self.fault = self._size, None


def _take(file: int, start: int, size: int) -> None:
    if take is not None:
        try:
            take(file, start, size)
            return
        except OSError as error:
            if error.errno not in WITHOUT:
                raise
    write_zeros(file, start, size)
