"""Does the door read and price what providers say they used? Real usage bodies, with the counts and prices expected of them.

    python -m bench.metering usages.jsonl

Each line of the file is `{"body": …, "model": …, "extracted": [{"usage": …, "extractors": [{"provider_id", "api_flavor",
"input_price", "output_price", "total_price"}]}]}`, as the tests of genai-prices publish them (MIT). A body is read by the
protocol whose form it has, and priced by the list of the provider that gave it, at one date. Every body that does not
come out exactly is listed with the reason.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tandem.core.clock import MICROS
from tandem.core.money import Usage
from tandem.gateway.prices import price_of
from tandem.gateway.providers.base import PROTOCOLS, load

AT = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp()) * MICROS
FORMS = {
    "gemini": "google", "anthropic": "anthropic", "openai": "openai", "bedrock": "aws", "responses": "openai",
    "cohere": "cohere",
}  # fmt: skip
"""Protocol → whose price list applies where the file's name tells of nobody else."""
NAMED = re.compile(
    r"anthropic|openrouter|mistral|groq|cohere|bedrock|google|openai|xai|cerebras|deepseek|huggingface|moonshot|fireworks|perplexity|azure"
)
OTHER = frozenset({"embeddings", "responses", "tokens"})
"""Readings of a body that are not a chat's, or not of what is billed."""
VENDORS = {"bedrock": "aws", "xai": "x-ai", "moonshot": "moonshotai", "huggingface": "huggingface_cerebras"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one body."""

    protocol: str
    exact: bool
    why: str = ""


def form_of(body: Mapping[str, Any]) -> str:
    """Which protocol wrote a body; empty where the door speaks none of its form."""
    usage = body.get("usage")
    if "usageMetadata" in body:
        return "gemini"
    if not isinstance(usage, dict):
        return ""
    if "prompt_tokens" in usage:
        return "openai"
    if "billed_units" in usage:
        return "cohere"
    if "cache_creation_input_tokens" in usage or (
        "input_tokens" in usage and "service_tier" in usage and "total_tokens" not in usage
    ):
        return "anthropic"
    return "responses" if "input_tokens" in usage else "bedrock" if "inputTokens" in usage else ""


def vendor_of(row: Mapping[str, Any], protocol: str) -> str:
    """Whose model it was: as the file's name says, where that is one of the expected ones; else the protocol's own."""
    expected = {each["provider_id"] for one in row["extracted"] for each in one["extractors"]}
    if protocol != "openai" and FORMS.get(protocol) in expected:
        return FORMS[protocol]  # only OpenAI's form is written by many
    for name in NAMED.findall(str(row["body"].get("file", ""))):
        vendor = VENDORS.get(name, name)
        if vendor in expected:
            return vendor
    return FORMS.get(protocol, "")


def judge(row: Mapping[str, Any]) -> Outcome:
    """Reads and prices one body, and compares."""
    body = row["body"]
    protocol = form_of(body)
    if protocol not in PROTOCOLS:
        return Outcome(protocol=protocol or "other", exact=False, why="the door does not speak this protocol")
    vendor = vendor_of(row, protocol)
    told = [(one["usage"], each) for one in row["extracted"] for each in one["extractors"] if each["provider_id"] == vendor]
    wanted = sorted(
        told, key=lambda pair: pair[1]["api_flavor"] != "responses" if protocol == "responses" else pair[1]["api_flavor"] in OTHER
    )
    if not wanted:
        return Outcome(protocol=protocol, exact=False, why=f"nothing is expected of {vendor}")
    usage = load(protocol).usage(json.dumps(body).encode())
    if usage is None:
        return Outcome(protocol=protocol, exact=False, why="no usage was read")
    counts, prices = wanted[0]
    off = [f"{name}: {ours} for {counts.get(name, 0)}" for name, ours in counted(usage).items() if ours != counts.get(name, 0)]
    if off:
        return Outcome(protocol=protocol, exact=False, why="; ".join(off))
    return priced(protocol, vendor, str(row.get("model") or body.get("model") or ""), usage, prices)


def counted(usage: Usage) -> dict[str, int]:
    """Our counters in the names of the expected ones."""
    return {
        "input_tokens": usage.total_input,
        "cache_read_tokens": usage.cache_read + usage.cache_read_audio,
        "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        "input_audio_tokens": usage.input_audio + usage.cache_read_audio,
        "output_tokens": usage.total_output,
        "output_reasoning_tokens": usage.reasoning,
        "output_image_tokens": usage.output_image,
        "web_searches": usage.searches,
    }


def priced(protocol: str, vendor: str, model: str, usage: Usage, told: Mapping[str, Any]) -> Outcome:
    """Compares the price, to the nano-dollar that we round up to."""
    expected = told.get("total_price") or _sum(told)
    row = price_of(model, vendor, AT)
    if expected is None:
        return Outcome(protocol=protocol, exact=True)
    if row is None:
        return Outcome(protocol=protocol, exact=False, why=f"no price of {vendor}/{model} is known")
    ours = row.cost(usage)
    wanted = Decimal(str(expected)) * 10**9
    if not 0 <= ours - wanted < 1:
        return Outcome(protocol=protocol, exact=False, why=f"{vendor}/{model}: {ours} nano-dollars for {wanted.normalize():f}")
    return Outcome(protocol=protocol, exact=True)


def _sum(told: Mapping[str, Any]) -> Decimal | None:
    parts = [Decimal(str(told[name])) for name in ("input_price", "output_price") if told.get(name) is not None]
    return sum(parts, Decimal(0)) if parts else None


def main() -> int:
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text("utf-8").splitlines()]
    outcomes = [judge(row) for row in rows]
    whole, exact = Counter(each.protocol for each in outcomes), Counter(each.protocol for each in outcomes if each.exact)
    for protocol, count in sorted(whole.items()):
        print(f"{protocol:12} {exact[protocol]:4} of {count:4} exact")
    told = f"genai-prices {version('genai-prices')} at {datetime.fromtimestamp(AT / MICROS, UTC):%Y-%m-%d}"
    print(f"{'all':12} {sum(exact.values()):4} of {len(rows):4} exact; {told}")
    for (protocol, why), count in Counter((each.protocol, each.why) for each in outcomes if not each.exact).most_common():
        print(f"  {count:4}  {protocol}: {why}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
