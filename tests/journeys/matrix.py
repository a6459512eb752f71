"""What every role may do at every route: of control's API, of the console, of the door."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
PIPELINE = """
from tandem_sdk.pipeline import Context, pipeline

@pipeline
def red(tandem: Context, much: int = 1):
    return much
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
VIEW = {"entity": ["who"], "time": "at", "features": ["x"], "columns": {"who": "string", "at": "datetime", "x": "float"}}
ENDPOINT = {"kind": "chat", "team": "red", "route": [{"target": "mock/gpt-4o-mini"}]}
ALERT = {"url": "http://127.0.0.1:9/red", "team": "red"}
APPLY = {"things": {"endpoint/red": "project.toml:3"}, "plan": f"sha256:{'0' * 64}"}
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
    team: bool = False
    """Whether admins and auditors of the team alone may, too, where nobody less than they may."""
    stranger: int | None = None
    """What an approver of another team is answered; None: the same as one of the team, without the team's rows."""

    def let(self, role: str) -> bool:
        """Whether somebody may who has the role in the team alone."""
        return role in self.may and (self.team or not self.may <= AUDIT or role not in AUDIT)


MATRIX: dict[tuple[str, str], Rule] = {
    ("GET", "/whoami"): Rule(may=READ),
    ("GET", "/keys"): Rule(may=READ),
    ("POST", "/keys"): Rule(
        may=ADMINS, team=True, ok=201, json={"name": "made-by-{role}", "team": "red", "role": "viewer"}, stranger=403
    ),
    ("POST", "/keys/{name}/rotate"): Rule(may=ADMINS, team=True, path="/keys/red-spare/rotate", json={}, stranger=403),
    ("DELETE", "/keys/{name}"): Rule(may=ADMINS, team=True, path="/keys/gone-{role}", stranger=403),
    ("GET", "/session"): Rule(may=READ),
    ("PUT", "/session"): Rule(may=frozenset(), json={"team": "red"}, stranger=403),
    ("DELETE", "/session"): Rule(may=READ),
    ("GET", "/persons"): Rule(may=READ),
    ("POST", "/persons"): Rule(
        may=ADMINS, team=True, ok=201, json={"name": "person-by-{role}", "teams": {"red": "viewer"}}, stranger=403
    ),
    ("PUT", "/persons/{name}"): Rule(may=ADMINS, path="/persons/red-spared", json={"disabled": False}, stranger=403),
    ("DELETE", "/persons/{name}"): Rule(may=ADMINS, path="/persons/gone-person-{role}", stranger=403),
    ("PUT", "/persons/{name}/password"): Rule(
        may=ADMINS, path="/persons/red-spared/password", json={"password": "a sentence for {role}"}, stranger=403
    ),
    ("POST", "/persons/{name}/link"): Rule(may=ADMINS, ok=201, path="/persons/red-spared/link", json={}, stranger=403),
    ("POST", "/persons/{name}/sign-out"): Rule(may=ADMINS, path="/persons/red-spared/sign-out", stranger=403),
    ("GET", "/teams"): Rule(may=READ),
    ("POST", "/teams"): Rule(may=ADMINS, ok=201, json={"name": "team-of-{role}"}, stranger=403),
    ("PUT", "/teams/{team}/members/{name}"): Rule(
        may=ADMINS, team=True, path="/teams/red/members/red-spared", json={"role": "viewer"}, stranger=403
    ),
    ("DELETE", "/teams/{team}/members/{name}"): Rule(
        may=ADMINS, team=True, path="/teams/red/members/gone-member-{role}", stranger=403
    ),
    ("GET", "/invitations"): Rule(may=READ),
    ("POST", "/invitations"): Rule(
        may=ADMINS, team=True, ok=201, json={"email": "{role}@example.org", "teams": {"red": "viewer"}}, stranger=403
    ),
    ("DELETE", "/invitations/{identifier}"): Rule(
        may=ADMINS, team=True, ok=NONE_SUCH, path="/invitations/inv_none", stranger=403
    ),
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
    ("GET", "/cost/spend"): Rule(may=READ),
    ("GET", "/cost/prices"): Rule(may=READ),
    ("PUT", "/cost/prices/{target}"): Rule(
        may=ADMINS, path="/cost/prices/mock/made-by-{role}", json={"rates": {"input": "1", "output": "2"}}, stranger=403
    ),
    ("DELETE", "/cost/prices/{target}"): Rule(may=ADMINS, path="/cost/prices/mock/none", ok=NONE_SUCH, stranger=403),
    ("POST", "/cost/prices/import"): Rule(
        may=ADMINS,
        json={"name": "p.json", "text": '{"prices": [{"target": "mock/x", "input": "1", "output": "2"}]}'},
        stranger=403,
    ),
    ("POST", "/cost/reconcile"): Rule(
        may=AUDIT,
        path="/cost/reconcile?provider=mock&columns=date=day,model=model,cost=cost",
        send={"content": "day,model,cost\n2026-01-01,gpt-4o-mini,1\n", "headers": {"content-type": "text/csv"}},
        stranger=403,
    ),
    ("GET", "/cost/forecast"): Rule(may=READ),
    ("GET", "/cost/audit"): Rule(may=READ),
    ("POST", "/cost/reprice"): Rule(may=AUDIT, json={"since": 0}, stranger=403),
    ("GET", "/cost/reconciliations"): Rule(may=AUDIT, stranger=403),
    ("GET", "/gates"): Rule(may=READ),
    ("PUT", "/gates/{kind}/{name}"): Rule(may=ADMINS, path="/gates/model/red", json={"minimum": 0.6}, stranger=403),
    ("DELETE", "/gates/{kind}/{name}"): Rule(may=ADMINS, ok=NONE_SUCH, path="/gates/model/none-such", stranger=403),
    ("GET", "/projects"): Rule(may=READ),
    ("GET", "/declared"): Rule(may=READ),
    ("GET", "/projects/{name}"): Rule(may=READ, path="/projects/red", stranger=404),
    ("POST", "/projects/{name}/applies"): Rule(may=WRITE, ok=201, path="/projects/red/applies", json=APPLY, stranger=409),
    ("PUT", "/projects/{name}/applies/{id}"): Rule(
        may=WRITE, ok=NONE_SUCH, path="/projects/red/applies/app_none", json={"state": "done"}, stranger=404
    ),
    ("GET", "/audit"): Rule(may=AUDIT, team=True, stranger=403),
    ("POST", "/audit/verify"): Rule(may=AUDIT, stranger=403),
    ("GET", "/audit/export"): Rule(may=AUDIT, stranger=403),
    ("GET", "/audit/key"): Rule(may=READ),
    ("GET", "/doctor"): Rule(may=AUDIT, stranger=403),
    ("GET", "/machines"): Rule(may=AUDIT, stranger=403),
    ("DELETE", "/machines/{name}"): Rule(may=ADMINS, path="/machines/none", ok=404, stranger=403),
    ("GET", "/assets"): Rule(may=READ),
    ("GET", "/assets/{kind}/{name}"): Rule(may=READ, path="/assets/dataset/red", stranger=404),
    ("GET", "/assets/{kind}/{name}/{version}"): Rule(may=READ, path="/assets/dataset/red/1", stranger=404),
    ("GET", "/assets/{kind}/{name}/{version}/members/{member}"): Rule(
        may=READ, path="/assets/dataset/red/1/members/contract.json", stranger=404
    ),
    ("GET", "/assets/{kind}/{name}/{version}/card"): Rule(may=READ, ok=400, path="/assets/dataset/red/1/card", stranger=404),
    ("GET", "/assets/{kind}/{name}/{version}/about"): Rule(may=READ, path="/assets/dataset/red/1/about", stranger=404),
    ("POST", "/assets/{kind}/{name}/{version}/check"): Rule(
        may=WRITE, path="/assets/prompt/for-{role}/1/check", json={}, stranger=404
    ),
    ("POST", "/assets/{kind}/{name}/{version}/evidence"): Rule(
        may=WRITE, path="/assets/prompt/for-{role}/1/evidence", ok=400, json={"dataset": "dataset/red"}, stranger=404
    ),
    ("POST", "/assets/{kind}/{name}/promote"): Rule(
        may=APPROVE, path="/assets/prompt/for-{role}/promote", json={"version": 2}, stranger=404
    ),
    ("POST", "/assets/{kind}/{name}/rollback"): Rule(
        may=APPROVE, path="/assets/prompt/for-{role}/rollback", json={}, stranger=404
    ),
    ("POST", "/prompts/{name}"): Rule(may=WRITE, path="/prompts/red", ok=201, json={"template": "Say it again"}, stranger=409),
    ("POST", "/releases/{name}"): Rule(may=WRITE, path="/releases/red", ok=201, json={"pins": ["prompt/red@1"]}, stranger=404),
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
    ("POST", "/datasets/{name}/query"): Rule(
        may=WRITE, path="/datasets/red/query", ok=400, json={"sql": "SELECT 1", "database": "env:NONE_SUCH"}, stranger=409
    ),
    ("GET", "/datasets/{name}/{version}/contract"): Rule(may=READ, path="/datasets/red/1/contract", stranger=404),
    ("GET", "/datasets/{name}/{version}/rows"): Rule(may=READ, path="/datasets/red/1/rows?limit=1", stranger=404),
    ("GET", "/datasets/{name}/{version}/rows/file"): Rule(may=READ, path="/datasets/red/1/rows/file", stranger=404),
    ("GET", "/datasets/{name}/{version}/quarantine"): Rule(may=READ, path="/datasets/red/1/quarantine", stranger=404),
    ("GET", "/datasets/{name}/{version}/quarantine/file"): Rule(
        may=READ, path="/datasets/red/1/quarantine/file", ok=404, stranger=404
    ),
    ("GET", "/datasets/{name}/{version}/diff/{other}"): Rule(may=READ, path="/datasets/red/1/diff/1", stranger=404),
    ("POST", "/datasets/{name}/contract/pandera"): Rule(
        may=WRITE,
        path="/datasets/red/contract/pandera",
        json={"schema_type": "dataframe", "columns": {"a": {"dtype": "int64"}}},
        stranger=409,
    ),
    ("GET", "/datasets/{name}/contract"): Rule(may=READ, ok=NONE_SUCH, path="/datasets/none-such/contract", stranger=404),
    ("PUT", "/datasets/{name}/contract"): Rule(may=WRITE, path="/datasets/red/contract", stranger=409),
    ("POST", "/imports/{name}"): Rule(
        may=WRITE,
        path="/imports/by-{role}",
        ok=202,
        send={"content": bytes(1024), "headers": {"content-type": "application/x-tar"}},
    ),
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
    ("POST", "/datasets/{name}/link"): Rule(
        may=WRITE,
        path="/datasets/red/link",
        json={"address": "delta:/none/such"},
        ok=400,  # the place is not listed: who may write gets as far as that
        stranger=409,
    ),
    ("PUT", "/views/{name}"): Rule(may=WRITE, path="/views/red", json=VIEW, ok=201, stranger=409),
    ("GET", "/views/{name}"): Rule(may=READ, path="/views/red", stranger=404),
    ("POST", "/views/{name}/facts"): Rule(
        may=WRITE,
        path="/views/red/facts",
        json={"rows": [{"who": "a", "at": "2026-01-01T00:00:00Z", "x": 1}]},
        stranger=404,
    ),
    ("POST", "/views/{name}/load"): Rule(may=WRITE, path="/views/red/load", ok=202, stranger=404),
    ("PUT", "/services/{name}"): Rule(may=WRITE, path="/services/red", json={"features": ["red"]}, ok=201, stranger=404),
    ("POST", "/services/{name}/vectors"): Rule(
        may=READ, path="/services/red/vectors", json={"entities": [{"who": "a"}]}, stranger=404
    ),
    ("POST", "/services/{name}/join"): Rule(
        may=WRITE,
        path="/services/red/join",
        json={"data": "dataset/red", "name": "joined", "time": "x"},  # the run fails: x is no time
        ok=202,
        stranger=404,
    ),
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
    ("POST", "/pipelines/{name}"): Rule(may=WRITE, path="/pipelines/red", ok=201, json={"source": PIPELINE}, stranger=409),
    ("GET", "/pipelines/{name}"): Rule(may=READ, path="/pipelines/red", stranger=404),
    ("POST", "/pipelines/{name}/runs"): Rule(may=WRITE, path="/pipelines/red/runs", ok=202, json={}, stranger=404),
    ("GET", "/runs/{identifier}/steps"): Rule(may=READ, path="/runs/{run}/steps", stranger=404),
    ("POST", "/pipelines/{name}/triggers"): Rule(
        may=WRITE, path="/pipelines/red/triggers", ok=201, json={"on": "every", "what": "86400"}, stranger=404
    ),
    ("GET", "/pipelines/{name}/triggers"): Rule(may=READ, path="/pipelines/red/triggers", stranger=404),
    ("PUT", "/triggers/{identifier}"): Rule(
        may=WRITE, path="/triggers/trg_none", ok=NONE_SUCH, json={"paused": True}, stranger=404
    ),
    ("DELETE", "/triggers/{identifier}"): Rule(may=WRITE, path="/triggers/trg_none", ok=NONE_SUCH, stranger=404),
    ("GET", "/endpoints"): Rule(may=READ),
    ("GET", "/targets/resting"): Rule(may=READ),
    ("POST", "/targets/wake"): Rule(may=WRITE, json={}),
    ("PUT", "/endpoints/{name}"): Rule(may=WRITE, path="/endpoints/red-{role}", json=ENDPOINT, stranger=403),
    ("DELETE", "/endpoints/{name}"): Rule(may=WRITE, path="/endpoints/gone-{role}", stranger=404),
    ("POST", "/endpoints/{name}/canary"): Rule(
        may=WRITE, ok=409, path="/endpoints/red/canary", json={"target": "mock/gpt-4o-mini"}, stranger=404
    ),
    ("GET", "/endpoints/{name}/canary"): Rule(may=READ, ok=NONE_SUCH, path="/endpoints/red/canary"),
    ("DELETE", "/endpoints/{name}/canary"): Rule(may=WRITE, ok=NONE_SUCH, path="/endpoints/red/canary", stranger=404),
    ("GET", "/online"): Rule(may=READ),
    ("POST", "/endpoints/{name}/online"): Rule(may=APPROVE, ok=400, path="/endpoints/red/online", json={}, stranger=404),
    ("GET", "/endpoints/{name}/online"): Rule(may=READ, ok=NONE_SUCH, path="/endpoints/red/online"),
    ("DELETE", "/endpoints/{name}/online"): Rule(may=WRITE, ok=NONE_SUCH, path="/endpoints/red/online", stranger=404),
    ("PUT", "/endpoints/{name}/shadow"): Rule(
        may=WRITE, ok=400, path="/endpoints/red/shadow", json={"target": "model/none@1"}, stranger=404
    ),
    ("GET", "/endpoints/{name}/shadow"): Rule(may=READ, path="/endpoints/red/shadow", stranger=404),
    ("DELETE", "/endpoints/{name}/shadow"): Rule(may=WRITE, ok=NONE_SUCH, path="/endpoints/red/shadow", stranger=404),
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
    ("POST", "/outcomes"): Rule(may=WRITE, json={"endpoint": "red", "outcomes": []}),
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
WAYS_IN = {("POST", "/session"), ("POST", "/invitations/redeem")}
"""The only ones that answer somebody unknown."""


PAGES: dict[tuple[str, str], Rule] = {
    ("GET", "/alerts"): Rule(may=AUDIT),
    ("GET", "/alerts/{name}/test"): Rule(may=AUDIT),
    ("POST", "/alerts/{name}/test"): Rule(may=ADMINS, path="/alerts/red/test"),
    ("GET", "/assets"): Rule(may=READ),
    ("GET", "/assets/{kind}/{name}"): Rule(may=READ, path="/assets/dataset/red"),
    ("GET", "/assets/{kind}/{name}/{version}"): Rule(may=READ, path="/assets/dataset/red/1"),
    ("GET", "/assets/{kind}/{name}/{version}/members/{member}"): Rule(
        may=READ, path="/assets/dataset/red/1/members/contract.json"
    ),
    ("GET", "/assets/model/{name}/{version}/card"): Rule(may=READ, path="/assets/model/none/1/card", ok=404),
    ("GET", "/assets/dataset/{name}/{version}/profile"): Rule(may=READ, path="/assets/dataset/red/1/profile"),
    ("GET", "/assets/dataset/{name}/{version}/rows"): Rule(may=READ, path="/assets/dataset/red/1/rows"),
    ("GET", "/assets/dataset/{name}/{version}/quarantine"): Rule(may=READ, path="/assets/dataset/red/1/quarantine"),
    ("GET", "/assets/dataset/{name}/{version}/diff/{other}"): Rule(may=READ, path="/assets/dataset/red/1/diff/1"),
    ("GET", "/audit"): Rule(may=AUDIT, team=True),
    ("POST", "/approvals"): Rule(may=ADMINS, json={"action": "promote", "people": "2", "team": "none"}),
    ("POST", "/approvals/drop"): Rule(may=ADMINS, json={"action": "release"}),
    ("GET", "/audit/erase"): Rule(may=ADMINS),
    ("GET", "/audit/export"): Rule(may=AUDIT),
    ("POST", "/audit/rotate"): Rule(may=ADMINS, json={"sure": "true"}),
    ("GET", "/audit/usage"): Rule(may=READ),
    ("POST", "/audit/erase"): Rule(may=ADMINS, json={"subject": "none", "sure": "true"}),
    ("GET", "/audit/verify"): Rule(may=AUDIT),
    ("POST", "/audit/verify"): Rule(may=AUDIT),
    ("GET", "/budgets"): Rule(may=READ),
    ("GET", "/costs"): Rule(may=READ),
    ("GET", "/endpoints"): Rule(may=READ),
    ("GET", "/endpoints/{name}"): Rule(may=READ, path="/endpoints/red"),
    ("GET", "/endpoints/{name}/online"): Rule(may=READ, path="/endpoints/red/online", ok=404),
    ("POST", "/endpoints/{name}/online/stop"): Rule(may=WRITE, path="/endpoints/red/online/stop", ok=404),
    ("GET", "/keys"): Rule(may=READ),
    ("POST", "/keys"): Rule(
        may=READ, team=True, json={"name": "Not A Name", "team": "red"}
    ),  # a person makes keys of their own: who may gets as far as the name
    ("POST", "/keys/{name}/revoke"): Rule(may=ADMINS, team=True, path="/keys/gone-stranger/revoke"),
    ("POST", "/keys/{name}/rotate"): Rule(may=ADMINS, team=True, path="/keys/red-spare/rotate"),
    ("GET", "/monitors"): Rule(may=READ),
    ("GET", "/monitors/{name}"): Rule(may=READ, path="/monitors/red"),
    ("GET", "/pipelines/{name}"): Rule(may=READ, path="/pipelines/red"),
    ("GET", "/people"): Rule(may=READ),
    ("POST", "/people/invite"): Rule(may=ADMINS, team=True, json={"email": "{role}@console.example", "team": "red"}),
    ("POST", "/people/members"): Rule(may=ADMINS, team=True, json={"name": "red-spared", "team": "red", "role": "viewer"}),
    ("POST", "/people/services"): Rule(may=ADMINS, team=True, json={"name": "service-of-{role}", "team": "red"}),
    ("POST", "/people/teams"): Rule(may=ADMINS, json={"team": "console-of-{role}"}),
    ("POST", "/people/withdraw"): Rule(may=ADMINS, team=True, json={"invitation": "inv_none"}),
    ("POST", "/people/{name}/disable"): Rule(may=ADMINS, path="/people/gone-member-stranger/disable"),
    ("POST", "/people/{name}/enable"): Rule(may=ADMINS, path="/people/gone-member-stranger/enable"),
    ("POST", "/people/{name}/link"): Rule(may=ADMINS, path="/people/red-spared/link"),
    ("POST", "/people/{name}/remove"): Rule(may=ADMINS, path="/people/gone-person-stranger/remove", json={"sure": "true"}),
    ("POST", "/people/{name}/sign-out"): Rule(may=ADMINS, path="/people/red-spared/sign-out"),
    ("GET", "/projects"): Rule(may=READ),
    ("GET", "/projects/{name}"): Rule(may=READ, path="/projects/red"),
    ("GET", "/requests"): Rule(may=READ),
    ("POST", "/requests/{identifier}/approve"): Rule(may=APPROVE, path="/requests/req_none/approve"),
    ("POST", "/requests/{identifier}/decline"): Rule(may=APPROVE, path="/requests/req_none/decline"),
    ("GET", "/reviews"): Rule(may=READ),
    ("GET", "/reviews/next"): Rule(may=WRITE),
    ("GET", "/reviews/{identifier}"): Rule(may=READ, path="/reviews/{review}"),
    ("POST", "/reviews/{identifier}"): Rule(may=WRITE, path="/reviews/{done}", json={"opinion": "right"}),
    ("GET", "/runs"): Rule(may=READ),
    ("GET", "/runs/{identifier}"): Rule(may=READ, path="/runs/{run}"),
    ("GET", "/traces"): Rule(may=READ),
    ("GET", "/traces/{identifier}"): Rule(may=READ, path="/traces/{trace}"),
    ("GET", "/api/docs"): Rule(may=READ),
    ("GET", "/api/openapi.json"): Rule(may=READ),
}
"""Every page, and every form of one, for those who are signed in. A new one has to be entered here."""
OPEN_PAGES = {
    ("GET", "/"),
    ("GET", "/{page}"),
    ("GET", "/console/sso/{provider}/callback"),
    ("POST", "/console/sso/{provider}"),
    ("GET", "/console/static/{name}"),
    ("POST", "/console/sign-in"),
    ("POST", "/console/sign-out"),
    ("GET", "/join/{token}"),
    ("POST", "/join/{token}"),
}
"""What a stranger is answered: the ways in, and that there is nothing."""
OWN_PAGES = {("POST", "/console/team")}
"""What everybody may who is a person and signed in; a key acts in its own team."""
NOTHING = {(method, "/api/{path}") for method in ("GET", "POST", "PUT", "PATCH", "DELETE")} | {("GET", "/internal/health")}
"""What answers nobody, or that there is nothing."""

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
    ("POST", "/v2/repository/index", {"ready": True}),
    ("POST", "/v2/repository/models/red/load", {}),
    ("POST", "/v2/repository/models/red/unload", {}),
)
