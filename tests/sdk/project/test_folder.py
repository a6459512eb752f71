"""A folder is read whole, or refused with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tandem_sdk.errors import Invalid
from tandem_sdk.project import Folder, read
from tandem_sdk.project.lines import line_of

STAGES = "[stages.dev]\nvalues = { cap = 5 }\n[stages.production]\nvalues = { cap = 50 }\n"


def folder(path: Path, project: str, **files: str) -> Folder:
    for name, text in {"project.toml": project, **files}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return read(path)


def contents(found: Folder, stage: str = "") -> dict[str, object]:
    return {each.address: each.content for each in (*found.files, *found.tables[stage])}


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    found = folder(
        tmp_path,
        'name = "all"\n[prompts.hello]\nvariables = { name = "string" }\nmodel = "a"\n[decisions.sort]\nentry = "other"\n',
        **{
            "prompts/hello.txt": "Hello {{ name }}",
            "prompts/chat.json": '[{"role": "user", "content": "Hi"}]',
            "decisions/sort.py": "def other(a): ...\n",
            "decisions/_shared.py": "nobody's",
            "policies/strict.toml": '[[guards]]\ndetector = "card"\n',
            "suites/ask.json": '{"data": "dataset/q", "endpoint": "a", "scorers": [{"scorer": "exact"}]}',
            "features/all.toml": '[views.spent]\nentity = ["who"]\n[services.lending]\nfeatures = ["spent"]\n',
            "contracts/rows.json": '{"columns": []}',
        },
    )
    told = contents(found)
    assert told["prompt/hello"] == {"template": "Hello {{ name }}", "variables": {"name": "string"}, "model": "a"}
    assert told["prompt/chat"] == {"template": [{"role": "user", "content": "Hi"}], "variables": {}, "model": None}
    assert told["decision/sort"] == {"source": "def other(a): ...\n", "entry": "other"}
    assert told["policy/strict"] == {"guards": [{"detector": "card", "action": "block", "on": ["in", "out"]}]}
    suite = told["suite/ask"]
    assert isinstance(suite, dict)
    assert suite["scorers"] == [{"scorer": "exact", "name": "", "options": {}, "weight": 1.0}]
    assert told["view/spent"] == {"definition": {"entity": ["who"]}}
    assert told["service/lending"] == {"definition": {"features": ["spent"]}}
    assert told["contract/rows"] == {"columns": []}


def test_tables_are_of_stages_and_hold_what_is_different_there(tmp_path: Path) -> None:
    text = f"""name = "staged"
{STAGES}
[[budgets]]
scope = "endpoint/a${{suffix}}"
cap = "${{cap}}"
[[gates]]
asset = "model/m"
alias = "dev"
[[gates]]
asset = "model/m"
[[gates]]
asset = "prompt/p"
alias = "${{stage}}"
suite = "suite/s"
[endpoints."a${{suffix}}"]
kind = "chat"
route = [{{ target = "mock/x" }}]
[monitors.late]
endpoint = "a"
every = "12h"
stages = ["production"]
"""
    found = folder(tmp_path, text)
    dev, production = contents(found, "dev"), contents(found, "production")
    assert set(dev) == {"budget/endpoint/a-dev@day", "gate/model/m@dev", "gate/prompt/p@dev", "endpoint/a-dev"}
    assert set(production) == {
        "budget/endpoint/a@day", "gate/model/m@production", "gate/prompt/p@production", "endpoint/a", "monitor/late",
    }  # fmt: skip
    budget, gate = production["budget/endpoint/a@day"], dev["gate/prompt/p@dev"]
    assert isinstance(budget, dict)
    assert isinstance(gate, dict)
    assert (budget["cap"], "alerts" in budget) == ("50", False)
    assert not {"metric", "margin"} & set(gate)  # of a suite the platform knows them
    monitor = production["monitor/late"]
    assert isinstance(monitor, dict)
    assert (monitor["every"], "threshold" in monitor, "newest" in monitor) == (43_200, False, False)


@pytest.mark.parametrize(
    ("project", "files", "where", "why"),
    [
        ('name = "a"\nstage = 1', {}, "project.toml:2", "nothing is called 'stage'"),
        ("name = 'A'", {}, "project.toml:1", "name"),
        ('name = "a"\nrelease = "r"', {}, "project.toml:2", "moves along stages"),
        ('name = "a"\n\n[stages.Dev]\n', {}, "project.toml:3", "cannot be an alias"),
        ('name = "a"\n[stages.dev]\nvalue = {}', {}, "project.toml:3", "nothing is called 'value'"),
        ('name = "a"\n[stages.dev]\npromote = ["model/m"]', {}, "project.toml:3", "has no 'model/m'"),
        ('name = "a"\npromote = ["model/m@3"]', {}, "project.toml:2", "names a version"),
        ('name = "a"\n\n[[budgets]]\nscope = "org"\ncap = "1"\nwindw = "day"', {}, "project.toml:6", "nothing is called 'windw'"),
        ('name = "a"\n[[budgets]]\nscope = "org"\ncap = "much"', {}, "project.toml:2", "not an amount"),
        ('name = "a"\n[[budgets]]\nscope = "org"\ncap = "${cap}"', {}, "project.toml:2", "nothing is called ${cap}"),
        ('name = "a"\n[endpoints.e]\nkind = "chat"\nroute = [{ target = "m/x", wight = 2 }]', {}, "project.toml:4", "'wight'"),
        ('name = "a"\n[endpoints.e]\nkind = "chat"\nmanaged = "x"', {}, "project.toml:2", "nobody declares 'managed'"),
        ('name = "a"\n[endpoints.e]\nkind = "chat"\nstages = ["dev"]', {}, "project.toml:2", "stages is a list"),
        ('name = "a"\n[monitors.m]\nendpoint = "e"\nwindow = "x"', {}, "project.toml:2", "window is a text, not int"),
        ('name = "a"\n[prompts.p]\nmodel = "x"', {}, "project.toml:2", "there is no file for 'p'"),
        ('name = "a"', {"prompts/README.rst": "x"}, "prompts/README.rst", "is nothing that prompts/ holds"),
        ('name = "a"', {"prompts/Big.txt": "x"}, "prompts/Big.txt", "cannot be a name"),
        ('name = "a"', {"prompts/a.txt": "x", "prompts/a.md": "y"}, "prompts/a.txt", "declared in prompts/a.md already"),
        ('name = "a"', {"policies/p.toml": '[[guards]]\ndetektor = "card"'}, "policies/p.toml", "detector"),
        ('name = "a"', {"policies/p.toml": '[[guards]]\ndetector = "c"\nwith = 1'}, "policies/p.toml:3", "'with'"),
        ('name = "a"', {"suites/s.json": "[]"}, "suites/s.json", "holds no JSON object"),
        ('name = "a"', {"features/f.toml": "[view.x]\n"}, "features/f.toml:1", "nothing is called 'view'"),
        ('name = "a"', {"decisions/d.py": "def ("}, "decisions/d.py", "is no Python"),
        ('name = "a"', {"decisions/d.py": "x = 1"}, "decisions/d.py", "[decisions.d] entry"),
        ('name = "a', {}, "project.toml", "is no TOML"),
        (f'name = "a"\n{STAGES}[[budgets]]\nscope = "org"\ncap = "${{cap}}"', {}, "project.toml:6", "another one at dev"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused_where_it_stands(
    tmp_path: Path, project: str, files: dict[str, str], where: str, why: str
) -> None:
    with pytest.raises(Invalid) as refused:
        folder(tmp_path, project, **files)
    assert refused.value.message.startswith(where), refused.value.message
    assert why in refused.value.message


def test_there_must_be_a_project(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"There is no project\.toml"):
        read(tmp_path)


def test_a_stage_says_what_moves(tmp_path: Path) -> None:
    text = 'name = "a"\npromote = ["model/m"]\n[stages.dev]\n[stages.live]\npromote = ["model/m"]\n'
    found = folder(tmp_path, text, **{"prompts/p.txt": "x", "policies/g.json": json.dumps({"guards": [{"detector": "card"}]})})
    dev, live = found.stages
    assert found.moving(dev) == ("policy/g", "prompt/p", "model/m")
    assert found.moving(live) == ("model/m",)
    assert (found.before(dev), found.before(live)) == (None, dev)
    assert (found.stage(None), dev.suffix, live.suffix) == (dev, "-dev", "")
    with pytest.raises(Invalid, match="Stages are: dev, live"):
        raise_hint(found)


def raise_hint(found: Folder) -> None:
    try:
        found.stage("none")
    except Invalid as error:
        raise Invalid(str(error)) from None


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (("name",), 1),
        (("stages", "dev"), 2),
        (("stages", "dev", "values"), 3),
        (("gates[1]",), 6),
        (("endpoints", "a-${b}"), 8),
        (("none",), None),
    ],
)
def test_a_line_is_found(where: tuple[str, ...], line: int | None) -> None:
    text = 'name = "a"\n[stages.dev]\nvalues = {}\n[[gates]]\nx = 1\n[[gates]]\nx = 2\n[endpoints."a-${b}"] # here\n'
    assert line_of(text, where) == line
