"""Caps, keys and the rules themselves, when a rule asks for people: exactly what was asked for is done, and once."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.governance.approvals.place import Place, person

from tandem.core.approval import Approval, Request
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.core.policy import Budget
from tandem.core.principal import Role
from tandem.governance.approvals import budgets
from tandem.governance.approvals.check import check_approval
from tandem.governance.approvals.keys import ask_key, broad
from tandem.governance.authorise import ALL

ADA, BEN, CAT = person("ada"), person("ben"), person("cat")
DAY = Budget(scope="team/risk", cap=5)


def cap(place: Place) -> int | None:
    return next((each.cap for each in place.ledger.budgets()), None)


# --- caps


def test_a_lower_cap_and_a_new_one_need_nobody(place: Place) -> None:
    place.rule("budget.raise")
    assert place.raises.ask(DAY, by=ADA) is None
    place.ledger.set_budget(DAY)
    for same_or_lower in (5, 4):
        assert place.raises.ask(Budget(scope="team/risk", cap=same_or_lower), by=ADA) is None
    assert place.raises.ask_drop("team/risk", "month", by=ADA) is None


@pytest.mark.parametrize("after", [9, None])
def test_a_cap_is_raised_or_dropped_once_people_approved(place: Place, after: int | None) -> None:
    place.rule("budget.raise")
    place.ledger.set_budget(DAY)
    if after is None:
        request = place.raises.ask_drop("team/risk", "day", by=ADA)
    else:
        request = place.raises.ask(Budget(scope="team/risk", cap=after), by=ADA)
    assert request is not None
    assert request.team == "risk"
    assert cap(place) == 5
    ended, done = place.requests.approve(request.id, by=BEN)
    assert (ended.state, done.get("cap_nano_usd"), cap(place)) == ("approved", after, after)
    (row,) = place.audit.list(ALL, action="budget.drop" if after is None else "budget.set")
    assert json.loads(row.detail)["approved_by"] == ["ben"]


def test_a_cap_that_was_changed_meanwhile_makes_it_stale(place: Place) -> None:
    place.rule("budget.raise")
    place.ledger.set_budget(DAY)
    request = place.raises.ask(Budget(scope="team/risk", cap=9), by=ADA)
    assert request is not None
    place.ledger.set_budget(Budget(scope="team/risk", cap=3))
    with pytest.raises(Conflict, match=r"is stale\. The cap of team/risk by day was changed meanwhile"):
        place.requests.approve(request.id, by=BEN)
    assert cap(place) == 3


def test_a_process_that_died_before_the_ledger_heard_is_made_good_by_the_next(place: Place) -> None:
    place.rule("budget.raise")
    place.ledger.set_budget(DAY)
    request = place.raises.ask(Budget(scope="team/risk", cap=9), by=ADA)
    assert request is not None
    told = place.ledger.set_budget

    def dies(budget: Budget) -> None:
        raise SystemExit

    place.ledger.set_budget = dies  # type: ignore[method-assign]  # the process is killed here
    with pytest.raises(SystemExit):
        place.requests.approve(request.id, by=BEN)
    place.ledger.set_budget = told  # type: ignore[method-assign]
    assert (place.find(request.id).state, cap(place)) == ("performing", 5)
    with pytest.raises(Conflict, match="was approved by ben"):
        place.requests.approve(request.id, by=CAT)
    place.requests.sweep()
    assert (place.find(request.id).state, cap(place)) == ("approved", 9)
    place.ledger.set_budget(Budget(scope="team/risk", cap=2))
    place.requests.sweep()
    assert cap(place) == 2, "it is done once"


def test_a_cap_that_somebody_else_lowers_before_the_ledger_heard_stays_low(place: Place) -> None:
    place.rule("budget.raise")
    place.ledger.set_budget(DAY)
    request = place.raises.ask(Budget(scope="team/risk", cap=9), by=ADA)
    assert request is not None
    told = place.ledger.set_budget

    def beaten(budget: Budget) -> None:
        raise SystemExit

    place.ledger.set_budget = beaten  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        place.requests.approve(request.id, by=BEN)
    place.ledger.set_budget = told  # type: ignore[method-assign]
    place.ledger.set_budget(Budget(scope="team/risk", cap=2))
    place.requests.sweep()
    assert (place.find(request.id).state, cap(place)) == ("stale", 2)


def test_a_key_s_cap_belongs_to_its_team(place: Place) -> None:
    place.keys.create("bot", team="sales", by=ADA)
    place.rule("budget.raise", team="sales")
    place.ledger.set_budget(Budget(scope="key/bot", cap=5))
    request = place.raises.ask_drop("key/bot", "day", by=ADA)
    assert request is not None
    assert request.team == "sales"
    place.ledger.set_budget(Budget(scope="org", cap=5))
    assert place.raises.ask_drop("org", "day", by=ADA) is None


def test_a_limit_is_raised_as_a_budget_is(place: Place) -> None:
    place.rule("budget.raise")
    limit = Budget(scope="team/risk", cap=100, window="minute", unit="requests")
    place.ledger.set_budget(limit)
    request = place.raises.ask(replace(limit, cap=200), by=ADA)
    assert request is not None
    assert request.does == "limit.set"
    place.requests.approve(request.id, by=BEN)
    assert cap(place) == 200
    dropped = place.raises.ask_drop("team/risk", limit.meter, by=ADA)
    assert dropped is not None
    assert dropped.does == "limit.drop"
    place.requests.approve(dropped.id, by=BEN)
    assert place.ledger.budgets() == []
    (row,) = place.audit.list(ALL, action="limit.set")
    assert json.loads(row.detail)["unit"] == "requests"


def test_a_payment_is_made_once_after_people_approved(place: Place) -> None:
    place.rule("budget.raise")
    assert place.raises.ask_credit("team/risk", 5, "first", by=ADA) is None, "the first one opens the budget"
    place.ledger.credit("team/risk", 5, reference="first", actor="ada")
    request = place.raises.ask_credit("team/risk", 7, "second", by=ADA)
    assert request is not None
    place.ledger.credit("team/risk", 1, reference="meanwhile", actor="ada")
    place.requests.approve(request.id, by=BEN)
    place.requests.sweep()
    assert cap(place) == 13
    known = place.raises.ask_credit("team/risk", 8, "second", by=ADA)
    assert known is not None
    place.requests.approve(known.id, by=BEN)
    assert (place.find(known.id).state, cap(place)) == ("stale", 13)
    gone = place.raises.ask_credit("team/risk", 8, "third", by=ADA)
    assert gone is not None
    place.ledger.drop_budget("team/risk", "total")
    with pytest.raises(Conflict, match="no prepaid budget any more"):
        place.requests.approve(gone.id, by=BEN)


@pytest.mark.parametrize(
    ("before", "after", "raised"),
    [
        (DAY, replace(DAY, mode="soft"), True),
        (replace(DAY, mode="soft"), DAY, False),
        (replace(DAY, window="total", mode="prepaid"), replace(DAY, window="total", cap=1), True),
        (replace(DAY, window="total", mode="prepaid"), replace(DAY, window="total", mode="prepaid", cap=9), False),
        (DAY, replace(DAY, fair=True), False),
    ],
    ids=["softer", "harder", "no longer prepaid", "prepaid", "fair"],
)
def test_what_lets_more_through(before: Budget, after: Budget, raised: bool) -> None:
    assert budgets.raises(before, after) is raised


# --- keys


def ask(place: Place, name: str = "boss", role: Role = "approver") -> tuple[Request, str]:
    draft = place.keys.draft(name, team="risk", role=role, endpoints=("chat",), by=ADA)
    request = ask_key(place.requests, draft, by=ADA)
    assert request is not None
    return request, draft.secret.reveal()


def test_a_broad_key_is_unknown_until_people_approved(place: Place) -> None:
    place.rule("key.broad")
    request, token = ask(place)
    assert place.keys.find_digest(place.keys.digest(token)) is None
    assert token not in repr(request)
    place.requests.approve(request.id, by=BEN)
    found = place.keys.find_digest(place.keys.digest(token))
    assert found is not None
    assert (found.name, found.role, found.team) == ("boss", "approver", "risk")
    (row,) = place.audit.list(ALL, action="key.create")
    assert json.loads(row.detail)["asked_by"] == "ada"


def test_a_name_that_is_taken_meanwhile_makes_it_stale(place: Place) -> None:
    place.rule("key.broad")
    request, token = ask(place)
    place.keys.create("boss", team="risk", by=ADA)
    with pytest.raises(Conflict, match="is stale"):
        place.requests.approve(request.id, by=BEN)
    assert place.keys.find_digest(place.keys.digest(token)) is None


def test_which_keys_are_broad(place: Place) -> None:
    narrow = place.keys.draft("n", endpoints=("chat",), by=ADA).principal
    assert broad(narrow) == ()
    assert broad(place.keys.draft("n", role="auditor", by=ADA).principal) == ()
    assert broad(place.keys.draft("n", by=ADA).principal) == ("may call every endpoint",)
    assert broad(place.keys.draft("n", role="admin", endpoints=("chat",), by=ADA).principal) == ("has the role admin",)
    assert broad(place.keys.draft("n", scopes=("any-version",), endpoints=("c",), by=ADA).principal) == (
        "may name any version and model",
    )
    place.rule("key.broad")
    assert ask_key(place.requests, place.keys.draft("n", endpoints=("chat",), by=ADA), by=ADA) is None


# --- the rules


def test_a_rule_protects_itself(place: Place) -> None:
    assert place.rule(people=2) is None
    assert place.rule(people=3) is None
    assert place.rule(people=3, role="admin") is None
    weaker = place.rule(people=2, role="admin")
    assert weaker is not None
    assert (weaker.people, weaker.role, weaker.does) == (3, "admin", "approval.set")
    for by in (ADA, BEN, CAT):
        place.requests.approve(weaker.id, by=by)
    (held,) = place.approvals.list(ADA)
    assert (held.people, held.role) == (2, "admin")
    dropped = place.rules.drop("promote", None, by=ADA)
    assert dropped is not None
    with pytest.raises(NotFound):
        place.rules.drop("promote", "risk", by=ADA)


def test_a_team_s_own_rule_takes_the_place_of_the_general_one(place: Place) -> None:
    place.rule(people=2)
    assert place.rule(people=1, team="risk") is not None, "that would be weaker in this team"
    assert place.rule(people=3, team="risk") is None
    with place.sql.read() as conn:
        assert [getattr(place.approvals.which(conn, "promote", team), "people", 0) for team in ("risk", "sales", None)] == [
            3,
            2,
            2,
        ]
    assert place.rules.drop("promote", "risk", by=ADA) is not None
    assert place.rule("budget.raise", team="risk") is None
    with place.sql.read() as conn:
        assert place.approvals.which(conn, "budget.raise", "sales") is None


def test_what_the_file_declares_is_changed_by_the_file(place: Place) -> None:
    rule = Approval(action="promote", people=2, managed="file:tandem.toml:3")
    place.approvals.declare({"prod": rule})
    place.approvals.declare({"prod": rule})
    assert place.audited() == ["approval.set"]
    with pytest.raises(Conflict, match="managed by file"):
        place.rule(people=3)
    with pytest.raises(Conflict, match="managed by file"):
        place.rules.drop("promote", None, by=ADA)
    request = place.ask()
    place.approvals.declare({"prod": Approval(action="promote", people=2, managed="file:tandem.toml:9")})
    assert place.requests.approve(request.id, by=BEN)[0].state == "open", "another line is no other rule"
    place.approvals.declare({})
    assert place.approvals.list(ADA) == ()
    assert place.audited("approval.drop") == ["approval.drop"]
    assert place.requests.ask(place.wish(), by=ADA) is None


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (Approval(action="dance"), "action"),  # type: ignore[arg-type]
        (Approval(action="promote", people=0), "people"),
        (Approval(action="promote", role="viewer"), "role"),  # type: ignore[arg-type]
        (Approval(action="promote", hours=0), "hours"),
        (Approval(action="promote", team="Not A Team"), None),
    ],
    ids=["action", "people", "role", "hours", "team"],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: Approval, field: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        check_approval(rule)
    assert field is None or caught.value.field == field
