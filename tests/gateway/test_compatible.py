"""Hosts known by name: a name and a key are enough, what is written wins, and a key goes to no other address."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tandem.core.asset import NAME
from tandem.core.endpoint import Provider
from tandem.core.errors import Invalid
from tandem.gateway.check import check_provider
from tandem.gateway.prices import catalogue, models_of, price_of
from tandem.gateway.providers.base import PROTOCOLS
from tandem.gateway.providers.compatible import KNOWN, UNPRICED, complete
from tandem.settings import load
from tests.docs.pages import ROOT

ROWS = list(KNOWN.values())
NOW = time.time_ns() // 1000


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_declares_a_provider(row) -> None:
    address = row.base_url
    for blank in row.blanks:
        address = address.replace(f"{{{blank}}}", "red-1")
    found = complete(row.name, base_url=address if row.blanks else None)
    check_provider(found)
    assert NAME.fullmatch(row.name)
    assert row.owns(found.base_url)
    assert found.keys == ((f"env:{row.variable}",) if row.variable else ())
    assert found.protocol in PROTOCOLS
    assert found.prices == (row.prices or UNPRICED)
    parts = urlsplit(address)
    assert parts.scheme == "https" or (parts.hostname == "127.0.0.1" and row.variable is None)
    assert not address.endswith("/")


def test_there_are_thirty_hosts_and_no_two_share_a_name_or_a_variable() -> None:
    assert len(ROWS) >= 30
    variables = [row.variable for row in ROWS if row.variable is not None]
    assert len(variables) == len(set(variables))
    assert sum(row.protocol == "openai" for row in ROWS) >= 30


def test_every_price_list_that_a_row_names_exists_and_prices_models() -> None:
    for row in ROWS:
        if row.prices is not None:
            assert catalogue(row.prices, NOW), row.name


def test_more_than_a_hundred_models_can_be_named_with_a_price() -> None:
    named = {f"{row.name}/{listed.model}" for row in ROWS if row.prices for listed in catalogue(row.prices, NOW)}
    assert len(named) > 1000
    assert len({name for name in named if not name.startswith("openrouter/")}) > 100
    assert len(catalogue("openai", NOW)) >= 100


@pytest.mark.parametrize("vendor", sorted({row.prices for row in ROWS if row.prices}))
def test_a_listed_model_has_the_price_that_the_door_would_book(vendor: str) -> None:
    listed = catalogue(vendor, NOW)
    assert {row.model for row in listed} <= set(models_of(vendor))
    for row in listed[:60]:
        assert price_of(row.model, vendor, NOW - NOW % 86_400_000_000) == row.price


def test_a_name_that_is_matched_by_its_whole_path_is_listed_by_it() -> None:
    assert "accounts/fireworks/models/gpt-oss-120b" in models_of("fireworks")
    assert catalogue("nobody", NOW) == ()
    assert catalogue(UNPRICED, NOW) == ()


def test_what_is_written_wins() -> None:
    found = complete("groq", base_url="https://api.groq.com/openai/v1/", keys=["env:MINE"], prices="openai")
    assert (found.keys, found.prices, found.base_url) == (("env:MINE",), "openai", "https://api.groq.com/openai/v1")
    assert complete("groq", keys=[]).keys == ()
    spoken = complete("anthropic", protocol="openai")
    assert (spoken.protocol, spoken.prices) == ("openai", "anthropic")


def test_a_known_hosts_key_goes_to_no_other_address() -> None:
    assert complete("openai", base_url="http://127.0.0.1:9101/v1").keys == ()
    assert complete("azure", base_url="https://x.openai.azure.com.evil.example/openai/v1").keys == ()
    assert complete("azure", base_url="https://evil.example/a.openai.azure.com/openai/v1").keys == ()
    assert complete("azure", base_url="https://x.openai.azure.com/openai/v1").keys == ("env:AZURE_OPENAI_API_KEY",)


def test_a_server_of_your_own_is_not_priced_as_its_protocols_vendor() -> None:
    """A model of nobody's list must not be booked at OpenAI's price because it bears a known name."""
    assert complete("vllm").prices == UNPRICED
    assert price_of("gpt-4o", UNPRICED, NOW) is None


def test_what_cannot_be_completed_says_what_is_missing() -> None:
    with pytest.raises(Invalid, match="no host is known by that name") as unknown:
        complete("mine")
    assert unknown.value.field == "base_url"
    with pytest.raises(Invalid, match="address of their own") as blank:
        complete("cloudflare", keys=["env:X"])
    assert "account" in str(blank.value.hint)
    assert complete("mine", base_url="http://x/v1/") == Provider(name="mine", protocol="openai", base_url="http://x/v1")


def test_a_file_may_declare_a_known_host_by_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "tandem.toml").write_text(
        '[providers.groq]\n[providers.together]\nkeys = ["env:RED"]\n[providers.mine]\nbase_url = "http://x/v1"\n'
    )
    found = load(tmp_path, environment={}).providers
    assert found["groq"].keys == ("env:GROQ_API_KEY",)
    assert found["groq"].managed == "file:tandem.toml:1"
    assert (found["together"].keys, found["together"].prices) == (("env:RED",), "together")
    assert found["mine"].protocol == "openai"
    (tmp_path / "tandem.toml").write_text("[providers.mine]\n")
    with pytest.raises(Invalid, match=r"\[providers.mine\].*no address") as missing:
        load(tmp_path, environment={})
    assert missing.value.field == "providers.mine.base_url"


def test_the_page_lists_every_host() -> None:
    page = (ROOT / "docs" / "providers.md").read_text()
    for row in ROWS:
        key = f"`{row.variable}`" if row.variable else ""
        line = f"| `{row.name}` | {row.protocol} | `{row.base_url}` | {key} | {row.prices or ''} | {row.note} |"
        assert line.replace("|  |", "| |").replace("|  |", "| |") in page, line


@pytest.mark.parametrize(("protocol", "said"), [("nope", "Nobody speaks the protocol 'nope'"), ("", "names no protocol")])
def test_a_protocol_that_nobody_speaks_is_refused_when_it_is_said(protocol: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        check_provider(Provider(name="own", protocol=protocol, base_url="http://127.0.0.1:9/v1"))
    assert caught.value.field == "protocol"
    assert "anthropic, azure, bedrock, cohere, gemini, mistral, openai" in (caught.value.hint or "")
