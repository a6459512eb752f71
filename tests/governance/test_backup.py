"""A home comes back from its backup as it was; what was cut or changed is no backup; who was erased stays so."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import msgspec
import pytest
from tests.migrated import migrated

from tandem.core.clock import FixedClock
from tandem.core.errors import Broken, Conflict, Forbidden, Invalid, NotFound, TandemError
from tandem.core.ids import new_call, new_trace
from tandem.core.money import Usage
from tandem.core.principal import Principal
from tandem.core.trace import Attempt, Trace
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.governance.backup import Backup, back_up, keys_beside
from tandem.governance.erase import Erasures
from tandem.governance.keys import Keys
from tandem.governance.ledger import Ledger
from tandem.governance.people.invitations import Invitations, Invited
from tandem.governance.people.passwords import Passwords
from tandem.governance.people.persons import NewPerson, Persons
from tandem.governance.restore import Given, Restored, restore
from tandem.governance.sessions import Sessions
from tandem.observability.content import SegmentSeal, Subjects
from tandem.observability.explain import explain
from tandem.observability.journal import Journal
from tandem.observability.move import Mover
from tandem.observability.record import Begun, Closed, Ended
from tandem.observability.traces import Traces
from tandem.store.blobs import Blobs
from tandem.store.sql import Sql
from tandem.store.vault import KEY_FILE, Vault

ANN, TEXT = "ann.canary@example.org", b"canary-of-what-ann-said"
ROOT = Principal(id="key_root", name="root", team="default", role="admin")
VIEWER = Principal(id="key_vera", name="vera", team="default", role="viewer")


def quiet(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1


class Place:
    """A home with its stores open, and a door's journal."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700, exist_ok=True)
        self.home, self.clock = home, FixedClock()
        self.vault = Vault.load(home, {})
        url = f"sqlite:///{home / 'control.db'}"
        migrated(url)
        self.sql = Sql(url)
        self.audit = Audit(self.sql, self.vault, self.clock, home / "audit.head")
        self.ledger, self.traces = Ledger(home / "ledger.db", self.clock), Traces(home / "traces")
        self.subjects, self.blobs = Subjects(home / "subjects.db", self.vault), Blobs(home / "blobs")
        self.mover = Mover(
            home / "journal", traces=self.traces, subjects=self.subjects, books=self.ledger, vault=self.vault, clock=self.clock
        )
        self.journal = Journal(home / "journal", reserve_bytes=4096)
        self.erasures = Erasures(
            home=home,
            sql=self.sql,
            audit=self.audit,
            subjects=self.subjects,
            mover=self.mover,
            traces=self.traces,
            vault=self.vault,
            clock=self.clock,
            forget=lambda subject: 0,
        )

    def call(self, subject: str | None, text: bytes, *, ends: bool = True) -> str:
        """One call through the journal; returns its trace."""
        trace, call, now = new_trace(), new_call(), self.clock.now()
        self.journal.begin(Begun(call, 0, trace, None, now, "mock/m", "e", "chat", "t", "demo", ("org",), 500, ()))
        if not ends:
            return trace
        attempt = Attempt(
            call=call, attempt=0, target="mock/m", usage=Usage(), cost=100, reserved=500, outcome="ok", start=now, end=now
        )
        whole = Trace(
            id=trace, call=call, parent=None, endpoint="e", kind="chat", team="t", principal="demo", start=now, end=now,
            outcome="ok", status=200, cost=100, spans=[], attempts=[attempt], attributes={}, subject=subject,
        )  # fmt: skip
        content = msgspec.msgpack.encode({"request": text, "answer": b"fine", "cut": False, "notes": {}})
        sealed = SegmentSeal(self.vault, self.journal.segment).seal(content)
        self.journal.write(Ended(trace, attempt, (), ("org",)), Closed(whole, sealed))
        return trace

    def back_up(self, target: Path, *, with_key: bool = False) -> Backup:
        return back_up(self.home, target, self.vault, self.clock, with_key=with_key, progress=quiet)

    def read(self, trace: str) -> tuple[str | None, str, bool]:
        """Subject, request, and whether the content was erased."""
        found = explain(self.traces, self.subjects, trace, team=None, content=True)
        assert found.content is not None
        (text,) = found.content.values()
        return found.calls[0].subject, text.request, text.erased

    def close(self) -> None:
        self.journal.close()
        for part in (self.ledger, self.traces, self.subjects, self.sql):
            part.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "home")
    yield made
    made.close()


