"""Providers and endpoints: who may change which, and that no clear-text key is ever kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tandem.core.clock import FixedClock
from tandem.core.endpoint import Endpoint, Provider, Target, Timeouts
from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound
from tandem.core.principal import Principal, Role
from tandem.gateway.repo import Routes
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, Scope, scope_of
from tandem.registry.repo import snapshot_version
from tandem.store.sql import Sql
from tandem.store.vault import Vault
from tests.migrated import migrated

MOCK = Provider(name="mock", protocol="openai", base_url="http://127.0.0.1:9999/v1", keys=("env:MOCK_KEY", "sealed:AQID"))
CHAT = Endpoint(
    name="assistant",
    kind="chat",
    route=(Target(target="mock/small", weight=3.0), Target(target="mock/large", weight=0.0, priority=1)),
    team="risk",
    timeouts=Timeouts(total=30.0),
)


def person(role: Role, team: str = "risk") -> Principal:
    return Principal(id=f"key_{role}", name=f"{team}-{role}", team=team, role=role)


ADMIN, EDITOR = person("admin", "default"), person("editor")


@dataclass
class Place:
    sql: Sql
    audit: Audit
    routes: Routes

    def changes(self) -> tuple[int, int]:
        with self.sql.read() as conn:
            return snapshot_version(conn), len(self.audit.list(ALL))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    url = f"sqlite:///{tmp_path / 'control.db'}"
    migrated(url)
    sql = Sql(url)
    audit = Audit(sql, Vault(bytes(32)), FixedClock(), tmp_path / "audit.head")
    yield Place(sql, audit, Routes(sql, FixedClock(), audit))
    sql.close()


def test_what_was_put_is_there_and_told(place: Place) -> None:
    assert place.routes.put_provider(MOCK, by=ADMIN) == 1
    assert place.routes.put_endpoint(CHAT, by=EDITOR) == 1
    assert place.routes.provider("mock", ALL) == (MOCK, 1)
    assert place.routes.endpoint("assistant", ALL) == (CHAT, 1)
    assert place.routes.providers(ALL) == (MOCK,)
    assert place.routes.endpoints(ALL) == (CHAT,)
    assert place.changes() == (2, 2)
    assert [(entry.action, entry.subject, entry.team) for entry in place.audit.list(ALL)] == [
        ("endpoint.put", "endpoint/assistant", "risk"),
        ("provider.put", "provider/mock", "default"),
    ]


def test_the_same_again_changes_nothing(place: Place) -> None:
    place.routes.put_provider(MOCK, by=ADMIN)
    place.routes.put_endpoint(CHAT, by=EDITOR)
    before = place.changes()
    assert place.routes.put_provider(MOCK, by=ADMIN) == 1
    assert place.routes.put_endpoint(CHAT, by=EDITOR) == 1
    assert place.changes() == before


def test_a_change_raises_the_etag_and_a_stale_one_is_refused(place: Place) -> None:
    place.routes.put_endpoint(CHAT, by=EDITOR, expected_etag=0)
    assert place.routes.put_endpoint(replace(CHAT, retries=2), by=EDITOR, expected_etag=1) == 2
    with pytest.raises(Conflict, match="etag is 2, not 1"):
        place.routes.put_endpoint(replace(CHAT, retries=3), by=EDITOR, expected_etag=1)
    assert place.routes.endpoint("assistant", ALL)[0].retries == 2


def test_what_the_file_declares_is_read_only_elsewhere(place: Place) -> None:
    place.routes.put_provider(replace(MOCK, managed="tandem.toml:3"), by=ADMIN)
    place.routes.put_endpoint(replace(CHAT, managed="tandem.toml:7"), by=ADMIN)
    for act, line in (
        (lambda: place.routes.put_provider(replace(MOCK, protocol="anthropic"), by=ADMIN), "tandem.toml:3"),
        (lambda: place.routes.delete_provider("mock", by=ADMIN), "tandem.toml:3"),
        (lambda: place.routes.put_endpoint(replace(CHAT, retries=5), by=EDITOR), "tandem.toml:7"),
        (lambda: place.routes.delete_endpoint("assistant", by=EDITOR), "tandem.toml:7"),
    ):
        with pytest.raises(Conflict, match=line):
            act()
    assert place.routes.endpoint("assistant", ALL)[0].managed == "tandem.toml:7"


def test_the_file_takes_over_moves_lines_and_retires(place: Place) -> None:
    place.routes.put_endpoint(CHAT, by=EDITOR)
    assert place.routes.put_endpoint(replace(CHAT, managed="tandem.toml:7"), by=ADMIN) == 2
    assert place.routes.put_endpoint(replace(CHAT, managed="tandem.toml:9"), by=ADMIN) == 3
    place.routes.delete_endpoint("assistant", by=ADMIN, through="file")
    assert place.routes.endpoints(ALL) == ()
    assert place.audit.list(ALL)[0].action == "endpoint.delete"


def test_teams_keep_to_their_endpoints(place: Place) -> None:
    place.routes.put_endpoint(CHAT, by=EDITOR)
    stranger = person("editor", "sales")
    assert place.routes.endpoints(scope_of(stranger)) == ()
    with pytest.raises(NotFound):
        place.routes.endpoint("assistant", scope_of(stranger))
    with pytest.raises(NotFound):
        place.routes.delete_endpoint("assistant", by=stranger)
    with pytest.raises(Conflict, match="another team"):
        place.routes.put_endpoint(replace(CHAT, team="sales"), by=stranger)
    with pytest.raises(Forbidden):
        place.routes.put_endpoint(replace(CHAT, name="theirs"), by=stranger)
    place.routes.put_endpoint(replace(CHAT, team="sales"), by=ADMIN)
    assert [endpoint.name for endpoint in place.routes.endpoints(scope_of(stranger))] == ["assistant"]
    assert place.routes.endpoints(Scope("risk")) == ()


@pytest.mark.parametrize("role", ["viewer", "editor", "approver", "auditor"])
def test_only_admins_change_providers(place: Place, role: Role) -> None:
    with pytest.raises(Forbidden):
        place.routes.put_provider(MOCK, by=person(role))
    with pytest.raises(Forbidden):
        place.routes.delete_provider("mock", by=person(role))


@pytest.mark.parametrize("role", ["viewer", "auditor"])
def test_who_may_not_write_changes_no_endpoint(place: Place, role: Role) -> None:
    with pytest.raises(Forbidden):
        place.routes.put_endpoint(CHAT, by=person(role))
    with pytest.raises(Forbidden):
        place.routes.delete_endpoint("assistant", by=person(role))


def test_key_references_are_for_those_who_see_all(place: Place) -> None:
    place.routes.put_provider(MOCK, by=ADMIN)
    assert place.routes.providers(Scope("risk")) == (replace(MOCK, keys=()),)
    assert place.routes.provider("mock", Scope("risk"))[0].keys == ()


@pytest.mark.parametrize("key", ["sk-canary-5f3a", "env:", "file:", "sealed:", "", "ENV:X"])
def test_a_clear_text_key_is_refused_and_repeated_nowhere(place: Place, tmp_path: Path, key: str) -> None:
    with pytest.raises(Invalid) as caught:
        place.routes.put_provider(replace(MOCK, keys=("env:GOOD", key)), by=ADMIN)
    assert caught.value.field == "keys[1]"
    assert "canary" not in str(caught.value)
    assert not any(b"canary" in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mock",
        "ftp://host/v1",
        "http://",
        "http://user:canary@host/v1",
        "http://canary@host/v1",
        "http://host/v1?key=canary",
        "http://host/v1#canary",
        "http://host:99999/",
        "http://[::1/v1",
    ],
)
def test_an_address_is_a_plain_url_without_secrets(place: Place, url: str) -> None:
    with pytest.raises(Invalid) as caught:
        place.routes.put_provider(replace(MOCK, base_url=url), by=ADMIN)
    assert caught.value.field == "base_url"
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("kind", replace(CHAT, kind="sing")),  # type: ignore[arg-type]
        ("route", replace(CHAT, route=())),
        ("route", replace(CHAT, route=(Target(target="mock/small", weight=0.0),))),
        ("route[0].target", replace(CHAT, route=(Target(target="mock"),))),
        ("route[0].target", replace(CHAT, route=(Target(target="mock/a b"),))),
        ("route[0].weight", replace(CHAT, route=(Target(target="mock/small", weight=-1.0),))),
        ("route[0].weight", replace(CHAT, route=(Target(target="mock/small", weight=float("nan")),))),
        ("retries", replace(CHAT, retries=-1)),
        ("max_output_tokens", replace(CHAT, max_output_tokens=0)),
        ("timeouts.idle", replace(CHAT, timeouts=Timeouts(idle=0.0))),
        ("timeouts.total", replace(CHAT, timeouts=Timeouts(total=float("inf")))),
    ],
)
def test_an_endpoint_that_makes_no_sense_is_refused(place: Place, field: str, bad: Endpoint) -> None:
    with pytest.raises(Invalid) as caught:
        place.routes.put_endpoint(bad, by=EDITOR)
    assert caught.value.field == field
    assert place.routes.endpoints(ALL) == ()


def test_what_is_not_there_is_told(place: Place) -> None:
    for act in (
        lambda: place.routes.provider("ghost", ALL),
        lambda: place.routes.endpoint("ghost", ALL),
        lambda: place.routes.delete_provider("ghost", by=ADMIN),
        lambda: place.routes.delete_endpoint("ghost", by=ADMIN),
    ):
        with pytest.raises(NotFound, match="ghost"):
            act()


def test_guards_are_changed_by_those_who_may_approve(place: Place) -> None:
    guarded = replace(CHAT, guards="policy/strict@production")
    place.routes.put_endpoint(guarded, by=EDITOR)
    place.routes.put_endpoint(replace(guarded, retries=3), by=EDITOR)
    for less in (CHAT, replace(guarded, guards="policy/lax@production")):
        with pytest.raises(Forbidden, match="approve"):
            place.routes.put_endpoint(less, by=EDITOR)
    with pytest.raises(Forbidden, match="approve"):
        place.routes.delete_endpoint("assistant", by=EDITOR)
    place.routes.put_endpoint(CHAT, by=person("approver"))
    place.routes.delete_endpoint("assistant", by=EDITOR)


@pytest.mark.parametrize("guards", ["policy/strict", "policy/strict@2", "prompt/strict@production", "strict"])
def test_guards_are_an_alias_of_a_policy(place: Place, guards: str) -> None:
    with pytest.raises(Invalid):
        place.routes.put_endpoint(replace(CHAT, guards=guards), by=EDITOR)
