"""Batches against a door made of a function: retries, ends, and what is left when a process dies in the middle."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tandem.batches import tasks
from tandem.batches.batches import KIND, Batches, Wanted
from tandem.batches.files import Files
from tandem.batches.repo import Batch, BatchRows, FileRows, Page
from tandem.core.clock import MICROS, FixedClock
from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable, Unreachable
from tandem.core.principal import Principal
from tandem.gateway.inside import Replied
from tandem.governance.authorise import ALL
from tandem.jobs.fake import InlineJobs
from tandem.jobs.job import Halted
from tandem.jobs.repo import Runs
from tandem.observability.content import Subjects
from tandem.store.sql import Sql, metadata
from tandem.store.vault import Vault

ANN = Principal(id="key_1", name="ann", team="risk", role="viewer", scopes=("any-version",))
EVE = Principal(id="key_2", name="eve", team="sales", role="approver")
BEN = Principal(id="key_3", name="ben", team="risk", role="viewer")
CHAT = "/v1/chat/completions"

Say = Callable[[str], Replied]


def said(text: str = "well", status: int = 200, retry_after: float | None = None) -> Replied:
    return Replied(status=status, body=json.dumps({"text": text}, indent=1).encode(), trace="trc_1", retry_after=retry_after)


def refused(status: int, code: str) -> Replied:
    return Replied(status=status, body=json.dumps({"error": {"code": code}}).encode(), trace="trc_1", retry_after=0.0)


def line(custom_id: str, **more: Any) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": custom_id}], **more}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}).encode() + b"\n"


@dataclass
class Door:
    """Answers by a function of the request's content; remembers what was asked."""

    say: Say
    asked: list[str] = field(default_factory=list)
    by: set[Principal] = field(default_factory=set)

    def send(self, path: str, body: bytes, by: Principal, *, batch: str) -> Replied:
        text = json.loads(body)["messages"][0]["content"]
        self.asked.append(text)
        self.by.add(by)
        return self.say(text)


class Place:
    """Stores, and jobs that are done at once."""

    def __init__(self, home: Path, say: Say) -> None:
        self.clock, self.door, self.holds = FixedClock(), Door(say), True
        self.sql = Sql(f"sqlite:///{home / 'control.db'}")
        with self.sql.write() as conn:
            metadata.create_all(conn)
        self.runs, self.subjects = Runs(self.sql, self.clock), Subjects(home / "subjects.db", Vault(bytes(32)))
        rows = BatchRows(self.sql)
        self.files = Files(folder=home / "files", rows=FileRows(self.sql), batches=rows, subjects=self.subjects, clock=self.clock)
        self.jobs = InlineJobs(self.runs, self.clock)
        self.batches = Batches(rows=rows, files=self.files, runs=self.runs, jobs=self.jobs, clock=self.clock)
        self.work = tasks.make_batch(self.batches, self.door, lambda by: self.holds)
        self.jobs.register(KIND, self.work, at_once=1)

    def sent(self, *lines: bytes, by: Principal = ANN) -> str:
        with self.files.receive(by) as upload:
            upload.feed(b"".join(lines))
            return upload.keep("a.jsonl", 86_400).id

    def done(self, *lines: bytes) -> Batch:
        return self.batches.create(Wanted(input_file=self.sent(*lines), endpoint=CHAT), ANN)

    def rows(self, file: str) -> list[Any]:
        return [json.loads(text) for _, text in self.files.lines(file) if text is not None]

    def close(self) -> None:
        self.subjects.close()
        self.sql.close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(tasks, "GRACE_SECONDS", 0.2)
    made = Place(tmp_path, lambda text: said())
    yield made
    made.close()


def test_every_line_is_asked_in_the_name_and_with_the_rights_of_its_sender(place: Place) -> None:
    batch = place.done(*[line(str(number)) for number in range(40)])
    assert (batch.status, batch.total, batch.completed, batch.failed) == ("completed", 40, 40, 0)
    assert sorted(place.door.asked, key=int) == [str(number) for number in range(40)]
    assert place.door.by == {ANN}
    answers = place.rows(batch.output_file)
    assert {row["custom_id"] for row in answers} == {str(number) for number in range(40)}
    assert answers[0]["response"] == {"status_code": 200, "request_id": "trc_1", "body": {"text": "well"}}
    assert not place.files.path(batch.error_file).exists()
    run = place.runs.find(batch.run, ALL)
    assert (run.kind, run.state, run.outputs["output_file"]) == ("batch", "succeeded", batch.output_file)
    assert b"well" not in place.files.path(batch.output_file).read_bytes()  # sealed


def test_an_answer_that_is_no_json_is_kept_as_text(place: Place) -> None:
    place.door.say = lambda text: Replied(status=502, body=b"<html>\n\xff", trace="t", retry_after=None)
    batch = place.done(line("1"))
    assert place.rows(batch.error_file)[0]["response"]["body"] == "<html>\n\ufffd"