def put_back(archive: Path, home: Path, **given: object) -> Restored:
    return restore(archive, home, Given(environment={}, **given), FixedClock(), progress=quiet)  # type: ignore[arg-type]


def holding(folder: Path, *words: bytes) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and any(word in path.read_bytes() for word in words)]


def test_a_home_comes_back(place: Place, tmp_path: Path) -> None:
    trace = place.call(ANN, TEXT)
    left = place.call(None, b"", ends=False)
    place.mover.drain()
    digest = place.blobs.put(b"a blob")
    with place.sql.write() as conn:
        place.audit.append(conn, actor="root", action="test", subject="x", team="default")
    made = place.back_up(tmp_path / "out" / "one.tandem")
    assert holding(tmp_path / "out", (place.home / KEY_FILE).read_bytes().strip(), TEXT, ANN.encode()) == []
    with pytest.raises(Broken, match="master key is lost"):
        put_back(Path(made.path), tmp_path / "again")
    found = put_back(Path(made.path), tmp_path / "again", key_file=place.home / KEY_FILE)
    assert (found.subjects, found.unbooked, found.under_way, found.audit_ok, found.audit_rows) == (1, 0, 1, True, 1)
    back = Place(tmp_path / "again")
    try:
        assert back.read(trace) == (ANN, TEXT.decode(), False)
        assert back.audit.verify().ok
        assert back.audit.verify().count == 2  # and that it was restored
        assert back.blobs.read(digest) == b"a blob"
        assert back.ledger.spend("org", since=0, until=back.clock.now()) == (100, 1, 0)
        back.mover.drain()  # what was under way then is booked at its reservation
        assert back.ledger.running() == 0
        assert back.traces.find(left, team=None).calls[0].outcome == "crashed"
        assert sum(row.stat().st_size for row in (tmp_path / "again" / "journal").glob("*.jnl")) == 0
    finally:
        back.close()


def test_no_session_and_no_link_comes_back(place: Place, tmp_path: Path) -> None:
    keys = Keys(place.sql, place.vault, place.clock, place.audit)
    passwords, persons = Passwords(), Persons(place.sql, place.clock, place.audit, keys.trim)
    sessions = Sessions(place.sql, keys, place.vault, place.clock, place.audit, passwords)
    invitations = Invitations(place.sql, place.vault, place.clock, place.audit, persons, passwords)
    ada = persons.add(NewPerson(name="ada", teams={"red": "editor"}), by=ROOT)
    cookie = sessions.enter(ada, how="test").cookie
    link = invitations.invite(Invited(email="bob@example.org", teams={"red": "viewer"}), by=ROOT)[1].reveal()
    made = place.back_up(tmp_path / "out" / "one.tandem", with_key=True)
    assert sessions.by_cookie(cookie) is not None
    restore(Path(made.path), tmp_path / "again", Given(environment={}), place.clock, progress=quiet)
    with closing(Sql(f"sqlite:///{tmp_path / 'again' / 'control.db'}")) as sql:
        again = Keys(sql, place.vault, place.clock, place.audit)
        assert Sessions(sql, again, place.vault, place.clock, place.audit, passwords).by_cookie(cookie) is None
        with pytest.raises(NotFound):
            Invitations(sql, place.vault, place.clock, place.audit, persons, passwords).open(link)
        assert [person.name for person in Persons(sql, place.clock, place.audit, again.trim).list(ROOT)] == ["ada"]


def test_it_shows_one_moment(place: Place, tmp_path: Path) -> None:
    """What is moved while files are copied is in neither of the two stores."""
    place.call(ANN, TEXT)
    place.mover.drain()
    seen: list[str] = []

    def meanwhile(fraction: float, stage: str) -> None:
        if not seen:
            place.call(ANN, b"later")
            place.mover.drain()
        seen.append(stage)

    back_up(place.home, tmp_path / "one", place.vault, place.clock, with_key=True, progress=meanwhile)
    found = put_back(tmp_path / "one", tmp_path / "again")
    assert found.unbooked == 0
    traces = Traces(tmp_path / "again" / "traces")
    assert traces.counts() == {"calls": 1, "attempts": 1}
    traces.close()
    assert {"control.db", "ledger.db", KEY_FILE} <= set(seen)


