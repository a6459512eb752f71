"""Who may do what: every route of ours, asked by every role, by nobody, and by another team."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from tests.journeys import routes
from tests.journeys.conftest import ADMIN, Platform, bearer, platform, until

pytestmark = pytest.mark.journey

ROLES = ("viewer", "editor", "approver", "auditor", "admin")
READ = frozenset(ROLES)
CALL = READ - {"auditor"}
WRITE = frozenset({"editor", "approver", "admin"})
APPROVE = frozenset({"approver", "admin"})
AUDIT = frozenset({"auditor", "admin"})
ADMINS = frozenset({"admin"})
CSV = "x,y\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(40))
SOURCE = """
from dataclasses import dataclass
from tandem.decisions import Calls

@dataclass
class Case:
    number: float

def answer(case: Case, calls: Calls) -> Case:
    return case
"""
GUARDS = {"guards": [{"detector": "card", "action": "mask"}]}
PROMPTED = """
from dataclasses import dataclass
from tandem.decisions import Calls

@dataclass
class Case:
    number: float

@dataclass
class Said:
    text: str

def answer(case: Case, calls: Calls) -> Said:
    return Said(text=calls.chat("assistant", prompt="prompt/for-viewer@1", variables={}).text)
"""
ENDPOINT = {"kind": "chat", "team": "red", "route": [{"target": "mock/gpt-4o-mini"}]}
ALERT = {"url": "http://127.0.0.1:9/red", "team": "red"}
NONE_SUCH = 404
LINE = (
    b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "red", "max_tokens": 5, '
    b'"messages": [{"role": "user", "content": "hi"}]}}'
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One row of the matrix."""

    may: frozenset[str]
    path: str = ""
    """`{role}` is the role that asks, `{run}`, `{trace}`, `{review}` are of the team; empty: the route's own."""
    ok: int = 200
    """What those who may are answered."""
    json: Any = None
    send: dict[str, Any] = field(default_factory=dict)
    """What else httpx2 is told."""
    stranger: int | None = None
    """What an approver of another team is answered; None: the same as one of the team, without the team's rows."""


