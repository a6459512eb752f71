"""Every way to falsify the audit without its key is found; the honest ways are not."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.migrated import migrated

from tandem.core.clock import FixedClock
from tandem.core.errors import Forbidden, Invalid
from tandem.core.secret import Secret
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, Scope
from tandem.store.sql import Sql
from tandem.store.vault import Vault, mac

ROWS = 7


@dataclass
class Book:
    home: Path
    sql: Sql
    audit: Audit

    def write(self, action: str = "deed", team: str = "risk") -> None:
        with self.sql.write() as conn:
            self.audit.append(conn, actor="ada", action=action, subject=f"thing/{action}", team=team, detail={"why": action})

    def attack(self, *statements: str) -> None:
        """What somebody does who can write the file but has no key."""
        self.sql.close()
        db = sqlite3.connect(self.home / "control.db", isolation_level=None)
        for statement in statements:
            db.execute(statement)
        db.close()


def book(home: Path, rows: int = ROWS) -> Book:
    url = f"sqlite:///{home / 'control.db'}"
    migrated(url)
    sql = Sql(url)
    made = Book(home=home, sql=sql, audit=Audit(sql, Vault(bytes(32)), FixedClock(), home / "audit.head"))
    for number in range(rows):
        made.write(f"deed-{number + 1}")
    return made


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Book]:
    made = book(tmp_path)
    yield made
    made.sql.close()


def test_an_honest_chain_verifies(here: Book) -> None:
    report = here.audit.verify()
    assert (report.ok, report.count, report.problems) == (True, ROWS, ())


def test_an_empty_audit_verifies(tmp_path: Path) -> None:
    made = book(tmp_path, rows=0)
    assert made.audit.verify().ok
    made.sql.close()


def test_a_deed_that_fails_leaves_no_row_and_no_gap(here: Book) -> None:
    def fail() -> None:
        with here.sql.write() as conn:
            here.audit.append(conn, actor="ada", action="never", subject="x", team="risk")
            raise Forbidden("no")

    with pytest.raises(Forbidden):
        fail()
    here.write("after")
    assert here.audit.verify().ok
    assert here.audit.list(ALL)[0].action == "after"


@pytest.mark.parametrize("column", ["at", "actor", "team", "action", "subject", "detail", "mac", "hash"])
@pytest.mark.parametrize("seq", [1, 4, ROWS])
def test_an_edited_row_is_named(here: Book, column: str, seq: int) -> None:
    here.attack(
        f"UPDATE audit SET {column} = {'at + 1' if column == 'at' else column + chr(124) * 2 + repr('x')} WHERE seq = {seq}"
    )
    report = here.audit.verify()
    assert not report.ok
    assert any(f"Row {seq} " in problem for problem in report.problems)


def test_a_deleted_row_is_named(here: Book) -> None:
    here.attack("DELETE FROM audit WHERE seq = 3")
    assert here.audit.verify().problems == ("Before row 4, row 3 is missing.",)


def test_a_deleted_first_row_is_named(here: Book) -> None:
    here.attack("DELETE FROM audit WHERE seq <= 2")
    assert here.audit.verify().problems == ("Before row 3, rows 1 to 2 are missing.",)


def test_deleting_and_closing_the_gap_is_found(here: Book) -> None:
    here.attack("DELETE FROM audit WHERE seq = 3", "UPDATE audit SET seq = seq - 1 WHERE seq > 3")
    assert not here.audit.verify().ok


def test_two_rows_that_change_places_are_named(here: Book) -> None:
    here.attack(
        "UPDATE audit SET seq = -1 WHERE seq = 3",
        "UPDATE audit SET seq = 3 WHERE seq = 4",
        "UPDATE audit SET seq = 4 WHERE seq = -1",
    )
    problems = here.audit.verify().problems
    assert any("Row 3 " in problem for problem in problems)
    assert any("Row 4 " in problem for problem in problems)


COPY = "INSERT INTO audit SELECT {seq}, at, actor, team, action, subject, detail, mac, hash FROM audit WHERE seq = {of}"


@pytest.mark.parametrize("seq", [0, -5, ROWS + 1, ROWS + 9])
def test_an_inserted_row_is_found(here: Book, seq: int) -> None:
    here.attack(COPY.format(seq=seq, of=2))
    assert not here.audit.verify().ok


def test_a_row_pushed_into_the_middle_is_found(here: Book) -> None:
    here.attack(
        "UPDATE audit SET seq = -seq - 1 WHERE seq >= 4", "UPDATE audit SET seq = -seq WHERE seq < 0", COPY.format(seq=4, of=2)
    )
    assert not here.audit.verify().ok


@pytest.mark.parametrize("kept", [0, 1, ROWS - 1])
def test_a_cut_tail_is_found(here: Book, kept: int) -> None:
    here.attack(f"DELETE FROM audit WHERE seq > {kept}")
    assert not here.audit.verify().ok


def test_a_cut_tail_with_a_forged_head_is_found(here: Book) -> None:
    here.attack(
        "DELETE FROM audit WHERE seq > 4", "UPDATE audit_head SET entries = 4, last_mac = (SELECT mac FROM audit WHERE seq = 4)"
    )
    assert any("head" in problem for problem in here.audit.verify().problems)


def test_an_audit_emptied_with_its_head_is_found_by_the_anchor(here: Book) -> None:
    here.attack("DELETE FROM audit", "DELETE FROM audit_head")
    assert any("anchor" in problem for problem in here.audit.verify().problems)


def older_copy(tmp_path: Path) -> Book:
    """A genuine database of four rows, put back over one of seven; the anchor is as it was."""
    made = book(tmp_path, rows=4)
    made.sql.close()
    shutil.copy(tmp_path / "control.db", tmp_path / "older.db")
    for number in range(4, ROWS):
        made.write(f"deed-{number + 1}")
    made.sql.close()
    for leftover in tmp_path.glob("control.db-*"):
        leftover.unlink()
    shutil.copy(tmp_path / "older.db", tmp_path / "control.db")
    return made


def test_an_older_genuine_head_is_found_by_the_anchor(tmp_path: Path) -> None:
    made = older_copy(tmp_path)
    report = made.audit.verify()
    made.sql.close()
    assert report.count == 4
    assert len(report.problems) == 1
    assert "row 7" in report.problems[0]


def test_going_on_from_an_older_copy_does_not_hide_it(tmp_path: Path) -> None:
    made = older_copy(tmp_path)
    for number in range(6):
        made.write(f"new-{number}")
        assert not made.audit.verify().ok
    made.sql.close()


def test_a_chain_that_was_hashed_again_without_the_key_is_found(here: Book) -> None:
    db = sqlite3.connect(here.home / "control.db")
    rows = db.execute("SELECT seq, at, actor, team, action, subject, detail FROM audit ORDER BY seq").fetchall()
    last = "0" * 64
    for row in rows:
        changed = [*row[:2], "eve", *row[3:]]
        last = mac(b"\x07" * 32, b"row", last.encode(), json.dumps(changed, separators=(",", ":")).encode()).hex()
        db.execute("UPDATE audit SET actor = 'eve', mac = ? WHERE seq = ?", (last, row[0]))
    head = mac(b"\x07" * 32, b"head", str(len(rows)).encode(), last.encode()).hex()
    db.execute("UPDATE audit_head SET last_mac = ?, head_mac = ?", (last, head))
    db.commit()
    db.close()
    (here.home / "audit.head").write_text(json.dumps({"entries": len(rows), "last_mac": last, "head_mac": head}))
    assert len(here.audit.verify().problems) == ROWS + 2


def test_another_master_key_does_not_verify(here: Book) -> None:
    other = Audit(here.sql, Vault(b"\x01" * 32), FixedClock(), here.home / "audit.head")
    assert not other.verify().ok


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"entries": 3, "last_mac": "", "head_mac": "00"}', '{"entries": "x"}'])
def test_a_forged_anchor_is_told_and_left_for_inspection(here: Book, text: str) -> None:
    anchor = here.home / "audit.head"
    anchor.write_text(text)
    here.write("later")
    assert anchor.read_text() == text
    assert any("changed without the key" in problem for problem in here.audit.verify().problems)


def test_a_missing_anchor_is_told_and_made_again(here: Book) -> None:
    (here.home / "audit.head").unlink()
    assert any("missing" in problem for problem in here.audit.verify().problems)
    here.write("later")
    assert here.audit.verify().ok


def test_an_anchor_that_lags_is_no_problem_and_catches_up(here: Book) -> None:
    older = (here.home / "audit.head").read_text()
    here.write("later")
    (here.home / "audit.head").write_text(older)
    assert here.audit.verify().ok
    here.write("still later")
    assert json.loads((here.home / "audit.head").read_text())["entries"] == ROWS + 2


def test_a_home_that_cannot_be_written_stops_no_deed(here: Book) -> None:
    blind = Audit(here.sql, Vault(bytes(32)), FixedClock(), here.home / "gone" / "audit.head")
    with here.sql.write() as conn:
        blind.append(conn, actor="ada", action="deed", subject="x", team="risk")
    assert here.audit.verify().count == ROWS + 1


CHANGES = st.sampled_from(["delete", "edit", "swap", "copy", "renumber"])


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(CHANGES, st.integers(1, ROWS), st.integers(1, ROWS))
def test_no_single_change_goes_unseen(tmp_path_factory: pytest.TempPathFactory, change: str, one: int, two: int) -> None:
    home = tmp_path_factory.mktemp("tamper")
    made = book(home)
    moves: dict[str, Callable[[], list[str]]] = {
        "delete": lambda: [f"DELETE FROM audit WHERE seq = {one}"],
        "edit": lambda: [f"UPDATE audit SET detail = '{{}}' WHERE seq = {one}"],
        "swap": lambda: [
            f"UPDATE audit SET seq = -1 WHERE seq = {one}",
            f"UPDATE audit SET seq = {one} WHERE seq = {two}",
            f"UPDATE audit SET seq = {two} WHERE seq = -1",
        ],
        "copy": lambda: [
            f"DELETE FROM audit WHERE seq = {one} AND {one} != {two}",
            COPY.replace("INSERT", "INSERT OR IGNORE").format(seq=one, of=two),
        ],
        "renumber": lambda: [f"UPDATE audit SET seq = seq + {ROWS + two} WHERE seq = {one}"],
    }
    unchanged = one == two and change in ("swap", "copy")
    made.attack(*moves[change]())
    assert made.audit.verify().ok == unchanged
    made.sql.close()


def test_threads_make_one_chain(here: Book) -> None:
    threads = [threading.Thread(target=lambda: [here.write() for _ in range(5)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = here.audit.verify()
    assert (report.ok, report.count) == (True, ROWS + 40)
    assert json.loads((here.home / "audit.head").read_text())["entries"] == ROWS + 40


def test_several_rows_in_one_transaction_are_one_chain(here: Book) -> None:
    with here.sql.write() as conn:
        for action in ("a", "b", "c"):
            here.audit.append(conn, actor="ada", action=action, subject="x", team="risk")
    assert here.audit.verify().ok
    assert json.loads((here.home / "audit.head").read_text())["entries"] == ROWS + 3


def test_a_secret_cannot_enter(here: Book) -> None:
    with pytest.raises(Invalid) as caught, here.sql.write() as conn:
        here.audit.append(conn, actor="ada", action="deed", subject="x", team="risk", detail={"key": Secret("canary-5f3a")})
    assert "canary" not in str(caught.value)
    assert here.audit.verify().count == ROWS


def test_the_list_keeps_to_its_scope_and_its_page(here: Book) -> None:
    here.write("foreign", team="sales")
    assert {entry.team for entry in here.audit.list(Scope("risk"))} == {"risk"}
    assert [entry.seq for entry in here.audit.list(ALL, limit=3)] == [8, 7, 6]
    assert [entry.seq for entry in here.audit.list(ALL, before=6, limit=2)] == [5, 4]
    assert [entry.seq for entry in here.audit.list(ALL, action="deed-2")] == [2]
    assert [entry.seq for entry in here.audit.list(ALL, subject="thing/deed-3")] == [3]
