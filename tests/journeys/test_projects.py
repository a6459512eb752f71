"""A repository's project on a whole platform: planned, applied, taken through its stages, cut short, refused and pruned."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tandem.cli.main import main
from tests.journeys.conftest import ADMIN, Platform, platform, until

pytestmark = pytest.mark.journey

PROJECT = """
name = "triage"
release = "triage"
promote = ["model/late"]

[stages.dev]
values = { cap = "5" }
[stages.staging]
values = { cap = "10" }
[stages.production]
values = { cap = "50" }

[prompts.triage]
variables = { text = "string" }

[[gates]]
asset = "model/late"
alias = "dev"
minimum = 0.2
[[gates]]
asset = "model/late"
alias = "staging"
minimum = 0.2
[[gates]]
asset = "model/late"
alias = "production"
minimum = 0.999

[[budgets]]
scope = "endpoint/late${suffix}"
cap = "${cap}"
window = "month"

[[limits]]
scope = "team/default"
unit = "calls"
cap = 100

[endpoints."triage${suffix}"]
kind = "chat"
route = [{ target = "mock/gpt-4o-mini" }]
guards = "policy/strict@${stage}"

[monitors.answers]
endpoint = "triage"
question = "scores"
every = "1h"
stages = ["production"]
"""
DECISION = """
from dataclasses import dataclass
from tandem.decisions import Calls

@dataclass
class Case:
    number: float

@dataclass
class Said:
    number: float

def answer(case: Case, calls: Calls) -> Said:
    return Said(number=case.number)
"""
COLUMNS = {
    "columns": [
        {"name": "id", "dtype": "string", "nullable": False, "unique": True},
        {"name": "x", "dtype": "float", "nullable": False, "low": -1000.0},
        {"name": "y", "dtype": "string", "categories": ["a", "b"]},
    ],
    "id_column": "id",
}
CSV = "id,x,y\n" + "".join(f"r{n},{n % 7}.5,{'ab'[(n % 7 > 3) ^ (n % 11 == 0)]}\n" for n in range(200))


@dataclass
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs commands in this process against one platform, in one folder."""

    def __init__(self, house: Platform, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.house, self.folder = house, folder
        self._capsys, self._patch = capsys, patch
        patch.setenv("TANDEM_URL", house.url)
        patch.chdir(folder)
        for name in ("GITHUB_SHA", "CI_COMMIT_SHA"):
            patch.delenv(name, raising=False)

    def __call__(self, *words: str, key: str = ADMIN) -> Done:
        self._patch.setenv("TANDEM_KEY", key)
        code = main(words)
        captured = self._capsys.readouterr()
        return Done(code, captured.out, captured.err)

    def steps(self, *words: str) -> dict[str, str]:
        """Thing → action of a plan."""
        planned = self("plan", *words, "--json")
        assert planned.code in (0, 2), planned.err
        return {step["thing"]: step["action"] for step in planned.json()["steps"]}

    def changes(self, *words: str) -> dict[str, str]:
        quiet = ("unchanged", "gone", "not yet", "elsewhere")
        return {thing: action for thing, action in self.steps(*words).items() if action not in quiet}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("projects")) as running:
        yield running


