"""A shared directory belongs to one server, and a missing mount is noticed before a key is made in its place."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from tests.postgres import Server, needed

from tandem.core.errors import Invalid
from tandem.core.secret import Secret
from tandem.store.owner import shared_vault
from tandem.store.vault import KEY_FILE

pytestmark = needed


@pytest.fixture
def url(postgres: Server) -> Secret:
    return Secret(postgres.database(f"owner_{uuid4().hex}"))


def test_every_machine_of_a_server_has_the_same_vault(url: Secret, tmp_path: Path) -> None:
    sealed = shared_vault(url, tmp_path, {}).seal("x", b"secret")
    assert shared_vault(url, tmp_path, {}).open("x", sealed) == b"secret"


def test_a_directory_that_is_not_mounted_gets_no_key(url: Secret, tmp_path: Path) -> None:
    mounted, empty = tmp_path / "mounted", tmp_path / "empty"
    mounted.mkdir()
    empty.mkdir()
    shared_vault(url, mounted, {})
    with pytest.raises(Invalid, match="is not the directory"):
        shared_vault(url, empty, {})
    assert not (empty / KEY_FILE).exists()


def test_the_directory_of_another_server_is_refused(url: Secret, postgres: Server, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    shared_vault(url, ours, {})
    shared_vault(Secret(postgres.database(f"owner_{uuid4().hex}")), theirs, {})
    with pytest.raises(Invalid, match="is not the directory"):
        shared_vault(url, theirs, {})


def test_no_directory_at_all_is_said_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no directory"):
        shared_vault(Secret("postgresql://nobody@127.0.0.1:1/none"), tmp_path / "none", {})
