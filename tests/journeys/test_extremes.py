"""Every number and every text of every JSON body, at its extremes: refused or taken, never a fault of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.journeys.conftest import ADMIN, Platform, bearer, until
from tests.journeys.matrix import PIPELINE, VIEW
from tests.journeys.test_schema import SOURCE

pytestmark = [pytest.mark.journey, pytest.mark.slow]

DEEP = 50_000
DIGITS = "9" * 5_000
"""More than Python makes an integer of."""
NUMBERS = ("1e400", "-1e400", "1e999999", "1e-999999", "NaN", "Infinity")
NUMBERS += (str(2**63), str(-(2**63) - 1), str(2**64), DIGITS, f"-{DIGITS}")
STRINGS = ("1e400", "NaN", str(2**64), DIGITS, "\0", "\u202e", "\ufffe", "\U0010ffff", "")
EXTREMES = (
    *NUMBERS,
    *(json.dumps(text) for text in STRINGS),
    '"\\ud800"',
    '"a\\udfff\\ud800"',
    "[" * DEEP + "]" * DEEP,
    '{"a":' * DEEP + "0" + "}" * DEEP,
    '{"\\udc00": 1}',
    "null",
)
"""JSON as it goes over the wire, some of it only nearly JSON."""

Place = tuple[str | int, ...]
ASK = [{"role": "user", "content": "hello"}]
CSV = "x,y\n" + "".join(f"{n}.5,{'ab'[n % 3 == 0]}\n" for n in range(60))
TRAIN = {"data": "dataset/0", "target": "y", "algorithm": "logistic", "folds": 2, "baseline": False}
GOOD: dict[str, tuple[str, Any]] = {
    "/api/v1/keys": ("/api/v1/keys", {"name": "k@@"}),
    "/api/v1/budgets/{scope}": ("/api/v1/budgets/team/none", {"cap": "5"}),
    "/api/v1/approvals/{action}": ("/api/v1/approvals/release", {"people": 2, "team": "none", "hours": 24}),
    "/api/v1/projects/{name}/applies": (
        "/api/v1/projects/0/applies",
        {
            "things": {"prompt/0": "prompts/0.txt"},
            "steps": [{"thing": "prompt/0", "action": "create"}],
            "plan": f"sha256:{'0' * 64}",
            "stage": "dev",
            "commit": "c0ffee",
        },
    ),
    "/api/v1/projects/{name}/applies/{id}": (
        "/api/v1/projects/0/applies/app_none",
        {"state": "done", "steps": [{"thing": "prompt/0", "action": "create", "state": "done", "note": "prompt/0@1"}]},
    ),
    "/api/v1/limits/{scope}": ("/api/v1/limits/team/none", {"unit": "requests", "cap": 5}),
    "/api/v1/budgets/{scope}/credits": ("/api/v1/budgets/team/paid/credits", {"amount": "5", "reference": "first"}),
    "/api/v1/keys/{name}/rotate": ("/api/v1/keys/turning/rotate", {"overlap": 60}),
    "/api/v1/session": ("/api/v1/session", {"name": "none", "password": "a sentence that is long"}),
    "/api/v1/persons": ("/api/v1/persons", {"name": "p@@", "teams": {"crew": "viewer"}}),
    "/api/v1/persons/{name}": ("/api/v1/persons/known", {"email": "p@@@example.org"}),
    "/api/v1/persons/{name}/password": ("/api/v1/persons/known/password", {"password": "a sentence that is long"}),
    "/api/v1/persons/{name}/link": ("/api/v1/persons/known/link", {"seconds": 60}),
    "/api/v1/teams": ("/api/v1/teams", {"name": "t@@"}),
    "/api/v1/teams/{team}/members/{name}": ("/api/v1/teams/crew/members/known", {"role": "viewer"}),
    "/api/v1/invitations": ("/api/v1/invitations", {"email": "i@@@example.org", "teams": {"crew": "viewer"}}),
    "/api/v1/invitations/redeem": (
        "/api/v1/invitations/redeem",
        {"token": "none", "name": "nobody", "password": "a sentence that is long"},
    ),
    "/api/v1/cost/prices/{target}": ("/api/v1/cost/prices/mock/x", {"rates": {"input": "1", "output": "2"}}),
    "/api/v1/cost/prices/import": (
        "/api/v1/cost/prices/import",
        {"name": "p.json", "text": '{"prices": [{"target": "mock/x", "input": "1", "output": "2"}]}'},
    ),
    "/api/v1/cost/reprice": ("/api/v1/cost/reprice", {"since": 0}),
    "/api/v1/gates/{kind}/{name}": (
        "/api/v1/gates/model/0",
        {
            "minimum": 0.6,
            "minimums": {"recall": 0.1},
            "slices": [{"column": "x", "low": 1.5, "high": 2.5, "metric": "recall", "minimum": 0.1, "margin": 0.1}],
            "fairness": [{"measure": "accuracy", "by": "x", "bound": 0.5, "allow_small": True}],
            "cost_false_positive": 1.0,
            "latency_ms": 5.0,
            "size_bytes": 5,
            "looks": 2,
            "rows": 5,
        },
    ),
    "/api/v1/assets/{kind}/{name}/{version}/check": ("/api/v1/assets/prompt/0/1/check", {"alias": "other"}),
    "/api/v1/assets/{kind}/{name}/{version}/evidence": (
        "/api/v1/assets/model/0/1/evidence",
        {"dataset": "dataset/0", "probabilities": [0.5]},
    ),
    "/api/v1/assets/{kind}/{name}/promote": ("/api/v1/assets/prompt/0/promote", {"version": 1}),
    "/api/v1/assets/{kind}/{name}/rollback": ("/api/v1/assets/prompt/0/rollback", {}),
    "/api/v1/routers/{name}": ("/api/v1/routers/made", {"file": "{}"}),
    "/api/v1/prompts/{name}": ("/api/v1/prompts/made", {"template": "Say it"}),
    "/api/v1/releases/{name}": ("/api/v1/releases/made", {"pins": ["prompt/0@1"]}),
    "/api/v1/suites/{name}": (
        "/api/v1/suites/0",
        {
            "data": "dataset/0",
            "endpoint": "assistant",
            "scorers": [{"scorer": "regex", "options": {"pattern": "x"}}, {"scorer": "latency", "options": {"seconds": 1}}],
        },
    ),
    "/api/v1/decisions/{name}": ("/api/v1/decisions/0", {"source": SOURCE, "entry": "answer"}),
    "/api/v1/policies/{name}": ("/api/v1/policies/0", {"guards": [{"detector": "card", "action": "mask"}]}),
    "/api/v1/policies/{name}/try": ("/api/v1/policies/0/try", {"text": "hello"}),
    "/api/v1/datasets/{name}/contract": ("/api/v1/datasets/0/contract", None),
    "/api/v1/views/{name}": ("/api/v1/views/0", VIEW),
    "/api/v1/views/{name}/facts": (
        "/api/v1/views/0/facts",
        {"rows": [{"who": "a", "at": "2026-01-01T00:00:00Z", "x": 1}], "batch": "b"},
    ),
    "/api/v1/services/{name}": (
        "/api/v1/services/0",
        {"features": ["0:x"], "inputs": {"wanted": "number"}, "computed": ["share = wanted / x"]},
    ),
    "/api/v1/services/{name}/vectors": ("/api/v1/services/0/vectors", {"entities": [{"who": "a", "wanted": 2}]}),
    "/api/v1/services/{name}/join": ("/api/v1/services/0/join", {"data": "dataset/none", "name": "j", "time": "t"}),
    "/api/v1/datasets/{name}/contract/pandera": (
        "/api/v1/datasets/0/contract/pandera",
        {"schema_type": "dataframe", "columns": {"a": {"dtype": "int64", "in_range": {"min_value": 0, "max_value": 9}}}},
    ),
    "/api/v1/datasets/{name}/link": ("/api/v1/datasets/0/link", {"address": "delta:/none/such", "version": 1}),
    "/api/v1/datasets/{name}/query": ("/api/v1/datasets/0/query", {"sql": "SELECT 1 AS a", "database": "env:NONE_SUCH"}),
    "/api/v1/indexes/{name}/search": ("/api/v1/indexes/0/search", {"query": "kept"}),
    "/api/v1/runs": ("/api/v1/runs", {"kind": "train", "name": "0", "inputs": {**TRAIN, "data": "dataset/none"}}),
    "/api/v1/pipelines/{name}": (
        "/api/v1/pipelines/red",
        {"source": PIPELINE, "git": {"commit": "0123456", "dirty": True, "remote": "https://example.org"}},
    ),
    "/api/v1/pipelines/{name}/runs": ("/api/v1/pipelines/none/runs", {"given": {"much": 1}}),
    "/api/v1/pipelines/{name}/triggers": (
        "/api/v1/pipelines/red/triggers",
        {"on": "every", "what": "86400", "given": {"much": 1}, "cooldown": 60.0},
    ),
    "/api/v1/triggers/{identifier}": ("/api/v1/triggers/trg_none", {"paused": True}),
    "/api/v1/endpoints/{name}": ("/api/v1/endpoints/own", {"kind": "chat", "route": [{"target": "mock/gpt-4o-mini"}]}),
    "/api/v1/endpoints/{name}/canary": ("/api/v1/endpoints/none/canary", {"target": "mock/gpt-4o", "seconds": 60}),
    "/api/v1/endpoints/{name}/shadow": ("/api/v1/endpoints/none/shadow", {"target": "model/none@1"}),
    "/api/v1/endpoints/{name}/online": ("/api/v1/endpoints/none/online", {"every": 100, "need": "improved"}),
    "/api/v1/targets/wake": ("/api/v1/targets/wake", {"name": "mock/gpt-4o-mini"}),
    "/api/v1/providers/{name}": (
        "/api/v1/providers/own",
        {"protocol": "openai", "base_url": "http://127.0.0.1:9/v1", "keys": ["env:MOCK_KEY"]},
    ),
    "/api/v1/providers/{name}/test": ("/api/v1/providers/mock/test", {"model": "gpt-4o-mini"}),
    "/api/v1/erasures/verify": ("/api/v1/erasures/verify", {}),
    "/api/v1/outcomes": ("/api/v1/outcomes", {"endpoint": "0", "outcomes": [{"key": "k", "label": "1"}]}),
    "/api/v1/monitors": ("/api/v1/monitors", {"name": "m@@", "endpoint": "0", "minimum": 30}),
    "/api/v1/requests/{identifier}/approve": ("/api/v1/requests/0/approve", {}),
    "/api/v1/requests/{identifier}/decline": ("/api/v1/requests/0/decline", {}),
    "/api/v1/reviews": ("/api/v1/reviews", None),
    "/api/v1/reviews/next": ("/api/v1/reviews/next", {}),
    "/api/v1/reviews/export": ("/api/v1/reviews/export", {"endpoint": "assistant"}),
    "/api/v1/reviews/{identifier}/decide": ("/api/v1/reviews/{review}/decide", {"opinion": "right"}),
    "/api/v1/alerts/{name}": ("/api/v1/alerts/0", {"url": "http://127.0.0.1:9"}),
    "/v1/batches": (
        "/v1/batches",
        {"input_file_id": "file_none", "endpoint": "/v1/embeddings", "completion_window": "24h", "metadata": {"a": "b"}},
    ),
    "/v1/chat/completions": ("/v1/chat/completions", {"model": "assistant", "max_tokens": 8, "messages": ASK}),
    "/v1/responses": ("/v1/responses", {"model": "assistant", "max_output_tokens": 16, "input": ASK}),
    "/anthropic/v1/messages": ("/anthropic/v1/messages", {"model": "assistant", "max_tokens": 8, "messages": ASK}),
    "/anthropic/v1/messages/count_tokens": ("/anthropic/v1/messages/count_tokens", {"model": "assistant", "messages": ASK}),
    "/v1/embeddings": ("/v1/embeddings", {"model": "embed", "input": "hello"}),
    "/v1/rerank": ("/v1/rerank", {"model": "rank", "query": "hello", "documents": ["hello", "you"], "top_n": 1}),
    "/v1/decide/{name}": ("/v1/decide/d", {"number": 1}),
    "/v2/repository/index": ("/v2/repository/index", {"ready": True}),
    "/v2/models/{name}/infer": ("/v2/models/0/infer", None),
    "/v2/models/{name}/versions/{version}/infer": ("/v2/models/0/versions/1/infer", None),
}
"""For every route that takes JSON: an address, and a body that is taken; None where it depends on what was made before."""
REFUSED = {"/api/v1/assets/{kind}/{name}/rollback", "/api/v1/runs", "/api/v1/erasures/verify", "/api/v1/reviews/export"}
REFUSED |= {"/v1/batches", "/api/v1/session", "/api/v1/invitations/redeem", "/api/v1/datasets/{name}/query"}
REFUSED |= {"/api/v1/services/{name}/join", "/api/v1/datasets/{name}/link"}
REFUSED |= {f"/api/v1/endpoints/{{name}}/{what}" for what in ("canary", "online", "shadow")}
REFUSED |= {"/api/v1/projects/{name}/applies/{id}"}
REFUSED |= {"/api/v1/requests/{identifier}/approve", "/api/v1/requests/{identifier}/decline", "/api/v1/routers/{name}"}
REFUSED |= {"/api/v1/assets/{kind}/{name}/{version}/evidence"}
REFUSED |= {"/api/v1/pipelines/{name}/runs", "/api/v1/triggers/{identifier}"}
"""What finds nothing to do here, and is refused after its body was read; or would start a run for every extreme."""


def train(house: Platform) -> None:
    house.api("POST", "/datasets/0?format=csv", content=CSV)
    run = house.api("POST", "/runs", json={"kind": "train", "name": "0", "inputs": TRAIN})["id"]
    until(lambda: house.api("GET", f"/runs/{run}")["state"] == "succeeded")
    house.api("POST", "/assets/model/0/promote", json={"version": 1})


@pytest.fixture(scope="module")
def good(house: Platform) -> dict[str, tuple[str, Any]]:
    """GOOD, on a platform that has what it names."""
    train(house)
    house.key("turning")
    house.api("POST", "/persons", json={"name": "known", "teams": {"crew": "editor"}})
    house.api("POST", "/decisions/d", json={"source": SOURCE, "entry": "answer"})
    house.api("POST", "/assets/decision/d/promote", json={"version": 1})
    house.api("POST", "/prompts/0", json={"template": "Say it"})
    house.api("PUT", "/views/0", json=VIEW)
    house.api("PUT", "/services/0", json={"features": ["0:x"]})
    house.api("POST", "/policies/0", json=GOOD["/api/v1/policies/{name}"][1])
    house.api("POST", "/assets/policy/0/promote", json={"version": 1})
    kept = {"data": b"It is kept.", "headers": {**bearer(ADMIN), "content-type": "text/plain"}, "timeout": 30}
    assert requests.post(f"{house.url}/api/v1/indexes/0/documents?document=kept.txt", **kept).status_code == 202
    until(lambda: any(row["kind"] == "index" for row in house.api("GET", "/assets")))
    house.api("POST", "/assets/index/0/promote", json={"version": 1})
    house.api("PUT", "/endpoints/embed", json={"kind": "embed", "route": [{"target": "mock/text-embedding-3-small"}]})
    house.api("PUT", "/endpoints/rank", json={"kind": "rerank", "route": [{"target": "mock/@cf/baai/bge-reranker-base"}]})
    trace = house.chat(ADMIN).headers["x-tandem-trace-id"]
    until(lambda: any(row["trace"] == trace for row in house.api("GET", "/traces")))
    review = house.api("POST", "/reviews", json={"trace": trace})["id"]
    row = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [1.5], "parameters": {"columns": "x"}}
    infer = {"inputs": [row]}
    until(
        lambda: requests.post(f"{house.url}/v2/models/0/infer", json=infer, headers=bearer(ADMIN), timeout=9).status_code == 200
    )
    made = {
        "/api/v1/datasets/{name}/contract": house.api("GET", "/datasets/0/1/contract"),
        "/api/v1/reviews": {"trace": trace},
        "/v2/models/{name}/infer": infer,
        "/v2/models/{name}/versions/{version}/infer": infer,
    }
    return {path: (at.format(review=review), made.get(path, body)) for path, (at, body) in GOOD.items()}


def sample(schema: dict[str, Any], described: dict[str, Any], depth: int = 0) -> Any:
    """A value that a schema describes, with everything in it that may be there."""
    while "$ref" in schema:
        schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for many in ("anyOf", "oneOf", "allOf"):
        if many in schema:
            chosen = [each for each in schema[many] if each.get("type") != "null"]
            return sample(chosen[0] if chosen else schema[many][0], described, depth)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "string":
            return "0" * max(1, schema.get("minLength", 1))
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return True
        case "array":
            return [sample(schema.get("items", {}), described, depth + 1)] if depth < 8 else []
        case "object" if "properties" in schema and depth < 8:
            return {name: sample(each, described, depth + 1) for name, each in schema["properties"].items()}
        case "object" if isinstance(schema.get("additionalProperties"), dict) and depth < 8:
            return {"0": sample(schema["additionalProperties"], described, depth + 1)}
        case "object":
            return {"0": 1}
        case _:
            return 1


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Where in a value something else may stand: itself, and everything in it."""
    yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield from places(each, (*at, name))


