"""OpenAI's models on Azure: OpenAI's protocol, at other addresses and with another key.

Source: https://learn.microsoft.com/azure/ai-foundry/openai/reference and the client AzureOpenAI of openai 3. An address that
ends with `/openai/v1` names the model in the body alone; any other one names the deployment in the path, and a version of
the API in the query. A deployment has the name its owner gave it, and answers as the model behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from tandem.core.chat import Chat
from tandem.core.errors import Invalid
from tandem.gateway.providers.base import Ask, Verb
from tandem.gateway.providers.openai import JSON, UNREADABLE, OpenAI

VERSION = "api-version"
DEFAULT_VERSION = "2024-10-21"
"""The newest one of the dated versions that is no preview; an address may name another."""
FILTERED = "ResponsibleAIPolicyViolation"


class _Inner(msgspec.Struct):
    code: str | None = None
    content_filter_result: object = None


class _Fault(msgspec.Struct):
    innererror: _Inner | None = None


class _FaultReply(msgspec.Struct):
    error: _Fault | None = None


_fault = msgspec.json.Decoder(_FaultReply)


class Azure(OpenAI):
    """Chat and embeddings as Azure's OpenAI speaks them."""

    name = "azure"

    def ask(self, verb: Verb, body: bytes, edits: Mapping[str, bytes], key: str | None) -> Ask:
        if verb == "rerank":
            raise Invalid(
                "Azure's OpenAI has no reranking.", hint="Choose a provider that has, for an endpoint of the kind rerank."
            )
        return _theirs(super().ask(verb, body, edits, None), msgspec.json.decode(edits["model"], type=str), key)

    def put(self, chat: Chat, model: str, key: str | None) -> Ask:
        return _theirs(super().put(chat, model, None), model, key)

    def fault(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str:
        try:
            error = _fault.decode(body).error
        except UNREADABLE:
            error = None
        inner = error.innererror if error is not None else None
        if inner is not None and (inner.code == FILTERED or inner.content_filter_result):
            return "content_policy"
        return super().fault(status, headers, body)


def _theirs(ask: Ask, deployment: str, key: str | None) -> Ask:
    headers = (JSON, (b"api-key", key.encode())) if key else (JSON,)
    return msgspec.structs.replace(ask, headers=headers, bound=partial(_placed, deployment))


def _placed(deployment: str, ask: Ask, base_url: str, now: int) -> Ask:
    """The request at the path that goes with an address.

    >>> ask = Ask(path="/chat/completions", headers=(), body=b"")
    >>> _placed("gpt", ask, "https://x.openai.azure.com/openai/v1", 0).path
    '/chat/completions'
    >>> _placed("a b", ask, "https://x.openai.azure.com?api-version=2025-04-01-preview", 0).path
    '/openai/deployments/a%20b/chat/completions?api-version=2025-04-01-preview'
    """
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    if path.endswith("/openai/v1"):
        return msgspec.structs.replace(ask, bound=None)
    version = parse_qs(parts.query).get(VERSION, [DEFAULT_VERSION])[-1]
    root = "" if path.endswith("/openai") else "/openai"
    place = f"{root}/deployments/{quote(deployment, safe='')}{ask.path}?{VERSION}={quote(version, safe='')}"
    return msgspec.structs.replace(ask, path=place, bound=None)