@pytest.fixture
def shell(
    house: Platform, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:  # fmt: skip
    return Shell(house, tmp_path, capsys, monkeypatch)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def whole(folder: Path) -> None:
    write(
        folder,
        {
            "project.toml": PROJECT,
            "contracts/invoices.json": json.dumps(COLUMNS),
            "prompts/triage.txt": "Sort this: {{ text }}\n",
            "policies/strict.toml": '[[guards]]\ndetector = "card"\naction = "mask"\n',
            "decisions/sort.py": DECISION,
        },
    )


def stands(house: Platform, ref: str) -> dict[str, int]:
    return {name: int(state["version"]) for name, state in house.api("GET", f"/assets/{ref}")["aliases"].items()}


def test_a_project_goes_through_its_stages(shell: Shell, house: Platform) -> None:
    whole(shell.folder)
    first = shell.steps()
    assert first["prompt/triage"] == "create"
    assert first["alias/model/late@dev"] == "not yet"  # it is not trained yet
    assert first["gate/model/late@dev"] == "create"
    assert "gate/model/late@production" not in first
    assert "monitor/answers" not in first
    applied = shell("apply", "--yes", "--commit", "c0ffee")
    assert applied.code == 0, applied.err + applied.out
    assert stands(house, "prompt/triage") == {"dev": 1}
    assert shell.changes() == {}
    assert shell("plan").code == 0
    again = shell("apply", "--yes", "--json")
    assert (again.code, again.json()["id"]) == (0, "")

    house.api("POST", "/datasets/invoices?format=csv", content=CSV)
    train = {"data": "dataset/invoices", "target": "y", "algorithm": "logistic", "folds": 3}
    run = house.api("POST", "/runs", json={"kind": "train", "name": "late", "inputs": train})["id"]
    until(lambda: house.api("GET", f"/runs/{run}")["state"] == "succeeded", "it is trained")
    assert shell.changes() == {"alias/model/late@dev": "promote", "endpoint/late-dev": "create"}
    assert shell("apply", "--yes").code == 0
    assert stands(house, "model/late") == {"dev": 1}
    until(lambda: any(e["name"] == "late-dev" for e in house.api("GET", "/endpoints")), "it is served")

    write(shell.folder, {"prompts/triage.txt": "Sort this well: {{ text }}\n"})
    assert shell.changes() == {"prompt/triage": "new version", "alias/prompt/triage@dev": "promote"}
    planned = shell("plan")
    assert planned.code == 2
    assert "-Sort this: {{ text }}" in planned.out
    assert "+Sort this well: {{ text }}" in planned.out
    assert shell("apply", "--yes").code == 0

    staged = shell("apply", "--stage", "staging", "--yes")
    assert staged.code == 0, staged.err + staged.out
    assert stands(house, "prompt/triage") == {"dev": 2, "staging": 2}
    assert stands(house, "release/triage") == {"staging": 1}
    assert stands(house, "model/late") == {"dev": 1, "staging": 1}
    assert shell.changes("--stage", "staging") == {}

    refused = shell("apply", "--stage", "production", "--yes")
    assert refused.code == 4, refused.out
    assert "production" not in stands(house, "prompt/triage")  # all or none
    assert "failed  alias/release/triage@production" in refused.out
    assert "Not done: " in refused.out
    assert "endpoint/triage" in refused.out.partition("Not done:")[2]

    write(shell.folder, {"project.toml": PROJECT.replace("0.999", "0.2")})
    house.api("PUT", "/approvals/release", json={"people": 1})
    assert "waits for 1 with the role approver" in shell("plan", "--stage", "production").out
    waiting = shell("apply", "--stage", "production", "--yes", "--json")
    assert waiting.code == 6, waiting.out
    (request,) = [step["note"] for step in waiting.json()["steps"] if step["state"] == "waiting"]
    assert f"{request} waits for it already" in shell("plan", "--stage", "production").out
    ben = house.key("ben", role="approver")
    assert shell("request", "approve", request, key=ben).code == 0
    assert stands(house, "prompt/triage") == {"dev": 2, "staging": 2, "production": 2}
    ended = shell("apply", "--stage", "production", "--yes")
    assert ended.code == 0, ended.out + ended.err
    assert shell.changes("--stage", "production") == {}
    caps = {row["scope"]: row["cap_usd"] for row in house.api("GET", "/budgets") if row["scope"].startswith("endpoint/late")}
    assert {scope: float(cap) for scope, cap in caps.items()} == {
        "endpoint/late-dev": 5.0,
        "endpoint/late-staging": 10.0,
        "endpoint/late": 50.0,
    }

    rows = [row for row in house.api("GET", "/audit?limit=1000") if "project" in row["detail"]]
    told = {row["action"] for row in rows}
    assert {"project.apply", "project.applied", "asset.publish", "alias.promote", "gate.set", "budget.set"} <= told
    first_apply = [row["detail"]["project"] for row in rows if row["detail"]["project"]["commit"] == "c0ffee"]
    assert {each["plan"][:7] for each in first_apply} == {"sha256:"}
    assert {each["name"] for each in first_apply} == {"triage"}
    shown = shell("project", "show", "triage", "--json").json()
    assert {"prompt/triage", "alias/model/late@dev", "alias/release/triage@staging", "endpoint/late-dev"} <= {
        each["thing"] for each in shown["things"]
    }
    assert [each["state"] for each in shown["applies"]][:3] == ["waiting", "failed", "done"]


def test_every_kind_is_as_it_was_declared(shell: Shell, house: Platform) -> None:
    """The platform fills in and normalises; none of that is a change."""
    rows = "who,at,spent,question,wanted\n" + "".join(f"c{n},2026-01-0{n}T00:00:00Z,{n}.5,What?,That\n" for n in range(1, 9))
    house.api("POST", "/datasets/spending?format=csv&id=who&time=at", content=rows)
    house.api("POST", "/datasets/asked?format=csv", content="id,question,wanted\n1,What?,That\n2,Who?,She\n")
    text = """
name = "every"
promote = ["suite/asking"]
[stages.dev]
[stages.live]
[decisions.sorting]
entry = "answer"
[prompts.asking]
variables = { question = "string", hard = "boolean" }
model = "assistant"
[[gates]]
asset = "prompt/asking"
alias = "live"
suite = "suite/asking"
[[gates]]
asset = "model/every"
minimums = { recall = 0.5 }
slices = [{ column = "region", value = "north", minimum = 0.6 }]
latency_ms = 50
[[budgets]]
scope = "tag/every"
cap = 1.5
window = "month@Europe/Berlin"
mode = "soft"
alerts = [50, 90]
[[limits]]
scope = "tag/every"
unit = "calls"
cap = 3
[endpoints.every]
kind = "chat"
strategy = "cheapest"
timeouts = { total = 20 }
route = [
  { target = "mock/gpt-4o-mini", weight = 2, when = { "request.images" = false } },
  { target = "mock/gpt-4o", role = "shadow", share = 0.1 },
]
[monitors.every]
endpoint = "every"
question = "scores"
every = "30m"
threshold = 0.2
"""
    suite = {"data": "dataset/asked", "endpoint": "assistant", "expected": "wanted", "rows": 2, "scorers": [{"scorer": "exact"}]}
    features = """
[views.spending]
source = "dataset/spending"
entity = ["who"]
features = ["total = sum(spent) over 7d", "spent"]
[services.lending]
features = ["spending"]
inputs = { wanted = "number" }
computed = ["share = wanted / spent"]
"""
    write(
        shell.folder,
        {
            "project.toml": text,
            "features/all.toml": features,
            "prompts/asking.json": json.dumps([{"role": "user", "content": "{{ question }}"}]),
            "suites/asking.json": json.dumps(suite),
            "decisions/sorting.py": DECISION,
            "policies/every.json": json.dumps({"guards": [{"detector": "card", "on": ["in"]}]}),
        },
    )
    assert set(shell.changes().values()) == {"create", "promote"}
    applied = shell("apply", "--yes")
    assert applied.code == 0, applied.out + applied.err
    assert shell.changes() == {}
    assert shell("apply", "--yes", "--json").json()["id"] == ""

    write(shell.folder, {"features/all.toml": features.replace("7d", "30d")})
    house.api("POST", "/datasets/asked?format=csv", content="id,question,wanted\n1,What?,That\n")
    again = {"view/spending": "new version", "service/lending": "new version", "suite/asking": "new version"}
    assert shell.changes() == again | {"alias/suite/asking@dev": "promote"}
    assert shell("apply", "--yes").code == 0
    assert shell.changes() == {}
    assert house.api("GET", "/assets/service/lending/2")["parents"] == ["view/spending@2"]

    house.api("PUT", "/endpoints/every", json={"kind": "chat", "route": [{"target": "mock/gpt-4o-mini"}]})
    edited = shell("plan").out
    assert "strategy: weighted → cheapest" in edited
    assert "timeouts.total: 600.0 → 20.0" in edited


def test_what_moved_since_the_plan_is_named_and_nothing_is_done(shell: Shell, house: Platform) -> None:
    capped = 'budgets = [{ scope = "tag/moving", cap = "3" }]\nlimits = [{ scope = "tag/moving", unit = "tokens", cap = 9 }]\n'
    text = f'name = "moving"\n{capped}'
    write(shell.folder, {"project.toml": text, "prompts/moving.txt": "One"})
    assert shell("apply", "--yes").code == 0
    write(shell.folder, {"project.toml": text.replace('"3"', '"4"'), "prompts/moving.txt": "Two"})
    assert shell("plan", "--out", "plan.json").code == 2
    house.api("POST", "/prompts/moving", json={"template": "Somebody's"})
    house.api("PUT", "/limits/tag/moving", json={"unit": "tokens", "cap": 8})
    refused = shell("apply", "plan.json", "--yes")
    assert refused.code == 1
    assert "prompt/moving, limit/tag/moving@tokens/minute moved since the plan was made" in refused.err
    (budget,) = [row for row in house.api("GET", "/budgets") if row["scope"] == "tag/moving"]
    assert float(budget["cap_usd"]) == 3.0

    plan = json.loads((shell.folder / "plan.json").read_text())
    plan["steps"][0]["after"]["template"] = "Forged"
    write(shell.folder, {"forged.json": json.dumps(plan)})
    forged = shell("apply", "forged.json", "--yes")
    assert "was edited since it was planned" in forged.err

    assert shell("plan", "--out", "plan.json").code == 2
    assert shell("apply", "plan.json", "--yes").code == 0
    assert shell("apply", "plan.json", "--yes", "--json").json()["state"] == "done"  # all of it was done already
    assert house.api("GET", "/assets/prompt/moving")["versions"][0]["version"] == 3
    assert shell.changes() == {}


def test_an_apply_that_is_killed_goes_on_when_it_is_done_again(shell: Shell, house: Platform) -> None:
    count = 120
    write(shell.folder, {"project.toml": 'name = "killed"\n'} | {f"prompts/killed-{n:03}.txt": f"Text {n}" for n in range(count)})

    def made() -> int:
        return sum(row["name"].startswith("killed-") for row in house.api("GET", "/assets?kind=prompt"))

    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": ADMIN}
    command = [sys.executable, "-m", "tandem", "apply", str(shell.folder), "--yes"]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: made() > 1, "it has begun")
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert made() < count
    assert house.api("GET", "/projects/killed")["applies"][0]["state"] == "running"
    (left,) = [row["id"] for row in house.api("GET", "/projects/killed")["applies"]]

    assert shell("apply", "--yes").code == 0
    assert made() == count
    assert shell.changes() == {}
    assert {row["id"]: row["state"] for row in house.api("GET", "/projects/killed")["applies"]}[left] == "broken-off"
    assert all(
        row["newest"]["version"] == 1 for row in house.api("GET", "/assets?kind=prompt") if row["name"].startswith("killed")
    )


