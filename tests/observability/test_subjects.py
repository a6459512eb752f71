"""Keys and names of subjects keep one contract in both of their places; who is erased is nowhere readable."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from tests.observability.conftest import Place, on_server
from tests.postgres import Server

from tandem.core.errors import Unavailable
from tandem.core.secret import Secret
from tandem.observability import content
from tandem.observability.content import Subjects, copy_of_keys
from tandem.store import raw
from tandem.store.vault import Vault

ROOT = bytes(32)
VAULT = Vault(ROOT)


@pytest.fixture
def subjects(place: Place) -> Iterator[Subjects]:
    made = Subjects(place.subjects, VAULT)
    yield made
    made.close()


@pytest.fixture
def url(postgres: Server) -> Secret:
    found = on_server(postgres).subjects
    assert isinstance(found, Secret)
    return found


def stored(place: Place | Secret, sql: str = "SELECT id, sealed FROM people") -> Sequence[tuple[object, ...]]:
    """Rows as they lie, past the store's own code."""
    at = place.subjects if isinstance(place, Place) else place
    if isinstance(at, Secret):
        with psycopg.connect(at.reveal(), options="-c search_path=subjects") as conn:
            return conn.execute(sql.encode()).fetchall()
    db = sqlite3.connect(at)
    rows = db.execute(sql).fetchall()
    db.close()
    return rows


def test_an_erased_subject_is_unreadable_and_may_come_back(subjects: Subjects, place: Place) -> None:
    first, old = subjects.keep("ann", b"one", begun=1, now=1)
    assert subjects.keep("ann", b"", begun=1, now=1) == (first, b"")
    assert subjects.open(first, old) == b"one"
    assert subjects.name(first) == "ann"
    assert subjects.find("ann") == first
    assert subjects.erase("ann", now=2)
    assert stored(place) == []
    assert subjects.open(first, old) is None
    assert subjects.name(first) is None
    assert subjects.find("ann") == first, "for a while"
    assert subjects.keep("ann", b"under way", begun=2, now=3) == (first, b"")
    second, new = subjects.keep("ann", b"two", begun=3, now=3)
    assert second != first
    assert subjects.find("ann") == second
    assert subjects.open(second, new) == b"two"
    assert subjects.open(second, old) is None
    assert subjects.keep("ann", b"under way", begun=2, now=4) == (first, b""), "though there is a new one"
    assert not subjects.erase("bob", now=4)
    assert subjects.find("bob") is None
    assert subjects.erase("ann", now=5), "twice"
    subjects.refresh(5 + content.REMEMBERED + 1)
    assert subjects.find("ann") is None


def test_a_batch_keeps_its_calls_as_each_alone_would_be(subjects: Subjects) -> None:
    keeping = subjects.keeping()
    first, made = keeping.keep("ann", b"one", begun=1, now=1)
    again, more = keeping.keep("ann", b"two", begun=2, now=2)
    assert again == first == subjects.find("ann")
    assert [subjects.open(first, sealed) for sealed in (made, more)] == [b"one", b"two"]
    subjects.erase("ann", now=3)
    late = keeping.keep("ann", b"under way", begun=2, now=3)
    assert late[0] == first, "what was looked up before"
    assert subjects.open(*late) is None, "but nobody has its key any more"
    following = subjects.keeping()
    assert following.keep("ann", b"under way", begun=2, now=4) == (first, b"")
    second, kept = following.keep("ann", b"three", begun=4, now=4)
    assert second != first
    assert subjects.open(second, kept) == b"three"
    assert following.keep("ann", b"under way", begun=2, now=4) == (first, b""), "though there is a new one"


def test_what_is_kept_outlives_its_process(subjects: Subjects, place: Place) -> None:
    kept = subjects.keep("ann", b"one", begun=1, now=1)
    again = Subjects(place.subjects, VAULT)
    assert again.open(*kept) == b"one"
    assert again.keep("ann", b"", begun=1, now=1)[0] == kept[0]
    again.close()


