"""Anthropic's words in: reads messages requests, counts their tokens, words refusals. No socket, no clock, no state.

It refuses what the real API refuses, in its words, so that a client that sends it is found out.
Source: the Anthropic API reference for `POST /v1/messages` and `/v1/messages/count_tokens`, versions 2023-06-01 and 2026-10-21,
as its Python client (anthropic 2.14) reads and writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from zlib import crc32

import msgspec

from tandem.core.errors import Invalid, TandemError
from tandem.mock import tokens
from tandem.mock.model import Ask, Tool, Turn
from tandem.mock.schema import Schema

VERSIONS = ("2023-06-01", "2026-10-21")
"""Of the header `anthropic-version`; the second one takes no sampling parameters."""
SAMPLING = ("temperature", "top_p", "top_k")
LEAST_BUDGET = 1024
KINDS: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request was rejected."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "There is an issue with your billing or payment information."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "The requested resource could not be found."),
    409: ("conflict_error", "The request conflicts with the state of the resource."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your account's rate limit. Please try again later."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "The request timed out while processing."),
    529: ("overloaded_error", "Overloaded"),
}
"""Status → type and words of a refusal."""
OVERLOADED = 529


class _Cache(msgspec.Struct):
    ttl: str = "5m"


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]]


class _Tool(msgspec.Struct):
    name: str
    input_schema: dict[str, Any] | None = None
    cache_control: _Cache | None = None
    type: str | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Format(msgspec.Struct):
    type: str
    schema: dict[str, Any]


class _Output(msgspec.Struct):
    format: _Format | None = None


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None


class MessagesBody(msgspec.Struct):
    """The members of a request that change what the mock does; all others are accepted and ignored."""

    model: str
    messages: list[_Message]
    max_tokens: int | None = None
    system: str | list[dict[str, Any]] | None = None
    tools: msgspec.Raw = msgspec.Raw(b"null")
    tool_choice: _Choice | None = None
    output_config: _Output | None = None
    thinking: _Thinking | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    cache_control: _Cache | None = None
    stream: bool | None = None


_body = msgspec.json.Decoder(MessagesBody)
_tools = msgspec.json.Decoder(list[_Tool])


@dataclass(frozen=True, slots=True, kw_only=True)
class Border:
    """The end of a block of the prompt, up to which a cache may keep it."""

    digest: bytes
    """Of everything up to here, marks aside."""
    tokens: int
    keep: str = ""
    """`5m` or `1h` where a `cache_control` stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesRequest:
    """A messages request, read: what the model must know, and what only the wire must."""

    ask: Ask
    stream: bool
    thinks: bool
    borders: Sequence[Border]


@dataclass(slots=True)
class _Prompt:
    """The prompt, block after block."""

    count: int = 0
    borders: list[Border] = field(default_factory=list)
    _hash: Any = field(default_factory=sha256)

    def add(self, block: Mapping[str, Any], cost: int) -> None:
        """A block and its tokens; whether a mark stands on it makes no other prompt of it."""
        mark = block.get("cache_control")
        self._hash.update(msgspec.json.encode({name: value for name, value in block.items() if name != "cache_control"}))
        self.count += cost
        keep = str(mark.get("ttl", "5m")) if isinstance(mark, dict) else ""
        self.borders.append(Border(digest=self._hash.digest(), tokens=self.count, keep=keep))


def signature(thought: str) -> str:
    """The mock's proof that a thought is its own."""
    return f"mock{crc32(thought.encode()):08x}"


def read(body: bytes, version: str | None, *, counting: bool = False) -> MessagesRequest:
    """Reads the body of `POST /v1/messages`, or that of its count.

    Raises:
        Invalid: as Anthropic would refuse it.
    """
    if version not in VERSIONS:
        raise Invalid(f"anthropic-version: {'header is required' if version is None else 'not a valid version'}")
    try:
        asked = _body.decode(body)
    except msgspec.ValidationError as problem:
        raise _unfit(problem) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise Invalid(f"The request body is not valid JSON: {problem}") from None
    if asked.max_tokens is None and not counting:
        raise Invalid("max_tokens: Field required")
    if asked.max_tokens is not None and asked.max_tokens < 1:
        raise Invalid("max_tokens: Input should be greater than or equal to 1")
    if not asked.messages:
        raise Invalid("messages: at least one message is required")
    thinks = _thinks(asked)
    _sampling(asked, version, thinks)
    prompt = _Prompt()
    offered = _offered(asked, prompt)
    turns = _turns(asked, prompt)
    _paired(asked.messages)
    prompt.count += tokens.PER_REQUEST
    if asked.cache_control is not None:
        last = prompt.borders[-1]
        prompt.borders[-1] = Border(digest=last.digest, tokens=last.tokens, keep=asked.cache_control.ttl)
    schema: Schema | None = None
    if asked.output_config is not None and asked.output_config.format is not None:
        schema = asked.output_config.format.schema
        prompt.count += tokens.count(msgspec.json.encode(asked.output_config.format).decode())
    choice = _choice(asked.tool_choice, [tool.name for tool in offered], thinks)
    return MessagesRequest(
        ask=Ask(
            model=asked.model,
            turns=turns,
            prompt_tokens=prompt.count,
            tools=offered,
            choice=choice,
            parallel=asked.tool_choice is None or not asked.tool_choice.disable_parallel_tool_use,
            schema=schema,
            stop=tuple([word for word in asked.stop_sequences or () if word]),
            limit=asked.max_tokens,
        ),
        stream=bool(asked.stream),
        thinks=thinks,
        borders=prompt.borders,
    )


