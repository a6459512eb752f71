"""The order of the house, as a test: the floors, the light door, the files' sizes, the words."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tandem

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tandem"
HEAVY = (
    "sqlalchemy",
    "alembic",
    "fastapi",
    "starlette",
    "polars",
    "deltalake",
    "dbos",
    "numpy",
    "pydantic",
    "httpx2",
    "jinja2",
    "click",
    "rich",
)


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def test_the_docstring_and_the_contract_name_the_same_floors() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    written = [re.sub(r"[()]", "", layer) for layer in contract["layers"]]
    told = [line.strip() for line in (tandem.__doc__ or "").splitlines() if line.startswith("    ")]
    assert told == written


def test_the_imports_keep_the_floors() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("entry", ["tandem.gateway.call", "tandem.gateway.worker", "tandem.gateway.upstream"])
def test_the_door_is_light(entry: str) -> None:
    code = f"import sys, json, {entry}; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert [name for name in loaded if name.split(".")[0] in HEAVY] == []


def test_the_whole_door_process_is_light() -> None:
    """Everything `app/door.py` imports, targets included, without serving."""
    code = "import sys, json, tandem.app.door; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert [name for name in loaded if name.split(".")[0] in HEAVY] == []


def test_only_the_counters_of_a_door_and_the_copy_of_features_speak_to_redis() -> None:
    """So the rest of control, the ledger and jobs do not notice when it is away."""
    texts = {path.relative_to(SOURCE).as_posix(): path.read_text() for path in modules()}
    asks = re.compile(r"^\s*(import|from) redis\b", re.MULTILINE)
    assert {name for name, text in texts.items() if asks.search(text)} == {"store/kv.py"}
    users = re.compile(r"^\s*from tandem\.store\.kv import", re.MULTILINE)
    assert {name for name, text in texts.items() if users.search(text)} == {"governance/counters.py", "data/features/redis.py"}
    assert {name for name, text in texts.items() if "SharedBooks(" in text} == {"app/door.py"}


def test_every_module_says_what_it_is() -> None:
    assert [str(path) for path in modules() if not ast.get_docstring(ast.parse(path.read_text()))] == []


@pytest.mark.parametrize("name", ["util", "utils", "helper", "helpers", "manager", "common", "misc"])
def test_no_room_for_everything(name: str) -> None:
    assert [str(path) for path in SOURCE.rglob("*") if path.stem == name] == []


def test_broad_excepts_stand_at_the_borders_only() -> None:
    allowed = {
        "gateway/http1.py": "the gateway's edge",
        "api/wire.py": "the control process's edge",
        "cli/main.py": "the command line's edge",
        "jobs/perform.py": "the job runner",
        "jobs/workflow.py": "the job runner",
        "decisions/worker.py": "a user's code",
        "pipelines/child.py": "a user's code",
        "training/child.py": "the training child's edge",
        "serving/host.py": "the model host's edge",
        "serving/foreign.py": "code of models of somebody else",
    }
    found = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            ):
                found.add(str(path.relative_to(SOURCE)))
    assert found - set(allowed) == set()


def test_no_signature_of_ours_swallows_keywords() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.kwarg is not None
    ]
    assert found == []
