"""A registry on a fresh home, and people with every role in two teams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tandem.core.asset import Kind, Version
from tandem.core.clock import FixedClock
from tandem.core.principal import Principal, Role
from tandem.core.score import Score
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.registry.gates import gate_score
from tandem.registry.registry import Registry
from tandem.store.blobs import Blobs
from tandem.store.sql import Sql
from tandem.store.vault import Vault
from tests.migrated import migrated


def person(role: Role, team: str = "risk") -> Principal:
    return Principal(id=f"key_{role}", name=f"{team}-{role}", team=team, role=role)


@dataclass
class House:
    home: Path
    sql: Sql
    clock: FixedClock
    audit: Audit
    blobs: Blobs
    registry: Registry

    def dataset(self, name: str = "rows", data: bytes = b"a,b\n1,2\n", by: Principal | None = None) -> Version:
        return self.registry.publish(
            "dataset", name, members={"data.csv": data}, meta={"contract": {"columns": ["a", "b"]}}, by=by or person("editor")
        )

    def model(self, name: str = "tumor", weights: bytes = b"w1", by: Principal | None = None) -> Version:
        return self.registry.publish(
            "model",
            name,
            members={"model.onnx": weights},
            meta={"signature": {"inputs": ["a"]}, "metrics": {"roc_auc": 0.99}},
            parents=(str(self.dataset(by=by).ref),),
            by=by or person("editor"),
        )

    def prompt(self, name: str = "support", template: str = "Hello {{ name }}") -> Version:
        return self.registry.publish(
            "prompt", name, members={}, meta={"template": template, "variables": {"name": "string"}}, by=person("editor")
        )

    def gate_score(self, candidate: Version, champion: Version | None, passed: bool = True) -> Score:
        gate = self.registry.gate_for(candidate.ref, "production")
        assert gate is not None
        return gate_score(
            candidate.ref,
            None if champion is None else champion.ref,
            gate=gate,
            passed=passed,
            estimate=None,
            outcome=None if champion is None else ("improved" if passed else "inconclusive"),
            by="risk-editor",
            now=self.clock.now(),
        )

    def names(self, kind: Kind, name: str) -> dict[str, int]:
        """Alias → version, as the database has it now."""
        return {alias.alias: alias.version for alias in self.registry.aliases(kind, name, ALL)}


def house(home: Path, url: str | None = None) -> House:
    url = url or f"sqlite:///{home / 'control.db'}"
    migrated(url)
    sql, clock = Sql(url), FixedClock()
    audit = Audit(sql, Vault(bytes(32)), clock, home / "audit.head")
    blobs = Blobs(home / "blobs")
    return House(home=home, sql=sql, clock=clock, audit=audit, blobs=blobs, registry=Registry(sql, blobs, audit, clock))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    made = house(tmp_path)
    yield made
    made.sql.close()
