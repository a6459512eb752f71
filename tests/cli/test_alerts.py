"""`tandem alert` against a fake platform."""

from __future__ import annotations

from tests.sdk.watched import ALERT

from tandem_sdk.fake import FakePlatform


def test_alert_add_shows_a_made_secret_once(tandem, platform: FakePlatform) -> None:
    platform.on("PUT", "/api/v1/alerts/ops", {**ALERT, "signing_secret": "whsec_made"}, ALERT)
    done = tandem("alert", "add", "ops", "--url", "https://hooks.example.org/x", "--on", "budget.*", "--on", "request.open")
    assert done.code == 0, done.err
    assert "whsec_made" in done.out
    assert "only this once" in done.err
    assert platform.asked[0].json() == {
        "url": "https://hooks.example.org/x", "kind": "webhook", "on": ["budget.*", "request.open"], "team": None, "secret": "",
        "user": "", "sender": "", "to": [],
    }  # fmt: skip
    mail = ("--kind", "email", "--secret", "env:PW", "--user", "u", "--from", "a@b", "--to", "c@d", "--to", "e@f")
    done = tandem("alert", "add", "ops", "--url", "smtps://mail", *mail, "--team", "risk", "--json")
    assert done.json()["signing_secret"] is None  # type: ignore[index]
    assert platform.asked[1].json() == {
        "url": "smtps://mail", "kind": "email", "team": "risk", "secret": "env:PW", "user": "u", "sender": "a@b",
        "to": ["c@d", "e@f"],
    }  # fmt: skip


def test_alerts_are_listed_shown_and_removed(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/alerts", [ALERT], [])
    platform.on("GET", "/api/v1/alerts/ops", ALERT)
    platform.on("DELETE", "/api/v1/alerts/ops", {"name": "ops"})
    listed = tandem("alert", "list").out
    assert "https://hooks.example.org/…" in listed
    assert "Nobody is told" in tandem("alert", "list").out
    shown = tandem("alert", "show", "ops").out
    for text in ("monitor.alarm, budget.*", "The receiver answered 500.", "2025-06-15 15:06:40", "every", "sealed"):
        assert text in shown
    assert tandem("alert", "show", "ops", "--json").json()["delivery"]["failures"] == 3  # type: ignore[index]
    assert "told of nothing any more" in tandem("alert", "remove", "ops").out


def test_a_test_that_does_not_arrive_is_an_exit_code(tandem, platform: FakePlatform) -> None:
    told = ({"ok": True, "detail": "delivered"}, {"ok": False, "detail": "The receiver answered 500.\x1b[31m"})
    platform.on("POST", "/api/v1/alerts/ops/test", *told)
    assert tandem("alert", "test", "ops").code == 0
    done = tandem("alert", "test", "ops")
    assert (done.code, done.out) == (1, "not delivered: The receiver answered 500.?[31m\n")
    assert tandem("alert", "test", "ops", "--json").code == 1
