"""Batches: files of requests that are asked in their own time, and the files of answers they leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tandem_sdk.errors import NotFound, RunFailed, TimedOut
from tandem_sdk.wire import Wire, read_reply, segment

CHAT = "/v1/chat/completions"
PAGE = 100
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Requests of a batch: all of them, those with an answer, those that failed."""

    total: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with a batch or a line of it."""

    code: str = ""
    message: str = ""
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problems:
    """Why a batch failed as a whole."""

    data: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Requests of one file for one endpoint, asked in a Run. Times are Unix seconds."""

    id: str
    run: str = ""
    endpoint: str = ""
    status: str = "validating"
    """`validating`, `in_progress`, `finalizing`, `cancelling`, `completed`, `failed`, `expired` or `cancelled`."""
    input_file_id: str = ""
    output_file_id: str | None = None
    """The answers; None while there are none."""
    error_file_id: str | None = None
    """The requests that failed."""
    request_counts: Counts = field(default_factory=Counts)
    errors: Problems | None = None
    metadata: Mapping[str, str] | None = None
    created_at: int = 0
    expires_at: int = 0

    @property
    def done(self) -> float:
        """How far it is, between 0 and 1."""
        counts = self.request_counts
        return (counts.completed + counts.failed) / counts.total if counts.total else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A file that was sent."""

    id: str
    bytes: int = 0
    filename: str = ""
    expires_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    data: tuple[Batch, ...] = ()


class Batches:
    """`client.batches`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def create(
        self,
        file: str | Path,
        *,
        endpoint: str = CHAT,
        metadata: Mapping[str, str] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Batch:
        """Sends a JSONL file of requests and starts to ask them; returns when the file is there.

        Args:
            file: each line is `{"custom_id": …, "method": "POST", "url": ENDPOINT, "body": {…}}`.
            endpoint: where all of them go.
            metadata: up to 16 texts by name, kept with the batch.
            on_progress: called with (bytes sent, bytes in all).

        Raises:
            Invalid: the file cannot be read, or is too large.
        """
        form = {"purpose": "batch"}
        sent = read_reply(Sent, self._wire.upload_form("/v1/files", Path(file), form, on_progress))
        body: dict[str, object] = {"input_file_id": sent.id, "endpoint": endpoint, "completion_window": "24h"}
        if metadata is not None:
            body["metadata"] = dict(metadata)
        return read_reply(Batch, self._wire.send("POST", "/v1/batches", body, once=True))

    def list(self, limit: int = 20) -> tuple[Batch, ...]:
        """The newest batches first; at most a hundred."""
        return read_reply(_Page, self._wire.get("/v1/batches", {"limit": min(limit, PAGE)})).data

    def show(self, id: str) -> Batch:
        """One batch.

        Raises:
            NotFound: there is none.
        """
        return read_reply(Batch, self._wire.get(f"/v1/batches/{segment(id)}"))

    def cancel(self, id: str) -> Batch:
        """Asks a batch to end; what was answered by then is kept.

        Raises:
            Conflict: it has ended.
        """
        return read_reply(Batch, self._wire.send("POST", f"/v1/batches/{segment(id)}/cancel"))

    def output(self, id: str, into: BinaryIO, *, errors: bool = False) -> int:
        """Writes the answers, or the requests that failed, as JSONL; returns the bytes.

        Raises:
            NotFound: there are none, or not yet.
        """
        batch = self.show(id)
        file = batch.error_file_id if errors else batch.output_file_id
        if file is None:
            what = "no request that failed" if errors else "no answer"
            raise NotFound(f"The batch {id} is {batch.status} and has {what}.", hint=f"`tandem batch show {id}` tells more.")
        count = 0
        with self._wire.download(f"/v1/files/{segment(file)}/content") as pieces:
            for piece in pieces:
                count += into.write(piece)
        return count

    def wait(
        self, id: str, on_progress: Callable[[Batch], None] | None = None, *, seconds: float | None = None, every: float = 0.5
    ) -> Batch:
        """Waits until a batch has ended well; single requests may have failed.

        Args:
            id: the batch.
            on_progress: called with the batch each time it was looked at.
            seconds: the longest wait; None waits as long as it takes.
            every: seconds between two looks.

        Raises:
            RunFailed: it failed, expired or was cancelled; the message says why.
            TimedOut: it has not ended in `seconds`; it goes on.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            batch = self.show(id)
            if on_progress is not None:
                on_progress(batch)
            if batch.status == "completed":
                return batch
            if batch.status in ENDED:
                first = batch.errors.data[0].message if batch.errors is not None and batch.errors.data else "It ended early."
                raise RunFailed(f"The batch {id} is {batch.status}: {first}", hint=f"`tandem batch show {id}` tells more.")
            if deadline is not None and time.monotonic() >= deadline:
                raise TimedOut(
                    f"The batch {id} is still {batch.status}; it goes on.", hint=f"`tandem batch show {id}` looks again."
                )
            time.sleep(every)