def test_a_viewer_plans_and_may_not_apply(shell: Shell, house: Platform) -> None:
    write(shell.folder, {"project.toml": 'name = "watched"\n', "prompts/watched.txt": "Look"})
    viewer, editor = house.key("looking", role="viewer"), house.key("writing", role="editor")
    assert shell("plan", key=viewer).code == 2
    refused = shell("apply", "--yes", key=viewer)
    assert (refused.code, "has no right to write" in refused.err) == (1, True)
    assert "watched" not in [row["name"] for row in house.api("GET", "/projects")]

    write(shell.folder, {"project.toml": 'name = "watched"\n[[budgets]]\nscope = "tag/watched"\ncap = "1"\n'})
    stopped = shell("apply", "--yes", key=editor)
    assert (stopped.code, "has no right to admin" in stopped.err) == (1, True)
    assert "done    prompt/watched" in stopped.out
    assert house.api("GET", "/projects/watched")["applies"][0]["state"] == "failed"
    assert shell.changes() == {"budget/tag/watched@day": "create"}


def test_what_is_declared_no_longer_is_retired_when_asked(shell: Shell, house: Platform) -> None:
    tables = """
[[budgets]]
scope = "tag/pruned"
cap = "1"
[[limits]]
scope = "tag/pruned"
unit = "requests"
cap = 5
[[gates]]
asset = "model/pruned"
minimum = 0.5
[endpoints.pruned]
kind = "chat"
route = [{ target = "mock/gpt-4o-mini" }]
[monitors.pruned]
endpoint = "pruned"
question = "scores"
"""
    write(shell.folder, {"project.toml": f'name = "pruning"\n{tables}', "prompts/pruned.txt": "Gone soon"})
    assert shell("apply", "--yes").code == 0
    assert shell.changes() == {}
    (shell.folder / "prompts" / "pruned.txt").unlink()
    write(shell.folder, {"project.toml": 'name = "pruning"\n'})
    gone = {
        "prompt/pruned", "budget/tag/pruned@day", "limit/tag/pruned@requests/minute", "gate/model/pruned@production",
        "endpoint/pruned", "monitor/pruned",
    }  # fmt: skip
    assert {thing for thing, action in shell.steps().items() if action == "gone"} == gone
    assert shell("plan").code == 0
    assert set(shell.changes("--prune")) == gone
    assert shell("apply", "--prune", "--yes").code == 0
    assert shell.steps("--prune") == {}
    assert "pruned" not in [row["name"] for row in house.api("GET", "/endpoints")]
    assert not [row for row in house.api("GET", "/budgets") if row["scope"] == "tag/pruned"]
    assert not [row for row in house.api("GET", "/gates") if row["asset"] == "model/pruned"]
    assert house.api("GET", "/monitors") == [] or "pruned" not in [row["name"] for row in house.api("GET", "/monitors")]
    assert house.api("GET", "/assets/prompt/pruned")["versions"]  # versions stay