def put(value: Any, at: Place, text: str) -> str:
    """The value as JSON, with `text` at one place of it."""
    if not at:
        return text
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{json.dumps(k)}:{put(v, at[1:], text) if k == at[0] else json.dumps(v)}" for k, v in value.items())
            + "}"
        )
    return "[" + ",".join(put(v, at[1:], text) if k == at[0] else json.dumps(v) for k, v in enumerate(value)) + "]"


def told(described: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Method, path and schema of every body that may be JSON."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                yield method.upper(), path, content["application/json"].get("schema", {})


def cases(good: Any, whole: Any) -> Iterator[tuple[Any, Place]]:
    """Bodies that are taken, and where in them something odd is put: every place of theirs, and every further one described."""
    for at in places(good):
        yield good, at
    if isinstance(good, dict) and isinstance(whole, dict):
        for name in whole.keys() - good.keys():
            for at in places(whole[name], (name,)):
                yield {**good, name: whole[name]}, at


def test_no_number_and_no_text_is_too_odd_for_any_route(house: Platform, good: dict[str, tuple[str, Any]]) -> None:
    headers = {**bearer(ADMIN), "content-type": "application/json"}
    described = requests.get(f"{house.url}/api/openapi.json", headers=bearer(ADMIN), timeout=30).json()
    known = list(told(described))
    assert {path for _, path, _ in known} == set(GOOD)
    faults: dict[str, str] = {}
    asked = 0
    with requests.Session() as session:
        session.trust_env = False

        def ask(method: str, path: str, text: str) -> requests.Response:
            nonlocal asked
            asked += 1
            sent = text.replace("@@", str(asked)).encode()
            return session.request(method, house.url + path, data=sent, headers=headers, timeout=30)

        for method, path, schema in known:
            at, body = good[path]
            plain = ask(method, at, json.dumps(body))
            assert path in REFUSED or plain.status_code < 300, (path, plain.text)
            for base, place in cases(body, sample(schema, described)):
                for text in EXTREMES:
                    reply = ask(method, at, put(base, place, text))
                    if reply.status_code >= 500:
                        what = f"{method} {at} answered {reply.status_code} to {text[:40]} at {place}: {reply.text[:300]}"
                        faults.setdefault(f"{path} {place}", what)
    assert not faults, "\n\n".join(faults.values())
    assert asked > 5000
