"""The mock's price table against the published list prices, and its arithmetic against fractions."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.mock import prices

LISTED = {  # US dollars per million tokens: prompt, cached prompt, completion
    "gpt-4o-mini": ("0.15", "0.075", "0.60"),
    "gpt-4o": ("2.50", "1.25", "10.00"),
    "gpt-4.1-nano": ("0.10", "0.025", "0.40"),
    "gpt-5-nano": ("0.05", "0.005", "0.40"),
    "gemini-2.5-flash": ("0.30", "0.03", "2.50"),
    "gemini-3-flash-preview": ("0.50", "0.05", "3.00"),
    "amazon.nova-lite-v1:0": ("0.06", "0.015", "0.24"),
    "command-a-03-2025": ("2.50", "2.50", "10.00"),
    "mistral-small-2603": ("0.15", "0.015", "0.60"),
    "text-embedding-3-small": ("0.02", "0.02", "0"),
}

SOURCES = (
    "https://openai.com/",
    "https://ai.google.dev/",
    "https://aws.amazon.com/bedrock/",
    "https://cohere.com/",
    "https://mistral.ai/",
)


@pytest.mark.parametrize("model", LISTED)
def test_rates_are_the_listed_ones(model: str) -> None:
    row = prices.TABLE[model]
    assert [row.prompt, row.cached, row.completion] == [Fraction(rate) * 1_000_000 for rate in LISTED[model]]
    assert row.source.startswith(SOURCES)
    assert date.fromisoformat(row.effective) <= date(2026, 11, 30)
    assert row.name == f"{model}@{row.effective}"


@given(st.sampled_from(sorted(LISTED)), st.integers(0, 10**7), st.integers(0, 10**7), st.data())
def test_cost_is_the_exact_amount_rounded_up_once(model: str, prompt: int, completion: int, data: st.DataObject) -> None:
    cached = data.draw(st.integers(0, prompt))
    listed = [Fraction(rate) / 1_000_000 for rate in LISTED[model]]
    dollars = (prompt - cached) * listed[0] + cached * listed[1] + completion * listed[2]
    assert prices.cost(prices.TABLE[model], prompt, cached, completion) == ceil(dollars * 10**9)


def test_a_fraction_of_a_nano_dollar_is_rounded_up_once() -> None:
    row = prices.Row(model="m", kind="chat", created=0, context=1, prompt=1, cached=2, completion=3)
    assert [prices.cost(row, *used) for used in ((0, 0, 0), (1, 0, 0), (1000, 0, 0), (2, 1, 333), (2, 2, 333))] == [0, 1, 1, 2, 2]


def test_a_model_without_price_costs_nothing_known() -> None:
    row = prices.TABLE["mock-unpriced"]
    assert prices.cost(row, 5, 0, 5) is None
    assert row.name == "unpriced"


CLAUDES = {  # US dollars per million tokens: prompt, read, written for five minutes, for an hour, completion
    "claude-haiku-4-5": ("1", "0.10", "1.25", "2", "5"),
    "claude-sonnet-4-6": ("3", "0.30", "3.75", "6", "15"),
    "us.anthropic.claude-haiku-4-5-20251001-v1:0": ("1.1", "0.11", "1.375", "2.2", "5.5"),
}


@pytest.mark.parametrize("model", CLAUDES)
def test_claudes_rates_are_the_listed_ones(model: str) -> None:
    row = prices.TABLE[model]
    rates = [row.prompt, row.cached, row.written, row.written_hour, row.completion]
    assert rates == [Fraction(rate) * 1_000_000 for rate in CLAUDES[model]]
    assert row.source.startswith(("https://platform.claude.com/", "https://aws.amazon.com/bedrock/"))


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.data())
def test_what_is_written_to_the_cache_is_priced_once(prompt: int, completion: int, data: st.DataObject) -> None:
    cached = data.draw(st.integers(0, prompt))
    written = data.draw(st.integers(0, prompt - cached))
    hour = data.draw(st.integers(0, written))
    listed = [Fraction(rate) / 1_000_000 for rate in CLAUDES["claude-haiku-4-5"]]
    parts = (prompt - cached - written, cached, written - hour, hour, completion)
    dollars = sum((count * rate for count, rate in zip(parts, listed, strict=True)), Fraction())
    assert prices.cost(prices.TABLE["claude-haiku-4-5"], prompt, cached, completion, written, hour) == ceil(dollars * 10**9)
