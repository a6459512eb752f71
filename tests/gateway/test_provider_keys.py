"""Keys of providers: sealed when they come, never given from outside as sealed, and one that is damaged stops nobody else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tandem.core.clock import FixedClock
from tandem.core.endpoint import Provider
from tandem.core.errors import Invalid
from tandem.core.principal import LOCAL
from tandem.gateway.compile import TRIES, Compiler, Sources, seal_keys
from tandem.gateway.declare import declare
from tandem.gateway.pricing.repo import Prices, Throughputs
from tandem.gateway.repo import Routes
from tandem.gateway.snapshot import Snapshot
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.governance.keys import Keys
from tandem.governance.ledger import Ledger
from tandem.registry.registry import Registry
from tandem.store.blobs import Blobs
from tandem.store.sql import Sql
from tandem.store.vault import Vault
from tests.migrated import migrated

URL = "http://127.0.0.1:9/v1"


@dataclass
class Control:
    """What compiles policy."""

    sql: Sql
    table: Routes
    vault: Vault
    compiler: Compiler


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    url, vault, clock = f"sqlite:///{tmp_path / 'control.db'}", Vault(bytes(32)), FixedClock()
    migrated(url)
    sql, blobs, ledger = Sql(url), Blobs(tmp_path / "blobs"), Ledger(tmp_path / "ledger.db", clock)
    audit = Audit(sql, vault, clock, tmp_path / "audit.head")
    table = Routes(sql, clock, audit)
    sources = Sources(
        registry=Registry(sql, blobs, audit, clock),
        routes=table,
        prices=Prices(sql, clock, audit),
        throughputs=Throughputs(sql),
        keys=Keys(sql, vault, clock, audit),
        ledger=ledger,
        blobs=blobs,
        vault=vault,
        clock=clock,
    )
    made = Compiler(sources, replica=tmp_path / "replica.db", served=tmp_path / "served", max_age=None, environment={})
    yield Control(sql, table, vault, made)
    ledger.close()
    sql.close()


def provider(name: str, *keys: str) -> Provider:
    return Provider(name=name, protocol="openai", base_url=URL, keys=keys)


def test_a_literal_is_sealed_and_a_reference_stays() -> None:
    sealed = seal_keys(provider("p", "sk-secret", "env:KEY", "file:/key"), Vault(bytes(32))).keys
    assert sealed[1:] == ("env:KEY", "file:/key")
    assert sealed[0].startswith("sealed:")
    assert "sk-secret" not in sealed[0]


@pytest.mark.parametrize("key", ["sealed:zz", "sealed:…ab12cd", "sealed:00"])
def test_nobody_gives_a_key_that_is_sealed_already(key: str) -> None:
    with pytest.raises(Invalid, match="sealed already") as refused:
        seal_keys(provider("p", key), Vault(bytes(32)))
    assert refused.value.field == "keys"


@pytest.mark.parametrize(
    "key",
    ["sealed:zz", "sealed:00", seal_keys(provider("p", "sk"), Vault(bytes(range(32)))).keys[0]],
    ids=["no hexadecimals", "too short", "of another vault"],
)
def test_a_damaged_key_keeps_no_other_provider_from_the_doors(control: Control, key: str) -> None:
    control.table.put_provider(provider("bad", key), by=LOCAL)
    control.table.put_provider(seal_keys(provider("good", "sk-secret"), control.vault), by=LOCAL)
    control.compiler.publish()
    hosts = control.compiler.current().hosts
    assert hosts["bad"].keys == ()
    assert len(hosts["good"].keys) == 1


def test_a_damaged_key_of_the_file_is_sealed_again(control: Control) -> None:
    declared = Provider(name="p", protocol="openai", base_url=URL, keys=("sk-secret",), managed="file:tandem.toml:1")
    control.table.put_provider(
        Provider(name="p", protocol="openai", base_url=URL, keys=("sealed:zz",), managed=declared.managed), by=LOCAL
    )
    declare(control.table, control.vault, {"p": declared}, {})
    (kept,) = control.table.providers(ALL)
    assert seal_keys(declared, control.vault).keys[0][:7] == kept.keys[0][:7]
    control.compiler.publish()
    assert len(control.compiler.current().hosts["p"].keys) == 1


def test_what_changes_while_policy_is_compiled_is_not_published_in_part(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, real = [], control.compiler._compile

    def between(number: int, caps: Mapping[str, tuple[str, ...]]) -> Snapshot:
        snapshot = real(number, caps)
        compiled.append(snapshot)
        if len(compiled) == 1:  # somebody commits after it was read
            control.table.put_provider(provider("late"), by=LOCAL)
        return snapshot

    monkeypatch.setattr(control.compiler, "_compile", between)
    assert control.compiler.publish() == 1
    assert [sorted(each.hosts) for each in compiled] == [[], ["late"]]
    assert control.compiler.publish() == 1
    assert len(compiled) == 2, "nothing changed since"


def test_policy_that_never_stands_still_is_published_all_the_same(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, real = [], control.compiler._compile

    def between(number: int, caps: Mapping[str, tuple[str, ...]]) -> Snapshot:
        compiled.append(number)
        if len(compiled) <= TRIES:
            control.table.put_provider(provider(f"p{len(compiled)}"), by=LOCAL)
        return real(number, caps)

    monkeypatch.setattr(control.compiler, "_compile", between)
    assert control.compiler.publish() == 1
    assert len(compiled) == TRIES
    assert control.compiler.publish() == 2, "and compiled again by the next look"
