"""What a plan looks like in a terminal and in a pull request, and the codes that scripts read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.cli.conftest import Shell

from tandem.cli.changes import markdown, told
from tandem_sdk.fake import FakePlatform
from tandem_sdk.project import Plan, Step

STEP = Step(
    thing="prompt/a", action="new version", file="prompts/a.txt", before={"template": "One\nTwo\n", "model": None},
    after={"template": "One\nThree\n", "model": "x"}, notes=("becomes prompt/a@2",),
)  # fmt: skip
CAP = Step(thing="budget/org@day", action="change", file="project.toml:3", before={"cap": "5"}, after={"cap": "7"})
PLAN = Plan(project="p", stage="dev", steps=(STEP, CAP, Step(thing="limit/x", action="unchanged", file="f")), digest="sha256:abc")
READS = ("declared", "gates", "approvals", "requests", "endpoints", "monitors", "budgets", "limits", "assets")


def test_a_plan_is_told_field_by_field_and_line_by_line() -> None:
    assert list(told(PLAN)) == [
        "Project p, stage dev",
        "",
        "+ prompt/a        new version  (prompts/a.txt)",
        "      template:",
        "      @@ -1,2 +1,2 @@",
        "       One",
        "      -Two",
        "      +Three",
        "      model: nothing → x",
        "      (becomes prompt/a@2)",
        "~ budget/org@day  change  (project.toml:3)",
        "      cap: 5 → 7",
        "",
        "To do: 1 new version, 1 change, 1 unchanged. Plan sha256:abc.",
    ]


def test_markdown_cannot_be_broken_out_of() -> None:
    evil = replace(STEP, thing="prompt/a|b", after={"template": "~~~~\n</details>\x1b[31m\n"}, notes=("<script>",))
    text = "\n".join(markdown(replace(PLAN, steps=(evil,))))
    assert "`prompt/a\\|b`" in text
    assert "&lt;script>" in text
    assert "\x1b" not in text
    assert "\n~~~~~diff\n" in text  # longer than any run within


def test_the_codes_are_those_of_a_detailed_plan(
    tandem: Shell, platform: FakePlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in READS:
        platform.on("GET", f"/api/v1/{word}", [])
    monkeypatch.chdir(tmp_path)
    assert tandem("plan").code == 1  # no project.toml
    (tmp_path / "project.toml").write_text('name = "p"\n')
    assert tandem("plan").code == 0
    assert tandem("plan", "--no-such-option").code == 1
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a.txt").write_text("One")
    assert tandem("plan").code == 2
    assert "+ prompt/a" in tandem("plan").out
    asked = tandem("apply")
    assert (asked.code, "give --yes" in asked.err) == (2, True)
    assert "POST" not in {each.method for each in platform.asked}


def test_a_workflow_is_not_written_over(tandem: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project.toml").write_text('name = "p"\n')
    assert tandem("project", "ci").code == 0
    text = (tmp_path / ".github" / "workflows" / "tandem.yml").read_text()
    assert "--stage" not in text
    assert "promote:" not in text
    again = tandem("project", "ci")
    assert (again.code, "is there already" in again.err) == (2, True)
