"""`tandem import`: what it sends, what it tells, and how it ends."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tandem_sdk.errors import Invalid
from tandem_sdk.fake import Canned, FakePlatform
from tandem_sdk.imports import files_in, repository

GOOD = {
    "name": "fraud", "path": "fraud.onnx", "ref": "model/fraud@1", "framework": "onnx", "version": "1.3", "runtime": "onnx",
    "largest": 0.0, "compared": "", "trusted": [], "reason": "", "hint": None, "promoted": "production", "request": "",
}  # fmt: skip
BAD = {
    **GOOD,
    "name": "net",
    "path": "net.pkl",
    "ref": "",
    "largest": None,
    "reason": "It is not trusted.",
    "hint": "--trust pickle",
}


def answers(platform: FakePlatform, *models: dict[str, object], decision: str | None = None) -> None:
    run = {
        "id": "run_1",
        "kind": "import",
        "name": "models",
        "state": "queued",
        "created_by": "me",
        "team": "default",
        "created_at": 1,
    }
    failed = sum(bool(one["reason"]) for one in models)
    outputs = {"models": list(models), "failed": failed, "decision": decision, "decision_reason": ""}
    platform.on("POST", "/api/v1/imports/models", Canned(status=202, body=run))
    platform.on("GET", "/api/v1/runs/run_1", {**run, "state": "succeeded", "progress": 1.0, "outputs": outputs})


def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models"
    (made / ".git").mkdir(parents=True)
    (made / ".git" / "config").write_text("secret")
    (made / "fraud.onnx").write_text("graph")
    (made / "deep").mkdir()
    (made / "deep" / "net.pkl").write_text("pickle")
    return made


def test_it_sends_the_files_and_tells_what_became_of_each(tandem, platform: FakePlatform, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    answers(platform, GOOD, decision="decision/risk@1")
    words = ("--trust", "pickle", "--as", "x-", "--promote", "production", "--decision", "risk")
    done = tandem("import", str(folder(tmp_path)), *words)
    assert done.code == 0, done.err
    assert "model/fraud@1" in done.out
    assert "decision/risk@1" in done.out
    sent = next(one for one in platform.asked if one.method == "POST")
    assert sent.query == {"prefix": "x-", "promote": "production", "decision": "risk", "trusted": "pickle"}
    with tarfile.open(fileobj=io.BytesIO(sent.body)) as archive:
        assert sorted(archive.getnames()) == ["deep/net.pkl", "fraud.onnx"]


def test_it_ends_with_one_where_a_model_was_not_imported(tandem, platform: FakePlatform, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    answers(platform, GOOD, BAD)
    done = tandem("import", str(folder(tmp_path)))
    assert done.code == 1
    assert "net.pkl: It is not trusted. --trust pickle" in done.out
    assert tandem("import", str(folder(tmp_path / "again")), "--json").json()["failed"] == 1


def test_a_folder_without_files_is_not_sent(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="is no folder"):
        files_in(tmp_path / "none")
    with pytest.raises(Invalid, match="0 files"):
        files_in(tmp_path)


def test_the_repository_is_told_without_its_secrets(tmp_path: Path) -> None:
    assert repository(tmp_path) == ("", "")
    for words in (
        ("init", "-q"),
        ("remote", "add", "origin", "https://user:token@host/team/models.git"),
        ("-c", "user.name=a", "-c", "user.email=b", "commit", "-q", "--allow-empty", "-m", "c"),
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    commit, remote = repository(tmp_path)
    assert (len(commit), remote) == (40, "https://host/team/models.git")
