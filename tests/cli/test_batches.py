"""`tandem batch`: what is sent, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tandem_sdk.fake import Canned, FakePlatform

FILE = {"id": "file_1", "bytes": 3, "filename": "a.jsonl"}


def batch(status: str = "completed", **more: object) -> dict[str, object]:
    return {
        "id": "batch_1",
        "run": "run_1",
        "endpoint": "/v1/chat/completions",
        "status": status,
        "input_file_id": "file_1",
        "output_file_id": "file_2",
        "error_file_id": None,
        "request_counts": {"total": 3, "completed": 3, "failed": 0},
        "errors": None,
        "metadata": None,
        "created_at": 1_750_000_000,
        **more,
    }


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "a \"b'\r\n.jsonl"
    path.write_bytes(b"{}\n")
    return path


def test_create(tandem, platform: FakePlatform, lines: Path) -> None:
    platform.on("POST", "/v1/files", FILE)
    platform.on("POST", "/v1/batches", batch("validating"))
    done = tandem("batch", "create", str(lines), "--endpoint", "/v1/embeddings", "--metadata", "night=1=2")
    assert (done.code, done.out) == (0, "batch_1\n")
    sent, made = platform.asked
    body = sent.body.decode()
    assert sent.headers["content-length"] == str(len(sent.body)) == str(sent.length)
    boundary = sent.headers["content-type"].partition("boundary=")[2]
    assert body.startswith(f"--{boundary}\r\n")
    assert body.endswith(f"\r\n\r\n{{}}\n\r\n--{boundary}--\r\n")
    assert 'name="purpose"\r\n\r\nbatch\r\n' in body
    assert 'filename="a %22b%27%0D%0A.jsonl"' in body
    wanted = {"input_file_id": "file_1", "endpoint": "/v1/embeddings", "completion_window": "24h", "metadata": {"night": "1=2"}}
    assert made.json() == wanted


def test_create_and_wait(tandem, platform: FakePlatform, lines: Path) -> None:
    platform.on("POST", "/v1/files", FILE)
    platform.on("POST", "/v1/batches", batch("validating"))
    platform.on("GET", "/v1/batches/batch_1", batch("in_progress"))
    platform.on("GET", "/v1/batches/batch_1", batch(metadata={"night": "one"}))
    out = tandem("batch", "create", str(lines), "--wait").out
    assert "completed" in out
    assert "3: 3 answered, 0 failed" in out
    assert "metadata night" in out
    assert tandem("batch", "create", str(lines), "--wait", "--json").json()["status"] == "completed"


def test_a_batch_that_fails_says_why(tandem, platform: FakePlatform, lines: Path) -> None:
    platform.on("POST", "/v1/files", FILE)
    platform.on("POST", "/v1/batches", batch("validating"))
    errors = {"object": "list", "data": [{"code": "invalid_json_line", "message": "This line is not JSON.", "line": 7}]}
    platform.on("GET", "/v1/batches/batch_1", batch("failed", errors=errors))
    done = tandem("batch", "create", str(lines), "--wait")
    assert done.code == 1
    assert "This line is not JSON." in done.err
    shown = tandem("batch", "show", "batch_1").out
    assert "invalid_json_line" in shown
    assert shown.splitlines()[-1].lstrip().startswith("7")


def test_what_cannot_be_sent_is_told_before_anything_is_asked(
    tandem, platform: FakePlatform, tmp_path: Path, lines: Path
) -> None:
    assert tandem("batch", "create", str(tmp_path / "none")).code == 1
    assert tandem("batch", "create", str(lines), "--metadata", "night").code == 2
    assert platform.asked == []


def test_list_and_cancel(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/v1/batches", {"object": "list", "data": [batch()], "has_more": False})
    platform.on("POST", "/v1/batches/batch_1/cancel", batch("cancelling"))
    assert "batch_1  /v1/chat/completions  completed         3         3       0  2025-06-15" in tandem("batch", "list").out
    assert tandem("batch", "list", "--json").json()[0]["id"] == "batch_1"
    assert tandem("batch", "cancel", "batch_1").out == "batch_1 is cancelling.\n"


def test_output(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    platform.on("GET", "/v1/batches/batch_1", batch())
    platform.on("GET", "/v1/files/file_2/content", Canned(body=b'{"custom_id": "1"}\n'))
    to = tmp_path / "out.jsonl"
    assert tandem("batch", "output", "batch_1", "--to", str(to), "--json").json() == {"file": str(to), "bytes": 19}
    assert to.read_bytes() == b'{"custom_id": "1"}\n'
    assert tandem("batch", "output", "batch_1").out == '{"custom_id": "1"}\n'
    to.write_text("as it was")
    refused = tandem("batch", "output", "batch_1", "--errors", "--to", str(to))
    assert (refused.code, to.read_text()) == (1, "as it was")
    assert "no request that failed" in refused.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["out.jsonl"]
    assert tandem("batch", "output", "batch_1", "--json").code == 2
