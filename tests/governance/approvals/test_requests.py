"""A deed that needs people is done once, by enough of them, none of them its author; what it is about must not have changed."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import update
from tests.governance.approvals.place import Place, person

from tandem.core.errors import Blocked, Broken, Conflict, Forbidden, NotFound
from tandem.core.principal import Principal
from tandem.governance.approvals.repo import requests as table
from tandem.governance.approvals.requests import HOUR, may_approve, person_of
from tandem.governance.authorise import ALL, Scope
from tandem.store.canonical import canonical

BEN, CAT, DAN = (person(name, "approver") for name in ("ben", "cat", "dan"))


def test_without_a_rule_nobody_is_asked(place: Place) -> None:
    assert place.requests.ask(place.wish(), by=person()) is None
    assert place.audited() == []


def test_the_last_approval_does_the_deed_with_its_audit_row(place: Place) -> None:
    place.rule(people=2)
    request = place.ask()
    assert (request.state, request.people, request.author, request.person) == ("open", 2, "ada", "key/ada")
    assert may_approve(request) == "2 people, each an approver of the team risk, or an admin; ada is none of them"
    first, done = place.requests.approve(request.id, by=BEN, note="read it")
    assert (first.state, done, place.lever.done) == ("open", {}, [])
    assert may_approve(first).startswith("one more person")
    ended, done = place.requests.approve(request.id, by=CAT)
    assert (ended.state, ended.decided_by, done) == ("approved", "cat", {"world": 0})
    assert [(voice.by, voice.note) for voice in ended.approvals] == [("ben", "read it"), ("cat", "")]
    assert place.audited()[1:] == ["request.open", "request.approve", "gate.set", "request.approve"]
    (row,) = place.audit.list(ALL, action="gate.set")
    assert json.loads(row.detail) == {"request": request.id, "asked_by": "ada", "approved_by": ["ben", "cat"]}
    assert place.audit.verify().ok
    for again in (place.requests.approve, place.requests.decline):
        with pytest.raises(Conflict, match="was approved by cat"):
            again(request.id, by=DAN)
    assert len(place.lever.done) == 1


def test_the_author_cannot_approve_and_a_person_counts_once_whatever_key_they_use(place: Place) -> None:
    place.rule(people=2)
    owned = Principal(id="key_1", name="adas-laptop", team="risk", role="admin", owner="person/ada")
    request = place.ask(owned)
    assert request.person == "person/ada"
    other = Principal(id="key_2", name="adas-phone", team="risk", role="approver", owner="person/ada")
    signed_in = Principal(id="prs_1", name="ada", team="risk", role="approver", kind="person")
    for by in (owned, other, signed_in):
        with pytest.raises(Forbidden, match="asked for"):
            place.requests.approve(request.id, by=by)
    place.requests.approve(request.id, by=BEN)
    second = place.ask(person("eve"), subject="gate/y")
    place.requests.approve(second.id, by=other)
    with pytest.raises(Conflict, match="person/ada has approved"):
        place.requests.approve(second.id, by=signed_in)
    with pytest.raises(Conflict, match="key/ben has approved"):
        place.requests.approve(request.id, by=BEN)
    assert place.lever.done == []
    assert person_of(BEN) == "key/ben"


def test_who_may_approve(place: Place) -> None:
    place.rule()
    request = place.ask()
    for by, error in (
        (person("vi", "viewer"), Forbidden),
        (person("ed", "editor"), Forbidden),
        (person("au", "auditor"), Forbidden),
        (person("ap", "approver", "sales"), NotFound),
        (replace(BEN, kind="service"), Forbidden),
        (replace(BEN, owner="service/bot"), Forbidden),
    ):
        with pytest.raises(error):
            place.requests.approve(request.id, by=by)
    place.requests.approve(request.id, by=person("root", "admin", "default"))
    place.rule("key.broad", role="admin")
    strict = place.ask(action="key.broad", subject="gate/z")
    with pytest.raises(Forbidden, match="no right to admin"):
        place.requests.approve(strict.id, by=BEN)
    assert "an admin; ada" in may_approve(strict)
    assert place.requests.list(Scope("sales")) == ()


def test_the_same_author_asking_again_gets_the_request_that_waits(place: Place) -> None:
    place.rule()
    request = place.ask()
    assert place.ask().id == request.id
    assert place.ask(person("eve")).id != request.id
    assert place.audited().count("request.open") == 2
    place.lever.world = 1
    fresh = place.ask()
    assert (fresh.id != request.id, fresh.state) == (True, "open")


def test_declined_is_declined_and_an_author_may_withdraw(place: Place) -> None:
    place.rule(people=2)
    first, second = place.ask(), place.ask(subject="gate/y")
    place.requests.approve(first.id, by=BEN)
    assert place.requests.decline(first.id, by=CAT, note="no").state == "declined"
    assert place.requests.decline(second.id, by=person("ada")).decided_by == "ada"
    with pytest.raises(Conflict, match="was declined by cat"):
        place.requests.approve(first.id, by=DAN)
    with pytest.raises(Forbidden):
        place.requests.decline(first.id, by=person("vi", "viewer"))


@pytest.mark.parametrize("change", ["world", "stronger", "dropped", "another rule"])
def test_what_has_changed_makes_it_stale(place: Place, change: str) -> None:
    place.rule(people=2)
    request = place.ask()
    place.requests.approve(request.id, by=BEN)
    if change == "world":
        place.lever.world += 1
    elif change == "stronger":
        place.rule(people=3)
    elif change == "another rule":
        place.rule(people=3, team="risk")
    else:
        waiting = place.rules.drop("promote", None, by=person("ops"))
        assert waiting is not None
        for by in (BEN, CAT):
            place.requests.approve(waiting.id, by=replace(by, team="risk"))
    with pytest.raises(Conflict, match="is stale"):
        place.requests.approve(request.id, by=CAT)
    assert place.find(request.id).state == "stale"
    assert ("world" if change == "world" else "rule") in place.find(request.id).note.lower()
    assert place.audited("request.stale") == ["request.stale"]
    assert place.lever.done == []


def test_a_request_expires(place: Place) -> None:
    place.rule(people=2, hours=1)
    request = place.ask()
    place.requests.approve(request.id, by=BEN)
    place.clock.micros += HOUR - 1
    assert place.requests.list(ALL)[0].state == "open"
    place.clock.micros += 1
    assert place.requests.list(ALL)[0].state == "expired"
    with pytest.raises(Conflict, match=r"expired\. Only 1 of 2 people approved it in time"):
        place.requests.approve(request.id, by=CAT)
    assert place.audited("request.expire") == ["request.expire"]


def test_a_deed_that_cannot_be_done_leaves_the_request_as_it_was(place: Place) -> None:
    place.rule()
    request = place.ask()
    place.lever.refuses = True
    with pytest.raises(Blocked):
        place.requests.approve(request.id, by=BEN)
    assert place.find(request.id) == request
    place.lever.refuses, place.lever.breaks = False, True
    with pytest.raises(ZeroDivisionError):
        place.requests.approve(request.id, by=BEN)
    assert place.find(request.id) == request
    assert "gate.set" not in place.audited()
    place.lever.breaks = False
    assert place.requests.approve(request.id, by=BEN)[0].state == "approved"


def test_approvals_at_the_same_instant_do_it_once(place: Place) -> None:
    place.rule(people=2)
    request = place.ask()
    people = [person(f"p{number}", "approver") for number in range(8)]
    start, ends = threading.Barrier(len(people)), []

    def approve(by: Principal) -> None:
        start.wait()
        try:
            ends.append(place.requests.approve(request.id, by=by)[0].state)
        except Conflict:
            ends.append("late")

    threads = [threading.Thread(target=approve, args=(by,)) for by in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["approved", *["late"] * 6, "open"]
    assert len(place.lever.done) == 1
    assert len({voice.person for voice in place.lever.done[0].approvals}) == 2


def test_a_request_that_was_altered_is_not_done(place: Place) -> None:
    place.rule()
    request = place.ask()
    forged = replace(request, subject="gate/another")
    with place.sql.write() as conn:
        conn.execute(update(table).where(table.c.id == request.id).values(body=canonical(msgspec.to_builtins(forged))))
    with pytest.raises(Broken, match="was altered"):
        place.requests.approve(request.id, by=BEN)
    assert place.lever.done == []


def test_a_request_from_before_it_named_its_author_can_still_be_decided(place: Place) -> None:
    old = {
        "id": "req_old", "team": "risk", "subject": "model/m@2", "alias": "production", "reason": "It moved.", "monitor": "m",
        "report": None, "run": "run_1", "passed": True, "state": "open", "created_at": 5, "decided_at": None,
        "decided_by": None, "note": "",
    }  # fmt: skip
    with place.sql.write() as conn:
        conn.execute(table.insert().values(id="req_old", team="risk", state="open", created_at=5, body=canonical(old)))
    found = place.find("req_old")
    assert (found.author, found.people, found.rule, found.does) == ("monitor/m", 1, None, "alias.promote")
