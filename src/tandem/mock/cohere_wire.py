"""Cohere's words in: reads v2 chat requests, counts their tokens, words refusals. No socket, no clock, no state.

Source: https://docs.cohere.com/v2/reference/chat and /reference/errors, as the SDK cohere 7 writes requests. It refuses what the
real API refuses, in its words, so that a client that sends it is found out, and what it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tandem.core.errors import Invalid, TandemError
from tandem.mock import tokens
from tandem.mock.model import Ask, Tool, Turn
from tandem.mock.schema import Schema

ROOT = "/v2/"
PATH = "/v2/chat"
REASONING = re.compile(r"command-a-reasoning")
ALLOWED = {"system": ("text",), "user": ("text", "image_url"), "assistant": ("text", "thinking"), "tool": ("text", "document")}
"""Who may say what."""
_SCRIPTED = {
    401: "invalid api token",
    402: "Please add or update your payment method at https://dashboard.cohere.com/billing?tab=payment to continue",
    429: "You are using a Trial key, which is limited to 20 API calls / minute.",
    498: "the request or the answer contains a deny-listed token",
    500: "internal server error",
    503: "the service is unavailable, please try again later",
}
_EMPTY = "invalid request: message must be at least 1 token long or tool results must be specified."


class _Member(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A structure of the API; a member that it does not have is refused."""


class _Url(_Member):
    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class _Block(_Member):
    """Of a message: a text, a picture, a thought or a document."""

    type: Literal["text", "image_url", "thinking", "document"]
    text: str | None = None
    image_url: _Url | None = None
    thinking: str | None = None
    document: dict[str, Any] | None = None


class _Called(_Member):
    name: str
    arguments: str


class _Call(_Member):
    id: str
    type: Literal["function"]
    function: _Called


class _Message(_Member):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[_Block] | None = None
    tool_calls: list[_Call] | None = None
    tool_plan: str | None = None
    tool_call_id: str | None = None
    citations: list[Any] | None = None


class _Function(_Member):
    name: str
    parameters: dict[str, Any]
    description: str | None = None


class _Tool(_Member):
    type: Literal["function"]
    function: _Function


class _Format(_Member):
    type: Literal["text", "json_object"]
    json_schema: dict[str, Any] | None = None


class _Thinking(_Member):
    type: Literal["enabled", "disabled"]
    token_budget: int | None = None


class ChatBody(_Member):
    """A request."""

    model: str
    messages: list[_Message]
    stream: bool = False
    tools: list[_Tool] | None = None
    strict_tools: bool | None = None
    tool_choice: Literal["REQUIRED", "NONE"] | None = None
    documents: list[Any] | None = None
    citation_options: dict[str, Any] | None = None
    response_format: _Format | None = None
    safety_mode: Literal["CONTEXTUAL", "STRICT", "OFF"] | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    k: int | None = None
    p: float | None = None
    logprobs: bool | None = None
    thinking: _Thinking | None = None
    priority: int | None = None


