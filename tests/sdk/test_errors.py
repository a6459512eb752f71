"""Errors: three shapes become one tree, and what breaks says so."""

from __future__ import annotations

import json
import socket

import pytest

from tandem_sdk import (
    Broken,
    Client,
    Conflict,
    Forbidden,
    GateRefused,
    Invalid,
    NotFound,
    OverBudget,
    RateLimited,
    TandemError,
    TimedOut,
    Unauthenticated,
    Unavailable,
    Unreachable,
    Upstream,
    errors,
)
from tandem_sdk.errors import read_error
from tandem_sdk.fake import Canned, FakePlatform


def told(status: int, body: object) -> TandemError:
    return read_error(status, json.dumps(body).encode())


def test_our_own_shape() -> None:
    error = told(400, {"error": {"code": "invalid", "message": "Row 3 is bad.", "hint": "Mend it.", "field": "rows[3]"}})
    assert type(error) is Invalid
    assert (error.message, error.hint, error.field, error.code, error.status) == (
        "Row 3 is bad.",
        "Mend it.",
        "rows[3]",
        "invalid",
        400,
    )
    assert str(error) == "Row 3 is bad. Mend it."


def test_openai_shape() -> None:
    error = told(429, {"error": {"message": "No room.", "type": "rate_limit_error", "param": "model", "code": "over_budget"}})
    assert type(error) is OverBudget
    assert (error.message, error.field, error.status) == ("No room.", "model", 429)


def test_what_a_guard_blocked_is_blocked() -> None:
    error = told(403, {"error": {"message": "No.", "type": "guard_blocked", "param": None, "code": "guard_blocked"}})
    assert type(error) is errors.Blocked
    assert error.code == "guard_blocked"


def test_openai_shape_of_a_provider_without_a_code() -> None:
    error = told(429, {"error": {"message": "Slow down.", "type": "requests", "param": None, "code": None}})
    assert type(error) is RateLimited
    assert (error.code, error.field) == ("requests", None)


def test_inference_protocol_shape() -> None:
    error = told(404, {"error": "No such model.", "code": "model_not_found", "field": None, "hint": "Look.", "trace": "trc_1"})
    assert type(error) is NotFound
    assert (error.message, error.code, error.hint, error.trace) == ("No such model.", "model_not_found", "Look.", "trc_1")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, Invalid),
        (418, TandemError),
        (422, Invalid),
        (429, RateLimited),
        (500, Broken),
        (502, Upstream),
        (503, Unavailable),
        (504, TimedOut),
        (599, Broken),
    ],
)
def test_a_page_of_something_else_is_quoted(status: int, kind: type[TandemError]) -> None:
    error = read_error(status, b"<html>\n  <b>Bad</b> " + b"x" * 9000)
    assert type(error) is kind
    assert error.message.startswith(f"The answer was HTTP {status}: <html> <b>Bad</b>")
    assert len(error.message) < 260


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"error": null}', b'{"error": 7}', b"\xff\xfe"])
def test_no_body_makes_an_error_fail(body: bytes) -> None:
    assert "HTTP 500" in read_error(500, body).message


def test_a_refusing_gate_brings_its_report() -> None:
    estimate = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 569, "level": 0.95}
    report = {"passed": False, "gate": {"metric": "roc_auc"}, "candidate": estimate, "verdict": None, "reasons": ["Too low."]}
    error = told(403, {"error": {"code": "gate_refused", "message": "No.", "hint": None, "field": None, "report": report}})
    assert isinstance(error, GateRefused)
    assert error.report.reasons == ("Too low.",)
    assert error.report.candidate is not None
    assert error.report.candidate.low == 0.8


def test_a_gate_report_of_another_shape_does_not_hide_the_refusal() -> None:
    error = told(403, {"error": {"code": "gate_refused", "message": "No.", "report": ["what"]}})
    assert isinstance(error, GateRefused)
    assert error.report.reasons == ("No.",)


def test_every_error_of_the_tree_is_found_by_its_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TandemError)]
    for kind in kinds:
        if kind not in (TandemError, errors.RunFailed, errors.ApprovalNeeded):
            assert type(told(500, {"error": {"code": kind.code, "message": "x"}})) is kind


def test_nothing_answers() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with Client(url, "tdm_x") as client, pytest.raises(Unreachable) as caught:
            client.whoami()
    assert caught.value.code == "not_running"
    assert caught.value.message == f"Nothing answers at {url}."
    assert "`tandem up` starts the platform" in (caught.value.hint or "")


def test_a_broken_connection_says_that_the_outcome_is_unknown(platform: FakePlatform, client: Client) -> None:
    platform.on("POST", "/api/v1/runs", Canned(body=b'{"id"', hang_up=True))
    with pytest.raises(Unreachable, match="may or may not have been done"):
        client.runs.start("train", "tumor", {})
    assert len(platform.asked) == 1


def test_an_answer_that_is_no_json(platform: FakePlatform, client: Client) -> None:
    platform.on("GET", "/api/v1/whoami", Canned(body=b"<html>hello</html>"))
    with pytest.raises(Broken, match="no JSON"):
        client.whoami()


def test_an_answer_of_another_shape_names_where(platform: FakePlatform, client: Client) -> None:
    platform.on("GET", "/api/v1/runs", [{"id": "run_1"}, {"id": 7}])
    with pytest.raises(Broken, match=r"\$\[1\]\.id is a number, not str"):
        client.runs.list()


@pytest.mark.parametrize("url", ["", "localhost:8400", "ftp://x", "http://", "nonsense"])
def test_an_address_that_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_URL", url or "not a url")
    with pytest.raises(Invalid, match="no address of a platform"):
        Client()


@pytest.mark.parametrize("key", ["tdm with space", "tdm_\n", "tdm_é"])
def test_a_key_that_cannot_be_one_is_refused_before_it_travels(key: str) -> None:
    with pytest.raises(Invalid, match="characters that no key has"):
        Client("http://127.0.0.1:1", key)


def test_trace_id_of_a_refusal_comes_from_the_header(platform: FakePlatform, client: Client) -> None:
    platform.on(
        "POST",
        "/v1/decide/x",
        Canned(status=404, body={"error": "No x.", "code": "not_found"}, headers={"x-tandem-trace-id": "trc_9"}),
    )
    with pytest.raises(NotFound) as caught:
        client.decide("x", {})
    assert caught.value.trace == "trc_9"


def test_what_is_no_json_is_refused_before_it_travels(platform: FakePlatform, client: Client) -> None:
    for value in (float("nan"), object(), {1, 2}):
        with pytest.raises(Invalid, match="cannot be sent as JSON"):
            client.decide("x", {"a": value})
    assert platform.asked == []
