"""Mistral's strictness around OpenAI's words: members it does not know, ids of calls, the order of roles. No socket, no state.

Source: https://docs.mistral.ai/api, as the SDK mistralai 3 writes requests and reads replies. Its addresses begin with /mistral.
A stream tells its usage in the last chunk, beside the reason of its end, whether or not anybody asked; a call comes whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from tandem.core.errors import Invalid, NotFound, TandemError
from tandem.mock import tokens
from tandem.mock.http import Request
from tandem.mock.model import Answer
from tandem.mock.openai_reply import ChatReply, EmbeddingReply, Stamp

ROOT = "/mistral/"
PATH = re.compile(r"/mistral(?P<path>/v1/(?:chat/completions|embeddings))")
KNOWN = {
    "/v1/chat/completions": frozenset(
        {
            "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed", "metadata",
            "response_format", "tools", "tool_choice", "presence_penalty", "frequency_penalty", "min_tokens",
            "repetition_penalty", "top_k", "logprobs", "top_logprobs", "prompt_logprobs", "top_prompt_logprobs", "n",
            "prediction", "parallel_tool_calls", "reasoning_effort", "prompt_mode", "guardrails", "prompt_cache_key",
            "service_tier", "safe_prompt",
        }
    ),
    "/v1/embeddings": frozenset(("model", "input", "metadata", "output_dimension", "output_dtype", "encoding_format")),
}  # fmt: skip
"""Members of a request."""
SAID = {
    "system": frozenset(("role", "content")),
    "user": frozenset(("role", "content")),
    "assistant": frozenset(("role", "content", "tool_calls", "prefix")),
    "tool": frozenset(("role", "content", "tool_call_id", "name")),
}
"""Members of a message, by who speaks."""
CALLED = frozenset(("id", "type", "function", "index"))
_OPENAIS = {"random_seed": "seed", "output_dimension": "dimensions"}
_ID = re.compile(r"[a-zA-Z0-9]{9}")
_FOLLOWS = {"tool": ("assistant", "tool"), "user": ("system", "assistant", "user")}
_SCRIPTED = {401: "Unauthorized", 429: "Requests rate limit exceeded", 503: "Service unavailable."}
_json = msgspec.json.Encoder().encode
Json = dict[str, Any]


class MistralReply(ChatReply):
    """The answers to one chat request."""

    @property
    def _shown(self) -> bool:
        return False

    def _deltas(self, stamp: Stamp, at: int, answer: Answer, size: int) -> Iterator[tuple[bytes, int]]:
        yield from super()._deltas(stamp, at, replace(answer, calls=()), size)
        for number, call in enumerate(answer.calls):  # each of them comes whole
            told = {"name": call.name, "arguments": "".join(call.pieces)}
            made = {"id": self.call_id(stamp, at, number), "type": "function", "function": told, "index": number}
            yield b'"tool_calls":[%b]' % _json(made), tokens.PER_TOOL_CALL + len(call.pieces)

    def call_id(self, stamp: Stamp, at: int, number: int) -> str:
        return f"{stamp.mark[-7:]}{at % 10}{number % 10}"

    def closing(self, stamp: Stamp) -> list[bytes]:
        *ends, done = super().closing(stamp)
        if self._fault != "missing":
            ends[-1] = ends[-1].removesuffix(b"}\n\n") + b',"usage":%b}\n\n' % self._usage()
        return [*ends, *[ends[-1]] * (1 if self._fault == "double" else 0), done]


class MistralVectors(EmbeddingReply):
    """The vectors of one embedding request."""

    def whole(self, stamp: Stamp) -> bytes:
        return b'{"id":%b,' % _json(stamp.mark) + super().whole(stamp)[1:]


def place(request: Request) -> tuple[str, Request]:
    """OpenAI's address for one of Mistral's, and the request as OpenAI's wire reads it.

    Raises:
        NotFound: there is nothing at the address.
        Invalid: as Mistral would refuse the request.
    """
    found = PATH.fullmatch(request.path)
    if found is None:
        raise NotFound("no Route matched with those values")
    path = found["path"]
    try:
        members = msgspec.json.decode(request.body, type=Json)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return path, request  # it is refused where it is read
    _known(members, KNOWN[path], ["body"])
    if path.endswith("completions"):
        _messages(members.get("messages"))
        if members.get("tool_choice") == "any":
            members["tool_choice"] = "required"
    told = {_OPENAIS.get(name, name): value for name, value in members.items() if value is not None}
    return path, replace(request, body=_json(told))


def _messages(messages: Any) -> None:
    before = ""
    for at, message in enumerate(messages if isinstance(messages, list) else ()):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in SAID:
            raise _detailed(
                "union_tag_invalid", ["body", "messages", at], f"Input tag '{role}' does not match any of the expected"
            )
        _known(message, SAID[role], ["body", "messages", at, role])
        if before and before not in _FOLLOWS.get(role, (before,)):
            raise Invalid(f"Unexpected role '{role}' after role '{before}'", code="3230")
        calls = message.get("tool_calls") or []
        for number, call in enumerate(calls):
            _known(call, CALLED, ["body", "messages", at, role, "tool_calls", number])
        for id in [call.get("id") for call in calls] + ([message.get("tool_call_id")] if role == "tool" else []):
            if not isinstance(id, str) or not _ID.fullmatch(id):
                raise Invalid(f"Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9.", code="3280")
        before = role
    last = messages[-1] if isinstance(messages, list) and messages else {}
    if before == "assistant" and not last.get("prefix"):
        raise Invalid(
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant", code="3230"
        )


def _known(members: Json, known: frozenset[str], place: list[str | int]) -> None:
    for name in members:
        if name not in known:
            raise _detailed("extra_forbidden", [*place, name], "Extra inputs are not permitted")


def _detailed(kind: str, place: list[str | int], message: str) -> Invalid:
    detail = _json({"detail": [{"type": kind, "loc": place, "msg": message, "input": None}]}).decode()
    return Invalid(detail, status=422)


def too_long(most: int, size: int) -> Invalid:
    """The refusal of a prompt that does not fit; routers look for its words."""
    return Invalid(
        f"Prompt contains {size} tokens and 0 draft tokens, too large for model with {most} maximum context length", code="3051"
    )


def error(problem: TandemError) -> bytes:
    """A refusal, in Mistral's shape."""
    message: Any = f"{problem.message} {problem.hint}" if problem.hint else problem.message
    if problem.status == 422:
        message = msgspec.Raw(problem.message.encode())
    code = problem.code if problem.code.isdigit() else None
    return _error(message, code)


def scripted(status: int) -> bytes:
    """The body of a refusal that a fault asked for."""
    return _error(_SCRIPTED.get(status, f"The mock refuses this request with status {status}."), None)


def _error(message: Any, code: str | None) -> bytes:
    return _json({"object": "error", "message": message, "type": "invalid_request_error", "param": None, "code": code})
