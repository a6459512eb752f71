"""Every route of the platform, read from the code that answers it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tandem.gateway.door

RAW = (
    ("GET", "/"),
    ("GET", "/{page}"),
    ("GET", "/alerts"),
    ("GET", "/alerts/{name}/test"),
    ("POST", "/alerts/{name}/test"),
    ("POST", "/approvals"),
    ("POST", "/approvals/drop"),
    ("GET", "/assets"),
    ("GET", "/assets/{kind}/{name}"),
    ("GET", "/assets/{kind}/{name}/{version}"),
    ("GET", "/assets/{kind}/{name}/{version}/members/{member}"),
    ("GET", "/assets/model/{name}/{version}/card"),
    ("GET", "/assets/dataset/{name}/{version}/diff/{other}"),
    ("GET", "/assets/dataset/{name}/{version}/profile"),
    ("GET", "/assets/dataset/{name}/{version}/quarantine"),
    ("GET", "/assets/dataset/{name}/{version}/rows"),
    ("GET", "/audit"),
    ("GET", "/audit/erase"),
    ("POST", "/audit/erase"),
    ("GET", "/audit/export"),
    ("POST", "/audit/rotate"),
    ("GET", "/audit/usage"),
    ("GET", "/audit/verify"),
    ("POST", "/audit/verify"),
    ("GET", "/budgets"),
    ("GET", "/costs"),
    ("POST", "/console/sign-in"),
    ("POST", "/console/sign-out"),
    ("GET", "/console/sso/{provider}/callback"),
    ("POST", "/console/sso/{provider}"),
    ("GET", "/console/static/{name}"),
    ("POST", "/console/team"),
    ("GET", "/endpoints"),
    ("GET", "/endpoints/{name}"),
    ("GET", "/endpoints/{name}/online"),
    ("POST", "/endpoints/{name}/online/stop"),
    ("GET", "/join/{token}"),
    ("POST", "/join/{token}"),
    ("GET", "/keys"),
    ("POST", "/keys"),
    ("POST", "/keys/{name}/revoke"),
    ("POST", "/keys/{name}/rotate"),
    ("GET", "/monitors"),
    ("GET", "/monitors/{name}"),
    ("GET", "/people"),
    ("POST", "/people/invite"),
    ("POST", "/people/members"),
    ("POST", "/people/services"),
    ("POST", "/people/teams"),
    ("POST", "/people/withdraw"),
    ("POST", "/people/{name}/disable"),
    ("POST", "/people/{name}/enable"),
    ("POST", "/people/{name}/link"),
    ("POST", "/people/{name}/remove"),
    ("POST", "/people/{name}/sign-out"),
    ("GET", "/projects"),
    ("GET", "/projects/{name}"),
    ("GET", "/pipelines/{name}"),
    ("GET", "/requests"),
    ("POST", "/requests/{identifier}/approve"),
    ("POST", "/requests/{identifier}/decline"),
    ("GET", "/reviews"),
    ("GET", "/reviews/next"),
    ("GET", "/reviews/{identifier}"),
    ("POST", "/reviews/{identifier}"),
    ("GET", "/runs"),
    ("GET", "/runs/{identifier}"),
    ("GET", "/traces"),
    ("GET", "/traces/{identifier}"),
    ("GET", "/api/docs"),
    ("GET", "/api/openapi.json"),
    ("GET", "/api/{path}"),
    ("POST", "/api/{path}"),
    ("PUT", "/api/{path}"),
    ("PATCH", "/api/{path}"),
    ("DELETE", "/api/{path}"),
    ("GET", "/internal/health"),
)
"""What OpenAPI does not describe: the raw fuzzer asks for these."""

_WALK = """
import json, sys
from pathlib import Path
from fastapi.routing import iter_route_contexts
from tandem.app.control import build
from tandem.settings import load

built = build(load(Path(sys.argv[1]), environment={}))
rows = [(r.path, sorted(r.methods or []), bool(r.include_in_schema)) for r in iter_route_contexts(built.web.routes)]
built.close()
print(json.dumps(rows))
"""


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """One method on one path of the control process."""

    path: str
    method: str
    told: bool
    """Whether OpenAPI describes it."""


def of_control(home: Path) -> list[Route]:
    """What the control process answers; it is built on an empty `home`, in a process of its own, and serves nothing."""
    home.mkdir(mode=0o700)
    done = subprocess.run([sys.executable, "-c", _WALK, str(home)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    return sorted(Route(path, method, told) for path, methods, told in rows for method in methods if method != "HEAD")


def of_door() -> list[str]:
    """The paths, and beginnings of paths, that stand in the door's code."""
    tree = ast.parse(Path(tandem.gateway.door.__file__).read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    docs = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return sorted(text for text in texts - docs if text[:1] == "/" and text.strip("/") and " " not in text)
