"""Caps as people set them: what is refused, what the audit says, and who is told when one fills up."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.governance.test_ledger import used

from tandem.core.clock import FixedClock
from tandem.core.errors import Invalid
from tandem.core.ids import new_call, new_trace
from tandem.core.policy import Budget
from tandem.core.principal import LOCAL, Principal
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.governance.caps import Caps, check_scope, may_see
from tandem.governance.ledger import Ledger
from tandem.observability.record import Begun
from tandem.store.sql import Sql, migrate
from tandem.store.vault import Vault


class Office:
    def __init__(self, home: Path) -> None:
        url = f"sqlite:///{home / 'control.db'}"
        migrate(url)
        self.clock, self.sql = FixedClock(), Sql(url)
        self.audit = Audit(self.sql, Vault(bytes(32)), self.clock, home / "audit.head")
        self.ledger = Ledger(home / "ledger.db", self.clock)
        self.caps = Caps(self.ledger, self.sql, self.audit)

    def spend(self, scope: str, cost: int) -> None:
        now = self.clock.now()
        record = Begun(new_call(), 0, new_trace(), None, now, "mock/m", "e", "chat", "t", "demo", (scope,), cost, ())
        self.ledger.post(used(record, cost=cost, at=now, scopes=(scope,)))

    def notices(self) -> list[tuple[str, int]]:
        rows = self.audit.list(ALL, action="budget.notice")
        return [(row.subject, int(row.detail.partition('"percent":')[2].partition(",")[0].rstrip("}"))) for row in reversed(rows)]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_cap_that_fills_up_is_told_of_once_at_each_percentage(office: Office) -> None:
    office.caps.put(office.caps.made("key/a", 100, window="day"), by=LOCAL)
    office.caps.put(office.caps.made("key/b", 100, window="day", mode="soft", alerts=(50,)), by=LOCAL)
    assert office.caps.look() == 0
    office.spend("key/a", 85)
    assert office.caps.look() == 1
    assert office.caps.look() == 0
    office.spend("key/a", 15)
    office.spend("key/b", 200)
    assert office.caps.look() == 2
    assert office.notices() == [("key/a", 80), ("key/a", 100), ("key/b", 50)]


def test_a_look_asks_for_what_was_booked_and_for_all_after_a_change(office: Office) -> None:
    for number in range(20):
        office.caps.put(office.caps.made(f"key/k{number}", 100, window="day"), by=LOCAL)
    office.caps.look()
    asked: list[object] = []
    every = office.ledger.accounts
    office.ledger.accounts = lambda scopes=None: asked.append(scopes) or every(scopes)  # type: ignore[method-assign,assignment,func-returns-value]
    office.spend("key/k3", 1)
    office.caps.look()
    office.caps.look()
    office.ledger.set_budget(Budget(scope="key/k4", cap=1))
    office.caps.look()
    assert asked == [{"key/k3"}, set(), None]


def test_a_lower_cap_is_told_of_though_nothing_is_booked(office: Office) -> None:
    office.caps.put(office.caps.made("key/a", 1000, window="day"), by=LOCAL)
    office.spend("key/a", 90)
    assert office.caps.look() == 0
    office.caps.put(office.caps.made("key/a", 100, window="day"), by=LOCAL)
    assert office.caps.look() == 1


def test_runs_leave_the_version_of_the_caps_as_it_is(office: Office) -> None:
    office.ledger.set_budget(Budget(scope="org", cap=1))
    before = office.ledger.caps_version()
    office.ledger.set_budget(Budget(scope="run/red/n", cap=1, window="total"))
    office.ledger.end_run("run/red/n")
    assert office.ledger.caps_version() == before
    office.ledger.drop_budget("org", "day")
    assert office.ledger.caps_version() == before + 1


@pytest.mark.parametrize("scope", ["", "orgs", "team", "team/", "run/red/n", "org/x", "key/a>key/b", "tag/UPPER CASE"])
def test_a_scope_that_has_no_caps_is_refused(scope: str) -> None:
    with pytest.raises(Invalid):
        check_scope(scope)


@pytest.mark.parametrize(
    ("unit", "window", "mode", "fair", "scope"),
    [
        ("usd", "day", "prepaid", False, "org"),
        ("requests", "total", "prepaid", False, "org"),
        ("calls", "total", "soft", False, "org"),
        ("requests", "minute", "soft", True, "team/t"),
        ("requests", "minute", "hard", True, "key/k"),
    ],
)
def test_what_does_not_go_together_is_refused(office: Office, unit: str, window: str, mode: str, fair: bool, scope: str) -> None:
    with pytest.raises(Invalid):
        office.caps.made(scope, 5, window=window, unit=unit, mode=mode, fair=fair)  # type: ignore[arg-type]


def test_a_principal_sees_what_is_its_own() -> None:
    viewer = Principal(id="key_1", name="app", team="red", owner="person/ada")
    seen = ("team/red", "person/ada", "key/app", "run/red/n")
    assert all(may_see(viewer, scope) for scope in seen)
    assert not any(may_see(viewer, scope) for scope in ("org", "team/blue", "key/other", "run/blue/n", "endpoint/e", "tag/t"))
