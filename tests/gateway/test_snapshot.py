"""The replica: keys by delta, an age that control's silence makes grow, addresses that a gate guards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tandem.core.clock import FixedClock
from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Forbidden, Invalid, NotFound, Unauthenticated
from tandem.core.principal import Principal
from tandem.gateway.check import check_endpoint
from tandem.gateway.publish import Publisher
from tandem.gateway.snapshot import Host, Replica, Served, Snapshot
from tandem.governance.digest import digest

PEPPER = b"p" * 32
ANN = Principal(id="key_1", name="ann", team="risk")


class Pair:
    def __init__(self, folder: Path) -> None:
        self.clock = FixedClock()
        self.publisher = Publisher(folder / "replica.db")
        self.replica = Replica(folder / "replica.db", PEPPER, self.clock)

    def key(self, version: int, token: str, principal: Principal | None) -> None:
        self.publisher.write(None, version, [(digest(PEPPER, token), principal)])
        self.replica.refresh()


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_a_key_is_known_when_it_was_published_and_unknown_when_it_was_revoked(pair: Pair) -> None:
    with pytest.raises(Unauthenticated):
        pair.replica.identify("a")
    pair.key(1, "a", ANN)
    assert pair.replica.identify("a") == ANN
    pair.key(2, "a", None)
    with pytest.raises(Unauthenticated, match="not known"):
        pair.replica.identify("a")
    with pytest.raises(Unauthenticated, match="needs a key"):
        pair.replica.identify(None)


def test_a_key_that_was_only_read_once_follows_the_feed_too(pair: Pair) -> None:
    pair.key(1, "a", ANN)
    pair.replica.identify("a")
    pair.key(2, "a", replace(ANN, role="admin"))
    assert pair.replica.identify("a").role == "admin"


def test_an_expired_key_is_refused(pair: Pair) -> None:
    pair.key(1, "a", replace(ANN, expires_at=pair.clock.now() + 1_000_000))
    assert pair.replica.identify("a").name == "ann"
    pair.clock.advance(2)
    with pytest.raises(Unauthenticated, match="expired"):
        pair.replica.identify("a")


def test_the_age_counts_from_the_last_sign_of_life(pair: Pair) -> None:
    pair.publisher.write(Snapshot(version=1, compiled_at=pair.clock.now()), 0, [])
    pair.replica.refresh()
    pair.clock.advance(100)
    assert pair.replica.age() == 100
    pair.publisher.beat(pair.clock.now())
    pair.replica.refresh()
    pair.clock.advance(3)
    assert pair.replica.age() == 3


def test_a_version_is_called_by_name_only_with_the_scope_for_it() -> None:
    served = Served(ref="model/m@2", members="", digest="", meta=b"{}")
    snapshot = Snapshot(served={"model/m@2": served})
    with pytest.raises(Forbidden, match="any-version"):
        snapshot.resolve("model/m@2", ANN, "predict")
    assert snapshot.resolve("model/m@2", replace(ANN, scopes=("any-version",)), "predict").route[0].target == "model/m@2"
    with pytest.raises(NotFound):
        snapshot.resolve("model/m@3", replace(ANN, scopes=("any-version",)), "predict")


def test_a_key_bound_to_endpoints_calls_no_other() -> None:
    rows = {name: Endpoint(name=name, kind="chat", route=(Target(target="p/m"),)) for name in ("one", "two")}
    bound = replace(ANN, endpoints=("one",))
    assert Snapshot(endpoints=rows).resolve("one", bound, "chat").name == "one"
    with pytest.raises(Forbidden):
        Snapshot(endpoints=rows).resolve("two", bound, "chat")
    with pytest.raises(NotFound, match="answers chat calls"):
        Snapshot(endpoints=rows).resolve("one", bound, "embed")


HOSTS = {name: Host(name=name, protocol="openai", base_url="http://x") for name in ("a", "b")}


def test_a_key_bound_to_models_is_answered_by_no_other() -> None:
    route = (Target(target="a/m"), Target(target="b/m", priority=1), Target(target="a/x", role="shadow", share=0.5))
    chat = Endpoint(name="chat", kind="chat", route=route)
    papers = Endpoint(name="papers", kind="chat", route=(Target(target="index/papers@1"),))
    snapshot = Snapshot(endpoints={"chat": chat, "papers": papers}, hosts=HOSTS)

    def asked(*models: str, address: str = "chat", scopes: tuple[str, ...] = ("any-version",)) -> list[str]:
        bound = replace(ANN, models=models, scopes=scopes)
        return [target.target for target in snapshot.enter(address, bound, "chat").route]

    assert asked() == ["a/m", "b/m", "a/x"]
    assert asked("*/m") == ["a/m", "b/m"]
    assert asked("b/*") == ["b/m"]
    assert asked("b/*", address="papers") == ["index/papers@1"]  # what is no provider's is no model of a provider's
    assert asked("b/*", address="b/other") == ["b/other"]
    for models, address in ((("b/*",), "a/m"), (("c/*",), "chat"), (("a/x",), "chat")):  # a shadow alone answers nobody
        with pytest.raises(Forbidden) as caught:
            asked(*models, address=address)
        assert caught.value.code == "model_not_allowed"
    bound = replace(ANN, models=("c/*",))
    assert [each.name for each in (chat, papers) if snapshot.answers(each, bound)] == ["papers"]


def test_a_key_bound_to_kinds_is_told_nothing_of_other_addresses() -> None:
    snapshot = Snapshot(endpoints={"e": Endpoint(name="e", kind="embed", route=(Target(target="a/m"),))}, hosts=HOSTS)
    bound = replace(ANN, kinds=("chat", "predict"))
    for address in ("e", "none"):
        with pytest.raises(Forbidden) as caught:
            snapshot.enter(address, bound, "embed")
        assert caught.value.code == "wrong_kind"
    assert snapshot.enter("e", replace(bound, kinds=("embed",)), "embed").name == "e"


def test_a_key_bound_to_networks_is_nobody_elsewhere(pair: Pair) -> None:
    pair.key(1, "a", replace(ANN, networks=("10.0.0.0/8",)))
    assert pair.replica.identify("a", "10.1.2.3").name == "ann"
    for peer in ("192.0.2.1", "unix", ""):
        with pytest.raises(Forbidden) as caught:
            pair.replica.identify("a", peer)
        assert caught.value.code == "wrong_network"


def test_a_principal_of_an_earlier_feed_is_bound_to_nothing() -> None:
    old = msgspec.msgpack.encode(
        {"id": "key_1", "name": "ann", "team": "risk", "org": "default", "kind": "key", "role": "viewer"}
    )
    found = msgspec.msgpack.decode(old, type=Principal)
    assert found == ANN
    assert found.budget_scopes == ("org", "team/risk", "key/ann")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Principal) == found


@pytest.mark.parametrize("target", ["model/m@2", "model/m", "decision/d@1"])
def test_an_endpoint_cannot_go_round_the_gate(target: str) -> None:
    with pytest.raises(Invalid, match="no alias"):
        check_endpoint(Endpoint(name="e", kind="predict", route=(Target(target=target),)))
    check_endpoint(Endpoint(name="e", kind="predict", route=(Target(target="model/m@production"),)))