def test_who_is_erased_is_nowhere_readable_and_no_older_backup_brings_them_back(place: Place, tmp_path: Path) -> None:
    trace, other = place.call(ANN, TEXT), place.call("bob", b"what bob said")
    place.mover.drain()
    assert place.read(trace)[:2] == (ANN, TEXT.decode())
    old = Path(place.back_up(tmp_path / "out" / "old").path)
    place.call(ANN, b"second " + TEXT)  # in the journal when it is asked for
    segment = next((place.home / "journal").glob("*.jnl"))
    assert ANN.encode() in segment.read_bytes()
    place.clock.advance(1)
    report = place.erasures.erase(ANN, ROOT)
    new = Path(place.back_up(tmp_path / "out" / "new").path)
    assert holding(place.home, ANN.encode(), TEXT) == []
    assert holding(tmp_path / "out", ANN.encode(), TEXT) == []
    assert (report.contents, report.traces, report.complete, report.named_in) == (2, 2, True, [])
    assert report.searched > 5
    assert [copy["fault"] for copy in report.copies] == [""]
    assert place.read(trace) == (report.id, "", True)
    assert place.read(other)[:2] == ("bob", "what bob said")
    assert ANN not in json.dumps(asdict(report))
    assert place.audit.list(ALL)[0].subject == f"subject/{report.id}"
    for archive in (old, new):
        home = tmp_path / f"from-{archive.name}"
        put_back(archive, home, key_file=place.home / KEY_FILE)
        assert holding(home, ANN.encode(), TEXT) == []
        back = Place(home)
        try:
            assert back.read(trace) == (report.id, "", True)
            assert back.read(other)[:2] == ("bob", "what bob said")
            assert back.subjects.find(ANN) == report.id
        finally:
            back.close()


def test_the_journal_goes_on_after_it_was_scrubbed(place: Place) -> None:
    place.call(ANN, TEXT)
    place.erasures.erase(ANN, ROOT)
    place.clock.advance(1)
    trace = place.call(ANN, b"she came back")
    fresh = Mover(
        place.home / "journal",
        traces=place.traces,
        subjects=place.subjects,
        books=place.ledger,
        vault=place.vault,
        clock=place.clock,
    )
    fresh.drain()
    assert place.read(trace)[:2] == (ANN, "she came back")


def test_of_a_call_that_was_under_way_nothing_is_kept(place: Place) -> None:
    place.call(ANN, TEXT)
    place.erasures.erase(ANN, ROOT)
    trace = place.call(ANN, b"begun at the same moment")
    place.mover.drain()
    (call,) = place.traces.find(trace, team=None).calls
    assert place.traces.sealed(call.call, trace) is None
    assert call.subject is not None
    assert place.subjects.name(call.subject) is None


def test_a_copy_of_the_keys_that_is_out_of_reach_is_told_and_caught_up_with(place: Place, tmp_path: Path) -> None:
    place.call(ANN, TEXT)
    place.mover.drain()
    made = place.back_up(tmp_path / "out" / "one")
    (tmp_path / "out").rename(tmp_path / "away")
    report = place.erasures.erase(ANN, ROOT)
    assert not report.complete
    assert "There is no" in str(report.copies[0]["fault"])
    (tmp_path / "away").rename(tmp_path / "out")
    again = place.erasures.erase(ANN, ROOT)
    assert (again.complete, again.contents, again.id) == (True, 0, report.id)
    with closing(sqlite3.connect(made.keys)) as db:
        assert db.execute("SELECT count(*) FROM people").fetchone() == (0,)


def test_a_report_is_genuine_or_not(place: Place) -> None:
    place.call(ANN, TEXT)
    told = json.loads(json.dumps(asdict(place.erasures.erase(ANN, ROOT))))
    assert place.erasures.verify(told)
    for name in ("contents", "at", "id"):
        assert not place.erasures.verify({**told, name: 7})
    with pytest.raises(Invalid):
        place.erasures.verify({"mac": "x"})


