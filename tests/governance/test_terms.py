"""What binds a key: its networks, kinds and models, and how it is rotated."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.governance.people.place import People, people

from tandem.core.clock import MICROS
from tandem.core.errors import Forbidden, Invalid, NotFound
from tandem.core.principal import LOCAL, Principal, Terms
from tandem.governance.terms import check_address, check_kind, check_terms, permits_model


@pytest.fixture
def here(tmp_path: Path) -> Iterator[People]:
    made = people(tmp_path)
    yield made
    made.sql.close()


def key(**terms: object) -> Principal:
    return Principal(id="key_1", name="ci", team="red", **terms)  # type: ignore[arg-type]


def let_in(principal: Principal, address: str) -> bool:
    try:
        check_address(principal, address)
    except Forbidden:
        return False
    return True


def test_networks_are_of_both_versions_and_of_nothing_else() -> None:
    bound = key(networks=("10.0.0.0/8", "2001:db8::/32"))
    inside = ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "2001:db8::1%eth0"]
    outside = ["11.0.0.1", "2001:db9::1", "unix", "", "10.1.2.3, 192.0.2.1", "10.1.2.3:80", "10.1", "nonsense"]
    assert [address for address in inside if not let_in(bound, address)] == []
    assert [address for address in outside if let_in(bound, address)] == []
    assert let_in(key(), "anything")


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 32))
def test_an_address_is_let_in_where_the_network_holds_it(address: object, base: object, length: int) -> None:
    network = ip_network(f"{base}/{length}", strict=False)
    assert let_in(key(networks=(str(network),)), str(address)) == (ip_address(str(address)) in network)


def test_terms_are_written_in_one_way() -> None:
    told = check_terms(
        Terms(networks=(" 10.1.2.3/8", "10.0.0.0/8", "192.0.2.7"), kinds=("chat", "chat"), models=("a/*",)), "viewer"
    )
    assert (told.networks, told.kinds, told.models) == (("10.0.0.0/8", "192.0.2.7/32"), ("chat",), ("a/*",))


@pytest.mark.parametrize(
    ("field", "terms"),
    [
        ("kinds", Terms(kinds=("sing",))),  # type: ignore[arg-type]
        ("rights", Terms(rights=("admin",))),
        ("models", Terms(models=("gpt-4o",))),
        ("models", Terms(models=("a/ b",))),
        ("models", Terms(models=tuple(f"a/{n}" for n in range(101)))),
        ("networks", Terms(networks=("10.0.0.0/33",))),
        ("networks", Terms(networks=("example.org",))),
        ("reach", Terms(reach="galaxy")),  # type: ignore[arg-type]
    ],
)
def test_terms_that_mean_nothing_are_refused(field: str, terms: Terms) -> None:
    with pytest.raises(Invalid) as caught:
        check_terms(terms, "viewer")
    assert caught.value.field == field


def test_rights_that_are_kept_are_the_only_ones() -> None:
    bound = Principal(id="key_1", name="ci", team="red", role="admin", rights=("call",))
    assert (bound.may("call"), bound.may("read"), bound.may("admin")) == (True, False, False)


def test_kinds_and_models_bind_what_is_called() -> None:
    bound = key(kinds=("chat",), models=("openai/gpt-*", "mock/*"))
    check_kind(bound, "chat")
    with pytest.raises(Forbidden, match="not predict"):
        check_kind(bound, "predict")
    asked = ["openai/gpt-4o", "mock/any", "openai/o1", "other/gpt-4", "OPENAI/gpt-4"]
    assert [permits_model(bound, target) for target in asked] == [True, True, False, False, False]
    assert permits_model(key(), "any/thing")


def test_a_key_keeps_its_terms(here: People) -> None:
    terms = Terms(reach="team", rights=("call",), kinds=("chat",), models=("mock/*",), networks=("10.0.0.0/8",), content=False)
    made, secret = here.keys.create("ci", team="red", role="editor", terms=terms, by=LOCAL)
    found = here.keys.find_digest(here.keys.digest(secret.reveal()))
    assert found == made
    assert found is not None
    assert (found.rights, found.kinds, found.models, found.networks, found.content) == (
        ("call",),
        ("chat",),
        ("mock/*",),
        ("10.0.0.0/8",),
        False,
    )


def test_a_rotated_key_is_the_same_and_its_token_before_ends(here: People) -> None:
    made, old = here.keys.create("ci", team="red", role="editor", by=LOCAL)
    version = here.keys.changes(0)[0]
    again, new = here.keys.rotate("ci", overlap=3600, by=LOCAL)
    assert again == made
    assert old.reveal() != new.reveal()
    both = [here.keys.find_digest(here.keys.digest(secret.reveal())) for secret in (old, new)]
    assert [principal.id for principal in both if principal] == [made.id, made.id]
    changed = dict(here.keys.changes(version)[1])
    until = here.clock.now() + 3600 * MICROS
    assert {digest: principal.expires_at for digest, principal in changed.items() if principal} == {
        here.keys.digest(old.reveal()): until,
        here.keys.digest(new.reveal()): None,
    }
    here.clock.advance(3600)
    assert here.keys.find_digest(here.keys.digest(old.reveal())) is None
    assert here.keys.find_digest(here.keys.digest(new.reveal())) == made


def test_rotating_again_ends_the_oldest_no_later_than_the_newest_overlap(here: People) -> None:
    _, first = here.keys.create("ci", by=LOCAL)
    _, second = here.keys.rotate("ci", overlap=7200, by=LOCAL)
    _, third = here.keys.rotate("ci", overlap=0, by=LOCAL)
    found = [here.keys.find_digest(here.keys.digest(secret.reveal())) for secret in (first, second, third)]
    assert [principal is not None for principal in found] == [False, False, True]


def test_revoking_ends_every_token_at_every_reader(here: People) -> None:
    _, first = here.keys.create("ci", by=LOCAL)
    _, second = here.keys.rotate("ci", overlap=7200, by=LOCAL)
    version = here.keys.changes(0)[0]
    here.keys.revoke("ci", by=LOCAL)
    digests = {here.keys.digest(secret.reveal()) for secret in (first, second)}
    assert dict(here.keys.changes(version)[1]) == dict.fromkeys(digests)
    assert [here.keys.find_digest(digest) for digest in digests] == [None, None]
    with pytest.raises(NotFound):
        here.keys.rotate("ci", by=LOCAL)


def test_an_overlap_is_bounded(here: People) -> None:
    here.keys.create("ci", by=LOCAL)
    for overlap in (-1, 8 * 24 * 3600):
        with pytest.raises(Invalid):
            here.keys.rotate("ci", overlap=overlap, by=LOCAL)
