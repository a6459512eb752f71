"""The doctor: what works is told as working, and what does not is told with how to mend it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.migrated import migrated

from tandem.api.doctor import Finding, examine
from tandem.core.clock import FixedClock
from tandem.core.endpoint import Endpoint, Target
from tandem.gateway.prices import price_of
from tandem.gateway.repo import Routes
from tandem.gateway.snapshot import Host, Served, Snapshot
from tandem.governance.alerts.alerts import Alerts
from tandem.governance.audit import Audit
from tandem.governance.ledger import Ledger
from tandem.store.sql import Sql
from tandem.store.vault import Vault

MINI = "mock/gpt-4o-mini"
PRICE = price_of("gpt-4o-mini", "openai", 1_790_000_000_000_000)
GOOD = Endpoint(name="e", kind="chat", route=(Target(target=MINI),), guards="policy/strict@production")


def served(ref: str) -> Served:
    return Served(ref=ref, members="", digest="sha256:0", meta=b"{}")


@pytest.fixture
def healthy() -> Snapshot:
    assert PRICE is not None
    return Snapshot(
        version=1,
        compiled_at=1,
        hosts={"mock": Host(name="mock", protocol="openai", base_url="http://127.0.0.1:9/v1", keys=())},
        prices={MINI: PRICE},
        served={ref: served(ref) for ref in ("index/rules@2", "model/red@1")},
        policies={"policy/strict@production": served("policy/strict@1")},
    )


def examined(home: Path, snapshot: Snapshot, damaged: dict[str, str] | None = None) -> list[Finding]:
    url, vault, clock = f"sqlite:///{home / 'control.db'}", Vault(bytes(32)), FixedClock()
    migrated(url)
    sql, ledger = Sql(url), Ledger(home / "ledger.db", clock)
    audit = Audit(sql, vault, clock, home / "audit.head")
    alerts = Alerts(sql, audit, vault, clock, address="http://127.0.0.1:8400", environment={})
    try:
        return examine(home, snapshot, Routes(sql, clock, audit), audit, ledger, damaged or {}, alerts, environment={})
    finally:
        ledger.close()
        sql.close()


@pytest.mark.parametrize(
    "endpoint",
    [
        GOOD,
        replace(GOOD, route=(Target(target="index/rules@2"),)),
        replace(GOOD, route=(Target(target="index/rules@2"),), model=MINI),
        replace(GOOD, route=(Target(target="index/rules@2"),), model="e"),
        replace(GOOD, kind="predict", route=(Target(target="model/red@1"),), guards=None),
    ],
)
def test_an_endpoint_that_works_is_well(tmp_path: Path, healthy: Snapshot, endpoint: Endpoint) -> None:
    findings = examined(tmp_path, replace(healthy, endpoints={"e": endpoint}))
    assert [finding.check for finding in findings] == ["disk", "audit", "ledger", "endpoint e"]
    assert findings[-1].ok


@pytest.mark.parametrize(
    ("endpoint", "detail", "hint"),
    [
        (replace(GOOD, route=(Target(target="openai/gpt-4o"),)), "openai/gpt-4o names a provider", "tandem provider set openai"),
        (replace(GOOD, route=(Target(target="mock/odd"),)), "no price is known for mock/odd", "prices"),
        (replace(GOOD, route=(Target(target="index/gone@1"),)), "index/gone@1 is not in the registry", "asset list"),
        (replace(GOOD, route=(Target(target="index/rules@2"),), model="far/x"), "far/x names a provider", "provider set far"),
        (replace(GOOD, route=(Target(target="index/rules@2"),), model="gone"), "no endpoint gone", "endpoint list"),
        (replace(GOOD, guards="policy/gone@production"), "policy/gone@production", "tandem promote policy/gone@1 production"),
        (replace(GOOD, kind="predict", route=(Target(target="model/gone@1"),)), "model/gone@1 is not in the registry", "asset"),
        (replace(GOOD, regions=("eu", "uk")), "no target's provider is in eu, uk", "--region"),
        (
            replace(GOOD, strategy="good_enough", router="router/tasks@production"),
            "the router router/tasks@production is not here",
            "tandem promote router/tasks@1 production",
        ),
    ],
)
def test_an_endpoint_that_cannot_answer_says_why(
    tmp_path: Path, healthy: Snapshot, endpoint: Endpoint, detail: str, hint: str
) -> None:
    finding = examined(tmp_path, replace(healthy, endpoints={"e": endpoint}))[-1]
    assert not finding.ok
    assert detail in finding.detail
    assert hint in finding.hint


def test_files_that_are_not_what_was_stored_are_told(tmp_path: Path, healthy: Snapshot) -> None:
    finding = examined(tmp_path, healthy, {"model/red@1": "model.onnx is gone"})[-1]
    assert (finding.check, finding.ok, finding.detail) == ("files of model/red@1", False, "model.onnx is gone")