def test_only_an_admin_erases_and_only_whom_there_is(place: Place) -> None:
    place.call(ANN, TEXT)
    with pytest.raises(Forbidden):
        place.erasures.erase(ANN, VIEWER)
    with pytest.raises(NotFound) as caught:
        place.erasures.erase("nobody at all", ROOT)
    assert "nobody at all" not in str(caught.value)
    with pytest.raises(Invalid):
        place.erasures.erase("  ", ROOT)
    place.call(None, TEXT)
    assert place.erasures.erase("principal:demo", ROOT).contents == 1


def test_no_cut_and_no_change_is_taken_for_a_backup(place: Place, tmp_path: Path) -> None:
    place.call(ANN, TEXT)
    place.mover.drain()
    place.back_up(tmp_path / "one", with_key=True)
    whole = (tmp_path / "one").read_bytes()
    steps = [*range(0, len(whole) - 10_240, len(whole) // 40), len(whole) - 10_240 - 512]
    for cut in steps:  # a tar ends with up to 10 kB of zeros, which say nothing
        (tmp_path / "cut").write_bytes(whole[:cut])
        with pytest.raises(TandemError):
            put_back(tmp_path / "cut", tmp_path / "again", keys=keys_beside(tmp_path / "one", place.vault.fingerprint))
        assert not (tmp_path / "again").exists()
    place_of = whole.index(b"SQLite format 3")
    for at in (place_of, place_of + 5000):
        changed = bytearray(whole)
        changed[at] ^= 1
        (tmp_path / "changed").write_bytes(changed)
        with pytest.raises(Invalid, match="differ from the manifest"):
            put_back(tmp_path / "changed", tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_manifest_that_was_written_anew_is_not_believed(place: Place, tmp_path: Path) -> None:
    place.back_up(tmp_path / "one", with_key=True)
    with tarfile.open(tmp_path / "one") as old, tarfile.open(tmp_path / "new", "w") as new:
        for info in old:
            source = old.extractfile(info)
            assert source is not None
            data = source.read()
            if info.name == "MANIFEST.json":
                told = json.loads(data)
                told["about"]["at"] = 1
                data = json.dumps(told).encode()
                info.size = len(data)
            new.addfile(info, io.BytesIO(data))
    with pytest.raises(Invalid, match="not written under this master key"):
        put_back(tmp_path / "new", tmp_path / "again", keys=keys_beside(tmp_path / "one", place.vault.fingerprint))


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/../../b", "./a"])
def test_nothing_leads_out_of_an_archive(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "evil", "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(Invalid):
        put_back(tmp_path / "evil", tmp_path / "in" / "home")
    assert not (tmp_path / "in" / "out").exists()


def test_a_home_that_is_not_empty_is_left_alone(place: Place, tmp_path: Path) -> None:
    place.back_up(tmp_path / "one", with_key=True)
    with pytest.raises(Conflict):
        put_back(tmp_path / "one", place.home)
    (tmp_path / "empty").mkdir()
    put_back(tmp_path / "one", tmp_path / "empty")
    with pytest.raises(Conflict):
        put_back(tmp_path / "one", tmp_path / "empty")


def test_without_the_keys_it_says_so(place: Place, tmp_path: Path) -> None:
    trace = place.call(ANN, TEXT)
    place.mover.drain()
    made = place.back_up(tmp_path / "one", with_key=True)
    os.unlink(made.keys)
    with pytest.raises(NotFound, match="keys are missing"):
        put_back(tmp_path / "one", tmp_path / "again")
    assert put_back(tmp_path / "one", tmp_path / "again", without_keys=True).subjects == 0
    back = Place(tmp_path / "again")
    assert back.read(trace)[1:] == ("", True)
    back.close()


def test_it_is_not_written_into_the_home(place: Place) -> None:
    with pytest.raises(Invalid, match="inside the home"):
        place.back_up(place.home / "backups" / "one")


def test_what_a_stopped_platform_left_in_its_journal_is_in_it(place: Place, tmp_path: Path) -> None:
    trace = place.call(ANN, TEXT)
    place.back_up(tmp_path / "one", with_key=True)  # nobody holds the home
    put_back(tmp_path / "one", tmp_path / "again")
    back = Place(tmp_path / "again")
    assert back.read(trace)[0] == ANN
    back.close()
