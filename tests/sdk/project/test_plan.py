"""The plan compares field by field, in an order, and knows what moved. The platform is a fake that answers reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tandem_sdk import Client
from tandem_sdk.errors import Conflict, Invalid
from tandem_sdk.fake import Canned, FakePlatform
from tandem_sdk.project import Plan, apply, load, plan, read
from tandem_sdk.project.plan import sealed
from tandem_sdk.project.standing import KINDS, same
from tandem_sdk.shape import plain

API = "/api/v1"
READS = ("declared", "gates", "approvals", "requests", "endpoints", "monitors", "budgets", "limits", "assets")


@pytest.fixture
def client() -> Iterator[Client]:
    with FakePlatform() as platform, Client(platform.url, "tdm_test") as client:
        for word in READS:
            platform.on("GET", f"{API}/{word}", [])
        platform.on("GET", f"{API}/whoami", {"id": "key_1", "name": "ci", "team": "red", "role": "admin"})
        client.fake = platform  # type: ignore[attr-defined]  # so that a test can say what it answers
        yield client


def fake(client: Client) -> FakePlatform:
    found: FakePlatform = client.fake  # type: ignore[attr-defined]  # see the fixture
    return found


def declare(path: Path, project: str, **files: str) -> None:
    for name, text in {"project.toml": f'name = "p"\n{project}', **files}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)


def prompts(client: Client, *versions: dict[str, Any], aliases: dict[str, int] | None = None) -> None:
    """What there is of `prompt/a`, oldest first."""
    made = [
        {"ref": f"prompt/a@{n}", "kind": "prompt", "name": "a", "version": n, "digest": f"d{n}", "team": "red", "meta": meta}
        for n, meta in enumerate(versions, 1)
    ]
    states = {name: {"version": version, "etag": 7} for name, version in (aliases or {}).items()}
    shown = {"kind": "prompt", "name": "a", "versions": made[::-1], "aliases": states}
    fake(client).on("GET", f"{API}/assets", [{"kind": "prompt", "name": "a", "team": "red", "newest": made[-1]}])
    fake(client).on("GET", f"{API}/assets/prompt/a", shown)


def actions(planned: Plan) -> dict[str, str]:
    return {step.thing: step.action for step in planned.steps}


TOLD = {"template": "One", "variables": {}}


def test_the_same_content_is_no_change_and_another_one_is_a_new_version(client: Client, tmp_path: Path) -> None:
    prompts(client, TOLD)
    declare(tmp_path, "", **{"prompts/a.txt": "One", "prompts/b.txt": "New"})
    assert actions(plan(client, read(tmp_path))) == {"prompt/a": "adopt", "prompt/b": "create"}
    fake(client).on("GET", f"{API}/declared", [{"thing": "prompt/a", "project": "p", "file": "prompts/a.txt"}])
    assert actions(plan(client, read(tmp_path)))["prompt/a"] == "unchanged"
    declare(tmp_path, "", **{"prompts/a.txt": "Two"})
    (step, _) = plan(client, read(tmp_path)).steps
    assert (step.action, step.base, step.notes) == ("new version", "1 d1", ("becomes prompt/a@2",))
    assert (step.before or {})["template"] == "One"
    assert (step.after or {})["template"] == "Two"


def test_an_alias_moves_to_the_version_that_the_plan_publishes_and_later_to_that_of_the_stage_before(
    client: Client, tmp_path: Path
) -> None:
    declare(tmp_path, 'promote = ["model/m"]\n[stages.dev]\n[stages.production]\n', **{"prompts/a.txt": "Two"})
    prompts(client, TOLD, aliases={"dev": 1})
    dev = plan(client, read(tmp_path))
    assert actions(dev) == {"prompt/a": "new version", "alias/prompt/a@dev": "promote", "alias/model/m@dev": "not yet"}
    (move,) = [step for step in dev.steps if step.action == "promote"]
    assert (move.before, move.after, move.base) == ({"version": 1}, {"version": 2}, "etag 7")
    production = plan(client, read(tmp_path), stage="production")
    assert actions(production) == {"alias/prompt/a@production": "promote", "alias/model/m@production": "not yet"}
    (move,) = production.changes
    assert (move.before, move.after) == (None, {"version": 1})
    assert move.notes == ("no gate guards prompt/a@production",)


def test_it_says_what_a_move_waits_for(client: Client, tmp_path: Path) -> None:
    gates = '[[gates]]\nasset = "prompt/a"\nsuite = "suite/s"\n'
    declare(tmp_path, f"[stages.production]\n{gates}", **{"prompts/a.txt": "One"})
    prompts(client, TOLD)
    fake(client).on(
        "GET", f"{API}/approvals", [{"action": "promote", "people": 2}, {"action": "promote", "people": 3, "team": "red"}]
    )
    fake(client).on("GET", f"{API}/requests", [{"id": "req_1", "subject": "prompt/a@1", "alias": "production"}])
    (move,) = [step for step in plan(client, read(tmp_path)).changes if step.kind == "alias"]
    assert move.notes == (
        "the gate of prompt/a@production is asked, by suite/s: non-inferior; nobody knows its verdict before",
        "waits for 3 with the role approver (rule for promote)",
        "req_1 waits for it already",
    )


def test_a_higher_cap_and_a_lifted_one_wait_for_people(client: Client, tmp_path: Path) -> None:
    there = [{"scope": "team/blue", "cap": 10**9, "window": word} for word in ("day", "week", "month")]
    fake(client).on("GET", f"{API}/budgets", there)
    fake(client).on("GET", f"{API}/declared", [{"thing": "budget/team/blue@month", "project": "p"}])
    fake(client).on("GET", f"{API}/approvals", [{"action": "budget.raise", "people": 2, "role": "admin", "team": "blue"}])
    row = '[[budgets]]\nscope = "team/blue"\n'
    declare(tmp_path, f'{row}cap = 2\n{row}cap = 0.5\nwindow = "week"\n')
    notes = {step.thing: step.notes for step in plan(client, read(tmp_path), prune=True).changes}
    waits = ("waits for 2 with the role admin (rule for budget.raise)",)
    assert notes == {"budget/team/blue@day": waits, "budget/team/blue@week": (), "budget/team/blue@month": waits}


def test_a_release_takes_everything_along_or_nothing(client: Client, tmp_path: Path) -> None:
    text = 'release = "r"\n[stages.dev]\n[stages.live]\n'
    declare(tmp_path, text, **{"prompts/a.txt": "One"})
    prompts(client, TOLD, aliases={"dev": 1})
    release, move = plan(client, read(tmp_path), stage="live").changes
    assert (release.thing, release.after) == ("release/r", {"pins": ["prompt/a@1"]})
    assert (move.thing, move.after) == ("alias/release/r@live", {"version": 1, "pins": {"prompt/a": 1}})
    declare(tmp_path, f'promote = ["model/m"]\n{text}')
    assert plan(client, read(tmp_path), stage="live").changes == ()


def test_fields_are_compared_one_by_one_and_foreign_things_left_alone(client: Client, tmp_path: Path) -> None:
    declare(
        tmp_path,
        '[[budgets]]\nscope = "org"\ncap = "2.50"\n[[limits]]\nscope = "org"\nunit = "tokens"\ncap = 5\n'
        '[endpoints.e]\nkind = "chat"\nroute = [{ target = "m/x" }]\n[endpoints.f]\nkind = "chat"\nroute = []\n',
    )
    fake(client).on("GET", f"{API}/budgets", [{"scope": "org", "cap": 2_500_000_000, "window": "day", "alerts": [80, 100]}])
    fake(client).on("GET", f"{API}/limits", [{"scope": "org", "unit": "tokens", "cap": 6, "window": "minute"}])
    known = {"name": "e", "kind": "chat", "route": [{"target": "m/x", "weight": 1.0}], "retries": 3}
    fake(client).on("GET", f"{API}/endpoints", [known, {"name": "f", "kind": "chat", "managed": "file:tandem.toml:9"}])
    planned = plan(client, read(tmp_path))
    assert actions(planned) == {
        "budget/org@day": "adopt", "limit/org@tokens/minute": "change", "endpoint/e": "change", "endpoint/f": "elsewhere",
    }  # fmt: skip
    (step,) = [step for step in planned.steps if step.thing == "endpoint/e"]
    assert ((step.before or {})["retries"], (step.after or {})["retries"]) == (3, 1)


def test_steps_are_in_an_order_and_removals_come_last_in_the_opposite_one(client: Client, tmp_path: Path) -> None:
    declare(
        tmp_path,
        """
