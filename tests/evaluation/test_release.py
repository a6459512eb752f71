"""Releases through gates and people: one refusal refuses all, and no rule is passed by pinning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.evaluation.test_approved import ASKER, BEN, CAT, Place
from tests.registry.conftest import person

from tandem.core.approval import Action, Approval, Request
from tandem.core.asset import Ref, Version
from tandem.core.errors import Blocked, Conflict, Forbidden
from tandem.core.policy import Gate
from tandem.governance.authorise import ALL

RELEASE = Ref.parse("release/triage")


class Shop(Place):
    def release(self, *pins: str) -> Version:
        named = tuple(sorted(pins))
        return self.house.registry.publish(
            "release", "triage", members={}, meta={"pins": list(named)}, parents=named, by=person("admin", "risk")
        )

    def policy(self, action: str, team: str = "risk") -> Version:
        meta = {"guards": [{"detector": "card", "action": action, "on": ["in"]}]}
        return self.house.registry.publish("policy", "strict", members={}, meta=meta, by=person("admin", team))

    def team_rule(self, action: Action, team: str, people: int = 1) -> None:
        assert self.rules.put(Approval(action=action, team=team, people=people), by=person("admin")) is None

    def stands(self) -> tuple[int | None, int | None]:
        names = self.house.names
        return names("release", "triage").get("production"), names("prompt", "support").get("production")

    def asked(self, version: Version, alias: str = "production") -> Request | None:
        return self.moves.ask_promote(version.ref, alias, by=ASKER)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    for template in ("Hello {{ name }}", "Hi {{ name }}"):
        made.house.prompt(template=template)
    yield made
    made.house.sql.close()


def test_both_move_and_the_answer_tells_what_became_of_each(shop: Shop) -> None:
    shop.policy("block")
    shop.house.registry.promote(Ref.parse("policy/strict@1"), "production", by=ASKER)
    done = shop.promotions.promote(shop.release("prompt/support@2", "policy/strict@1").ref, "production", by=ASKER)
    assert (done["ref"], done["version"], done["passed"], done["report"]) == ("release/triage@1", 1, True, None)
    assert [(pin["ref"], pin["moved"], pin["why"]) for pin in done["pins"]] == [
        ("policy/strict@1", False, "policy/strict@1 was production already."),
        ("prompt/support@2", True, ""),
    ]
    shop.promotions.promote(shop.release("prompt/support@1").ref, "production", by=ASKER)
    gone = shop.promotions.rollback(RELEASE, "production", by=ASKER)
    assert (gone["version"], [pin["ref"] for pin in gone["pins"]]) == (1, ["prompt/support@2"])
    assert shop.stands() == (1, 2)


def test_the_gate_of_one_refuses_all_by_name(shop: Shop) -> None:
    version = shop.release("prompt/support@1", str(shop.house.model().ref))
    with pytest.raises(
        Blocked, match=r"release/triage@1 moved nothing to production\. model/tumor@1 has no out-of-fold"
    ) as caught:
        shop.promotions.promote(version.ref, "production", by=ASKER)
    assert caught.value.code == "no_evidence"
    assert shop.stands() == (None, None)
    shop.rule("release")
    with pytest.raises(Blocked, match="moved nothing"):
        shop.asked(version)


def test_what_is_there_already_is_not_judged_again(shop: Shop) -> None:
    model = shop.house.model()
    shop.house.registry.promote(model.ref, "production", evidence=(shop.house.gate_score(model, None),), by=ASKER)
    done = shop.promotions.promote(shop.release("prompt/support@1", str(model.ref)).ref, "production", by=ASKER)
    assert [pin["moved"] for pin in done["pins"]] == [False, True]


def test_a_rule_for_releases_holds_and_everything_moves_with_the_last_approval(shop: Shop) -> None:
    shop.rule("release", 2)
    version = shop.release("prompt/support@1")
    request = shop.asked(version)
    assert request is not None
    assert (request.action, request.subject, request.deed["pins"]) == ("release", "release/triage@1", {"prompt/support@1": 0})
    again = shop.asked(version)
    assert again is not None
    assert again.id == request.id
    with pytest.raises(Forbidden):
        shop.requests.approve(request.id, by=ASKER)
    shop.requests.approve(request.id, by=BEN)
    assert shop.stands() == (None, None)
    ended, done = shop.requests.approve(request.id, by=CAT)
    assert (ended.state, done["ref"], shop.stands()) == ("approved", "release/triage@1", (1, 1))
    for row in shop.house.audit.list(ALL, action="alias.promote"):
        assert json.loads(row.detail)["approved_by"] == ["ben", "cat"]
    (move,) = shop.house.registry.moves("prompt", "support", "production", ALL)
    assert move.approvers == ("ben", "cat")
    assert shop.asked(version) is None, "all of it is there"
    assert shop.asked(version, "staging") is None


def test_the_rule_for_promotions_holds_where_there_is_none_for_releases(shop: Shop) -> None:
    shop.rule("promote", 2)
    version = shop.release("prompt/support@1")
    request = shop.asked(version)
    assert request is not None
    assert (request.action, request.people) == ("promote", 2)
    shop.rule("release")
    own = shop.asked(version)
    assert own is not None
    assert (own.action, own.people) == ("release", 1)
    shop.requests.approve(own.id, by=BEN)
    assert shop.stands() == (1, 1)
    assert shop.requests.find(request.id, ALL).state == "open"
    shop.requests.sweep()
    assert shop.requests.find(request.id, ALL).state == "stale"


def test_a_drifted_pin_needs_people_too(shop: Shop) -> None:
    version = shop.release("prompt/support@1")
    shop.promotions.promote(version.ref, "production", by=ASKER)
    shop.promotions.promote(Ref.parse("prompt/support@2"), "production", by=ASKER)
    shop.rule("release")
    request = shop.asked(version)
    assert request is not None
    shop.requests.approve(request.id, by=BEN)
    assert shop.stands() == (1, 1)


@pytest.mark.parametrize("moved", ["prompt/support@2", "release/triage@2"])
def test_what_moved_meanwhile_makes_it_stale(shop: Shop, moved: str) -> None:
    version, _ = shop.release("prompt/support@1"), shop.release("prompt/support@2")
    shop.rule("release")
    request = shop.asked(version)
    assert request is not None
    shop.promotions.promote(Ref.parse(moved), "production", by=BEN)
    with pytest.raises(Conflict, match=f"was moved meanwhile: it names {moved}"):
        shop.requests.approve(request.id, by=BEN)
    assert shop.requests.find(request.id, ALL).state == "stale"
    assert shop.house.names("prompt", "support") == {"production": 2}


def test_a_gate_that_does_not_pass_any_more_leaves_it_open(shop: Shop) -> None:
    shop.rule("release")
    request = shop.asked(shop.release("prompt/support@1", str(shop.house.prompt("other").ref)))
    assert request is not None
    suite = shop.house.registry.publish(
        "suite",
        "check",
        members={},
        meta={"data": str(shop.house.dataset().ref), "endpoint": "e", "scorers": [{"scorer": "exact"}], "expected": "b"},
        parents=(str(shop.house.dataset().ref),),
        by=ASKER,
    )
    gate = Gate(asset="prompt/support", suite=str(suite.ref), metric="exact")
    shop.house.registry.set_gate(gate, by=person("admin", "default"))
    with pytest.raises(Blocked, match=r"prompt/support@1 has not been evaluated"):
        shop.requests.approve(request.id, by=BEN)
    assert (shop.requests.find(request.id, ALL).state, shop.stands()) == ("open", (None, None))
    assert shop.house.names("prompt", "other") == {}


def test_guards_that_a_release_moves_fall_under_their_own_rule_in_both_directions(shop: Shop) -> None:
    for number, action in enumerate(("block", "observe"), 1):
        shop.policy(action)
        shop.promotions.promote(shop.release(f"policy/strict@{number}", "prompt/support@1").ref, "live", by=ASKER)
    shop.rule("guard.change", 2)
    back = shop.moves.ask_rollback(RELEASE, "live", by=ASKER)
    assert back is not None
    assert (back.action, back.people) == ("guard.change", 2)
    for by in (BEN, CAT):
        shop.requests.approve(back.id, by=by)
    assert shop.house.names("policy", "strict") == {"live": 1}
    version = shop.release("policy/strict@2", "prompt/support@2")
    live = shop.asked(version, "live")
    assert live is not None
    assert live.action == "guard.change"
    shop.rule("release")
    both = shop.asked(version)
    assert both is not None
    assert (both.action, both.people) == ("release", 2), "the stricter rule counts"
    only = shop.release("prompt/support@2")
    shop.promotions.promote(only.ref, "live", by=ASKER)
    assert shop.moves.ask_rollback(RELEASE, "live", by=ASKER) is None, "no policy goes back"


def test_a_release_moves_nothing_that_another_teams_people_must_approve(shop: Shop) -> None:
    shop.policy("block", team="default")
    shop.team_rule("guard.change", "default")
    version = shop.release("policy/strict@1", "prompt/support@1")
    admin = person("admin", "risk")
    with pytest.raises(Blocked, match=r"team default has a rule of its own for guard\.change"):
        shop.moves.ask_promote(version.ref, "production", by=admin)
    shop.house.registry.promote(Ref.parse("policy/strict@1"), "production", by=admin)
    assert shop.moves.ask_promote(version.ref, "production", by=admin) is None
    shop.promotions.promote(version.ref, "production", by=admin)
    assert shop.stands() == (1, 1)