_body = msgspec.json.Decoder(ChatBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class CohereRequest:
    """A request, read: what the model must know, and what only the wire must."""

    ask: Ask
    stream: bool
    thinks: bool


def read(body: bytes) -> CohereRequest:
    """Reads the body of a request.

    Raises:
        Invalid: as Cohere would refuse it.
    """
    try:
        asked = _body.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise Invalid(f"invalid request: {problem}", status=422) from None
    _bounds(asked)
    thinks = REASONING.search(asked.model) is not None
    if asked.thinking is not None:
        if not thinks:
            raise Invalid(f"invalid request: thinking is not supported by the model '{asked.model}'.")
        if asked.thinking.token_budget is not None and asked.thinking.token_budget < 1:
            raise Invalid("invalid request: token_budget must be a positive integer.")
        thinks = asked.thinking.type == "enabled"
    count, turns = _turns(asked.messages)
    offered = asked.tools or []
    if asked.tool_choice == "REQUIRED" and not offered:
        raise Invalid("invalid request: tool_choice is only allowed when tools are provided.")
    schema: Schema | None = None
    if asked.response_format is not None and asked.response_format.type == "json_object":
        if offered or asked.documents:
            raise Invalid("invalid request: response_format is not supported with tools or documents.")
        schema = asked.response_format.json_schema or {}
    count += sum(tokens.count(_json(tool)) for tool in offered) + (tokens.count(_json(schema)) if schema else 0)
    return CohereRequest(
        ask=Ask(
            model=asked.model,
            turns=turns,
            prompt_tokens=count + tokens.PER_REQUEST,
            tools=tuple(Tool(name=tool.function.name, parameters=tool.function.parameters) for tool in offered),
            choice={"REQUIRED": "required", "NONE": "none"}.get(asked.tool_choice or "", "auto"),
            schema=schema,
            stop=tuple(asked.stop_sequences or ()),
            limit=asked.max_tokens,
            seed=asked.seed or 0,
        ),
        stream=asked.stream,
        thinks=thinks,
    )


def _bounds(asked: ChatBody) -> None:
    """Looks at everything that says how it shall answer."""
    for name, value, least, most in (
        ("p", asked.p, 0.01, 0.99),
        ("k", asked.k, 0, 500),
        ("frequency_penalty", asked.frequency_penalty, 0, 1),
        ("presence_penalty", asked.presence_penalty, 0, 1),
    ):
        if value is not None and not least <= value <= most:
            raise Invalid(f"invalid request: {name} must be between {least} and {most} inclusive.")
    if asked.temperature is not None and asked.temperature < 0:
        raise Invalid("invalid request: temperature must be non-negative.")
    if asked.max_tokens is not None and asked.max_tokens < 1:
        raise Invalid("invalid request: max_tokens must be at least 1.")
    if len(asked.stop_sequences or ()) > 5:
        raise Invalid("invalid request: at most 5 stop_sequences are allowed.")


def _turns(messages: Sequence[_Message]) -> tuple[int, list[Turn]]:
    """Tokens and turns; every call must be answered before anybody else speaks, and nothing else may be."""
    if not messages:
        raise Invalid("invalid request: list of messages must not be empty.")
    count = 0
    turns: list[Turn] = []
    open_calls: set[str] = set()
    for at, message in enumerate(messages):
        if message.role == "tool":
            if message.tool_call_id not in open_calls:
                raise Invalid(f"invalid request: tool_call_id '{message.tool_call_id}' of messages[{at}] was not called.")
            open_calls.discard(message.tool_call_id or "")
        elif open_calls:
            raise Invalid(f"invalid request: messages[{at}] follows tool calls without results: {', '.join(sorted(open_calls))}.")
        text, cost = _content(message, at)
        calls = message.tool_calls or []
        if message.role != "assistant" and (calls or message.tool_plan):
            raise Invalid(f"invalid request: messages[{at}] has tool_calls, and is none of the assistant's.")
        if not text and not calls and message.role != "tool" and cost == 0:
            raise Invalid(_EMPTY if message.role != "assistant" else "message must not be empty in a turn")
        open_calls |= {call.id for call in calls}
        cost += tokens.count(message.tool_plan or "") + (tokens.count(_json(calls)) if calls else 0)
        count += tokens.PER_MESSAGE + cost
        turns.append(Turn(role=message.role, text=text))
    return count, turns


def _content(message: _Message, at: int) -> tuple[str, int]:
    """The text of a message and its tokens."""
    if message.content is None:
        return "", 0
    if isinstance(message.content, str):
        return message.content, tokens.count(message.content)
    texts: list[str] = []
    cost = 0
    for block in message.content:
        if block.type not in ALLOWED[message.role] or getattr(block, block.type) is None:
            raise Invalid(f"invalid request: {block.type} is no content of messages[{at}].")
        if block.text is not None:
            texts.append(block.text)
            cost += tokens.count(block.text)
        elif block.image_url is not None:
            cost += tokens.IMAGE_LOW if block.image_url.detail == "low" else tokens.IMAGE
        else:
            cost += tokens.count(_json(block))
    return "\n".join(texts), cost


def _json(tree: object) -> str:
    return msgspec.json.encode(tree).decode()


def too_long(most: int, size: int) -> Invalid:
    """The refusal of a prompt that does not fit; routers look for its words."""
    return Invalid(
        f"too many tokens: total number of tokens in the prompt cannot exceed {most} - received {size}. "
        "Try using a shorter prompt."
    )


def blocked() -> Invalid:
    """The refusal of what stands on a list of forbidden tokens."""
    return Invalid(_SCRIPTED[498], status=498)


def error(problem: TandemError, id: str) -> bytes:
    """A refusal, in Cohere's shape."""
    return _error(f"{problem.message} {problem.hint}" if problem.hint else problem.message, id)


def scripted(status: int, id: str) -> bytes:
    """The body of a refusal that a fault asked for."""
    return _error(_SCRIPTED.get(status, f"The mock refuses this request with status {status}."), id)


def _error(message: str, id: str) -> bytes:
    return msgspec.json.encode({"id": id, "message": message})
