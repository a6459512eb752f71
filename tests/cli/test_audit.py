"""`tandem audit` exports, checks and shows the key; the check asks no platform."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

import tandem_audit
from tandem.cli.options import moment_of
from tandem_sdk.fake import Canned, FakePlatform

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEY = tandem_audit.write_key(PRIVATE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def export() -> bytes:
    """An export of no rows."""
    import hashlib

    first = tandem_audit.canonical({"tandem_audit": 1, "first": 1, "before": tandem_audit.START, "key": KEY}) + b"\n"
    end = {
        "rows": 0, "first": 1, "last": 0, "hash": tandem_audit.START, "sha256": hashlib.sha256(first).hexdigest(), "key": KEY,
        "at": 5,
    }  # fmt: skip
    signature = PRIVATE.sign(tandem_audit.export_message(end)).hex()
    return first + tandem_audit.canonical({"end": {**end, "signature": signature}}) + b"\n"


def test_an_export_is_written_and_checked(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    platform.on("GET", "/api/v1/audit/export", Canned(body=export()))
    platform.on("GET", "/api/v1/audit/key", {"key": KEY, "fingerprint": "f00"})
    file, key = tmp_path / "a.jsonl", tmp_path / "audit.pub"
    done = tandem("audit", "export", "--to", str(file), "--since", "1970-01-02", "--until", "1970-01-03T12:00")
    assert done.code == 0, done.err
    assert platform.asked[0].query == {"since": "86400000000", "until": "216000000000"}
    assert tandem("audit", "export", "-o", str(file), "--json").json() == {"file": str(file), "bytes": len(export())}
    assert tandem("audit", "export", "--json").code == 2
    assert tandem("audit", "export", "-o", str(tmp_path / "no" / "where")).code == 2
    assert KEY in tandem("audit", "key").out
    assert tandem("audit", "key", "-o", str(key)).out == f"{key}: f00\n"
    assert tandem("audit", "key", "--json").json()["key"] == KEY  # type: ignore[index]
    asked = len(platform.asked)
    checked = tandem("audit", "check", str(file), "--key-file", str(key), "--extends", str(file))
    assert (checked.code, "whole: 0 rows" in checked.out) == (0, True), checked.out
    assert tandem("audit", "check", str(file), "--key", KEY, "--json").json()["trusted"] is True  # type: ignore[index]
    file.write_bytes(export()[:-1])
    assert tandem("audit", "check", str(file)).code == 5
    assert tandem("audit", "check", str(tmp_path / "none")).code == 2
    assert len(platform.asked) == asked, "nothing asks the platform"


def test_usage_is_listed_and_written(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    row = {"at": 5, "call": "cal_1", "trace": "trc_1", "principal": "app", "targets": ["mock/small"], "documents": ["a.md"]}
    platform.on("GET", "/api/v1/usage", [row])
    platform.on("GET", "/api/v1/usage/export", Canned(body=b"{}\n"))
    words = ("--principal", "app", "--endpoint", "chat", "--asset", "model/m", "--document", "a.md", "--since", "1970-01-02")
    listed = tandem("audit", "usage", *words)
    assert "mock/small" in listed.out, listed.err
    assert "a.md" in listed.out
    assert platform.asked[0].query == {
        "principal": "app", "endpoint": "chat", "asset": "model/m", "document": "a.md", "since": "86400000000", "limit": "20",
    }  # fmt: skip
    assert tandem("audit", "usage", "--json").json()[0]["call"] == "cal_1"  # type: ignore[index]
    file = tmp_path / "used.csv"
    assert tandem("audit", "usage", "-o", str(file)).out == f"{file}: 3 bytes\n"
    assert platform.asked[-1].query == {"format": "csv"}
    assert tandem("audit", "usage", "-o", str(tmp_path / "used.txt")).code == 2


def test_the_master_key_is_shown_and_replaced(tandem, platform: FakePlatform) -> None:
    told = {"fingerprint": "a1b2c3d4", "before": ["00000000"], "left": {"subjects": 3, "alerts": 0}, "outside": False}
    platform.on("GET", "/api/v1/vault", {**told, "before": [], "left": {}, "outside": True})
    platform.on("POST", "/api/v1/vault/rotate", Canned(status=202, body=told))
    assert "the environment" in tandem("vault", "show").out
    assert "3 subjects, 0 alerts" in tandem("vault", "rotate").out
    assert tandem("vault", "rotate", "--json").json()["before"] == ["00000000"]  # type: ignore[index]


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "5x", ""])
def test_what_is_no_time_is_refused(tandem, platform: FakePlatform, text: str) -> None:
    assert tandem("audit", "export", "--since", text).code == 2


@given(st.datetimes(min_value=__import__("datetime").datetime(1970, 1, 1)))
def test_a_time_without_a_zone_is_utc(moment: object) -> None:
    assert moment_of(f"{moment}+00:00") == moment_of(str(moment))


def test_a_span_is_so_long_ago() -> None:
    early, late = moment_of("1d"), moment_of("1h")
    assert early is not None
    assert late is not None
    assert early < late