[stages.dev]
[[budgets]]
scope = "org"
cap = 1
[[gates]]
asset = "prompt/a"
alias = "dev"
[monitors.m]
endpoint = "e"
[endpoints.e]
kind = "chat"
route = []
""",
        **{
            "contracts/c.json": "{}",
            "prompts/a.txt": "x",
            "policies/g.json": '{"guards": []}',
            "decisions/d.py": "def d(c): ...",
        },
    )
    fake(client).on(
        "GET", f"{API}/declared", [{"thing": f"{kind}/gone@day", "project": "p"} for kind in ("budget", "monitor", "prompt")]
    )
    fake(client).on("GET", f"{API}/monitors", [{"name": "gone@day"}])
    planned = plan(client, read(tmp_path), prune=True)
    kinds = [step.kind for step in planned.steps]
    assert kinds[:-3] == sorted(kinds[:-3], key=KINDS.index)
    assert kinds[:2] == ["contract", "prompt"]
    assert [(step.thing, step.action) for step in planned.steps[-3:]] == [
        ("monitor/gone@day", "remove"), ("budget/gone@day", "forget"), ("prompt/gone@day", "forget"),
    ]  # fmt: skip
    assert {step.action for step in plan(client, read(tmp_path)).steps[-3:]} == {"gone"}


def test_nothing_is_asked_for_when_something_moved(client: Client, tmp_path: Path) -> None:
    prompts(client, TOLD)
    declare(tmp_path, "", **{"prompts/a.txt": "Two"})
    planned = plan(client, read(tmp_path))
    prompts(client, TOLD, {**TOLD, "template": "Somebody's"})
    with pytest.raises(Conflict, match="Nothing was applied: prompt/a moved"):
        apply(client, planned)
    assert {asked.method for asked in fake(client).asked} == {"GET"}


def test_it_stops_at_the_first_failure_and_says_what_is_left(client: Client, tmp_path: Path) -> None:
    declare(tmp_path, "", **{f"prompts/{name}.txt": name for name in "abc"})
    fake(client).on("POST", f"{API}/projects/p/applies", {"id": "app_1"})
    fake(client).on("PUT", f"{API}/projects/p/applies/app_1", {"id": "app_1"})
    fake(client).on("POST", f"{API}/prompts/a", {"ref": "prompt/a@1", "kind": "prompt", "name": "a", "version": 1})
    refusal = {"error": {"code": "invalid", "message": "The template is broken.", "hint": None, "field": None}}
    fake(client).on("POST", f"{API}/prompts/b", Canned(body=refusal, status=400))
    heard: list[str] = []
    outcome = apply(client, plan(client, read(tmp_path)), on_step=lambda step: heard.append(step.state))
    assert (outcome.state, heard) == ("failed", ["done", "failed"])
    assert [step.state for step in outcome.steps] == ["done", "failed", "left"]
    assert isinstance(outcome.error, Invalid)
    (ended,) = [asked for asked in fake(client).asked if asked.method == "PUT"]
    told = ended.json()
    assert isinstance(told, dict)
    assert (told["state"], told["steps"][1]["note"]) == ("failed", "The template is broken.")
    assert ended.headers["x-tandem-apply"] == "app_1"


def test_a_plan_of_a_file_is_the_plan(client: Client, tmp_path: Path) -> None:
    declare(tmp_path, "", **{"prompts/a.txt": "One"})
    planned = plan(client, read(tmp_path), commit="c0ffee")
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plain(planned)))
    assert load(file) == planned
    assert sealed(replace(planned, commit="other")).digest == planned.digest
    file.write_text(json.dumps(plain(replace(planned, stage="production"))))
    with pytest.raises(Invalid, match="was edited"):
        load(file)
    file.write_text("{}")
    with pytest.raises(Invalid, match="holds no plan"):
        load(file)


@pytest.mark.parametrize(
    ("wanted", "found", "alike"),
    [
        ({"a": 1}, {"a": 1.0, "b": None}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": False}, {}, True),
        ({"a": True}, {}, False),
        ({"a": "x"}, {"a": True}, False),
        ([1, 2], [1], False),
        ([{"a": 1}], [{"a": 1, "b": ""}], True),
        ("", None, True),
        (0, None, False),
    ],
)
def test_what_is_left_out_must_be_empty_there(wanted: object, found: object, alike: bool) -> None:
    assert same(wanted, found) is alike