def test_what_may_fare_better_is_asked_again_and_what_may_not_is_not(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.batches.ask.LONGEST_WAIT", 0.0)
    left = {"busy": 3, "away": 2, "always": 99, "poor": 99}

    def say(text: str) -> Replied:
        if left.get(text, 0):
            left[text] -= 1
            if text == "away":
                raise Unreachable("The door did not answer.")
            return refused(429, "over_budget") if text == "poor" else refused(503, "unavailable")
        return said()

    place.door.say = say
    batch = place.done(*map(line, ("busy", "away", "always", "poor", "fine")))
    times = {text: place.door.asked.count(text) for text in set(place.door.asked)}
    assert times == {"busy": 4, "away": 3, "always": 8, "poor": 1, "fine": 1}
    assert {row["custom_id"] for row in place.rows(batch.output_file)} == {"busy", "away", "fine"}
    told = {row["custom_id"]: row["response"]["body"]["error"]["code"] for row in place.rows(batch.error_file)}
    assert told == {"always": "unavailable", "poor": "over_budget"}


def test_a_door_that_stays_away_fails_the_line_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.batches.ask.LONGEST_WAIT", 0.0)

    def say(text: str) -> Replied:
        if text == "away":
            raise Unreachable("The door did not answer.")
        return said()

    place.door.say = say
    batch = place.done(line("away"), line("fine"))
    assert (batch.completed, batch.failed) == (1, 1)
    assert place.rows(batch.error_file)[0]["error"]["code"] == "unreachable"


class Died(BaseException):
    """The process is gone: nothing after this runs."""


def test_a_run_that_goes_on_asks_only_what_has_no_answer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line(str(number)) for number in range(50)]
    recorded = tasks.Asking._record
    count = 0

    def dying(self: tasks.Asking, found: Any, into: Any) -> None:
        nonlocal count
        recorded(self, found, into)
        count += len(found)
        if count >= 20:
            raise Died

    monkeypatch.setattr(tasks.Asking, "_record", dying)
    with pytest.raises(Died):
        place.done(*lines)
    monkeypatch.undo()
    (batch,) = place.batches.list(Page(), ANN)
    assert batch.status == "in_progress"
    answered = {row["custom_id"] for row in place.rows(batch.output_file)}
    assert 20 <= len(answered) < 50
    with place.files.path(batch.output_file).open("ab") as file:
        file.write(b"\0\0\1")  # half a record
    place.door.asked.clear()
    place.jobs.start(KIND, batch.run, {"batch": batch.id})
    batch = place.batches.find(batch.id, ANN)
    assert (batch.status, batch.completed) == ("completed", 50)
    assert not answered & set(place.door.asked)
    ids = [row["custom_id"] for row in place.rows(batch.output_file)]
    assert sorted(ids, key=int) == [str(number) for number in range(50)]


def test_a_batch_that_is_cancelled_keeps_its_answers(place: Place) -> None:
    def say(text: str) -> Replied:
        if len(place.door.asked) == 20:
            (run,) = place.runs.list(ALL)
            place.jobs.cancel(run.id)
        return said()

    place.door.say = say
    batch = place.done(*[line(str(number)) for number in range(200)])
    assert batch.status == "in_progress"  # nobody has looked since
    batch = place.batches.find(batch.id, ANN)
    assert (batch.status, batch.failed) == ("cancelled", 0)
    assert 20 <= batch.completed < 200
    assert batch.cancelling_at is not None
    assert place.batches.cancel(batch.id, ANN) == batch
    assert place.files.find(batch.output_file, ANN).purpose == "batch_output"


def test_a_line_that_hangs_does_not_hold_a_cancelled_batch(place: Place) -> None:
    release = threading.Event()

    def say(text: str) -> Replied:
        if text == "hangs":
            (run,) = place.runs.list(ALL)
            place.jobs.cancel(run.id)
            release.wait(20)
        return said()

    place.door.say = say
    made = place.done(line("hangs"), line("fine"))
    release.set()
    batch = place.batches.find(made.id, ANN)
    assert batch.status == "cancelled"
    assert [row["error"]["code"] for row in place.rows(batch.error_file)] == ["batch_cancelled"]


