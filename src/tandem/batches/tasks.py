"""The durable workflow of a batch: validate → ask, line after line → finish.

Every answer is on the disk, in the batch's own files, before the next line takes its place. So a Run that is resumed
asks only lines without an answer: each line has one answer, whatever dies. A line that was under way when a process
was killed is asked again, and paid again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import msgspec

from tandem.batches.ask import Answered, Sends, ask, failed
from tandem.batches.batches import Batches
from tandem.batches.lines import Checked, Problem, check_all, read_line, subject_of
from tandem.batches.repo import Batch, End
from tandem.batches.sealed import Appender, Piece, extent, pieces
from tandem.core.errors import Conflict, Invalid, Unavailable
from tandem.core.principal import Principal
from tandem.governance.authorise import ALL
from tandem.jobs.job import Job, Work

BATCHES_AT_ONCE = 4
"""Batches that are asked at the same time; the others wait in order."""
AT_ONCE = 16
"""Lines of one batch that are under way at the same time."""
GRACE_SECONDS = 5.0
"""How long lines that are under way may go on when their batch has to end."""
LOOK_SECONDS = 1.0
"""How often it is looked whether the key still stands."""
TELL_SECONDS = 0.5
"""Between two writes of how far it is."""

Cause = Literal["whole", "expired", "revoked"]
ENDS: Mapping[Cause, End] = {"whole": "completed", "expired": "expired", "revoked": "failed"}
ERASED = ("subject_erased", "Whom this line was about was erased; it was not sent.")
CUT = ("batch_cancelled", "The batch was cancelled while this line was under way; whether it was answered is not known.")
WHY: Mapping[Cause, tuple[str, str]] = {
    "expired": ("batch_expired", "This request was not asked before the batch's time was over."),
    "revoked": ("key_revoked", "The key that created this batch was revoked or has expired; this request was not sent."),
}


class Noted(msgspec.Struct, frozen=True):
    """Why the asking ended, as the Run keeps it."""

    cause: Cause


def make_batch(batches: Batches, sends: Sends, holds: Callable[[Principal], bool]) -> Work:
    """The workflow `batch`. Its Run's outputs are `batch`, `completed`, `failed`, and the ids of the files.

    Args:
        holds: whether a principal's key may still be used.
    """

    def work(job: Job) -> Mapping[str, object]:
        batch = batches.rows.find(str(job.inputs.get("batch")), ALL)
        job.progress(0.0, "looking at the lines")
        checked = job.step("validate", lambda: _validate(batches, batch), Checked)
        if checked.faulty:
            job.step("refuse", lambda: batches.finish(batch.id, "failed"), Batch)
            raise Invalid(
                f"{checked.faulty} of {checked.total} lines are wrong; nothing was sent.",
                hint=f"`tandem batch show {batch.id}` tells which.",
            )
        asking = Asking(batches=batches, sends=sends, holds=holds, job=job, batch=batches.rows.find(batch.id, ALL))
        cause = job.step("ask", asking, Noted).cause
        job.progress(0.99, "writing the answers down")
        batch = job.step("finish", lambda: _finish(batches, batch.id, cause), Batch)

        if cause != "whole":
            code, message = WHY[cause]
            raise Conflict(f"{message} {batch.completed} of {batch.total} were answered.", code=code)
        return {
            "batch": batch.id,
            "completed": batch.completed,
            "failed": batch.failed,
            **({"output_file": batch.output_file} if batch.completed else {}),
            **({"error_file": batch.error_file} if batch.failed else {}),
        }

    return work


def _validate(batches: Batches, batch: Batch) -> Checked:
    checked = check_all(batches.files.lines(batch.input_file), batch.endpoint)
    if checked.faulty:
        batches.rows.refuse(batch.id, checked.problems, checked.total)
    else:
        batches.rows.begin(batch.id, batches.clock.now(), checked.total)
    return checked


def _finish(batches: Batches, identifier: str, cause: Cause) -> Batch:
    if cause == "revoked":
        code, message = WHY[cause]
        batches.rows.refuse(identifier, [Problem(code=code, message=message)], batches.rows.find(identifier, ALL).total)
    return batches.finish(identifier, ENDS[cause])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """A line without an answer yet."""

    number: int
    line: bytes | None
    """None where its subject was erased."""

    @property
    def custom_id(self) -> str | None:
        return None if self.line is None else read_line(self.line).custom_id


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnderWay:
    line: _Open
    begun: int


@dataclass(slots=True, kw_only=True)
class Asking:
    """Asks what has no answer yet. The thread that calls it is the only one that writes; others wait at the door."""

    batches: Batches
    sends: Sends
    holds: Callable[[Principal], bool]
    job: Job
    batch: Batch
    _completed: int = 0
    _failed: int = 0
    _looked: float = float("-inf")
    _told: float = float("-inf")
    _over: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> Noted:
        """Asks until nothing is left to ask, or it has to end.

        Raises:
            Conflict: the Run was told to end.
        """
        outputs, errors = (self.batches.files.path(name) for name in (self.batch.output_file, self.batch.error_file))
        good, bad = extent(outputs), extent(errors)
        self._completed, self._failed = len(good.numbers), len(bad.numbers)
        left = self._left(good.numbers | bad.numbers)
        into = {True: Appender(outputs, good.end), False: Appender(errors, bad.end)}
        under_way: dict[Future[Answered], _UnderWay] = {}
        try:
            cause = self._ask(left, under_way, into)
            if cause == "whole":
                return Noted(cause)
            self._cut(under_way, into, WHY[cause])
            while some := list(islice(left, AT_ONCE)):
                rest = [(line, failed(line.custom_id, *WHY[cause]), self.batches.clock.now()) for line in some]
                self._record(rest, into)
            return Noted(cause)
        finally:
            self._over.set()
            for file in into.values():
                file.close()

    def _ask(
        self,
        left: Iterator[_Open],
        under_way: dict[Future[Answered], _UnderWay],
        into: Mapping[bool, Appender],
    ) -> Cause:
        """The loop: as many lines under way as may be, every answer recorded before another line takes its place."""
        while True:
            if self.job.cancelled():
                self._end(under_way, into)
            cause = self._over_by()
            if cause != "whole":
                return cause
            now = self.batches.clock.now()
            for line in islice(left, AT_ONCE - len(under_way)):
                under_way[self._begin(line)] = _UnderWay(line=line, begun=now)
            if not under_way:
                return "whole"
            done, _ = wait(under_way, timeout=0.25, return_when=FIRST_COMPLETED)
            self._take(done, under_way, into)

    def _over_by(self) -> Cause:
        """Why no further line may be asked; `whole` where nothing stands against it."""
        now = self.batches.clock.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return "whole"
        self._looked = now
        if self.batches.clock.now() >= self.batch.expires_at:
            return "expired"
        try:
            return "whole" if self.holds(self.batch.by) else "revoked"
        except Unavailable:  # a busy database says nothing about the key
            return "whole"

    def _left(self, known: frozenset[int]) -> Iterator[_Open]:
        for piece in pieces(self.batches.files.path(self.batch.input_file)):
            if piece.number in known:
                continue
            line = self.batches.files.read(piece)
            if line is None or line.strip():
                yield _Open(number=piece.number, line=line)

    def _begin(self, line: _Open) -> Future[Answered]:
        """Asks in a thread of its own, for which a process that ends does not wait."""
        future: Future[Answered] = Future()

        def work() -> None:
            try:
                future.set_result(self._one(line))
            except BaseException as error:  # noqa: BLE001  # it is raised where the answer is taken
                future.set_exception(error)

        threading.Thread(target=work, name="batch", daemon=True).start()
        return future

    def _one(self, line: _Open) -> Answered:
        if line.line is None:
            return failed(None, *ERASED)
        request = read_line(line.line)
        return ask(self.sends, request, self.batch.by, self.batch.id, lambda seconds: not self._over.wait(seconds))

    def _take(
        self, done: set[Future[Answered]], under_way: dict[Future[Answered], _UnderWay], into: Mapping[bool, Appender]
    ) -> None:
        """Records what was answered, and lets go of it."""
        if not done:
            return
        found = []
        for future in done:
            asked = under_way[future]
            found.append((asked.line, future.result(), asked.begun))
        self._record(found, into)
        for future in done:
            del under_way[future]

    def _record(self, found: list[tuple[_Open, Answered, int]], into: Mapping[bool, Appender]) -> None:
        """Writes answers down; waits for room where the disk has none.

        Raises:
            Unavailable: the Run was told to end while there was no room.
        """
        for good, file in into.items():
            some = [each for each in found if each[1].good == good]
            while some:
                try:
                    file.add([self._sealed(*each) for each in some])
                    break
                except Unavailable:
                    if self.job.cancelled():
                        raise
                    threading.Event().wait(1.0)
            self._completed, self._failed = (
                (self._completed + len(some), self._failed) if good else (self._completed, self._failed + len(some))
            )
        self._tell()

    def _sealed(self, line: _Open, answered: Answered, begun: int) -> Piece:
        """An answer, sealed under the key of whoever the line is about; nothing of one that was erased meanwhile."""
        otherwise = f"principal:{self.batch.by.name}"
        subject = otherwise if line.line is None else subject_of(line.line, otherwise)
        return self.batches.files.seal(line.number, answered.line, subject, begun=begun)

    def _tell(self) -> None:
        done, total = self._completed + self._failed, max(1, self.batch.total)
        stage = f"{self.batch.total} requests" + (f", {self._failed} failed" if self._failed else "")
        self.job.progress(0.02 + 0.96 * done / total, stage)
        now = self.batches.clock.monotonic()
        if now - self._told < TELL_SECONDS:
            return
        self._told = now
        with suppress(Unavailable):  # the files tell how far it is; this is for who looks
            self.batches.rows.progress(self.batch.id, self._completed, self._failed)

    def _cut(self, under_way: dict[Future[Answered], _UnderWay], into: Mapping[bool, Appender], why: tuple[str, str]) -> None:
        """Lets what is under way end, for a moment; what does not is written down as failed."""
        self._over.set()  # no line is tried again
        wait(under_way, timeout=GRACE_SECONDS)
        self._take({future for future in under_way if future.done()}, under_way, into)
        rest = [(asked.line, failed(asked.line.custom_id, *why), asked.begun) for asked in under_way.values()]
        self._record(rest, into)
        under_way.clear()

    def _end(self, under_way: dict[Future[Answered], _UnderWay], into: Mapping[bool, Appender]) -> None:
        """Ends because the Run was told to; what was answered by then is kept.

        Raises:
            Conflict: always.
        """
        match self.job.halted():
            case "cancelled":
                self._cut(under_way, into, CUT)
            case "stopping":  # whoever goes on asks the rest again
                wait(under_way, timeout=GRACE_SECONDS)
                self._take({future for future in under_way if future.done()}, under_way, into)
            case _:  # another one has the files in hand
                pass
        raise Conflict("The batch was told to end.", code="cancelled")
