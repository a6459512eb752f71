"""An alarm reaches people outside: signed, at least once through a kill, by webhook, Slack and mail."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, platform, until
from tests.receivers import Mailbox, Receiver, genuine

pytestmark = [pytest.mark.journey, pytest.mark.slow]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def put(house: Platform, name: str, **more: Any) -> Any:
    return house.api("PUT", f"/alerts/{name}", json={"kind": "webhook", "secret": SECRET, **more})


def alarm(house: Platform) -> None:
    """A monitor that sees a chat endpoint begin to fail: it is led to a provider that is not there."""

    def lead(provider: str, status: int) -> None:
        house.api("PUT", "/endpoints/bot", json={"kind": "chat", "route": [{"target": f"{provider}/gpt-4o-mini"}], "retries": 0})
        until(lambda: chat() == status, f"it leads to {provider}")

    def chat() -> int:
        body = {"model": "bot", "messages": [{"role": "user", "content": "hello"}]}
        url = f"{house.url}/v1/chat/completions"
        return httpx2.post(url, json=body, headers=bearer(ADMIN), timeout=30, verify=TLS).status_code

    house.api("PUT", "/providers/none", json={"protocol": "openai", "base_url": "http://127.0.0.1:9"})
    lead("mock", 200)
    house.api("POST", "/monitors", json={"name": "scores", "endpoint": "bot", "question": "scores", "minimum": 30})
    assert {chat() for _ in range(60)} == {200}
    house.settle()
    assert "reference" in house.api("POST", "/monitors/scores/check")["note"]
    lead("none", 502)
    assert {chat() for _ in range(60)} == {502}
    house.settle()
    report = house.api("POST", "/monitors/scores/check")
    assert report["alarm"], report


def test_an_alarm_is_heard_by_all_and_a_dead_receiver_holds_up_nobody(tmp_path: Path) -> None:
    with Receiver().open() as hook, Receiver().open() as slack, Mailbox().open() as box, platform(tmp_path) as house:
        made = put(house, "hook", url=f"{hook.url}/in", secret="")
        put(house, "slack", kind="slack", url=f"{slack.url}/services/T", secret="")
        mail = {"url": f"smtp+plain://127.0.0.1:{box.port}", "sender": "tandem@example.org", "to": ["ops@example.org"]}
        put(house, "mail", kind="email", secret="", **mail)
        put(house, "dead", url="http://127.0.0.1:9")
        assert house.api("POST", "/alerts/hook/test")["ok"]
        assert hook.came.pop().json()["type"] == "alert.test"
        alarm(house)
        until(lambda: hook.came and slack.came and box.mails, "three were told")
        (came,) = hook.came
        assert genuine(came, made["signing_secret"])
        told = came.json()
        assert (told["type"], told["data"]["subject"]) == ("monitor.alarm", "monitor/scores")
        assert told["data"]["link"] == f"{house.url}/monitors/scores"
        facts = told["data"]["facts"]
        assert any(
            re.match(r"errors \(score\): difference of rates \S+ \[\S+, \S+\], n 6\d against 6\d; ", fact) for fact in facts
        ), facts
        assert "The monitor scores raised an alarm" in slack.came[0].json()["text"]
        assert "tandem monitor show scores" in box.mails[0][2]
        until(lambda: house.api("GET", "/alerts/hook")["pending"] == 0, "it is noted")
        dead = until(
            lambda: house.api("GET", "/alerts/dead")["delivery"]["error"] and house.api("GET", "/alerts/dead"), "it failed"
        )
        assert (dead["pending"], dead["delivery"]["delivered_at"]) == (1, None)
        assert dead["delivery"]["failing_since"] is not None
        rows = {row["check"]: row for row in house.api("GET", "/doctor")}
        assert (rows["alert hook"]["ok"], rows["alert dead"]["ok"]) == (True, False)
        assert house.api("POST", "/audit/verify")["ok"]


def test_what_waits_survives_a_kill_and_comes_once_the_receiver_is_back(tmp_path: Path) -> None:
    with platform(tmp_path) as house:
        with Receiver().open() as receiver:
            put(house, "ops", url=f"{receiver.url}/in", on=["budget.set", "key.*"])
            house.api("PUT", "/budgets/team/a", json={"cap": "1"})
            until(lambda: receiver.came, "the first is heard")
        for scope in "bcd":
            house.api("PUT", f"/budgets/team/{scope}", json={"cap": "1"})
        until(lambda: house.api("GET", "/alerts/ops")["delivery"]["failures"], "it was tried")
        (control,) = house.pids("control")
        os.kill(control, signal.SIGKILL)
        with receiver.open():
            until(lambda: len({came.headers["webhook-id"] for came in receiver.came}) == 4, "all are heard")
        assert all(genuine(came, SECRET) for came in receiver.came)
        seen = list(dict.fromkeys(came.json()["data"]["subject"] for came in receiver.came))
        assert seen == ["team/a", "team/b", "team/c", "team/d"]
        house.wait()
        until(lambda: house.api("GET", "/alerts/ops")["pending"] == 0, "it is noted")
        house.api("DELETE", "/alerts/ops")
        with receiver.open():
            before = len(receiver.came)
            house.api("PUT", "/budgets/team/e", json={"cap": "1"})
            put(house, "other", url=f"{receiver.url}/other", on=["budget.set"])
            house.api("PUT", "/budgets/team/f", json={"cap": "1"})
            until(lambda: len(receiver.came) > before, "the other is told")
            assert [(came.path, came.json()["data"]["subject"]) for came in receiver.came[before:]] == [("/other", "team/f")]


def test_an_alert_of_the_file_is_the_files_until_it_is_gone_from_there(tmp_path: Path) -> None:
    with Receiver().open() as receiver, platform(tmp_path) as house:
        plain = (house.home / "tandem.toml").read_text()
        declared = '\n[alerts.ops]\nkind = "slack"\nurl = "env:HOOK"\non = ["budget.set"]\n'
        (house.home / "tandem.toml").write_text(plain + declared)
        house.environment["HOOK"] = receiver.url
        house.down()
        house.up()
        managed = f"file:tandem.toml:{plain.count(chr(10)) + 2}"
        assert house.api("GET", "/alerts/ops")["managed"] == managed
        with pytest.raises(AssertionError, match=managed):
            house.api("DELETE", "/alerts/ops")
        with pytest.raises(AssertionError, match=managed):
            put(house, "ops", url="http://127.0.0.1:9")
        house.api("PUT", "/budgets/org", json={"cap": "1"})
        until(lambda: receiver.came, "it is told")
        (house.home / "tandem.toml").write_text(plain)
        house.down()
        house.up()
        assert house.api("GET", "/alerts") == []
