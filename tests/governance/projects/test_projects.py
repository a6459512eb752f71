"""What a project declares is remembered before anything is done, belongs to one project, and is told by the audit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.governance.approvals.place import Place

from tandem.core.errors import Conflict, Forbidden, NotFound
from tandem.core.principal import Principal, Role
from tandem.core.project import Step
from tandem.governance.audit import BECAUSE
from tandem.governance.authorise import ALL
from tandem.governance.projects.projects import Projects

PLAN = f"sha256:{'0' * 64}"


def key(name: str = "ci", role: Role = "editor", team: str = "red") -> Principal:
    return Principal(id=f"key_{name}", name=name, team=team, role=role)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def projects(place: Place) -> Projects:
    return Projects(place.sql, place.audit, place.clock)


def begin(projects: Projects, name: str = "p", things: dict[str, str] | None = None, by: Principal | None = None) -> str:
    steps = [Step(thing="prompt/a", action="create"), Step(thing="monitor/m", action="remove")]
    told = things or {"prompt/a": "prompts/a.txt", "monitor/m": "project.toml:3"}
    return projects.begin(name, told, steps, plan=PLAN, stage="dev", commit="c0ffee", by=by or key()).id


def test_what_is_removed_is_declared_no_longer(projects: Projects) -> None:
    id = begin(projects)
    steps = [Step(thing="prompt/a", action="create", state="done"), Step(thing="monitor/m", action="remove", state="done")]
    projects.end("p", id, "done", steps, by=key())
    project, things, (apply,) = projects.find("p", key())
    assert [(each.thing, each.commit, each.by) for each in things] == [("prompt/a", "c0ffee", "ci")]
    assert (project.team, apply.state, apply.steps) == ("red", "done", tuple(steps))
    assert [each.newest for each in projects.list(key())] == [apply]


def test_what_failed_to_be_removed_stays_declared(projects: Projects) -> None:
    id = begin(projects)
    projects.end("p", id, "failed", [Step(thing="monitor/m", action="remove", state="failed")], by=key())
    assert [each.thing for each in projects.declared(key())] == ["monitor/m", "prompt/a"]


def test_a_newer_apply_breaks_an_older_one_off(projects: Projects) -> None:
    older, newer = begin(projects), begin(projects)
    assert projects.under_way(newer, key()).id == newer
    with pytest.raises(Conflict, match="is over \\(broken-off\\)"):
        projects.under_way(older, key())
    with pytest.raises(Conflict, match="is over"):
        projects.end("p", older, "done", [], by=key())
    with pytest.raises(Conflict):  # it is another key's
        projects.under_way(newer, key("other"))
    with pytest.raises(NotFound):
        projects.end("q", newer, "done", [], by=key())


def test_a_thing_belongs_to_one_project_and_a_project_to_one_team(projects: Projects) -> None:
    begin(projects)
    with pytest.raises(Conflict, match="prompt/a is declared by the project 'p'"):
        begin(projects, "q")
    with pytest.raises(NotFound):
        projects.find("q", key())  # nothing of the refused apply is kept
    with pytest.raises(Conflict, match="another team's project"):
        begin(projects, by=key("b", team="blue"))
    with pytest.raises(NotFound):
        projects.find("p", key("b", team="blue"))
    assert projects.declared(key("b", team="blue")) == ()
    with pytest.raises(Forbidden):
        begin(projects, by=key("v", role="viewer"))


def test_the_audit_tells_of_the_apply_and_of_nothing_else(projects: Projects, place: Place) -> None:
    because = projects.under_way(begin(projects), key()).because
    token = BECAUSE.set({"project": because})
    try:
        with place.sql.write() as conn:
            place.audit.append(conn, actor="ci", action="gate.set", subject="model/m@dev", team="red", detail={"margin": 1})
    finally:
        BECAUSE.reset(token)
    with place.sql.write() as conn:
        place.audit.append(conn, actor="ci", action="gate.set", subject="model/n@dev", team="red")
    after, deed, began = place.audit.list(ALL, limit=3)
    assert json.loads(after.detail) == {}
    assert json.loads(deed.detail) == {"margin": 1, "project": because}
    assert (because["name"], because["commit"], because["plan"], because["stage"]) == ("p", "c0ffee", PLAN, "dev")
    assert (began.action, json.loads(began.detail)["project"]) == ("project.apply", because)


def test_old_applies_are_forgotten(projects: Projects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.governance.projects.repo.KEPT", 2)
    made = [begin(projects) for _ in range(4)]
    begin(projects, "q", {"prompt/b": "prompts/b.txt"})
    assert [each.id for each in projects.find("p", key())[2]] == sorted(made)[-2:][::-1]
