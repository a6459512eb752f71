"""`tandem monitor` and `tandem request` against a fake platform."""

from __future__ import annotations

from tests.sdk.watched import MONITOR, REPORT, REQUEST

from tandem_sdk.fake import Canned, FakePlatform


def test_monitor_add(tandem, platform: FakePlatform) -> None:
    platform.on("POST", "/api/v1/monitors", Canned(status=201, body={**MONITOR, "newest": None}))
    words = ("monitor", "add", "m", "--endpoint", "credit", "--every", "1h", "--min", "200", "--on-alarm", "retrain")
    done = tandem(*words, "--promote", "if-gate-passes", "--span", "7d", "--cooldown", "2h", "--review", "5")
    assert done.code == 0, done.err
    assert "drift at credit" in done.out
    sent = platform.asked[0].json()
    assert sent == {
        "name": "m", "endpoint": "credit", "question": "drift", "every": 3600, "window": 1000, "span": 604_800, "minimum": 200,
        "threshold": None, "false_alarm_every": 1000, "on_alarm": "retrain", "on_data": "none", "promote": "if-gate-passes",
        "cooldown": 7200, "review": 5, "against": ["training"], "days": 7, "false_pages": None, "hours": None,
        "canary_share": 0.1, "canary_seconds": 3600, "weeks": 4, "segment": None, "maturity": 0.8, "wait": 2_592_000,
        "retrainings": None, "await_labels": False,
    }  # fmt: skip
    assert tandem("monitor", "add", "m", "--endpoint", "credit", "--every", "soon").code == 2


def test_monitors_are_listed_and_shown(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/monitors", [MONITOR], [])
    platform.on("GET", "/api/v1/monitors/m", MONITOR)
    platform.on("GET", "/api/v1/monitors/m/reports", [REPORT])
    platform.on("POST", "/api/v1/monitors/m/check", REPORT)
    platform.on("DELETE", "/api/v1/monitors/m", MONITOR)
    listed = tandem("monitor", "list").out
    assert "drifted" in listed
    assert "goes on" in listed
    assert "Nothing is watched" in tandem("monitor", "list").out
    shown = tandem("monitor", "show", "m").out
    for text in (
        "drifted - alarm raised: 150 rows",
        "0.4000 [0.2000, 0.6000] on 150 rows",
        "1e-08",
        "Retraining: run_1",
        "rpt_1",
    ):
        assert text in shown
    assert tandem("monitor", "check", "m", "--json").json()["findings"][0]["subject"] == "x"  # type: ignore[index]
    assert "Calls: 150 read." in tandem("monitor", "check", "m").out
    assert "watches nothing any more" in tandem("monitor", "remove", "m").out
    assert tandem("monitor", "show", "m", "--json").json()["monitor"]["name"] == "m"  # type: ignore[index]


def test_requests(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/requests", [REQUEST], [])
    platform.on("GET", "/api/v1/requests/req_1", REQUEST)
    platform.on("POST", "/api/v1/requests/req_1/approve", {**REQUEST, "state": "approved", "decided_by": "ada"})
    platform.on("POST", "/api/v1/requests/req_1/decline", {**REQUEST, "state": "declined", "decided_by": "ada", "note": "no"})
    assert "model/credit@2" in tandem("request", "list", "--state", "open").out
    assert "Nothing waits" in tandem("request", "list").out
    assert "It drifted." in tandem("request", "show", "req_1").out
    assert "approved by ada" in tandem("request", "approve", "req_1", "--note", "ok").out
    assert platform.asked[-1].json() == {"note": "ok"}
    assert tandem("request", "decline", "req_1", "--json").json()["state"] == "declined"  # type: ignore[index]


def test_approvals(tandem, platform: FakePlatform) -> None:
    rule = {"action": "promote", "people": 2, "role": "admin", "team": "risk", "hours": 24, "managed": "file:tandem.toml:3"}
    platform.on("PUT", "/api/v1/approvals/promote", rule)
    platform.on("GET", "/api/v1/approvals", [rule], [])
    platform.on("DELETE", "/api/v1/approvals/promote", {"action": "promote", "team": "risk"})
    words = ("--people", "2", "--role", "admin", "--team", "risk", "--hours", "24")
    assert "24 h" in tandem("approval", "set", "promote", *words).out
    assert platform.asked[0].json() == {"people": 2, "role": "admin", "team": "risk", "hours": 24}
    assert "file:tandem.toml:3" in tandem("approval", "list").out
    assert "needs more than its author" in tandem("approval", "list").out
    assert "in the team risk" in tandem("approval", "drop", "promote", "--team", "risk").out
    assert tandem("approval", "drop", "promote", "--json").json() == {"action": "promote", "team": None, "dropped": True}
    assert tandem("approval", "set", "dance").code == 2


def test_a_deed_that_waits_ends_with_a_code_of_its_own(tandem, platform: FakePlatform) -> None:
    waiting = {
        **REQUEST, "monitor": "", "author": "ci", "people": 2, "waits_for": "2 people", "does": "key.create", "alias": "",
        "deed": {"principal": {"name": "boss"}}, "approvals": [{"person": "key/ben", "by": "ben", "at": 5}],
    }  # fmt: skip
    headers = {"x-tandem-request": "req_1"}
    platform.on("DELETE", "/api/v1/budgets/org", Canned(status=202, body=waiting, headers=headers))
    done = tandem("budget", "drop", "org", "--json")
    assert done.code == 6
    assert done.json()["error"]["request"]["id"] == "req_1"  # type: ignore[index]
    assert "tandem request approve req_1" in done.err
    platform.on("POST", "/api/v1/keys", Canned(status=202, body={**waiting, "key": "tdm_new"}, headers=headers))
    made = tandem("key", "create", "--name", "boss")
    assert (made.code, made.out.strip()) == (6, "tdm_new")
    assert "It is refused until req_1 is approved" in made.err
    assert tandem("key", "create", "--name", "boss", "--json").json()["request"]["id"] == "req_1"  # type: ignore[index]
    platform.on("GET", "/api/v1/requests/req_1", waiting)
    shown = tandem("request", "show", "req_1").out
    for text in ("1 of 2: ben", "2 people", '"name": "boss"', "key.create"):
        assert text in shown