MATRIX: dict[tuple[str, str], Rule] = {
    ("GET", "/whoami"): Rule(may=READ),
    ("GET", "/keys"): Rule(may=READ),
    ("POST", "/keys"): Rule(may=ADMINS, ok=201, json={"name": "made-by-{role}", "team": "red"}, stranger=403),
    ("DELETE", "/keys/{name}"): Rule(may=ADMINS, path="/keys/gone-{role}", stranger=403),
    ("GET", "/budgets"): Rule(may=READ),
    ("PUT", "/budgets/{scope}"): Rule(may=ADMINS, path="/budgets/team/red", json={"cap": "5"}, stranger=403),
    ("DELETE", "/budgets/{scope}"): Rule(may=ADMINS, path="/budgets/key/gone-{role}", stranger=403),
    ("POST", "/budgets/{scope}/credits"): Rule(
        may=ADMINS, ok=201, path="/budgets/team/red/credits", json={"amount": "5", "reference": "inv-1"}, stranger=403
    ),
    ("GET", "/limits"): Rule(may=READ),
    ("PUT", "/limits/{scope}"): Rule(may=ADMINS, path="/limits/team/red", json={"unit": "requests", "cap": 100000}, stranger=403),
    ("DELETE", "/limits/{scope}"): Rule(may=ADMINS, path="/limits/key/gone-{role}?unit=tokens", stranger=403),
    ("GET", "/spend"): Rule(may=READ, path="/spend?scope=team/red", stranger=403),
    ("GET", "/gates"): Rule(may=READ),
    ("PUT", "/gates/{kind}/{name}"): Rule(may=ADMINS, path="/gates/model/red", json={"minimum": 0.6}, stranger=403),
    ("GET", "/audit"): Rule(may=AUDIT, stranger=403),
    ("POST", "/audit/verify"): Rule(may=AUDIT, stranger=403),
    ("GET", "/audit/export"): Rule(may=AUDIT, stranger=403),
    ("GET", "/audit/key"): Rule(may=READ),
    ("GET", "/doctor"): Rule(may=AUDIT, stranger=403),
    ("GET", "/assets"): Rule(may=READ),
    ("GET", "/assets/{kind}/{name}"): Rule(may=READ, path="/assets/dataset/red", stranger=404),
    ("GET", "/assets/{kind}/{name}/{version}"): Rule(may=READ, path="/assets/dataset/red/1", stranger=404),
    ("GET", "/assets/{kind}/{name}/{version}/members/{member}"): Rule(
        may=READ, path="/assets/dataset/red/1/members/contract.json", stranger=404
    ),
    ("POST", "/assets/{kind}/{name}/promote"): Rule(
        may=APPROVE, path="/assets/prompt/for-{role}/promote", json={"version": 2}, stranger=404
    ),
    ("POST", "/assets/{kind}/{name}/rollback"): Rule(
        may=APPROVE, path="/assets/prompt/for-{role}/rollback", json={}, stranger=404
    ),
    ("POST", "/prompts/{name}"): Rule(may=WRITE, path="/prompts/red", ok=201, json={"template": "Say it again"}, stranger=409),
    ("POST", "/routers/{name}"): Rule(may=WRITE, path="/routers/red", ok=400, json={"file": "{}"}, stranger=400),
    ("GET", "/detectors"): Rule(may=READ),
    ("POST", "/policies/{name}"): Rule(may=WRITE, path="/policies/red", ok=201, json=GUARDS, stranger=409),
    ("POST", "/policies/{name}/try"): Rule(may=READ, path="/policies/red/try", json={"text": "hello"}, stranger=404),
    ("POST", "/suites/{name}"): Rule(
        may=WRITE,
        path="/suites/red",
        ok=201,
        json={"data": "dataset/red", "endpoint": "assistant", "scorers": [{"scorer": "regex", "options": {"pattern": "x"}}]},
        stranger=404,
    ),
    ("POST", "/decisions/{name}"): Rule(
        may=WRITE, path="/decisions/red", ok=201, json={"source": SOURCE, "entry": "answer"}, stranger=409
    ),
    ("POST", "/datasets/{name}"): Rule(
        may=WRITE, path="/datasets/red", ok=201, send={"content": CSV, "headers": {"content-type": "text/csv"}}, stranger=409
    ),
    ("GET", "/datasets/{name}/{version}/contract"): Rule(may=READ, path="/datasets/red/1/contract", stranger=404),
    ("PUT", "/datasets/{name}/contract"): Rule(may=WRITE, path="/datasets/red/contract", stranger=409),
    ("POST", "/indexes/{name}/documents"): Rule(
        may=WRITE,
        path="/indexes/red/documents?document=more.txt",
        ok=202,
        send={"content": "More of it.", "headers": {"content-type": "text/plain"}},
        stranger=409,
    ),
    ("GET", "/indexes/{name}/documents"): Rule(may=READ, path="/indexes/red/documents", stranger=404),
    ("DELETE", "/indexes/{name}/documents"): Rule(
        may=WRITE, path="/indexes/red/documents?document=gone-{role}.txt", stranger=404
    ),
    ("GET", "/indexes/{name}/chunks"): Rule(may=READ, path="/indexes/red/chunks?document=kept.txt", stranger=404),
    ("POST", "/indexes/{name}/search"): Rule(may=READ, path="/indexes/red/search", json={"query": "kept"}, stranger=404),
    ("GET", "/runs"): Rule(may=READ),
    ("POST", "/runs"): Rule(
        may=WRITE,
        ok=NONE_SUCH,  # the dataset is missing: who may start runs gets as far as that
        json={"kind": "train", "name": "m", "inputs": {"data": "dataset/none", "target": "y"}},
        stranger=404,
    ),
    ("GET", "/runs/{identifier}"): Rule(may=READ, path="/runs/{run}", stranger=404),
    ("GET", "/runs/{identifier}/rows"): Rule(may=READ, path="/runs/{run}/rows", ok=NONE_SUCH, stranger=404),
    ("POST", "/runs/{identifier}/cancel"): Rule(may=WRITE, path="/runs/{run}/cancel", ok=202, stranger=404),
    ("GET", "/endpoints"): Rule(may=READ),
    ("GET", "/targets/resting"): Rule(may=READ),
    ("POST", "/targets/wake"): Rule(may=WRITE, json={}),
    ("PUT", "/endpoints/{name}"): Rule(may=WRITE, path="/endpoints/red-{role}", json=ENDPOINT, stranger=403),
    ("DELETE", "/endpoints/{name}"): Rule(may=WRITE, path="/endpoints/gone-{role}", stranger=404),
    ("GET", "/providers"): Rule(may=READ),
    ("GET", "/providers/known"): Rule(may=READ),
    ("GET", "/providers/{name}/models"): Rule(may=READ, path="/providers/mock/models"),
    ("PUT", "/providers/{name}"): Rule(
        may=ADMINS, path="/providers/new-{role}", json={"protocol": "openai", "base_url": "http://127.0.0.1:9"}, stranger=403
    ),
    ("DELETE", "/providers/{name}"): Rule(may=ADMINS, path="/providers/gone-{role}", stranger=403),
    ("POST", "/providers/{name}/test"): Rule(
        may=ADMINS, path="/providers/mock/test", json={"model": "gpt-4o-mini"}, stranger=403
    ),
    ("GET", "/monitors"): Rule(may=READ),
    ("POST", "/monitors"): Rule(
        may=WRITE, ok=201, json={"name": "made-by-{role}", "endpoint": "red", "question": "scores"}, stranger=404
    ),
    ("GET", "/monitors/{name}"): Rule(may=READ, path="/monitors/red", stranger=404),
    ("DELETE", "/monitors/{name}"): Rule(may=WRITE, path="/monitors/gone-{role}", stranger=404),
    ("POST", "/monitors/{name}/check"): Rule(may=WRITE, path="/monitors/red/check", stranger=404),
    ("GET", "/monitors/{name}/reports"): Rule(may=READ, path="/monitors/red/reports", stranger=404),
    ("GET", "/approvals"): Rule(may=READ),
    ("PUT", "/approvals/{action}"): Rule(may=ADMINS, path="/approvals/promote", json={"people": 2, "team": "none"}, stranger=403),
    ("DELETE", "/approvals/{action}"): Rule(may=ADMINS, ok=NONE_SUCH, path="/approvals/release", stranger=403),
    ("GET", "/requests"): Rule(may=READ),
    ("GET", "/requests/{identifier}"): Rule(may=READ, ok=NONE_SUCH, path="/requests/req_none", stranger=404),
    ("POST", "/requests/{identifier}/approve"): Rule(
        may=APPROVE, ok=NONE_SUCH, path="/requests/req_none/approve", json={}, stranger=404
    ),
    ("POST", "/requests/{identifier}/decline"): Rule(
        may=APPROVE, ok=NONE_SUCH, path="/requests/req_none/decline", json={}, stranger=404
    ),
    ("GET", "/reviews"): Rule(may=READ),
    ("POST", "/reviews"): Rule(may=WRITE, ok=201, json={"trace": "{trace}"}, stranger=404),
    ("POST", "/reviews/next"): Rule(may=WRITE, json={"endpoint": "assistant"}),
    ("POST", "/reviews/export"): Rule(may=WRITE, ok=400, json={"endpoint": "none", "dataset": "said"}),
    ("GET", "/reviews/tally"): Rule(may=READ),
    ("GET", "/reviews/{identifier}"): Rule(may=READ, path="/reviews/{review}", stranger=404),
    ("POST", "/reviews/{identifier}/decide"): Rule(
        may=WRITE, path="/reviews/{done}/decide", json={"opinion": "right"}, stranger=404
    ),
    ("GET", "/alerts"): Rule(may=AUDIT, stranger=403),
    ("GET", "/alerts/{name}"): Rule(may=AUDIT, path="/alerts/red", stranger=403),
    ("PUT", "/alerts/{name}"): Rule(may=ADMINS, path="/alerts/new-{role}", json=ALERT, stranger=403),
    ("DELETE", "/alerts/{name}"): Rule(may=ADMINS, path="/alerts/gone-{role}", stranger=403),
    ("POST", "/alerts/{name}/test"): Rule(may=ADMINS, path="/alerts/red/test", stranger=403),
    ("POST", "/subjects/{subject}/erase"): Rule(may=ADMINS, path="/subjects/none/erase", ok=NONE_SUCH, stranger=403),
    ("POST", "/erasures/verify"): Rule(may=AUDIT, json={"mac": "none"}, ok=400, stranger=403),
    ("GET", "/vault"): Rule(may=AUDIT, stranger=403),
    ("POST", "/vault/rotate"): Rule(may=ADMINS, ok=202, stranger=403),
    ("GET", "/usage"): Rule(may=READ),
    ("GET", "/usage/export"): Rule(may=READ),
    ("GET", "/traces"): Rule(may=READ),
    ("GET", "/traces/{identifier}"): Rule(may=READ, path="/traces/{trace}?content=1", stranger=404),
    ("GET", "/traces/{identifier}/route"): Rule(may=READ, path="/traces/{trace}/route", stranger=404),
    ("POST", "/v1/files"): Rule(may=CALL, send={"files": {"file": ("a.jsonl", LINE)}, "data": {"purpose": "batch"}}),
    ("GET", "/v1/files"): Rule(may=READ),
    ("GET", "/v1/files/{identifier}"): Rule(may=READ, path="/v1/files/{file}", stranger=404),
    ("GET", "/v1/files/{identifier}/content"): Rule(may=READ, path="/v1/files/{file}/content", stranger=404),
    ("DELETE", "/v1/files/{identifier}"): Rule(may=WRITE, path="/v1/files/{own}", stranger=404),
    ("POST", "/v1/batches"): Rule(
        may=CALL,
        json={"input_file_id": "{file}", "endpoint": "/v1/chat/completions", "completion_window": "24h"},
        stranger=404,
    ),
    ("GET", "/v1/batches"): Rule(may=READ),
    ("GET", "/v1/batches/{identifier}"): Rule(may=READ, path="/v1/batches/{batch}", stranger=404),
    ("POST", "/v1/batches/{identifier}/cancel"): Rule(may=WRITE, path="/v1/batches/{batch}/cancel", ok=409, stranger=404),
}
"""Every route of control's: under /api/v1, and the others by their whole path. A new one has to be entered here."""
OPENAI = "/v1/"


