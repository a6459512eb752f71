"""`tandem provider test`: what a provider's model can do, tried with a handful of tokens through the door."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import httpx2

from tandem.gateway.providers.base import load

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


def try_provider(door: str, token: str, provider: str, model: str) -> list[dict[str, Any]]:
    """Four short calls: a reply, its usage, a stream with its usage frame, a tool call.

    Args:
        door: the platform's own address; the calls are admitted, priced and traced like everybody's.
        token: the caller's key, which pays for them.
    """
    base = {"messages": [{"role": "user", "content": "Reply with the word ok."}], "max_tokens": 16}
    wire = load("openai")

    def post(extra: dict[str, object]) -> httpx2.Response:
        body = {"model": f"{provider}/{model}", **base, **extra}
        headers = {"authorization": f"Bearer {token}"}
        # The certificate names the platform from outside; this goes to our own port on this machine.
        return httpx2.post(
            f"{door}/v1/chat/completions", json=body, headers=headers, timeout=SECONDS, verify=False, trust_env=False
        )

    checks: list[Check] = []
    try:
        reply = post({})
        checks.append(Check(check="reply", ok=reply.status_code == 200, detail=_said(reply)))
        if reply.status_code == 200:
            usage = wire.usage(reply.content)
            counted = "none in the reply" if usage is None else f"{usage.total_input} tokens in, {usage.total_output} out"
            checks.append(Check(check="usage", ok=usage is not None, detail=counted))
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
        return f"200, trace {reply.headers.get('x-tandem-trace-id')}, in {reply.elapsed.total_seconds() * 1000:.0f} ms"
    return f"{reply.status_code}: {reply.text[:300]}"
