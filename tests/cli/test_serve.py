"""What several machines have to share is asked for before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tandem.cli.up import serve, work
from tandem.core.errors import Invalid

STORE = {"TANDEM_STORE__URL": "postgresql://nobody@127.0.0.1:1/none"}


def started(command: object, home: Path, environment: dict[str, str]) -> Invalid:
    done = CliRunner().invoke(command, ["--home", str(home)], env=environment)  # type: ignore[arg-type]
    assert isinstance(done.exception, Invalid), done
    return done.exception


@pytest.mark.parametrize("command", [serve, work])
def test_without_a_server_nothing_is_started(command: object, tmp_path: Path) -> None:
    said = started(command, tmp_path, {})
    assert said.field == "store.url"
    assert "tandem up" in str(said)


@pytest.mark.parametrize("command", [serve, work])
def test_without_a_directory_nothing_is_started(command: object, tmp_path: Path) -> None:
    assert started(command, tmp_path, STORE).field == "store.folder"


def test_who_only_works_must_be_told_of_a_door(tmp_path: Path) -> None:
    assert started(work, tmp_path, {**STORE, "TANDEM_STORE__FOLDER": str(tmp_path)}).field == "server.inside_url"


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    environment = {
        **STORE,
        "TANDEM_STORE__FOLDER": str(tmp_path / "none"),
        "TANDEM_SERVER__INSIDE_URL": "http://127.0.0.1:1",
    }
    assert started(work, tmp_path, environment).field == "store.folder"
