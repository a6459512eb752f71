"""A master key that is replaced opens what there was and seals what comes; no kill between two steps loses anything."""

from __future__ import annotations

import base64
import os
import shutil
import stat
from pathlib import Path

import pytest

from tandem.core.errors import Broken, Conflict
from tandem.store import rotate, vault
from tandem.store.vault import Vault

OTHER = base64.b64encode(bytes(range(32))).decode()


def names(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir())


def test_what_was_sealed_opens_and_what_is_derived_stays(tmp_path: Path) -> None:
    held = Vault.load(tmp_path, {})
    old, sealed, derived = held.fingerprint, held.seal("x", b"secret", b"aad"), held.derive("pepper")
    new = rotate.begin(tmp_path, held, {})
    assert (held.fingerprint, held.before) == (new, (old,))
    assert held.open("x", sealed, b"aad") == b"secret"
    assert held.stale(sealed)
    again = held.anew("x", sealed, b"aad")
    assert not held.stale(again)
    for each in (held, Vault.load(tmp_path, {})):
        assert (each.derive("pepper"), each.fingerprint, each.open("x", again, b"aad")) == (derived, new, b"secret")
    rotate.finish(tmp_path, held, {})
    fresh = Vault.load(tmp_path, {})
    for each in (held, fresh):
        assert (each.derive("pepper"), each.before, each.open("x", again, b"aad")) == (derived, (), b"secret")
        with pytest.raises(Broken, match=f"sealed under the master key {old}"):
            each.open("x", sealed, b"aad")
    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "master.root").stat().st_mode) == 0o600
    assert names(tmp_path) == ["master.key", "master.mark", "master.root"]


def test_a_key_is_replaced_again_and_again(tmp_path: Path) -> None:
    held = Vault.load(tmp_path, {})
    derived = held.derive("pepper")
    for _ in range(4):
        sealed = held.seal("x", b"secret")
        rotate.begin(tmp_path, held, {})
        with pytest.raises(Conflict, match="being replaced already"):
            rotate.begin(tmp_path, held, {})
        sealed = held.anew("x", sealed)
        rotate.finish(tmp_path, held, {})
        fresh = Vault.load(tmp_path, {})
        assert (fresh.derive("pepper"), fresh.open("x", sealed)) == (derived, b"secret")
    assert len((tmp_path / "master.root").read_text().split()) == 1


def test_a_process_that_runs_learns_of_the_new_key_when_it_meets_it(tmp_path: Path) -> None:
    control, door = Vault.load(tmp_path, {}), Vault.load(tmp_path, {})
    before = door.seal("x", b"old")
    rotate.begin(tmp_path, control, {})
    assert door.open("x", control.seal("x", b"new")) == b"new"
    assert door.fingerprint == control.fingerprint
    assert door.open("x", before) == b"old"
    rotate.finish(tmp_path, control, {})
    rotate.begin(tmp_path, control, {})
    assert door.open("x", control.seal("x", b"newer")) == b"newer"


def test_what_nobody_knows_is_asked_of_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, reads = Vault.load(tmp_path, {}), []
    load = Vault.load
    monkeypatch.setattr(Vault, "load", lambda *args: reads.append(1) or load(*args))
    foreign = Vault(os.urandom(32)).seal("x", b"y")
    for _ in range(3):
        with pytest.raises(Broken):
            held.open("x", foreign)
    assert reads == []


@pytest.mark.parametrize("step", range(8))
def test_a_kill_between_any_two_files_leaves_a_home_that_opens_everything(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    held = Vault.load(home, {})
    sealed, derived = held.seal("x", b"secret"), held.derive("pepper")
    count, put = [0], vault.replace_file

    def dies(path: Path, content: bytes) -> None:
        if count[0] == step:
            raise SystemExit
        count[0] += 1
        put(path, content)

    for module in (vault, rotate):
        monkeypatch.setattr(module, "replace_file", dies)
    try:
        rotate.begin(home, held, {})
        sealed = held.anew("x", sealed)
        rotate.finish(home, held, {})
    except SystemExit:
        pass
    monkeypatch.undo()
    again = Vault.load(home, {})
    assert (again.open("x", sealed), again.derive("pepper")) == (b"secret", derived)
    if again.before:
        sealed = again.anew("x", sealed)
        rotate.finish(home, again, {})
    elif again.stale(sealed):
        raise AssertionError("nothing opens it")
    last = Vault.load(home, {})
    assert (last.before, last.derive("pepper"), last.open("x", sealed)) == ((), derived, b"secret")


def test_a_key_from_outside_is_replaced_outside(tmp_path: Path) -> None:
    first = base64.b64encode(bytes(32)).decode()
    held = Vault.load(tmp_path, {"TANDEM_MASTER_KEY": first})
    sealed, derived = held.seal("x", b"secret"), held.derive("pepper")
    with pytest.raises(Conflict, match="replaced there"):
        rotate.begin(tmp_path, held, {"TANDEM_MASTER_KEY": first})
    with pytest.raises(Broken, match="is not the one"):
        Vault.load(tmp_path, {"TANDEM_MASTER_KEY": OTHER})
    both = {"TANDEM_MASTER_KEY": OTHER, "TANDEM_MASTER_KEY_BEFORE": first}
    for _ in range(2):
        held = Vault.load(tmp_path, both)
        assert (held.open("x", sealed), held.derive("pepper"), len(held.before)) == (b"secret", derived, 1)
    sealed = held.anew("x", sealed)
    rotate.finish(tmp_path, held, both)
    alone = Vault.load(tmp_path, {"TANDEM_MASTER_KEY": OTHER})
    assert (alone.open("x", sealed), alone.derive("pepper")) == (b"secret", derived)
    with pytest.raises(Broken, match="is not the one"):
        Vault.load(tmp_path, {"TANDEM_MASTER_KEY": first})


def test_a_lost_root_is_told(tmp_path: Path) -> None:
    held = Vault.load(tmp_path, {})
    rotate.begin(tmp_path, held, {})
    rotate.finish(tmp_path, held, {})
    kept = (tmp_path / "master.root").read_text()
    for damage in ("", "zz\n", "00" * 40 + "\n"):
        (tmp_path / "master.root").write_text(damage)
        with pytest.raises(Broken, match="root of the home is lost"):
            Vault.load(tmp_path, {})
    (tmp_path / "master.root").write_text(f"junk\n{kept}")
    assert Vault.load(tmp_path, {}).derive("x") == held.derive("x")
    (tmp_path / "master.root").unlink()
    with pytest.raises(Broken, match="root of the home is lost"):
        Vault.load(tmp_path, {})


def test_the_vault_of_another_home_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="another home"):
        Vault.load(tmp_path / "one", {}).take(Vault.load(tmp_path / "two", {}))
    shutil.rmtree(tmp_path / "one")
