"""What a child process prints: read as it comes, bounded, and cut where each step ends. It knows no step."""

from __future__ import annotations

import threading
from typing import IO

HEAD, TAIL = 16 * 1024, 48 * 1024
"""Bytes that are kept of what one step prints: its beginning and its end."""
WAIT_SECONDS = 2.0
"""For what a child has written and this process has not read yet."""


class Log:
    """Reads a stream in a thread of its own, until it ends."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._held, self._left_out, self._over = stream, bytearray(), 0, False
        self._news = threading.Condition()
        threading.Thread(target=self._read, name="pipeline-log", daemon=True).start()

    def cut(self, mark: bytes) -> str:
        """All that was printed since the last cut, up to the mark, or to the end of the stream."""
        with self._news:
            self._news.wait_for(lambda: self._over or mark in self._held, WAIT_SECONDS)
            piece, _, rest = bytes(self._held).partition(mark)
            left_out, self._held, self._left_out = self._left_out, bytearray(rest), 0
        gap = f"\n… {left_out} bytes left out …\n".encode() if left_out else b""
        text = piece if not left_out else piece[:HEAD] + gap + piece[HEAD:]
        return text.decode(errors="replace").replace("\0", "\ufffd")

    def _read(self) -> None:
        while piece := self._stream.read1(1 << 16):  # type: ignore[attr-defined]  # a buffered pipe has it
            with self._news:
                self._held += piece
                spare = len(self._held) - HEAD - TAIL
                if spare > 0:
                    del self._held[HEAD : HEAD + spare]
                    self._left_out += spare
                self._news.notify_all()
        self._stream.close()
        with self._news:
            self._over = True
            self._news.notify_all()