def test_pieces_say_themselves_whose_they_are(subjects: Subjects) -> None:
    first = subjects.seal("ann", b"one", 1)
    pieces = subjects.seal_all([("ann", b"two"), ("bob", b"three"), ("ann", b"four"), ("eve", b"")], 1)
    assert [subjects.unseal(piece) for piece in (first, *pieces[:3])] == [b"one", b"two", b"three", b"four"]
    assert pieces[3] == b""
    assert first.partition(b":")[0] == pieces[0].partition(b":")[0]
    subjects.erase("ann", 2)
    assert [subjects.unseal(piece) for piece in pieces[:3]] == [None, b"three", None]
    assert subjects.seal("ann", b"under way", 3, begun=2) == b""
    assert subjects.seal_all([("ann", b"late")], 2) == (b"",)
    assert subjects.unseal(b"nobody's") is None


def test_many_are_made_in_one_transaction_or_not_at_all(subjects: Subjects, place: Place) -> None:
    class Broken(Vault):
        left = 3

        def seal(self, purpose: str, plaintext: bytes, aad: bytes = b"") -> bytes:
            self.left -= 1
            if not self.left:
                raise ValueError("no")
            return super().seal(purpose, plaintext, aad)

    other = Subjects(place.subjects, Broken(ROOT))
    with pytest.raises(ValueError):
        other.seal_all([(f"user-{number}", b"x") for number in range(5)], 1)
    other.close()
    assert stored(place) == []


def test_keys_are_sealed_anew_page_by_page(subjects: Subjects, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "RESEALED", 4)
    kept = [subjects.keep(f"user-{number}", b"said", begun=1, now=1) for number in range(10)]
    before = stored(place)
    newer = Subjects(place.subjects, Vault(b"\1" * 32, before=(ROOT,), root=ROOT))
    assert newer.stale() == 10
    assert [newer.reseal_keys(4) for _ in range(4)] == [4, 4, 2, 0]
    newer.forget_old_keys()
    assert newer.stale() == 0
    assert not {row[1] for row in stored(place)} & {row[1] for row in before}
    newer.close()
    last = Subjects(place.subjects, Vault(b"\1" * 32, root=ROOT))
    assert [last.open(*each) for each in kept] == [b"said"] * 10
    last.close()


def test_an_erasure_reaches_the_copies(subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "RESEALED", 2)
    kept = {name: subjects.keep(name, b"said", begun=1, now=1) for name in ("ann", "bob", "eve")}
    copy, other, backup = tmp_path / "a.keys", tmp_path / "b.keys", tmp_path / "a.backup"
    for path in (copy, copy, other):
        subjects.note(path, backup, 7)
    assert copy_of_keys(copy) == 3
    assert copy.stat().st_mode & 0o777 == 0o600
    subjects.erase("ann", 8)
    assert [each.fault for each in subjects.copies()] == ["It was not rewritten since the last erasure."] * 2
    other.unlink()
    fine, missing = subjects.refresh(9)
    assert (fine.path, fine.backup, fine.at, fine.fault) == (str(copy), str(backup), 7, "")
    assert missing.fault.startswith("There is no b.keys in")
    assert copy_of_keys(copy) == 2
    assert sorted(tmp_path.glob(".*")) == []
    restored = Subjects(copy, VAULT)
    assert restored.open(*kept["ann"]) is None
    assert [restored.open(*kept[name]) for name in ("bob", "eve")] == [b"said"] * 2
    assert restored.keep("ann", b"under way", begun=8, now=9) == (kept["ann"][0], b"")
    assert [each.path for each in restored.copies()] == [str(copy), str(other)]
    restored.close()


