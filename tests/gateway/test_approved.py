"""Guards of an endpoint that move or go: with a rule, only once people approved the endpoint as it shall be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tandem.core.approval import Approval
from tandem.core.clock import FixedClock
from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Conflict, Forbidden, NotFound
from tandem.core.principal import Principal, Role
from tandem.gateway.approved import DELETE, PUT, Guarding, ask_guards
from tandem.gateway.repo import Routes
from tandem.governance.approvals.approvals import Approvals
from tandem.governance.approvals.requests import Requests
from tandem.governance.approvals.rules import Rules
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.store.sql import Sql
from tandem.store.vault import Vault
from tests.migrated import migrated

CHAT = Endpoint(name="chat", kind="chat", team="risk", route=(Target(target="mock/small"),), guards="policy/strict@live")


def person(name: str, role: Role = "approver") -> Principal:
    return Principal(id=f"key_{name}", name=name, team="risk", role=role)


ADA, BEN = person("ada"), person("ben")


class Place:
    def __init__(self, home: Path) -> None:
        url = f"sqlite:///{home / 'control.db'}"
        migrated(url)
        self.sql, clock = Sql(url), FixedClock()
        self.audit = Audit(self.sql, Vault(bytes(32)), clock, home / "audit.head")
        self.table = Routes(self.sql, clock, self.audit)
        self.table.put_endpoint(CHAT, by=ADA)
        approvals = Approvals(self.sql, self.audit, clock)
        acts = {PUT: Guarding(self.table), DELETE: Guarding(self.table)}
        self.requests = Requests(self.sql, self.audit, clock, approvals, acts)
        Rules(self.sql, approvals, self.requests).put(Approval(action="guard.change"), by=person("root", "admin"))

    def guards(self) -> str | None:
        return self.table.endpoint("chat", ALL)[0].guards


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.sql.close()


@pytest.mark.parametrize("guards", [None, "policy/lax@live"])
def test_other_guards_wait_for_people(place: Place, guards: str | None) -> None:
    after = replace(CHAT, guards=guards, retries=3)
    request = ask_guards(place.requests, place.table, "chat", after, by=ADA)
    assert request is not None
    assert place.guards() == "policy/strict@live"
    place.requests.approve(request.id, by=BEN)
    assert place.table.endpoint("chat", ALL)[0] == after
    (row, *_) = place.audit.list(ALL, action="endpoint.put")
    assert json.loads(row.detail)["asked_by"] == "ada"


def test_the_removal_of_an_endpoint_with_guards_waits_for_people(place: Place) -> None:
    request = ask_guards(place.requests, place.table, "chat", None, by=ADA)
    assert request is not None
    place.requests.approve(request.id, by=BEN)
    with pytest.raises(NotFound):
        place.table.endpoint("chat", ALL)


def test_an_endpoint_that_was_changed_meanwhile_makes_it_stale(place: Place) -> None:
    request = ask_guards(place.requests, place.table, "chat", replace(CHAT, guards=None), by=ADA)
    assert request is not None
    place.table.put_endpoint(replace(CHAT, retries=2), by=ADA)
    with pytest.raises(Conflict, match="endpoint 'chat' was changed meanwhile"):
        place.requests.approve(request.id, by=BEN)
    assert place.guards() == "policy/strict@live"


def test_what_leaves_the_guards_alone_waits_for_nobody(place: Place) -> None:
    assert ask_guards(place.requests, place.table, "chat", replace(CHAT, retries=2), by=ADA) is None
    assert ask_guards(place.requests, place.table, "new", replace(CHAT, name="new"), by=ADA) is None
    place.table.put_endpoint(replace(CHAT, name="open", guards=None), by=ADA)
    assert ask_guards(place.requests, place.table, "open", replace(CHAT, name="open"), by=ADA) is None
    with pytest.raises(Forbidden):
        ask_guards(place.requests, place.table, "chat", None, by=person("ed", "editor"))