@pytest.mark.parametrize(("why", "status", "code"), [("time", "expired", "batch_expired"), ("key", "failed", "key_revoked")])
def test_what_is_not_asked_in_time_or_without_a_key_is_told_line_by_line(place: Place, why: str, status: str, code: str) -> None:
    def say(text: str) -> Replied:
        if len(place.door.asked) == 30:
            place.clock.advance(90_000 if why == "time" else 2)
            place.holds = why != "key"
        return said()

    place.door.say = say
    batch = place.done(*[line(str(number)) for number in range(100)])
    assert (batch.status, batch.total, batch.completed + batch.failed) == (status, 100, 100)
    assert batch.failed > 0
    assert {row["error"]["code"] for row in place.rows(batch.error_file)} == {code}
    rows = place.rows(batch.output_file) + place.rows(batch.error_file)
    assert sorted((row["custom_id"] for row in rows), key=int) == [str(number) for number in range(100)]
    assert [problem.code for problem in batch.problems] == ([code] if why == "key" else [])
    run = place.runs.find(batch.run, ALL)
    assert run.state == "failed"
    assert f"{batch.completed} of 100 were answered" in (run.reason or "")


def test_a_disk_without_room_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    add, full = tasks.Appender.add, 2

    def scarce(self: tasks.Appender, records: Any, *, sync: bool = True) -> None:
        nonlocal full
        if full and sync:
            full -= 1
            raise Unavailable("The disk is full.")
        add(self, records, sync=sync)

    monkeypatch.setattr(tasks.Appender, "add", scarce)
    batch = place.done(line("1"))
    assert (batch.status, full, place.door.asked) == ("completed", 0, ["1"])


def test_whoever_is_erased_while_under_way_leaves_no_line(place: Place) -> None:
    def say(text: str) -> Replied:
        if text == "about ada":
            place.subjects.erase("ada", place.clock.now())
        return said()

    place.door.say = say
    batch = place.done(line("about ada", user="ada"), line("fine"))
    assert (batch.status, batch.completed) == ("completed", 2)
    assert [row["custom_id"] for row in place.rows(batch.output_file)] == ["fine"]
    assert [text for _, text in place.files.lines(batch.input_file)] == [None, line("fine")]


def test_a_batch_with_a_wrong_line_sends_nothing(place: Place) -> None:
    batch = place.done(line("1"), b"{\n")
    assert (batch.status, place.door.asked) == ("failed", [])
    assert [(each.line, each.code) for each in batch.problems] == [(2, "invalid_json_line")]


def test_a_batch_whose_run_died_says_so(place: Place) -> None:
    def gone(text: str) -> Replied:
        raise Halted("lost")

    place.door.say = gone
    with pytest.raises(Halted):
        place.done(line("1"))
    (batch,) = place.batches.list(Page(), ANN)
    place.runs.finish(batch.run, "failed", reason="It was begun too often.")
    place.batches.settle()
    batch = place.batches.rows.find(batch.id, ALL)
    assert batch.status == "failed"
    assert [each.message for each in batch.problems] == ["It was begun too often."]
    with pytest.raises(Conflict):
        place.batches.cancel(batch.id, ANN)


def test_who_may_do_what(place: Place) -> None:
    batch = place.done(line("1"))
    auditor = Principal(id="key_4", name="aud", team="risk", role="auditor")
    for stranger in (EVE,):
        with pytest.raises(NotFound):
            place.batches.find(batch.id, stranger)
        with pytest.raises(NotFound):
            place.files.delete(batch.input_file, stranger)
        with pytest.raises(NotFound):
            place.batches.create(Wanted(input_file=batch.input_file, endpoint=CHAT), stranger)
    with pytest.raises(Forbidden):
        place.files.receive(auditor)
    with pytest.raises(Forbidden):
        place.batches.create(Wanted(input_file=batch.input_file, endpoint=CHAT), auditor)
    with pytest.raises(Forbidden):
        place.batches.cancel(batch.id, BEN)
    with pytest.raises(Forbidden):
        place.files.delete(batch.input_file, BEN)
    with pytest.raises(Invalid):
        place.batches.create(Wanted(input_file=batch.output_file, endpoint=CHAT), ANN)
    place.files.delete(batch.input_file, ANN)
    assert not place.files.path(batch.input_file).exists()


def test_files_expire_and_what_nobody_knows_is_swept(place: Place) -> None:
    batch = place.done(line("1"))
    folder = place.files.folder
    (folder / "file_none.part").write_bytes(b"left")
    place.clock.micros = round((folder / "file_none.part").stat().st_mtime * MICROS)
    assert place.files.sweep() == 2  # what was sent and what was answered, both in the clock's past
    place.clock.advance(7200)
    assert place.files.sweep() == 1
    assert not (folder / "file_none.part").exists()
    with pytest.raises(NotFound):
        place.files.find(batch.input_file, ANN)
    assert not place.files.path(batch.input_file).exists()


def test_a_file_that_is_not_whole_leaves_nothing(place: Place) -> None:
    for wrong in (lambda upload: upload.feed(bytes(9 * 1024 * 1024)), lambda upload: upload.keep("a", 3600)):
        with pytest.raises(Invalid), place.files.receive(ANN) as upload:
            wrong(upload)
    assert list(place.files.folder.iterdir()) == []
    assert place.files.list(Page(), ANN) == ()