def test_a_thing_belongs_to_one_project(shell: Shell, house: Platform) -> None:
    write(shell.folder, {"project.toml": 'name = "one"\n', "prompts/shared.txt": "Mine"})
    assert shell("apply", "--yes").code == 0
    write(shell.folder, {"project.toml": 'name = "other"\n', "prompts/shared.txt": "Ours", "prompts/own.txt": "Own"})
    assert shell.steps()["prompt/shared"] == "elsewhere"
    assert "managed by the project one, and differs" in shell("plan").out
    assert shell("apply", "--yes").code == 0
    assert house.api("GET", "/assets/prompt/shared")["versions"][0]["version"] == 1
    body = {"things": {"prompt/shared": "x"}, "plan": f"sha256:{'0' * 64}"}
    with pytest.raises(AssertionError, match="is declared by the project 'one'"):
        house.api("POST", "/projects/other/applies", json=body)


def test_deeds_of_an_apply_that_is_over_are_refused(house: Platform) -> None:
    begun = house.api("POST", "/projects/fenced/applies", json={"things": {}, "plan": f"sha256:{'1' * 64}"})["id"]
    house.api("POST", "/projects/fenced/applies", json={"things": {}, "plan": f"sha256:{'2' * 64}"})
    with pytest.raises(AssertionError, match="is over \\(broken-off\\)"):
        house.api("PUT", f"/projects/fenced/applies/{begun}", json={"state": "done"})


