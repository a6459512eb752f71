"""HTTP: retries, uploads, streams, credentials."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tracemalloc
from pathlib import Path

import pytest

from tandem_sdk import Broken, Client, Invalid, OverBudget, RateLimited, Unavailable, Unreachable, Upstream, credentials
from tandem_sdk.credentials import Credentials
from tandem_sdk.fake import Canned, FakePlatform

ME = {"name": "ci", "role": "editor", "unknown": {"to": "this client"}}


def test_bearer_key_and_user_agent(platform: FakePlatform, client: Client) -> None:
    platform.on("GET", "/api/v1/whoami", ME)
    assert client.whoami().role == "editor"
    assert platform.asked[0].headers["authorization"] == "Bearer tdm_test"
    assert platform.asked[0].headers["user-agent"].startswith("tandem-sdk/")


def test_a_get_is_tried_again_while_the_platform_is_away(platform: FakePlatform, client: Client) -> None:
    away = Canned(status=503, body={"error": {"code": "unavailable", "message": "Away."}})
    platform.on("GET", "/api/v1/whoami", away, Canned(hang_up=True), ME)
    assert client.whoami().name == "ci"
    assert len(platform.asked) == 3


def test_a_get_gives_up_after_two_more_tries(platform: FakePlatform, client: Client) -> None:
    platform.on("GET", "/api/v1/whoami", Canned(hang_up=True))
    with pytest.raises(Unreachable):
        client.whoami()
    assert len(platform.asked) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_post_is_tried_again_when_told_when(platform: FakePlatform, client: Client, status: int) -> None:
    busy = Canned(status=status, headers={"retry-after": "0"}, body={"error": "Busy.", "code": "unavailable"})
    platform.on("POST", "/v1/decide/x", busy, busy, {"yes": True})
    assert client.decide("x", {"n": 1}).output == {"yes": True}
    assert [asked.json() for asked in platform.asked] == [{"n": 1}] * 3


def test_a_post_is_not_repeated_when_nothing_says_so(platform: FakePlatform, client: Client) -> None:
    platform.on("POST", "/v1/decide/x", Canned(status=503, body={"error": "Away.", "code": "unavailable"}))
    platform.on("POST", "/v1/decide/y", Canned(status=502, body={"error": "Upstream.", "code": "upstream"}))
    platform.on("POST", "/v1/decide/z", Canned(status=429, body={"error": "No room.", "code": "over_budget"}))
    for name, kind in (("x", Unavailable), ("y", Upstream), ("z", OverBudget)):
        with pytest.raises(kind):
            client.decide(name, {})
    assert len(platform.asked) == 3


def test_what_must_not_be_done_twice_is_never_repeated(platform: FakePlatform, client: Client) -> None:
    away = Canned(status=503, headers={"retry-after": "0"}, body={"error": {"code": "unavailable", "message": "Away."}})
    for path in ("/api/v1/runs", "/api/v1/keys", "/api/v1/assets/model/tumor/rollback"):
        platform.on("POST", path, away)
    for act in (
        lambda: client.runs.start("train", "tumor", {}),
        lambda: client.keys.create("ci"),
        lambda: client.assets.rollback("model/tumor", "production"),
    ):
        with pytest.raises(Unavailable):
            act()
    assert len(platform.asked) == 3


def test_a_long_retry_after_is_the_callers_business(platform: FakePlatform, client: Client) -> None:
    slow = Canned(status=429, headers={"retry-after": "6"}, body={"error": {"code": "rate_limited", "message": "Slow down."}})
    platform.on("GET", "/api/v1/whoami", slow)
    with pytest.raises(RateLimited) as caught:
        client.whoami()
    assert caught.value.retry_after == 6
    assert len(platform.asked) == 1


def test_a_retry_after_that_is_a_date_is_passed_over(platform: FakePlatform, client: Client) -> None:
    dated = Canned(status=429, headers={"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, body={})
    platform.on("POST", "/v1/decide/x", dated)
    with pytest.raises(RateLimited):
        client.decide("x", {})
    assert len(platform.asked) == 1


def test_a_refused_get_is_not_repeated(platform: FakePlatform, client: Client) -> None:
    platform.on("GET", "/api/v1/whoami", Canned(status=401, body={"error": {"code": "unauthenticated", "message": "Who?"}}))
    with pytest.raises(Exception, match="Who"):
        client.whoami()
    assert len(platform.asked) == 1


def test_a_file_travels_piece_by_piece(platform: FakePlatform, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "big.csv"
    size = 48 << 20
    with file.open("wb") as out:
        out.write(b"a,b\n")
        out.truncate(size)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    platform.on(
        "POST",
        "/api/v1/datasets/big",
        Canned(status=201, body={"ref": "dataset/big@1", "kind": "dataset", "name": "big", "version": 1}),
    )
    seen: list[tuple[int, int]] = []
    tracemalloc.start()
    version = client.datasets.add("big", file, id_column="a", on_progress=lambda sent, total: seen.append((sent, total)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    asked = platform.asked[0]
    assert version.ref == "dataset/big@1"
    assert (asked.length, asked.sha256) == (size, digest)
    assert asked.query == {"id": "a", "format": "csv"}
    assert asked.headers["content-type"] == "text/csv"
    assert asked.headers["content-length"] == str(size)
    assert seen[-1] == (size, size)
    assert peak < size / 4


def test_a_file_is_read_anew_for_a_second_try(platform: FakePlatform, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n')
    busy = Canned(status=503, headers={"retry-after": "0"}, body={"error": {"code": "unavailable", "message": "Busy."}})
    platform.on("POST", "/api/v1/datasets/rows", busy, {"ref": "dataset/rows@1", "kind": "dataset", "name": "rows", "version": 1})
    client.datasets.add("rows", str(file))
    assert [asked.body for asked in platform.asked] == [file.read_bytes()] * 2
    assert platform.asked[1].query == {"format": "jsonl"}


def test_files_that_cannot_be_sent(client: Client, platform: FakePlatform, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        client.datasets.add("x", tmp_path / "none.csv")
    with pytest.raises(Invalid, match="no ending that tells its format"):
        client.datasets.add("x", tmp_path / "rows.xlsx")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(Invalid, match="cannot be read"):
        client.datasets.add("x", tmp_path / "folder.csv")
    assert platform.asked == []


def frame(text: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": more.pop("finish", None)}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


def test_a_stream(platform: FakePlatform, client: Client) -> None:
    usage = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
    body = (
        frame("Hel")
        + b": beat\n\n"
        + frame("lo")
        + frame(finish="stop")
        + b'data: {"choices": [], "usage": '
        + json.dumps(usage).encode()
    )
    body += b"}\n\ndata: [DONE]\n\n"
    platform.on(
        "POST",
        "/v1/chat/completions",
        Canned(body=body, headers={"content-type": "text/event-stream", "x-tandem-trace-id": "trc_1"}),
    )
    pieces = list(client.stream("assistant", "Hi", max_tokens=9))
    assert "".join(piece.text for piece in pieces) == "Hello"
    assert pieces[2].finish == "stop"
    assert pieces[3].tokens is not None
    assert pieces[3].tokens.completion_tokens == 2
    assert {piece.trace for piece in pieces} == {"trc_1"}
    assert platform.asked[0].json() == {
        "model": "assistant",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_stream_that_is_refused(platform: FakePlatform, client: Client) -> None:
    platform.on(
        "POST", "/v1/chat/completions", Canned(status=429, body={"error": {"message": "No room.", "code": "over_budget"}})
    )
    with pytest.raises(OverBudget, match="No room"):
        list(client.stream("assistant", "Hi"))


def test_a_stream_that_fails_on_its_way(platform: FakePlatform, client: Client) -> None:
    body = frame("Hel") + b'data: {"error": {"message": "Used up.", "type": "x", "code": "over_budget"}}\n\n'
    platform.on("POST", "/v1/chat/completions", Canned(body=body, headers={"content-type": "text/event-stream"}))
    pieces = client.stream("assistant", "Hi")
    assert next(pieces).text == "Hel"
    with pytest.raises(OverBudget, match="Used up"):
        next(pieces)


@pytest.mark.parametrize("hang_up", [False, True])
def test_a_stream_that_is_cut_is_not_taken_for_whole(platform: FakePlatform, client: Client, hang_up: bool) -> None:
    platform.on(
        "POST", "/v1/chat/completions", Canned(body=frame("Hel"), headers={"content-type": "text/event-stream"}, hang_up=hang_up)
    )
    pieces = client.stream("assistant", "Hi")
    assert next(pieces).text == "Hel"
    with pytest.raises((Unreachable, Broken)):
        next(pieces)


def test_a_stream_of_nonsense(platform: FakePlatform, client: Client) -> None:
    platform.on("POST", "/v1/chat/completions", Canned(body=b"data: {oops\n\n", headers={"content-type": "text/event-stream"}))
    with pytest.raises(Broken, match="not understood"):
        next(client.stream("assistant", "Hi"))


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("TANDEM_URL", "TANDEM_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("empty")
def test_the_default_address() -> None:
    assert credentials.find() == Credentials(url="http://127.0.0.1:8400", key=None)


def test_what_login_stored_is_found_and_private(empty: Path) -> None:
    file = credentials.store(Credentials(url="https://t.example", key="tdm_s"))
    assert file == empty / "tandem" / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert credentials.find() == Credentials(url="https://t.example", key="tdm_s")
    assert os.listdir(file.parent) == ["credentials.json"]


@pytest.mark.usefixtures("empty")
def test_a_stored_key_is_not_sent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.store(Credentials(url="https://t.example", key="tdm_s"))
    assert credentials.find("https://evil.example").key is None
    assert credentials.find("https://t.example/").key == "tdm_s"
    monkeypatch.setenv("TANDEM_URL", "http://127.0.0.1:9")
    assert credentials.find().key is None


@pytest.mark.usefixtures("empty")
def test_argument_then_environment_then_file(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.store(Credentials(url="http://a.example", key="stored"))
    monkeypatch.setenv("TANDEM_KEY", "environment")
    assert credentials.find().key == "environment"
    assert credentials.find(key="argument").key == "argument"
    monkeypatch.setenv("TANDEM_URL", "http://b.example/")
    assert credentials.find().url == "http://b.example"
    assert credentials.find("http://c.example").url == "http://c.example"


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense"])
def test_a_broken_file_says_how_to_mend_it(empty: Path, text: str) -> None:
    (empty / "tandem").mkdir()
    (empty / "tandem" / "credentials.json").write_text(text)
    with pytest.raises(Invalid, match="`tandem login` writes it anew"):
        credentials.find()


def test_no_secret_is_printed() -> None:
    assert "tdm_s" not in repr(Credentials(url="http://x", key="tdm_s"))
    with Client("http://127.0.0.1:1", "tdm_s") as client:
        assert "tdm_s" not in repr(client) + str(vars(client))