def too_long(most: int, size: int) -> Invalid:
    """The refusal of a prompt that does not fit; routers look for its words."""
    return Invalid(f"prompt is too long: {size} tokens > {most} maximum")


def unknown_members(body: bytes) -> dict[str, object]:
    """Members of a request that the mock does not read."""
    try:
        members = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return {name: value for name, value in members.items() if name not in MessagesBody.__struct_fields__}


def _unfit(problem: msgspec.ValidationError) -> Invalid:
    reason, _, place = str(problem).partition(" - at `$")
    if "missing required field" in reason:
        return Invalid(f"{reason.split('`')[1]}: Field required")
    where = place.strip("`").replace("[...]", "").replace("[", ".").replace("]", "").lstrip(".")
    return Invalid(f"{where}: {reason}" if where else reason)


def _thinks(asked: MessagesBody) -> bool:
    thinking = asked.thinking
    if thinking is None or thinking.type == "disabled":
        return False
    if thinking.type == "enabled":
        budget = thinking.budget_tokens or 0
        if budget < LEAST_BUDGET:
            raise Invalid(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {LEAST_BUDGET}")
        if asked.max_tokens is not None and budget >= asked.max_tokens:
            raise Invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
    elif thinking.type not in ("adaptive", "between_tools"):
        raise Invalid(f"thinking: Input tag '{thinking.type}' does not match any of the expected tags")
    return True


def _sampling(asked: MessagesBody, version: str, thinks: bool) -> None:
    for name in SAMPLING:
        if version != VERSIONS[0] and getattr(asked, name) is not None:
            raise Invalid(f"{name}: not supported in this API version")
    if asked.temperature is not None and not 0 <= asked.temperature <= 1:
        raise Invalid("temperature: range: 0..1")
    if thinks and asked.temperature not in (None, 1.0):
        raise Invalid("`temperature` may only be set to 1 when thinking is enabled.")
    if thinks and asked.top_k is not None:
        raise Invalid("`top_k` must be unset when thinking is enabled.")
    if any(not word.strip() for word in asked.stop_sequences or ()):
        raise Invalid("stop_sequences: each stop sequence must contain non-whitespace")


def _offered(asked: MessagesBody, prompt: _Prompt) -> tuple[Tool, ...]:
    if bytes(asked.tools) == b"null":
        return ()
    try:
        rows = _tools.decode(asked.tools)
    except msgspec.ValidationError as problem:
        raise Invalid(f"tools: {problem}") from None
    mark = next((row.cache_control for row in reversed(rows) if row.cache_control is not None), None)
    block: dict[str, Any] = {"tools": [[row.name, row.input_schema] for row in rows]}
    prompt.add(
        block | ({"cache_control": {"ttl": mark.ttl}} if mark is not None else {}), tokens.count(bytes(asked.tools).decode())
    )
    found: list[Tool] = []
    for at, row in enumerate(rows):
        if row.type in (None, "custom"):
            if row.input_schema is None:
                raise Invalid(f"tools.{at}.custom.input_schema: Field required")
            if row.input_schema.get("type") != "object":
                raise Invalid(f"tools.{at}.custom.input_schema.type: Input should be 'object'")
            found.append(Tool(name=row.name, parameters=row.input_schema))
    if len({row.name for row in rows}) < len(rows):
        raise Invalid("tools: Tool names must be unique.")
    return tuple(found)


def _turns(asked: MessagesBody, prompt: _Prompt) -> list[Turn]:
    turns: list[Turn] = []
    if asked.system is not None:
        text = _text(asked.system, "system", "system", prompt)
        turns.append(Turn(role="system", text=text))
    last = len(asked.messages) - 1
    for at, message in enumerate(asked.messages):
        if message.role not in ("user", "assistant", "system"):
            raise Invalid(f"messages.{at}.role: Input should be 'user', 'assistant' or 'system'")
        if not message.content and not (message.role == "assistant" and at == last):
            raise Invalid(
                f"messages.{at}: all messages must have non-empty content except for the optional final assistant message"
            )
        text = _text(message.content, message.role, f"messages.{at}", prompt)
        role = "tool" if _results(message.content) else message.role
        if role == "tool" and any(block.get("type") == "text" for block in message.content if isinstance(block, dict)):
            turns.append(Turn(role="user", text=_only_text(message.content)))
        turns.append(Turn(role=role, text=text))
    return turns


def _only_text(content: str | list[dict[str, Any]]) -> str:
    blocks = [] if isinstance(content, str) else content
    return "\n".join([str(block.get("text", "")) for block in blocks if block.get("type") == "text"])


def _text(content: str | list[dict[str, Any]], role: str, place: str, prompt: _Prompt) -> str:
    """All text of a message; its blocks go into the prompt."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    said: list[str] = []
    for at, block in enumerate(blocks):
        cost, text = _block(block, role, f"{place}.content.{at}" if role != "system" else f"{place}.{at}")
        said.append(text)
        prompt.add({"role": role, **block}, cost + (0 if at else tokens.PER_MESSAGE))
    return "\n".join([text for text in said if text])


def _block(block: Mapping[str, Any], role: str, place: str) -> tuple[int, str]:
    """Tokens and text of a block."""
    kind = block.get("type")
    match kind:
        case "text":
            text = block.get("text")
            if not isinstance(text, str):
                raise Invalid(f"{place}.text.text: Field required")
            if not text.strip():
                raise Invalid(f"{place.partition('.')[0]}: text content blocks must contain non-whitespace text")
            return tokens.count(text), text
        case "image":
            source = block.get("source")
            if not isinstance(source, dict) or source.get("type") not in ("base64", "url", "file"):
                raise Invalid(f"{place}.image.source: Input should be a valid base64, url or file source")
            return tokens.IMAGE, ""
        case "tool_use":
            if role != "assistant":
                raise Invalid(f"{place}: `tool_use` blocks can only be in `assistant` messages")
            if not isinstance(block.get("input"), dict):
                raise Invalid(f"{place}.tool_use.input: Input should be a valid dictionary")
            return _json(block), ""
        case "tool_result":
            if role != "user":
                raise Invalid(f"{place}: `tool_result` blocks can only be in `user` messages")
            inner = block.get("content") or ""
            texts = [inner] if isinstance(inner, str) else [_block(one, "user", f"{place}.tool_result")[1] for one in inner]
            return _json(block), "\n".join(texts)
        case "thinking":
            if block.get("signature") != signature(str(block.get("thinking"))):
                raise Invalid(f"{place}: Invalid `signature` in `thinking` block")
            return _json(block), ""
        case "document" | "redacted_thinking" | "search_result":
            return _json(block), ""
        case _:
            raise Invalid(f"{place}: Input tag '{kind}' found using 'type' does not match any of the expected tags")


def _json(block: Mapping[str, Any]) -> int:
    """Tokens of a block as JSON, mark aside."""
    return tokens.count(msgspec.json.encode({name: value for name, value in block.items() if name != "cache_control"}).decode())


def _results(content: str | list[dict[str, Any]]) -> set[str]:
    """Calls that the blocks at the head of a message answer."""
    found: set[str] = set()
    for block in [] if isinstance(content, str) else content:
        if block.get("type") != "tool_result":
            break
        found.add(str(block.get("tool_use_id")))
    return found


def _paired(messages: Sequence[_Message]) -> None:
    """Every call must be answered at the head of the very next turn, all of them in one, and nothing else may be."""
    called: set[str] = set()
    for at, message in enumerate(messages):
        blocks = [] if isinstance(message.content, str) else message.content
        answered = _results(message.content)
        missing = sorted(called - answered)
        if missing:
            raise Invalid(
                f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. "
                "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            )
        given = {str(block.get("tool_use_id")) for block in blocks if block.get("type") == "tool_result"}
        if given - called:
            raise Invalid(
                f"messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(sorted(given - called))}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        called = {str(block.get("id")) for block in blocks if block.get("type") == "tool_use"}
    if called:
        raise Invalid(
            f"messages.{len(messages) - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(sorted(called))}."
        )


def _choice(choice: _Choice | None, names: Sequence[str], thinks: bool) -> str:
    """`auto`, `none`, `required` or `=NAME`."""
    if choice is None:
        return "auto"
    if not names:
        raise Invalid("tool_choice: Tool choice may only be specified while providing tools.")
    if thinks and choice.type in ("any", "tool"):
        raise Invalid("Thinking may not be enabled when tool_choice forces tool use.")
    match choice.type:
        case "auto" | "none":
            return choice.type
        case "any":
            return "required"
        case "tool" if choice.name in names:
            return f"={choice.name}"
        case "tool":
            raise Invalid(f"Tool '{choice.name}' not found in provided tools")
        case _:
            raise Invalid(f"tool_choice: Input tag '{choice.type}' does not match any of the expected tags")


def error(problem: TandemError, id: str) -> bytes:
    """A refusal, in Anthropic's shape."""
    kind, _ = KINDS.get(problem.status, ("invalid_request_error" if problem.status < 500 else "api_error", ""))
    return _error(kind, f"{problem.message} {problem.hint}" if problem.hint else problem.message, id)


def scripted(status: int, id: str) -> bytes:
    """The body of a refusal that a fault asked for."""
    other = ("api_error" if status >= 500 else "invalid_request_error", f"The mock refuses this request with status {status}.")
    return _error(*KINDS.get(status, other), id)


def _error(kind: str, message: str, id: str) -> bytes:
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": id})