@pytest.mark.parametrize("runner", ["github", "gitlab"])
def test_what_a_runner_is_given_does_plan_and_apply(shell: Shell, house: Platform, runner: str) -> None:
    text = f'name = "run-{runner}"\n[stages.dev]\n[stages.production]\n'
    write(shell.folder, {"project.toml": text, f"prompts/run-{runner}.txt": "Say it"})
    written = shell("project", "ci", "--for", runner, "--json").json()["file"]
    told = yaml.safe_load((shell.folder / written).read_text())
    if runner == "github":
        assert told[True]["workflow_dispatch"]["inputs"]["stage"]["options"] == ["production"]  # YAML takes `on` for true
        jobs = {
            name: step["run"] for name, job in told["jobs"].items() for step in job["steps"] if "tandem" in step.get("run", "")
        }
        assert all(job["env"]["TANDEM_KEY"] == "${{ secrets.TANDEM_KEY }}" for job in told["jobs"].values())
    else:
        jobs = {name: "\n".join(job["script"]) for name, job in told.items() if isinstance(job, dict) and "script" in job}
        jobs["promote"] = jobs.pop("promote-production")
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": ADMIN, "STAGE": "production"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

    def run(job: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-e", "-c", jobs[job]], cwd=shell.folder, env=environment, capture_output=True, text=True)

    planned = run("plan")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert f"| `+` | `prompt/run-{runner}` | create" in (shell.folder / "plan.md").read_text()
    assert run("apply").returncode == 0
    assert stands(house, f"prompt/run-{runner}") == {"dev": 1}
    promoted = run("promote")
    assert promoted.returncode == 0, promoted.stdout + promoted.stderr
    assert stands(house, f"prompt/run-{runner}") == {"dev": 1, "production": 1}
    assert "Nothing to do" in run("plan").stdout