def test_a_copy_that_cannot_be_written_is_told(subjects: Subjects, tmp_path: Path) -> None:
    subjects.keep("ann", b"said", begun=1, now=1)
    copy = tmp_path / "there" / "a.keys"
    copy.parent.mkdir()
    subjects.note(copy, tmp_path / "a.backup", 7)
    (tmp_path / "there" / ".a.keys.part").mkdir()
    subjects.erase("ann", 8)
    (told,) = subjects.refresh(9)
    assert told.fault.startswith("It cannot be written:")
    (tmp_path / "there" / ".a.keys.part").rmdir()
    (told,) = subjects.refresh(9)
    assert (told.fault, copy_of_keys(copy)) == ("", 0)


def test_of_a_subject_that_several_make_at_once_one_key_wins(subjects: Subjects, place: Place) -> None:
    others = [Subjects(place.subjects, VAULT) for _ in range(4)]
    gate, found = threading.Barrier(len(others)), dict[int, list[tuple[str, bytes]]]()

    def work(number: int) -> None:
        gate.wait()
        found[number] = [others[number].keep(f"user-{each}", b"said", begun=1, now=1) for each in range(20)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(others))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(others)
    assert len(stored(place)) == 20
    assert {tuple(identifier for identifier, _ in each) for each in found.values()} == {tuple(i for i, _ in found[0])}
    assert {subjects.open(*kept) for each in found.values() for kept in each} == {b"said"}
    for other in others:
        other.close()


def test_a_name_in_the_clear_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "subjects.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE subjects (subject TEXT PRIMARY KEY, key BLOB NOT NULL, made_at INTEGER NOT NULL)")
        db.execute("INSERT INTO subjects VALUES ('ann', ?, 1)", (VAULT.seal("subject", b"k" * 32, b"ann"),))
    db.close()
    subjects = Subjects(path, VAULT)
    found = subjects.find("ann")
    assert found is not None
    assert subjects.name(found) == "ann"
    subjects.close()
    assert stored(Place(traces=path, subjects=path), "SELECT name FROM sqlite_master WHERE name = 'subjects'") == []
    assert b"ann" not in path.read_bytes()


def test_no_file_of_the_table_holds_an_erased_row(postgres: Server, url: Secret) -> None:
    subjects = Subjects(url, VAULT)
    subjects.keep("ann", b"said", begun=1, now=1)
    subjects.keep("bob", b"said", begun=1, now=2)  # last: nothing else moves into its place in the page
    ann, bob = (row[0] for row in stored(url, "SELECT sealed FROM people ORDER BY made_at"))
    assert isinstance(ann, bytes)
    assert isinstance(bob, bytes)
    assert postgres.holding(ann)
    assert postgres.holding(bob)
    subjects.erase("bob", 2)
    assert postgres.holding(ann)
    assert not postgres.holding(bob)
    subjects.close()


def test_an_erasure_that_cannot_wipe_says_so_and_is_finished_by_the_next(url: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "WIPE_SECONDS", 1)
    subjects = Subjects(url, VAULT)
    kept = subjects.keep("ann", b"said", begun=1, now=1)
    with psycopg.connect(url.reveal()) as dump:
        dump.execute("SELECT * FROM subjects.people")
        with pytest.raises(Unavailable, match="The keys of the subjects did not answer"):
            subjects.erase("ann", 2)
        assert subjects.open(*kept) is None
    assert not subjects.erase("ann", 3)
    subjects.close()


def test_a_server_that_is_away_is_told_of_and_found_again(postgres: Server, url: Secret) -> None:
    subjects = Subjects(url, VAULT)
    kept = subjects.keep("ann", b"said", begun=1, now=1)
    postgres.stop()
    try:
        for ask in (
            lambda: subjects.keep("bob", b"x", begun=1, now=1),
            lambda: subjects.open(*kept),
            lambda: subjects.erase("ann", 2),
        ):
            with pytest.raises(Unavailable, match="The keys of the subjects did not answer"):
                ask()
        with pytest.raises(Unavailable):
            Subjects(url, VAULT)
    finally:
        postgres.start()
    assert subjects.open(*kept) == b"said"
    assert subjects.find("bob") is None
    assert subjects.erase("ann", 2)
    subjects.close()
