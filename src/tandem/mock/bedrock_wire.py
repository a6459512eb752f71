"""Converse's words in: reads requests, counts their tokens, words refusals. No socket, no clock, no state.

It refuses what the real API refuses, in its words, so that a client that sends it is found out, and what it does not know.
Source: the service model of `bedrock-runtime` (2023-09-30), as botocore 1.44 writes requests and reads replies.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

from tandem.core.errors import Invalid, TandemError
from tandem.mock import tokens
from tandem.mock.anthropic_wire import LEAST_BUDGET, Border, signature
from tandem.mock.model import Ask, Tool, Turn
from tandem.mock.schema import Schema

PATH = re.compile(r"/model/(?P<model>[^/]+)/(?P<verb>converse|converse-stream)")
"""Of an address, still encoded."""
SEQUENCE = "/stop_sequence"
"""What a request may want to be told beside the answer."""
_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_TITLE = re.compile(r"[a-zA-Z0-9()\[\]-]+(?: [a-zA-Z0-9()\[\]-]+)*")
_TOOL = re.compile(r"[a-zA-Z0-9_-]{1,64}")
NAMES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    413: "ValidationException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
"""Status → name of a refusal; else it is our fault, or the caller's."""
_SCRIPTED = {
    429: "Too many requests, please wait before trying again.",
    500: "The system encountered an unexpected error during processing. Try your request again.",
    503: "Too many connections, please wait before trying again.",
}