def at(path: str) -> str:
    """Where a row of the matrix is."""
    return path if path.startswith(OPENAI) else f"/api/v1{path}"


@dataclass
class Teams:
    """A platform with a team that owns something of every kind, and another team."""

    http: httpx2.Client
    keys: dict[str, str]
    """Role → a key of the team `red`; `stranger` is an approver of the team `blue`."""
    run: str
    trace: str
    review: str
    done: str
    """A review that nobody holds any more."""
    contract: Any
    file: str
    batch: str
    files: dict[str, str]
    """Role → a file that it may try to delete."""

    def ask(self, rule: Rule, method: str, template: str, role: str, key: str | None) -> httpx2.Response:
        def fill(text: str) -> str:
            named = {"role": role, "run": self.run, "trace": self.trace, "review": self.review, "done": self.done}
            named |= {"file": self.file, "batch": self.batch, "own": self.files.get(role, "")}
            return re.sub(r"\{(\w+)\}", lambda found: named.get(found[1], found[0]), text)

        body = {name: fill(value) if isinstance(value, str) else value for name, value in (rule.json or {}).items()}
        given = dict(rule.send)
        if template == "/datasets/{name}/contract":
            body = self.contract
        if rule.json is not None or body:
            given["json"] = body
        given["headers"] = {**given.get("headers", {}), **({} if key is None else bearer(key))}
        return self.http.request(method, at(fill(rule.path or template)), **given)

    def get(self, path: str, key: str) -> Any:
        reply = self.http.get(f"/api/v1{path}", headers=bearer(key))
        assert reply.status_code == 200, reply.text
        return reply.json()


