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
        "cooldown": 7200, "review": 5,
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