class _Member(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A structure of the API; a member that it does not have is refused."""


class _Point(_Member):
    type: str
    ttl: str = "5m"


class _Source(_Member):
    bytes: str | None = None
    text: str | None = None


class _Image(_Member):
    format: str
    source: _Source


class _Document(_Member):
    format: str
    name: str
    source: _Source
    context: str | None = None
    citations: dict[str, Any] | None = None


class _Call(_Member):
    tool_use_id: str
    name: str
    input: dict[str, Any]


class _Piece(_Member):
    """Of a tool's result."""

    text: str | None = None
    json: Any = None
    image: _Image | None = None
    document: _Document | None = None


class _Result(_Member):
    tool_use_id: str
    content: list[_Piece]
    status: str = "success"


class _Proven(_Member):
    text: str
    signature: str | None = None


class _Thought(_Member):
    reasoning_text: _Proven | None = None
    redacted_content: str | None = None


class _Block(_Member):
    """One of these."""

    text: str | None = None
    image: _Image | None = None
    document: _Document | None = None
    tool_use: _Call | None = None
    tool_result: _Result | None = None
    reasoning_content: _Thought | None = None
    cache_point: _Point | None = None


class _Message(_Member):
    role: str
    content: list[_Block]


class _System(_Member):
    text: str | None = None
    cache_point: _Point | None = None


class _Schema(_Member):
    json: dict[str, Any]


class _Spec(_Member):
    name: str
    input_schema: _Schema
    description: str | None = None
    strict: bool | None = None


class _Tool(_Member):
    tool_spec: _Spec | None = None
    cache_point: _Point | None = None


class _Named(_Member):
    name: str


class _Choice(_Member):
    auto: dict[str, Any] | None = None
    any: dict[str, Any] | None = None
    tool: _Named | None = None


class _Tools(_Member):
    tools: list[_Tool]
    tool_choice: _Choice | None = None


class _Inference(_Member):
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None


class _JsonSchema(_Member):
    schema: str
    name: str | None = None
    description: str | None = None


class _Structure(_Member):
    json_schema: _JsonSchema


class _Format(_Member):
    type: str
    structure: _Structure


class _Output(_Member):
    text_format: _Format | None = None
    effort: str | None = None


class ConverseBody(_Member):
    """A request."""

    messages: list[_Message] = []
    system: list[_System] = []
    inference_config: _Inference | None = None
    tool_config: _Tools | None = None
    output_config: _Output | None = None
    additional_model_request_fields: dict[str, Any] | None = None
    additional_model_response_field_paths: list[str] | None = None
    request_metadata: dict[str, str] | None = None
    performance_config: dict[str, str] | None = None
    service_tier: dict[str, str] | None = None


_body = msgspec.json.Decoder(ConverseBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConverseRequest:
    """A request, read: what the model must know, and what only the wire must."""

    ask: Ask
    thinks: bool
    borders: Sequence[Border]
    tells_sequence: bool


@dataclass(slots=True)
class _Prompt:
    """The prompt, block after block."""

    count: int = 0
    borders: list[Border] = field(default_factory=list)
    _hash: Any = field(default_factory=sha256)

    def add(self, block: object, cost: int) -> None:
        self._hash.update(msgspec.json.encode(block))
        self.count += cost
        self.borders.append(Border(digest=self._hash.digest(), tokens=self.count))

    def mark(self, point: _Point, place: str) -> None:
        """Everything up to here is to be kept."""
        if point.type != "default" or point.ttl not in ("5m", "1h"):
            raise Invalid(f"The cachePoint at {place} is not valid.")
        if not self.borders:
            raise Invalid(f"The cachePoint at {place} has nothing before it.")
        last = self.borders[-1]
        self.borders[-1] = Border(digest=last.digest, tokens=last.tokens, keep=point.ttl)


def read(body: bytes, model: str) -> ConverseRequest:
    """Reads the body of a request to a model.

    Raises:
        Invalid: as Bedrock would refuse it.
    """
    try:
        asked = _body.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise Invalid(f"The request body could not be read: {problem}") from None
    inference = asked.inference_config or _Inference()
    thinks = _inferred(asked, inference, model)
    prompt = _Prompt()
    offered = _offered(asked.tool_config, prompt)
    turns = [*_system(asked.system, prompt), *_turns(asked.messages, prompt)]
    _paired(asked)
    prompt.count += tokens.PER_REQUEST
    schema = _schema(asked.output_config)
    if schema is not None:
        prompt.count += tokens.count(msgspec.json.encode(schema).decode())
    return ConverseRequest(
        ask=Ask(
            model=model,
            turns=turns,
            prompt_tokens=prompt.count,
            tools=offered,
            choice=_choice(asked.tool_config, thinks),
            schema=schema,
            stop=tuple(inference.stop_sequences or ()),
            limit=inference.max_tokens,
        ),
        thinks=thinks,
        borders=prompt.borders,
        tells_sequence=SEQUENCE in (asked.additional_model_response_field_paths or ()),
    )


def _inferred(asked: ConverseBody, inference: _Inference, model: str) -> bool:
    """Whether the model shall think; looks at everything that says how it shall answer."""
    if inference.max_tokens is not None and inference.max_tokens < 1:
        raise Invalid("Value at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must be at least 1")
    for name, value in (("temperature", inference.temperature), ("topP", inference.top_p)):
        if value is not None and not 0 <= value <= 1:
            raise Invalid(f"Value at 'inferenceConfig.{name}' failed to satisfy constraint: Member must be between 0 and 1")
    if any(not word for word in inference.stop_sequences or ()):
        raise Invalid("Value at 'inferenceConfig.stopSequences' failed to satisfy constraint: Member must not be empty")
    extra = asked.additional_model_request_fields or {}
    claude = "anthropic.claude" in model
    foreign = sorted(extra.keys() - ({"thinking", "top_k"} if claude else set()))
    if foreign:
        raise Invalid(f"Malformed input request: extraneous key [{foreign[0]}] is not permitted, please reformat and try again.")
    thinking = extra.get("thinking") or {}
    if thinking.get("type") not in ("enabled", "adaptive"):
        return False
    budget = thinking.get("budget_tokens", LEAST_BUDGET)
    if budget < LEAST_BUDGET or (inference.max_tokens is not None and budget >= inference.max_tokens):
        raise Invalid("The model returned the following errors: thinking.enabled.budget_tokens does not fit")
    if inference.temperature not in (None, 1.0) or "top_k" in extra:
        raise Invalid("The model returned the following errors: `temperature` may only be set to 1 when thinking is enabled.")
    return True


def _offered(config: _Tools | None, prompt: _Prompt) -> tuple[Tool, ...]:
    if config is None:
        return ()
    if not config.tools:
        raise Invalid("Value at 'toolConfig.tools' failed to satisfy constraint: Member must have length at least 1")
    found: list[Tool] = []
    for at, row in enumerate(config.tools):
        place = f"toolConfig.tools.{at}"
        if row.cache_point is not None:
            prompt.mark(row.cache_point, place)
            continue
        spec = row.tool_spec
        if spec is None:
            raise Invalid(f"The tool at {place} is empty.")
        if not _TOOL.fullmatch(spec.name) or spec.description == "":
            raise Invalid(f"Value at '{place}.toolSpec' failed to satisfy constraint")
        if spec.input_schema.json.get("type") != "object":
            raise Invalid(f"The value at {place}.toolSpec.inputSchema.json.type must be one of the following: object.")
        prompt.add(spec, tokens.count(msgspec.json.encode(spec).decode()))
        found.append(Tool(name=spec.name, parameters=spec.input_schema.json))
    if len({tool.name for tool in found}) < len(found):
        raise Invalid("The toolConfig has two tools of the same name.")
    return tuple(found)


def _system(blocks: Sequence[_System], prompt: _Prompt) -> list[Turn]:
    said: list[str] = []
    for at, block in enumerate(blocks):
        if block.cache_point is not None:
            prompt.mark(block.cache_point, f"system.{at}")
        elif not (block.text or "").strip():
            raise _blank("SystemContentBlock", f"system.{at}")
        else:
            said.append(block.text or "")
            prompt.add({"system": block.text}, tokens.count(said[-1]) + (tokens.PER_MESSAGE if len(said) == 1 else 0))
    return [Turn(role="system", text="\n".join(said))] if said else []


def _turns(messages: Sequence[_Message], prompt: _Prompt) -> list[Turn]:
    if not messages or messages[0].role != "user":
        raise Invalid(
            "A conversation must start with a user message. Try again with a conversation that starts with a user message."
        )
    turns: list[Turn] = []
    titles: set[str] = set()
    for at, message in enumerate(messages):
        place = f"messages.{at}"
        if message.role != ("user", "assistant")[at % 2]:
            raise Invalid(
                "A conversation must alternate between user and assistant roles. Make sure the conversation alternates "
                "between user and assistant roles and try again."
            )
        if not message.content:
            raise Invalid(
                f"The content field in the Message object at {place} is empty. Add a ContentBlock object to the content field."
            )
        said: list[str] = []
        results: list[str] = []
        for number, block in enumerate(message.content):
            where = f"{place}.content.{number}"
            if block.cache_point is not None:
                prompt.mark(block.cache_point, where)
                continue
            cost, text = _block(block, message.role, where, titles)
            (results if block.tool_result is not None else said).append(text)
            prompt.add(block, cost + (0 if number else tokens.PER_MESSAGE))
        texts = "\n".join([text for text in said if text])
        if results and texts:
            turns.append(Turn(role="user", text=texts))
        turns.append(Turn(role="tool" if results else message.role, text="\n".join(results) if results else texts))
    return turns


def _block(block: _Block, role: str, place: str, titles: set[str]) -> tuple[int, str]:
    """Tokens and text of a block."""
    members = [name for name in _Block.__struct_fields__ if getattr(block, name) is not None]
    if len(members) != 1:
        raise Invalid(
            f"The ContentBlock object at {place} must set one of the following keys: text, image, toolUse, toolResult, …"
        )
    if block.text is not None:
        if not block.text.strip():
            raise _blank("ContentBlock", place)
        return tokens.count(block.text), block.text
    if block.image is not None:
        _bytes(block.image.source, place)
        if block.image.format not in ("png", "jpeg", "gif", "webp") or role != "user":
            raise Invalid(f"The image at {place} is not valid.")
        return tokens.IMAGE, ""
    if block.document is not None:
        _bytes(block.document.source, place)
        if not _TITLE.fullmatch(block.document.name) or block.document.name in titles:
            raise Invalid(f"The name of the document at {place} is not valid, or another one has it.")
        titles.add(block.document.name)
        return tokens.count(msgspec.json.encode(block).decode()), ""
    if block.tool_use is not None:
        if role != "assistant" or not _ID.fullmatch(block.tool_use.tool_use_id):
            raise Invalid(f"The toolUse block at {place} is not valid.")
    elif block.tool_result is not None:
        if role != "user" or not _ID.fullmatch(block.tool_result.tool_use_id):
            raise Invalid(f"The toolResult block at {place} is not valid.")
        if any(piece.text is not None and not piece.text.strip() for piece in block.tool_result.content):
            raise _blank("ToolResultContentBlock", place)
        texts = [piece.text for piece in block.tool_result.content if piece.text]
        return tokens.count(msgspec.json.encode(block).decode()), "\n".join(texts)
    elif block.reasoning_content is not None:
        proven = block.reasoning_content.reasoning_text
        if proven is not None and proven.signature != signature(proven.text):
            raise Invalid(f"The model returned the following errors: {place}: Invalid `signature` in `thinking` block")
    return tokens.count(msgspec.json.encode(block).decode()), ""


def _bytes(source: _Source, place: str) -> None:
    try:
        if source.bytes is None or not b64decode(source.bytes, validate=True):
            raise Invalid(f"The source at {place} is empty.")
    except (NotBase64, ValueError):
        raise Invalid(f"The source at {place} is not in base 64.") from None


def _paired(asked: ConverseBody) -> None:
    """Every call must be answered in the very next turn, all of them in one, and nothing else may be."""
    called: set[str] = set()
    for at, message in enumerate(asked.messages):
        results = {block.tool_result.tool_use_id for block in message.content if block.tool_result is not None}
        calls = {block.tool_use.tool_use_id for block in message.content if block.tool_use is not None}
        if (results or calls) and asked.tool_config is None:
            raise Invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        missing = ", ".join(sorted(called - results))
        if missing:
            raise Invalid(f"Expected toolResult blocks at messages.{at}.content for the following Ids: {missing}")
        if results - called:
            raise Invalid(
                f"The number of toolResult blocks at messages.{at}.content exceeds the number of toolUse blocks of previous turn."
            )
        called = calls


def _choice(config: _Tools | None, thinks: bool) -> str:
    """`auto`, `required` or `=NAME`."""
    choice = config.tool_choice if config is not None else None
    if choice is None or choice.auto is not None:
        return "auto"
    if thinks:
        raise Invalid("The model returned the following errors: Thinking may not be enabled when tool_choice forces tool use.")
    return f"={choice.tool.name}" if choice.tool is not None else "required"


def _schema(output: _Output | None) -> Schema | None:
    if output is None or output.text_format is None:
        return None
    try:
        return msgspec.json.decode(output.text_format.structure.json_schema.schema, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise Invalid("The value at outputConfig.textFormat.structure.jsonSchema.schema is no JSON schema.") from None


def _blank(kind: str, place: str) -> Invalid:
    return Invalid(f"The text field in the {kind} object at {place} is blank. Add text to the text field, and try again.")


def too_long(most: int, size: int) -> Invalid:
    """The refusal of a prompt that does not fit; routers look for its words."""
    return Invalid("Input is too long for requested model.")


def blocked() -> Invalid:
    """The refusal of what a filter found."""
    return Invalid("The model returned the following errors: Output blocked by content filtering policy")


def error(problem: TandemError) -> bytes:
    """A refusal, in AWS's shape; its name stands in a header."""
    return _error(f"{problem.message} {problem.hint}" if problem.hint else problem.message)


def scripted(status: int) -> bytes:
    """The body of a refusal that a fault asked for."""
    return _error(_SCRIPTED.get(status, f"The mock refuses this request with status {status}."))


def named(status: int, code: str = "") -> Mapping[str, str]:
    """The header that names a refusal."""
    name = code if code.endswith("Exception") else NAMES.get(status)
    name = name or ("InternalServerException" if status >= 500 else "ValidationException")
    return {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"}


def _error(message: str) -> bytes:
    return msgspec.json.encode({"message": message})
