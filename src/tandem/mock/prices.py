"""What the mock's models cost: its own dated table, in pico-dollars per token. It shares no code with any ledger.

One US dollar per million tokens is 1,000,000 pico-dollars per token. The rates are list prices for the standard
tier; `source` says where they were published and `effective` since when they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A model of the mock and its rates; a model whose `prompt` rate is None has no price."""

    model: str
    kind: Literal["chat", "embed", "rerank"]
    created: int
    """Seconds since 1970 when the real model was listed, for `/v1/models`."""
    context: int
    """Prompt tokens that fit into one request; for embeddings into one input."""
    effective: str = ""
    """ISO date since when the rates hold."""
    prompt: int | None = None
    cached: int = 0
    completion: int = 0
    written: int = 0
    """Prompt tokens that go into the cache for five minutes."""
    written_hour: int = 0
    source: str = ""

    @property
    def name(self) -> str:
        """How the bill names the row, such as `gpt-4o@2024-10-01`."""
        return f"{self.model}@{self.effective}" if self.prompt is not None else "unpriced"


_CACHING = "https://openai.com/index/api-prompt-caching/ and https://openai.com/api/pricing/"
_CLAUDE = "https://platform.claude.com/docs/en/about-claude/pricing"
_BEDROCK = "https://aws.amazon.com/bedrock/pricing/"
_COHERE = "https://cohere.com/pricing"
_GEMINI = "https://ai.google.dev/gemini-api/docs/pricing"
_MISTRAL = "https://mistral.ai/pricing"

TABLE: dict[str, Row] = {
    row.model: row
    for row in (
        Row(
            model="gpt-4o-mini",
            kind="chat",
            created=1721172741,
            context=128_000,
            effective="2024-10-01",
            prompt=150_000,
            cached=75_000,
            completion=600_000,
            source=_CACHING,
        ),
        Row(
            model="gpt-4o",
            kind="chat",
            created=1715367049,
            context=128_000,
            effective="2024-10-01",
            prompt=2_500_000,
            cached=1_250_000,
            completion=10_000_000,
            source=_CACHING,
        ),
        Row(
            model="gpt-4.1-nano",
            kind="chat",
            created=1744321707,
            context=1_047_576,
            effective="2025-04-14",
            prompt=100_000,
            cached=25_000,
            completion=400_000,
            source="https://openai.com/index/gpt-4-1/",
        ),
        Row(
            model="gpt-5-nano",
            kind="chat",
            created=1754426384,
            context=272_000,
            effective="2025-08-07",
            prompt=50_000,
            cached=5_000,
            completion=400_000,
            source="https://openai.com/index/introducing-gpt-5-for-developers/",
        ),
        Row(
            model="text-embedding-3-small",
            kind="embed",
            created=1705948997,
            context=8_192,
            effective="2024-01-25",
            prompt=20_000,
            cached=20_000,
            source="https://openai.com/index/new-embedding-models-and-api-updates/",
        ),
        Row(
            model="@cf/baai/bge-reranker-base",
            kind="rerank",
            created=1739404800,
            context=512,
            effective="2025-02-13",
            prompt=3_000,
            cached=3_000,
            source="https://developers.cloudflare.com/workers-ai/platform/pricing/",
        ),
        Row(
            model="claude-haiku-4-5",
            kind="chat",
            created=1760486400,
            context=200_000,
            effective="2025-10-15",
            prompt=1_000_000,
            cached=100_000,
            completion=5_000_000,
            written=1_250_000,
            written_hour=2_000_000,
            source=_CLAUDE,
        ),
        Row(
            model="claude-sonnet-4-6",
            kind="chat",
            created=1771286400,
            context=1_000_000,
            effective="2026-03-13",
            prompt=3_000_000,
            cached=300_000,
            completion=15_000_000,
            written=3_750_000,
            written_hour=6_000_000,
            source=_CLAUDE,
        ),
        Row(
            model="gemini-2.5-flash",
            kind="chat",
            created=1750118400,
            context=1_048_576,
            effective="2025-06-17",
            prompt=300_000,
            cached=30_000,
            completion=2_500_000,
            source=_GEMINI,
        ),
        Row(
            model="gemini-3-flash-preview",
            kind="chat",
            created=1765929600,
            context=1_048_576,
            effective="2025-12-17",
            prompt=500_000,
            cached=50_000,
            completion=3_000_000,
            source=_GEMINI,
        ),
        Row(
            model="us.anthropic.claude-haiku-4-5-20251001-v1:0",
            kind="chat",
            created=1760486400,
            context=200_000,
            effective="2025-10-15",
            prompt=1_100_000,
            cached=110_000,
            completion=5_500_000,
            written=1_375_000,
            written_hour=2_200_000,
            source=_BEDROCK,
        ),
        Row(
            model="amazon.nova-lite-v1:0",
            kind="chat",
            created=1733184000,
            context=300_000,
            effective="2024-12-03",
            prompt=60_000,
            cached=15_000,
            completion=240_000,
            source=_BEDROCK,
        ),
        Row(
            model="command-a-03-2025",
            kind="chat",
            created=1741824000,
            context=256_000,
            effective="2025-03-13",
            prompt=2_500_000,
            cached=2_500_000,
            completion=10_000_000,
            source=_COHERE,
        ),
        Row(model="command-a-reasoning-08-2025", kind="chat", created=1755734400, context=256_000),
        Row(
            model="mistral-small-2603",
            kind="chat",
            created=1773619200,
            context=262_144,
            effective="2026-03-16",
            prompt=150_000,
            cached=15_000,
            completion=600_000,
            source=_MISTRAL,
        ),
        Row(model="mock-unpriced", kind="chat", created=1721172741, context=128_000),
    )
}


def cost(row: Row, prompt: int, cached: int, completion: int, written: int = 0, written_hour: int = 0) -> int | None:
    """Nano-dollars of one request, rounded up once; None where the model has no price.

    Args:
        row: the model's rates.
        prompt: all prompt tokens, the cached and the written ones included.
        cached: how many of them came from the cache.
        completion: completion tokens.
        written: how many of the prompt's went into the cache, for however long.
        written_hour: how many of these for an hour.

    >>> cost(TABLE["gpt-4o-mini"], 11, 0, 7), cost(TABLE["gpt-4o-mini"], 11, 10, 7), cost(TABLE["gpt-4.1-nano"], 1, 1, 0)
    (5850, 5100, 25)
    >>> cost(TABLE["mock-unpriced"], 11, 0, 7) is None
    True
    """
    if row.prompt is None:
        return None
    pico = (prompt - cached - written) * row.prompt + cached * row.cached + completion * row.completion
    pico += (written - written_hour) * row.written + written_hour * row.written_hour
    return -(-pico // 1000)
