"""An export can be verified by anybody with the public key; no byte of it, no row and no end can be another unnoticed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.migrated import migrated

import tandem_audit
from tandem.core.clock import FixedClock
from tandem.core.errors import Forbidden, Invalid
from tandem.core.principal import Principal, Role
from tandem.governance import signing
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.governance.export import begin, stream
from tandem.store.sql import MIGRATIONS, Sql
from tandem.store.vault import Vault
from tandem_audit import Falsified, check, read_key


def person(role: Role = "auditor") -> Principal:
    return Principal(id=f"key_{role}", name=f"risk-{role}", team="risk", role=role)


class Book:
    def __init__(self, home: Path, key: int = 0) -> None:
        self.home, self.clock = home, FixedClock()
        home.mkdir(exist_ok=True)
        url = f"sqlite:///{home / 'control.db'}"
        migrated(url)
        self.sql = Sql(url)
        self.audit = Audit(self.sql, Vault(bytes([key]) * 32), self.clock, home / "audit.head")
        self.key = read_key(self.audit.signer.public)

    def write(self, count: int = 1, why: str = "müde\n") -> None:
        for _ in range(count):
            self.clock.advance(1)
            with self.sql.write() as conn:
                self.audit.append(conn, actor="ada", action="deed", subject="thing/x", team="risk", detail={"why": why})

    def export(self, since: int | None = None, until: int | None = None) -> bytes:
        span = begin(self.audit, self.sql, since=since, until=until, by=person())
        return b"".join(stream(self.audit, span, self.clock))

    def attack(self, *statements: str) -> None:
        self.sql.close()
        db = sqlite3.connect(self.home / "control.db", isolation_level=None)
        for statement in statements:
            db.execute(statement)
        db.close()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path / "home")
    yield made
    made.sql.close()


def whole(data: bytes, key: bytes | None = None) -> dict[str, object]:
    return check(io.BytesIO(data), key=key)


def end_of(data: bytes) -> dict[str, object]:
    return dict(json.loads(data.splitlines()[-1])["end"])


def test_an_honest_export_is_whole(book: Book) -> None:
    book.write(3)
    data = book.export()
    found = whole(data, book.key)
    assert (found["rows"], found["first"], found["last"], found["trusted"]) == (4, 1, 4, True)
    assert whole(data)["trusted"] is False
    assert book.audit.list(ALL)[0].action == "audit.export"
    assert book.audit.verify().ok


def test_every_byte_counts(book: Book) -> None:
    book.write(2)
    data = book.export(until=book.clock.now())
    assert whole(data, book.key)["rows"] == 3
    for place in range(len(data)):
        for flip in (0x01, 0x20, 0x80):
            forged = bytearray(data)
            forged[place] ^= flip
            with pytest.raises(Falsified):
                whole(bytes(forged), book.key)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_cut_no_move_and_no_addition_goes_unseen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    lines = exported(tmp_path_factory).splitlines(keepends=True)
    forged = list(lines)
    match data.draw(st.sampled_from(["cut", "drop", "swap", "copy", "bytes"])):
        case "cut":
            forged = forged[: data.draw(st.integers(0, len(lines) - 1))]
        case "drop":
            del forged[data.draw(st.integers(0, len(lines) - 1))]
        case "swap":
            one, two = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
            forged[one], forged[two] = forged[two], forged[one]
        case "copy":
            forged.insert(data.draw(st.integers(0, len(lines))), lines[data.draw(st.integers(0, len(lines) - 1))])
        case "bytes":
            whole_text = b"".join(lines)
            at = data.draw(st.integers(0, len(whole_text)))
            forged = [whole_text[:at], data.draw(st.binary(max_size=5)), whole_text[at + data.draw(st.integers(0, 5)) :]]
    if b"".join(forged) == b"".join(lines):
        return
    with pytest.raises(Falsified):
        whole(b"".join(forged))


_KEPT: list[bytes] = []


def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    if not _KEPT:
        made = Book(tmp_path_factory.mktemp("kept") / "home")
        made.write(6)
        _KEPT.append(made.export())
        made.sql.close()
    return _KEPT[0]


def test_another_key_is_not_trusted(book: Book, tmp_path: Path) -> None:
    other = Book(tmp_path / "other", key=9)
    for each in (book, other):
        each.write(2)
    forged = other.export()
    assert whole(forged)["trusted"] is False
    with pytest.raises(Falsified, match="not the key that was given"):
        whole(forged, book.key)
    named = forged.replace(other.audit.signer.public.encode(), book.audit.signer.public.encode())
    with pytest.raises(Falsified):
        whole(named, book.key)
    other.sql.close()


def test_a_forged_row_is_found_even_when_all_hashes_after_it_are_made_anew(book: Book) -> None:
    book.write(3)
    lines = [json.loads(line) for line in book.export().splitlines()]
    lines[2]["actor"] = "eve"
    last = lines[1]["hash"]
    for row in lines[2:-1]:
        row["hash"] = last = tandem_audit.row_hash(last, [row[name] for name in tandem_audit.FIELDS])
    body = b"".join(tandem_audit.canonical(line) + b"\n" for line in lines[:-1])
    end = {**lines[-1]["end"], "hash": last, "sha256": hashlib.sha256(body).hexdigest()}
    with pytest.raises(Falsified, match="not signed by"):
        whole(body + tandem_audit.canonical({"end": end}) + b"\n", book.key)


def test_checkpoints_are_rows_of_the_chain_and_signed(book: Book) -> None:
    book.write(signing.EVERY + 5)
    (row,) = book.audit.list(ALL, action="audit.checkpoint")
    assert row.seq == signing.EVERY
    data = book.export()
    assert whole(data, book.key)["rows"] == signing.EVERY + 7
    said = json.loads(row.detail)
    lines = [json.loads(line) for line in data.splitlines()]
    for broken in ({**said, "signature": said["signature"][::-1]}, {**said, "key": "ed25519:x"}, {}, []):
        forged, last = [dict(line) for line in lines], lines[row.seq - 1]["hash"]
        forged[row.seq]["detail"] = json.dumps(broken, separators=(",", ":"), sort_keys=True)
        for each in forged[row.seq : -1]:
            each["hash"] = last = tandem_audit.row_hash(last, [each[name] for name in tandem_audit.FIELDS])
        body = b"".join(tandem_audit.canonical(line) + b"\n" for line in forged)
        with pytest.raises(Falsified, match="checkpoint in row 100"):
            whole(body, book.key)


def test_an_older_export_shows_that_history_was_not_written_anew(book: Book, tmp_path: Path) -> None:
    book.write(2)
    older = end_of(book.export())
    book.write(2)
    newer = book.export()
    assert check(io.BytesIO(newer), key=book.key, extends=older)["rows"] == 6
    rewritten = Book(tmp_path / "again")
    rewritten.write(6, why="another past")
    with pytest.raises(Falsified, match="written anew"):
        check(io.BytesIO(rewritten.export()), key=book.key, extends=older)
    later = book.export(since=book.clock.now() + 1_000_000)
    with pytest.raises(Falsified, match="begins later"):
        check(io.BytesIO(later), key=book.key, extends=older)
    rewritten.sql.close()


def test_a_part_is_exported_by_time(book: Book) -> None:
    book.write(2)
    since = book.clock.now() + 1
    book.write(2)
    until = book.clock.now()
    book.write(2)
    found = whole(book.export(since, until), book.key)
    assert (found["first"], found["last"], found["rows"]) == (3, 4, 2)
    none = whole(book.export(until=5), book.key)
    assert (none["first"], none["rows"]) == (1, 0)
    ahead = book.export(since=book.clock.now() + 10**9)
    assert whole(ahead, book.key)["rows"] == 0
    with pytest.raises(Invalid, match="end before it begins"):
        book.export(since=6, until=5)
    with pytest.raises(Forbidden):
        begin(book.audit, book.sql, since=None, until=None, by=person("approver"))


def test_pages_are_put_together(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.governance.export.PAGE", 3)
    book.write(10)
    assert whole(book.export(), book.key)["rows"] == 11


def test_a_row_that_was_changed_in_the_database_is_found_in_the_export_too(book: Book) -> None:
    book.write(4)
    book.attack("UPDATE audit SET actor = 'eve' WHERE seq = 2")
    with pytest.raises(Falsified, match="Row 2"):
        whole(book.export(), book.key)
    book.attack("UPDATE audit SET hash = NULL WHERE seq = 3")
    assert len(book.audit.verify().problems) >= 2


def test_the_checker_and_the_platform_hash_and_sign_alike(book: Book) -> None:
    row = (1, 2, "ä", "risk", "deed", 'x"\\', '{"a":1}')
    assert signing.row_hash(signing.START, *row) == tandem_audit.row_hash(tandem_audit.START, row)
    assert (signing.ROW, signing.HEAD, signing.EXPORT, signing.START) == (
        tandem_audit.ROW, tandem_audit.HEAD, tandem_audit.EXPORT, tandem_audit.START,
    )  # fmt: skip
    signature = bytes.fromhex(book.audit.signer.head(7, "ab" * 32))
    assert tandem_audit.signed(book.key, tandem_audit.head_message(7, "ab" * 32), signature)


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
def test_signatures_are_verified_as_the_library_does(seed: bytes, message: bytes, bit: int) -> None:
    """Differential: RFC 8032 by `cryptography` against the checker's own lines."""
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = private.sign(message)
    assert tandem_audit.signed(public, message, signature)
    forged = bytearray(signature)
    forged[bit // 8] ^= 1 << bit % 8
    assert not tandem_audit.signed(public, message, bytes(forged))
    assert not tandem_audit.signed(public, message + b"x", signature)


def test_malleable_and_odd_signatures_are_refused() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = private.sign(b"m")
    scalar = int.from_bytes(signature[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    assert not tandem_audit.signed(public, b"m", signature[:32] + scalar.to_bytes(32, "little"))
    for key, signed in ((public[:31], signature), (public, signature[:63]), (b"\xff" * 32, signature), (public, b"\xff" * 64)):
        assert not tandem_audit.signed(key, b"m", signed)
    for text in ("ed25519:", "x", "ed25519:" + base64.b64encode(bytes(31)).decode(), base64.b64encode(public).decode()):
        with pytest.raises(Falsified):
            read_key(text)


def test_rows_from_before_are_hashed_and_say_what_they_said(tmp_path: Path) -> None:
    """The migration computes what the code computes, and leaves words and MACs alone."""
    url = f"sqlite:///{tmp_path / 'control.db'}"
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    sql = Sql(url)
    with sql.write() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, "0009")
    vault, clock = Vault(bytes(32)), FixedClock()
    with sqlite3.connect(tmp_path / "control.db") as db:
        db.execute("ALTER TABLE audit ADD COLUMN hash TEXT")
    audit = Audit(sql, vault, clock, tmp_path / "audit.head")
    for number in range(7):
        with sql.write() as conn:
            audit.append(conn, actor="ädä", action="deed", subject=f"x/{number}", team="risk", detail={"n": number})
    sql.close()
    with sqlite3.connect(tmp_path / "control.db") as db:
        before = db.execute("SELECT seq, at, actor, team, action, subject, detail, mac, hash FROM audit").fetchall()
        db.execute("ALTER TABLE audit DROP COLUMN hash")
    with sql.write() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, "head")
    sql.close()
    with sqlite3.connect(tmp_path / "control.db") as db:
        assert db.execute("SELECT seq, at, actor, team, action, subject, detail, mac, hash FROM audit").fetchall() == before
    assert audit.verify().ok
    sql.close()


def test_the_checker_runs_alone(book: Book, tmp_path: Path) -> None:
    """Its own file, and nothing of ours or of anybody else."""
    book.write(3)
    (tmp_path / "a.jsonl").write_bytes(book.export())
    (tmp_path / "key").write_text(book.audit.signer.public + "\n")
    (tmp_path / "bad.jsonl").write_bytes(book.export()[:-5])
    alone = tmp_path / "tandem_audit.py"
    alone.write_text(Path(tandem_audit.__file__).read_text())

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", str(alone), *words]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}
        )

    done = run("a.jsonl", "--key-file", "key", "--extends", "a.jsonl")
    assert (done.returncode, "whole: 4 rows, 1 to 4" in done.stdout) == (0, True), done.stderr
    untrusted = run("a.jsonl")
    assert "Compare that key" in untrusted.stdout
    told = json.loads(run("a.jsonl", "--json", "--key", book.audit.signer.public).stdout)
    assert (told["ok"], told["trusted"]) == (True, True)
    assert run("bad.jsonl").returncode == 5
    assert json.loads(run("bad.jsonl", "--json").stdout)["ok"] is False
    assert run("none.jsonl").returncode == 2
