"""Roles give rights, teams bound them."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Forbidden
from tandem.core.principal import LOCAL, RIGHTS, Principal, Role
from tandem.governance.authorise import ALL, ROLE_RIGHTS, Scope, authorise, scope_of

ROLES: tuple[Role, ...] = get_args(Role)


def principal(role: Role, team: str = "risk", scopes: tuple[str, ...] = ()) -> Principal:
    return Principal(id="key_1", name="ci", team=team, role=role, scopes=scopes)


def allowed(who: Principal, right: str, team: str | None = None) -> bool:
    try:
        authorise(who, right, team)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("right", sorted(ROLE_RIGHTS))
def test_a_role_has_its_rights_in_its_own_team_and_no_others(role: Role, right: str) -> None:
    assert allowed(principal(role), right) == allowed(principal(role), right, "risk") == (right in RIGHTS[role])


@pytest.mark.parametrize(
    ("role", "right", "crosses"),
    [
        ("viewer", "read", False),
        ("editor", "write", False),
        ("approver", "approve", False),
        ("auditor", "read", True),
        ("auditor", "audit", True),
        ("admin", "write", True),
        ("admin", "approve", True),
    ],
)
def test_only_admins_act_and_auditors_look_in_other_teams(role: Role, right: str, crosses: bool) -> None:
    assert allowed(principal(role), right, "sales") == crosses


def test_a_refusal_says_who_lacks_what_and_who_can_help() -> None:
    with pytest.raises(Forbidden) as caught:
        authorise(principal("viewer"), "approve")
    assert "'ci'" in caught.value.message
    assert "approve" in caught.value.message
    assert caught.value.hint is not None
    assert "approver or admin" in caught.value.hint


def test_scopes_give_extra_rights_but_never_those_of_a_role() -> None:
    assert allowed(principal("viewer", scopes=("any-version",)), "any-version")
    assert not allowed(principal("editor"), "any-version")
    assert allowed(principal("admin"), "any-version")
    assert not allowed(principal("viewer", scopes=("admin", "write")), "write")
    assert not allowed(principal("viewer", scopes=("admin",)), "admin")


@given(st.sampled_from(ROLES), st.sampled_from(["risk", "sales"]))
def test_the_scope_is_the_own_team_except_for_those_who_audit(role: Role, team: str) -> None:
    scope = scope_of(principal(role))
    assert scope.admits("risk")
    assert scope.admits(team) == (team == "risk" or role in ("admin", "auditor"))


def test_the_platform_itself_sees_everything() -> None:
    assert scope_of(LOCAL) == ALL == Scope(None)


def test_the_law_of_the_door_is_light() -> None:
    program = (
        "import sys, tandem.governance.authorise, tandem.governance.digest;"
        "print(sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    ).stdout
    assert "tandem" in found
    for heavy in ("sqlalchemy", "alembic", "fastapi", "polars", "dbos", "numpy", "jinja2"):
        assert heavy not in found
