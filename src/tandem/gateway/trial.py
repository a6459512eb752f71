"""`tandem provider test`: what a provider's model can do, tried with the platform's own key and a handful of tokens.

Runs in the control process; it goes to the provider directly, and says what it sent.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import httpx2

from tandem.gateway.providers.base import load
from tandem.gateway.snapshot import Host
from tandem.observability.content import Vault

SECONDS = 30.0
TOOL = {
    "type": "function",
    "function": {"name": "report", "parameters": {"type": "object", "properties": {"ok": {"type": "boolean"}}}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was tried."""

    check: str
    ok: bool
    detail: str


def try_provider(host: Host, model: str, vault: Vault) -> list[dict[str, Any]]:
    """Four short calls: a reply, its usage, a stream with its usage frame, a tool call."""
    key = vault.open("provider", host.keys[0], host.name.encode()).decode() if host.keys else None
    wire = load(host.protocol)
    base = {"messages": [{"role": "user", "content": "Reply with the word ok."}], "max_tokens": 16}

    def post(extra: dict[str, object]) -> httpx2.Response:
        body = json.dumps({"model": model, **base, **extra}).encode()
        ask = wire.ask("chat", body, {"model": json.dumps(model).encode()}, key)
        headers = {name.decode(): value.decode() for name, value in ask.headers}
        return httpx2.post(host.base_url + ask.path, content=ask.body, headers=headers, timeout=SECONDS)

    checks: list[Check] = []
    try:
        reply = post({})
        checks.append(Check(check="reply", ok=reply.status_code == 200, detail=_said(reply)))
        if reply.status_code == 200:
            usage = wire.usage(reply.content)
            checks.append(
                Check(check="usage", ok=usage is not None, detail="none in the reply" if usage is None else str(asdict(usage)))
            )
            stream = post({"stream": True, "stream_options": {"include_usage": True}})
            told = stream.text.count('"usage":{') + stream.text.count('"usage": {')
            ended = stream.text.rstrip().endswith("[DONE]")
            detail = f"{told} usage frame(s), {'ended' if ended else 'not ended'} by [DONE]"
            checks.append(Check(check="stream", ok=stream.status_code == 200 and ended and told > 0, detail=detail))
            tools = post({"tools": [TOOL], "tool_choice": "required"})
            called = tools.status_code == 200 and '"tool_calls"' in tools.text
            checks.append(Check(check="tools", ok=called, detail="called" if called else _said(tools)))
    except httpx2.HTTPError as error:
        checks.append(Check(check="connection", ok=False, detail=f"{type(error).__name__}: {error}"))
    return [asdict(check) for check in checks]


def _said(reply: httpx2.Response) -> str:
    if reply.status_code == 200:
        return f"200 in {reply.elapsed.total_seconds() * 1000:.0f} ms"
    return f"{reply.status_code}: {reply.text[:300]}"
