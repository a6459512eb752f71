"""A promotion that needs people: judged when it is asked for and once more when it is done; the move names all who approved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.registry.conftest import House, house, person

from tandem.core.approval import Action, Approval, Request
from tandem.core.asset import Ref
from tandem.core.errors import Blocked, Broken, Conflict, Forbidden, NotFound
from tandem.core.policy import Gate
from tandem.core.principal import Principal
from tandem.evaluation.approved import PROMOTE, ROLLBACK, Moves, Promoting, RollingBack, action_of
from tandem.evaluation.promote import Promotions
from tandem.evaluation.repo import Evaluations
from tandem.governance.approvals.approvals import Approvals
from tandem.governance.approvals.requests import Requests
from tandem.governance.approvals.rules import Rules
from tandem.governance.authorise import ALL

ASKER = person("approver")
BEN, CAT = (Principal(id=f"key_{name}", name=name, team="risk", role="approver") for name in ("ben", "cat"))


class Place:
    def __init__(self, home: Path) -> None:
        self.house: House = house(home)
        h = self.house
        self.promotions = Promotions(h.registry, Evaluations(h.sql, h.clock), h.clock)
        self.approvals = Approvals(h.sql, h.audit, h.clock)
        acts = {PROMOTE: Promoting(h.registry, self.promotions), ROLLBACK: RollingBack(h.registry, self.promotions)}
        self.requests = Requests(h.sql, h.audit, h.clock, self.approvals, acts)
        self.rules = Rules(h.sql, self.approvals, self.requests)
        self.moves = Moves(h.registry, self.promotions, self.requests)

    def rule(self, action: Action, people: int = 1) -> None:
        assert self.rules.put(Approval(action=action, people=people), by=person("admin")) is None

    def ask(self, ref: str, alias: str = "production", etag: int | None = None) -> Request:
        asked = self.moves.ask_promote(Ref.parse(ref), alias, by=ASKER, expected_etag=etag)
        assert asked is not None
        return asked


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    made.house.prompt()
    made.house.prompt(template="Hi {{ name }}")
    yield made
    made.house.sql.close()


def test_the_move_its_approvals_and_its_audit_row_are_one(place: Place) -> None:
    place.rule("promote", 2)
    request = place.ask("prompt/support@2")
    assert (request.subject, request.alias, request.deed["etag"], request.deed["version"]) == (
        "prompt/support@2",
        "production",
        0,
        2,
    )
    assert place.house.names("prompt", "support") == {}
    place.requests.approve(request.id, by=BEN)
    ended, done = place.requests.approve(request.id, by=CAT)
    assert (ended.state, done["version"], done["ref"]) == ("approved", 2, "prompt/support@2")
    assert place.house.names("prompt", "support") == {"production": 2}
    (move,) = place.house.registry.moves("prompt", "support", "production", ALL)
    assert (move.approvers, move.alias.moved_by) == (("ben", "cat"), "cat")
    (row,) = place.house.audit.list(ALL, action="alias.promote")
    told = json.loads(row.detail)
    assert (told["request"], told["asked_by"], told["approved_by"]) == (request.id, ASKER.name, ["ben", "cat"])


def test_only_what_a_rule_is_about_waits(place: Place) -> None:
    place.rule("promote")
    ref = Ref.parse("prompt/support@1")
    assert place.moves.ask_promote(ref, "staging", by=ASKER) is None
    assert place.moves.ask_promote(ref, "production", by=ASKER, expected_etag=7) is None, "the registry says what was moved"
    request = place.ask("prompt/support@1")
    place.requests.approve(request.id, by=BEN)
    assert place.moves.ask_promote(ref, "production", by=ASKER) is None, "it stands there already"
    assert place.moves.ask_rollback(Ref.parse("prompt/support"), "production", by=ASKER) is None, "back is always possible"
    with pytest.raises(Forbidden):
        place.moves.ask_promote(Ref.parse("prompt/support@2"), "production", by=person("editor"))
    with pytest.raises(NotFound):
        place.moves.ask_promote(Ref.parse("prompt/support@2"), "production", by=person("approver", "sales"))


def test_an_alias_that_was_moved_meanwhile_makes_it_stale(place: Place) -> None:
    first = place.house.registry.promote(Ref.parse("prompt/support@1"), "production", by=ASKER)
    place.rule("promote")
    request = place.ask("prompt/support@2")
    assert request.deed["etag"] == first.etag
    other = place.ask("prompt/support@2")
    assert other.id == request.id
    place.house.registry.promote(Ref.parse("prompt/support@2"), "production", by=BEN)
    with pytest.raises(Conflict, match=r"was moved meanwhile: it names prompt/support@2"):
        place.requests.approve(request.id, by=BEN)


def test_the_gate_judges_before_anybody_is_asked_and_again_at_the_end(place: Place) -> None:
    place.rule("promote")
    model = place.house.model()
    with pytest.raises(Blocked, match="out-of-fold"):
        place.moves.ask_promote(model.ref, "production", by=ASKER)
    request = place.ask("prompt/support@2")
    place.house.registry.set_gate(Gate(asset="prompt/support", suite="suite/none@1"), by=person("admin", "default"))
    with pytest.raises(NotFound, match="suite 'none'"):
        place.requests.approve(request.id, by=BEN)
    assert place.requests.find(request.id, ALL).state == "open"
    assert place.house.names("prompt", "support") == {}


def test_a_policy_moves_under_the_rule_for_guards_in_both_directions(place: Place) -> None:
    registry = place.house.registry
    for action in ("block", "observe"):
        meta = {"guards": [{"detector": "card", "action": action, "on": ["in"]}]}
        registry.publish("policy", "strict", members={}, meta=meta, by=ASKER)
    for version in (1, 2):
        registry.promote(Ref.parse(f"policy/strict@{version}"), "live", by=ASKER)
    place.rule("guard.change")
    request = place.moves.ask_rollback(Ref.parse("policy/strict"), "live", by=ASKER)
    assert request is not None
    assert request.action == "guard.change"
    place.requests.approve(request.id, by=BEN)
    assert place.house.names("policy", "strict") == {"live": 1}
    (move, *_) = registry.moves("policy", "strict", "live", ALL)
    assert (move.action, move.approvers) == ("rollback", ("ben",))
    assert place.ask("policy/strict@2", "live").action == "guard.change"
    again = place.moves.ask_rollback(Ref.parse("policy/strict"), "live", by=ASKER)
    assert again is not None
    with pytest.raises(Conflict, match="nothing else before"):
        place.requests.approve(again.id, by=BEN)


def test_which_rule_a_move_falls_under(place: Place) -> None:
    version = place.house.prompt()
    assert [action_of(version, alias) for alias in ("production", "staging")] == ["promote", None]


def test_no_deed_without_its_gate(place: Place) -> None:
    place.rule("promote")
    request = place.ask("prompt/support@2")
    with place.house.sql.write() as conn, pytest.raises(Broken):
        Promoting(place.house.registry, place.promotions).perform(conn, request, None, BEN)
