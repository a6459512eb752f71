"""One master key; without it nothing opens, and its loss is told at once."""

from __future__ import annotations

import base64
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Broken, Invalid
from tandem.store.vault import Vault, mac

KEY = bytes(range(32))
TEXT = base64.b64encode(KEY).decode()


def test_the_first_start_makes_a_private_key_and_the_next_reads_it(tmp_path: Path) -> None:
    first = Vault.load(tmp_path, {})
    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600
    assert Vault.load(tmp_path, {}).derive("x") == first.derive("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["master.key", "master.mark"]


def test_two_homes_have_two_keys(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert Vault.load(one, {}).derive("x") != Vault.load(two, {}).derive("x")


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    vault = Vault.load(tmp_path, {"TANDEM_MASTER_KEY": TEXT})
    assert vault.derive("x") == Vault(KEY).derive("x")
    assert not (tmp_path / "master.key").exists()


@pytest.mark.parametrize("text", ["short", base64.b64encode(bytes(31)).decode(), "ä" * 44, base64.b64encode(bytes(33)).decode()])
def test_a_malformed_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(Invalid, match="openssl rand") as caught:
        Vault.load(tmp_path, {"TANDEM_MASTER_KEY": text})
    assert text not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_read_is_refused_with_the_command_to_run(tmp_path: Path, mode: int) -> None:
    Vault.load(tmp_path, {})
    path = tmp_path / "master.key"
    path.chmod(mode)
    with pytest.raises(Invalid, match=f"chmod 600 {path}"):
        Vault.load(tmp_path, {})


def test_a_lost_key_is_told_and_no_new_one_is_made(tmp_path: Path) -> None:
    Vault.load(tmp_path, {})
    (tmp_path / "master.key").unlink()
    with pytest.raises(Broken, match="The master key is lost"):
        Vault.load(tmp_path, {})
    assert not (tmp_path / "master.key").exists()


def test_another_key_is_told_apart_by_its_fingerprint(tmp_path: Path) -> None:
    first = Vault.load(tmp_path, {})
    with pytest.raises(Broken, match=first.fingerprint):
        Vault.load(tmp_path, {"TANDEM_MASTER_KEY": TEXT})


def test_processes_that_start_together_agree_on_the_key(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tandem.store.vault import Vault;"
        "print(Vault.load(Path(sys.argv[1]), {}).derive('x').hex())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "home")]
    starts = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": ":".join(sys.path)}) for _ in range(4)
    ]
    keys = {start.communicate()[0] for start in starts}
    assert [start.returncode for start in starts] == [0] * 4
    assert len(keys) == 1


def test_purposes_are_apart() -> None:
    vault = Vault(KEY)
    assert len({vault.derive("a"), vault.derive("b"), KEY}) == 3
    assert len(vault.derive("a")) == 32
    with pytest.raises(Broken):
        vault.open("b", vault.seal("a", b"text"))


@given(st.binary(max_size=100), st.binary(max_size=20))
def test_what_was_sealed_opens(plaintext: bytes, aad: bytes) -> None:
    vault = Vault(KEY)
    sealed = vault.seal("p", plaintext, aad)
    assert vault.open("p", sealed, aad) == plaintext
    assert sealed != vault.seal("p", plaintext, aad)
    with pytest.raises(Broken):
        vault.open("p", sealed, aad + b"x")


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    vault = Vault(KEY)
    sealed = vault.seal("p", b"provider key")
    for place in range(len(sealed) * 8):
        altered = bytearray(sealed)
        altered[place // 8] ^= 1 << place % 8
        with pytest.raises(Broken):
            vault.open("p", bytes(altered))
    for length in range(len(sealed)):
        with pytest.raises(Broken):
            vault.open("p", sealed[:length])


def test_another_master_key_is_named_in_the_error() -> None:
    other, vault = Vault(bytes(32)), Vault(KEY)
    with pytest.raises(Broken, match=f"{other.fingerprint}.*{vault.fingerprint}"):
        vault.open("p", other.seal("p", b"x"))


def test_a_vault_shows_nothing() -> None:
    assert KEY.hex() not in repr(Vault(KEY))
    assert TEXT not in repr(Vault(KEY))
    assert repr(Vault(KEY)) == f"Vault({Vault(KEY).fingerprint})"


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_macs_of_two_lists_differ(one: list[bytes], two: list[bytes]) -> None:
    assert (mac(KEY, *one) == mac(KEY, *two)) == (one == two)


def test_the_vault_is_light() -> None:
    program = "import sys, tandem.store.vault; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    ).stdout
    assert "cryptography" in found
    for heavy in ("sqlalchemy", "alembic", "fastapi", "polars", "dbos", "numpy"):
        assert heavy not in found