@pytest.fixture(scope="module")
def teams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teams]:
    with platform(tmp_path_factory.mktemp("teams")) as house, httpx2.Client(base_url=house.url, timeout=60) as http:
        yield _furnished(house, http)


def _furnished(house: Platform, http: httpx2.Client) -> Teams:
    def ask(method: str, path: str, by: str, **request: Any) -> Any:
        reply = http.request(method, f"/api/v1{path}", headers=bearer(by), **request)
        assert reply.status_code < 400, reply.text
        return reply.json()

    def key(name: str, team: str, role: str) -> str:
        return str(ask("POST", "/keys", ADMIN, json={"name": name, "team": team, "role": role})["key"])

    keys = {role: key(f"red-{role}", "red", role) for role in ROLES}
    keys["stranger"] = key("blue-approver", "blue", "approver")

    def red(method: str, path: str, **request: Any) -> Any:
        return ask(method, path, keys["approver"], **request)

    red("POST", "/datasets/red?format=csv", content=CSV)
    contract = red("GET", "/datasets/red/1/contract")
    red("POST", "/decisions/red", json={"source": SOURCE, "entry": "answer"})
    red("POST", "/prompts/red", json={"template": "Say it"})
    red("POST", "/policies/red", json={"guards": [{"detector": "card"}]})
    red("PUT", "/endpoints/red", json=ENDPOINT)
    for name in ("kept", *(f"gone-{role}" for role in ROLES)):
        text = {"content": f"The words of {name}.", "headers": {**bearer(keys["approver"]), "content-type": "text/plain"}}
        added = http.post(f"/api/v1/indexes/red/documents?document={name}.txt", **text).json()["id"]
        until(lambda added=added: red("GET", f"/runs/{added}")["state"] == "succeeded")  # type: ignore[misc]
    red("POST", "/monitors", json={"name": "red", "endpoint": "red", "question": "scores"})
    for role in (*ROLES, "stranger"):
        for version in (1, 2):
            red("POST", f"/prompts/for-{role}", json={"template": f"text {version}"})
            red("POST", f"/assets/prompt/for-{role}/promote", json={"version": version})
        red("PUT", f"/endpoints/gone-{role}", json=ENDPOINT)
        red("POST", "/monitors", json={"name": f"gone-{role}", "endpoint": "red", "question": "scores"})
        key(f"gone-{role}", "red", "viewer")
        ask("PUT", f"/budgets/key/gone-{role}", ADMIN, json={"cap": "1"})
        ask("PUT", f"/limits/key/gone-{role}", ADMIN, json={"unit": "tokens", "cap": 1})
        ask("PUT", f"/providers/gone-{role}", ADMIN, json={"protocol": "openai", "base_url": "http://127.0.0.1:9"})
        ask("PUT", f"/alerts/gone-{role}", ADMIN, json=ALERT)
    ask("PUT", "/alerts/red", ADMIN, json=ALERT)
    ask("PUT", "/budgets/team/red", ADMIN, json={"cap": "5"})
    ask("PUT", "/limits/team/red", ADMIN, json={"unit": "requests", "cap": 100_000})
    ask("PUT", "/gates/model/red", ADMIN, json={"minimum": 0.6})
    run = red("POST", "/runs", json={"kind": "train", "name": "red", "inputs": {"data": "dataset/red", "target": "y"}})["id"]
    red("POST", f"/runs/{run}/cancel")
    until(lambda: http.get("/v1/models/red", headers=bearer(keys["viewer"])).status_code == 200)
    answered = house.chat(keys["viewer"])
    assert answered.status_code == 200, answered.text
    trace = answered.headers["x-tandem-trace-id"]
    until(lambda: http.get(f"/api/v1/traces/{trace}", headers=bearer(ADMIN)).status_code == 200)
    reviews = []
    for _ in range(2):
        reviewed = house.chat(keys["viewer"]).headers["x-tandem-trace-id"]
        until(lambda reviewed=reviewed: http.get(f"/api/v1/traces/{reviewed}", headers=bearer(ADMIN)).status_code == 200)  # type: ignore[misc]
        reviews.append(red("POST", "/reviews", json={"trace": reviewed})["id"])
    red("POST", f"/reviews/{reviews[1]}/decide", json={"opinion": "wrong"})
    files = [_sent(http, keys["approver"]) for _ in range(len(ROLES) + 2)]
    wanted = {"input_file_id": files[0], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    made = http.post("/v1/batches", json=wanted, headers=bearer(keys["approver"]))
    assert made.status_code == 200, made.text
    batch = made.json()["id"]
    until(lambda: http.get(f"/v1/batches/{batch}", headers=bearer(ADMIN)).json()["status"] == "completed")
    own = dict(zip((*ROLES, "stranger"), files[1:], strict=True))
    return Teams(http, keys, run, trace, *reviews, contract, files[0], batch, own)


def _sent(http: httpx2.Client, key: str) -> str:
    sent = http.post("/v1/files", files={"file": ("red.jsonl", LINE)}, data={"purpose": "batch"}, headers=bearer(key))
    assert sent.status_code == 200, sent.text
    return str(sent.json()["id"])


def test_every_route_stands_in_the_matrix(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = {
        (route.method, route.path.removeprefix("/api/v1").replace(":path", ""))
        for route in routes.of_control(tmp_path_factory.mktemp("walk") / "home")
        if route.path.startswith(("/api/v1/", OPENAI))
    }
    assert found == set(MATRIX)


@pytest.mark.parametrize(("method", "template"), MATRIX)
def test_a_route_lets_in_whom_it_should(teams: Teams, method: str, template: str) -> None:
    rule = MATRIX[method, template]
    told = {}
    for role in sorted(ROLES, key=lambda role: role in rule.may):  # who is refused asks first: a refusal changes nothing
        reply = teams.ask(rule, method, template, role, teams.keys[role])
        told[role] = reply.status_code
        if role not in rule.may:
            assert reply.json()["error"]["code"] == "forbidden"
            assert reply.json()["error"]["type" if template.startswith(OPENAI) else "hint"]
    assert told == {role: rule.ok if role in rule.may else 403 for role in ROLES}


@pytest.mark.parametrize(("method", "template"), MATRIX)
def test_nobody_gets_in_without_a_key(teams: Teams, method: str, template: str) -> None:
    for key in (None, "tdm_nobody", "Bearer", ADMIN[:-1], f"{ADMIN}x"):
        reply = teams.ask(MATRIX[method, template], method, template, "viewer", key)
        assert reply.status_code == 401, (key, reply.text)
        assert reply.json()["error"]["code"] == "unauthenticated"


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff", b"null"], ids=["broken", "deep", "bytes", "null"])
def test_a_stranger_learns_nothing_from_the_faults_of_a_body(teams: Teams, body: bytes) -> None:
    for method, template in MATRIX:
        if method in ("POST", "PUT"):
            reply = teams.http.request(method, at(template), content=body, headers={"content-type": "application/json"})
            assert reply.status_code == 401, (method, template, reply.text)


@pytest.mark.parametrize(("method", "template"), MATRIX)
def test_another_team_is_told_nothing(teams: Teams, method: str, template: str) -> None:
    rule = MATRIX[method, template]
    reply = teams.ask(rule, method, template, "stranger", teams.keys["stranger"])
    assert reply.status_code == (rule.stranger or rule.ok), reply.text
    if reply.status_code == 200:
        assert re.search(r"\bred\b", reply.text) is None


def test_the_team_itself_sees_what_the_other_does_not(teams: Teams) -> None:
    own, other = teams.keys["viewer"], teams.keys["stranger"]
    for path, member in (
        ("/assets", "name"),
        ("/runs", "name"),
        ("/monitors", "name"),
        ("/keys", "name"),
        ("/traces", "trace"),
        ("/usage", "trace"),
        ("/reviews", "id"),
        ("/budgets", "scope"),
        ("/limits", "scope"),
    ):
        seen = {row[member] for row in teams.get(path, own)}
        assert seen, path
        assert not seen & {row[member] for row in teams.get(path, other)}, path
    assert "red" in {row["name"] for row in teams.get("/endpoints", own)}
    assert "red" not in {row["name"] for row in teams.get("/endpoints", other)}
    assert teams.get("/endpoints", teams.keys["auditor"]) == teams.get("/endpoints", ADMIN)


def test_key_references_are_shown_to_admins_alone(teams: Teams) -> None:
    shown = {role: {row["name"]: row["keys"] for row in teams.get("/providers", key)}["mock"] for role, key in teams.keys.items()}
    assert shown == {role: ["env:MOCK_KEY"] if role in AUDIT else [] for role in shown}


def test_who_sees_less_asks_for_the_whole_spend_in_vain(teams: Teams) -> None:
    told = {role: teams.http.get("/api/v1/spend?scope=org", headers=bearer(key)).status_code for role, key in teams.keys.items()}
    assert told == {role: 200 if role in AUDIT else 403 for role in told}


HOT = (
    ("POST", "/v1/chat/completions", {"model": "red", "messages": [{"role": "user", "content": "hi"}]}),
    ("POST", "/v1/responses", {"model": "red", "input": "hi"}),
    ("POST", "/anthropic/v1/messages", {"model": "red", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}),
    ("POST", "/anthropic/v1/messages/count_tokens", {"model": "red", "messages": [{"role": "user", "content": "hi"}]}),
    ("POST", "/v1/embeddings", {"model": "red", "input": "hi"}),
    ("POST", "/v1/rerank", {"model": "red", "query": "hi", "documents": ["hi"]}),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/red", None),
    ("POST", "/v1/decide/red", {"number": 1.0}),
    ("GET", "/v2", None),
    ("GET", "/v2/models", None),
    ("GET", "/v2/models/red", None),
    ("GET", "/v2/models/red/ready", None),
    ("POST", "/v2/models/red/infer", {"inputs": []}),
    ("POST", "/v2/models/red/versions/1/infer", {"inputs": []}),
)


@pytest.mark.parametrize(("method", "path", "body"), HOT)
def test_the_hot_routes_know_roles_and_teams(teams: Teams, method: str, path: str, body: Any) -> None:
    told = {}
    for role, key in {**teams.keys, "nobody": "tdm_nobody"}.items():
        reply = teams.http.request(method, path, json=body, headers=bearer(key))
        told[role] = reply.status_code
        if role == "stranger":
            assert reply.status_code in (200, 404), reply.text
            assert '"red' not in reply.text
    assert {role for role, status in told.items() if status == 401} == {"nobody"}
    assert {role for role, status in told.items() if status == 403} == READ - CALL
    if path in ("/v1/chat/completions", "/v1/responses", "/anthropic/v1/messages", "/v1/models/red"):
        assert told == {**dict.fromkeys(CALL, 200), "auditor": 403, "stranger": 404, "nobody": 401}


def promoted(teams: Teams) -> None:
    """The decision of the team answers at an endpoint of its own name."""
    own = bearer(teams.keys["approver"])
    teams.http.delete("/api/v1/endpoints/red", headers=own)
    assert teams.http.post("/api/v1/assets/decision/red/promote", json={"version": 1}, headers=own).status_code == 200
    until(lambda: teams.http.post("/v1/decide/red", json={"number": 1}, headers=own).status_code == 200)


def test_an_endpoint_of_one_team_does_not_serve_what_is_anothers(teams: Teams) -> None:
    promoted(teams)
    names = {"own": ("red", "approver"), "stolen": ("blue", "stranger")}
    for name, (team, role) in names.items():
        body = {"kind": "decide", "team": team, "route": [{"target": "decision/red@production"}]}
        made = teams.http.put(f"/api/v1/endpoints/{name}", json=body, headers=bearer(teams.keys[role]))
        assert made.status_code == 200, made.text
    until(lambda: teams.http.post("/v1/decide/own", json={"number": 1}, headers=bearer(teams.keys["viewer"])).status_code == 200)

    def stolen() -> httpx2.Response:
        return teams.http.post("/v1/decide/stolen", json={"number": 1}, headers=bearer(teams.keys["stranger"]))

    until(lambda: "There is no endpoint" not in stolen().text)
    assert stolen().status_code == 404, stolen().text


def test_a_team_does_not_take_the_name_of_anothers_endpoint(teams: Teams) -> None:
    promoted(teams)
    body = {"kind": "chat", "team": "blue", "route": [{"target": "mock/gpt-4o-mini"}]}
    made = teams.http.put("/api/v1/endpoints/red", json=body, headers=bearer(teams.keys["stranger"]))
    assert made.status_code == 409, made.text
    assert "red" in {row["name"] for row in teams.get("/endpoints", teams.keys["viewer"])}


@pytest.mark.parametrize("target", ["model/RED", "model/red@-1", "decision/a/b/c", "model/red@1@2", "model/\x00", "prompt/x@y"])
def test_no_endpoint_keeps_policy_from_reaching_the_doors(teams: Teams, target: str) -> None:
    own, body = bearer(teams.keys["editor"]), {"kind": "predict", "team": "red", "route": [{"target": target}]}
    made = teams.http.put("/api/v1/endpoints/odd", json=body, headers=own)
    assert made.status_code == (200 if target == "prompt/x@y" else 400), made.text
    teams.http.delete("/api/v1/keys/after", headers=bearer(ADMIN))
    key = teams.http.post("/api/v1/keys", json={"name": "after", "team": "red"}, headers=bearer(ADMIN)).json()["key"]
    until(lambda: teams.http.get("/v1/models", headers=bearer(key)).status_code == 200)


def test_what_is_named_directly_or_from_a_decision_is_of_the_own_team(teams: Teams) -> None:
    """The scope `any-version` opens every version of the own team, and a decision uses its own team's prompts."""
    for role, team in (("editor", "red"), ("viewer", "blue")):
        body = {"name": f"any-{team}", "team": team, "role": role, "scopes": ["any-version"]}
        teams.keys[f"any-{team}"] = teams.http.post("/api/v1/keys", json=body, headers=bearer(ADMIN)).json()["key"]
    for name, key in (("red-prompted", teams.keys["approver"]), ("blue-prompted", teams.keys["stranger"])):
        made = teams.http.post(f"/api/v1/decisions/{name}", json={"source": PROMPTED, "entry": "answer"}, headers=bearer(key))
        assert made.status_code == 201, made.text

    def decided(name: str, key: str) -> httpx2.Response:
        return teams.http.post(f"/v1/decide/decision/{name}@1", json={"number": 1}, headers=bearer(teams.keys[key]))

    until(lambda: decided("red-prompted", "any-red").status_code == 200)
    assert "text 1" in decided("red-prompted", "any-red").text
    assert decided("red-prompted", "any-blue").status_code == 404
    until(lambda: "There is no endpoint" not in decided("blue-prompted", "any-blue").text)
    refused = decided("blue-prompted", "any-blue")
    assert refused.status_code == 404
    assert "text 1" not in refused.text
