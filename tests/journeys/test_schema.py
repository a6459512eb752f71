"""Every route as OpenAPI describes it, asked for what it promises and for what it forbids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import FailureGroup
from schemathesis.config import GenerationConfig
from schemathesis.core.failures import Failure
from schemathesis.specs.openapi import checks

from tests.journeys import routes
from tests.journeys.conftest import ADMIN, Platform, bearer

pytestmark = pytest.mark.journey

MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
EXAMPLES = 10
"""Drawn requests for each route, beside those at the edges of every declared bound."""
FAILING = ("/v1/chat/completions", "/v1/embeddings", "/v1/rerank", "/v1/decide/{name}")
"""Where a provider's failure may be the answer."""
CONTROL = ("/api/", "/v1/files", "/v1/batches")
"""Below which the control process answers."""
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
SOURCE = """
from dataclasses import dataclass
from tandem.decisions import Calls

@dataclass
class Case:
    number: float

def answer(case: Case, calls: Calls) -> Case:
    return case
"""
SETTINGS = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


for media in (
    "application/vnd.apache.parquet",
    "application/x-ndjson",
    "application/jsonl",
    "application/x-tar",
    "application/zip",
    "application/pdf",
    "text/csv",
):
    schemathesis.serializer.alias(media, "application/octet-stream")


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers.update(bearer(ADMIN))
        session.trust_env = False
        yield session


@pytest.fixture(scope="module")
def described(house: Platform) -> dict[str, Any]:
    with requests.get(f"{house.url}/api/openapi.json", headers=bearer(ADMIN), timeout=30) as reply:
        found: dict[str, Any] = reply.json()
    return found


def unread(status: int, text: str) -> bool:
    """Whether the door refused a request that it could not read, before any route was chosen."""
    refusals = ((400, '"bad_target"}}'), (414, '"target_too_long"}}'), (501, '"bad_method"}}'))
    if (status, text.partition('"code":')[2]) not in refusals:
        return False
    return set(json.loads(text)["error"]) == {"message", "type", "code"}


def fault_of(case: Case, house: Platform, session: requests.Session) -> str | None:
    """What is wrong with the answer to one request; None when nothing is."""
    reply = case.call(base_url=house.url, session=session, timeout=30)
    status = reply.status_code
    if unread(status, reply.text):
        return None
    if status >= 500 and not (case.path in FAILING and status in (502, 503, 504)):
        return f"{case.method} {case.formatted_path} answered {status}: {reply.text[:300]}\n{case.as_curl_command()}"
    try:
        case.validate_response(reply, checks=CHECKS)
    except (Failure, FailureGroup) as failure:
        return f"{case.method} {case.path}: {failure} {getattr(failure, 'exceptions', '')}"
    return None


def furnish(house: Platform) -> None:
    """One thing of every kind under the name that is drawn most, so that more than "not found" is asked for."""
    house.api("POST", "/datasets/0?format=csv", content="x,y\n1,a\n2,b\n")
    house.api("POST", "/decisions/0", json={"source": SOURCE, "entry": "answer"})
    house.api("POST", "/prompts/0", json={"template": "Say it"})
    house.api("POST", "/assets/prompt/0/promote", json={"version": 1})
    house.api("POST", "/assets/decision/0/promote", json={"version": 1})
    house.key("0")
    house.api("PUT", "/alerts/0", json={"url": "http://127.0.0.1:9"})


def test_every_route_keeps_its_promises(house: Platform, described: dict[str, Any], session: requests.Session) -> None:
    furnish(house)
    schema = schemathesis.openapi.from_dict(described)
    faults: dict[str, str] = {}
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @SETTINGS
        @given(case=st.one_of([operation.as_strategy(generation_mode=mode) for mode in MODES]))
        def ask(case: Case) -> None:
            nonlocal asked
            asked += 1
            fault = fault_of(case, house, session)
            if fault is not None:
                faults.setdefault(case.operation.label, fault)

        ask()
        for case in schema.iter_coverage_cases(operation, generation_modes=MODES, generation_config=GenerationConfig()):
            asked += 1
            fault = fault_of(case, house, session)
            if fault is not None:
                faults.setdefault(operation.label, fault)
    assert not faults, "\n\n".join(faults.values())
    assert asked > 1000


def test_every_route_of_the_control_process_is_asked(described: dict[str, Any], tmp_path: Path) -> None:
    told = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    found = {(route.method, route.path.replace(":path", "")): route.told for route in routes.of_control(tmp_path / "home")}
    assert {route for route, shown in found.items() if shown} <= told
    assert {route for route, shown in found.items() if not shown} == set(routes.RAW)


def test_every_route_of_the_door_is_asked(described: dict[str, Any]) -> None:
    known = set(described["paths"]) | {path for _, path in routes.RAW}
    for text in routes.of_door():
        if "(" in text:  # a pattern: some described path is of its form
            assert any(re.fullmatch(text, path) for path in known), text
        else:
            assert any(path.startswith(text) or path.endswith(text) for path in known), text


def test_every_hot_route_that_is_described_is_answered_by_the_door(house: Platform, described: dict[str, Any]) -> None:
    hot = [(path, method) for path, methods in described["paths"].items() for method in methods if not path.startswith(CONTROL)]
    assert len(hot) > 15
    for path, method in hot:
        reply = requests.request(method, house.url + path.replace("{name}", "a").replace("{version}", "1"), timeout=30)
        own = "x-tandem-trace-id" in reply.headers or path in ("/health", "/health/ready", "/metrics")
        assert own, (method, path, reply.headers)
