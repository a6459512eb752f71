"""The words of OpenAI's Responses API in: reads requests, remembers answers for the next one. No socket, no clock.

It refuses what the real API refuses, in its words, so that a client that sends it is found out.
Source: the OpenAI API reference for `POST /v1/responses`, as its Python client (openai 3) reads and writes it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import msgspec

from tandem.core.errors import Invalid, NotFound
from tandem.mock import tokens
from tandem.mock.model import Ask, Tool, Turn
from tandem.mock.schema import Schema

LEAST_OUTPUT = 16
MOST_KEPT = 1_000
"""Answers that are remembered."""
ROLES = ("user", "assistant", "system", "developer")
SEALED = "reasoning.encrypted_content"
THINKS = ("gpt-5", "o1", "o3", "o4")
"""How the names of models begin that think."""


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None


class _Format(msgspec.Struct):
    type: str = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class ResponsesBody(msgspec.Struct):
    """The members of a request that change what the mock does; all others are accepted and ignored."""

    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None
    include: list[str] | None = None
    reasoning: _Reasoning | None = None
    text: _Text | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    metadata: dict[str, str] | None = None
    stream: bool | None = None


_body = msgspec.json.Decoder(ResponsesBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What an answer leaves for those that go on from it."""

    turns: Sequence[Turn]
    tokens: int
    """Of the prompt and the answer."""
    calls: frozenset[str]
    """Calls that wait for their outputs."""


class Memory:
    """The newest answers, by the key they were asked with and their ids."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()

    def keep(self, key: str, id: str, kept: Kept) -> None:
        self._kept[key, id] = kept
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def find(self, key: str, id: str) -> Kept:
        """What was kept.

        Raises:
            Invalid: nothing, for this key.
        """
        kept = self._kept.get((key, id))
        if kept is None:
            raise Invalid(
                f"Previous response with id '{id}' not found.", field="previous_response_id", code="previous_response_not_found"
            )
        return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesRequest:
    """A request, read: what the model must know, and what only the wire must."""

    ask: Ask
    body: ResponsesBody
    thinks: bool
    sums: bool
    """Whether its thoughts are summed up."""
    seals: bool
    """Whether they are handed out, sealed."""


@dataclass(slots=True)
class _Prompt:
    """The prompt, item after item."""

    turns: list[Turn] = field(default_factory=list)
    count: int = 0
    open: set[str] = field(default_factory=set)
    """Calls that wait for their outputs."""

    def say(self, role: str, text: str, cost: int) -> None:
        self.turns.append(Turn(role=role, text=text))
        self.count += cost


def seal(id: str) -> str:
    """The mock's sealed content of a thought.

    >>> seal("rs_1")
    'gAAAA-mock-0e3d4f81'
    """
    return f"gAAAA-mock-{crc32(id.encode()):08x}"


def read(body: bytes, key: str, memory: Memory) -> ResponsesRequest:
    """Reads the body of `POST /v1/responses`.

    Raises:
        Invalid: as OpenAI would refuse it.
    """
    try:
        asked = _body.decode(body)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        raise Invalid(f"Invalid request: {reason}.", field=place.strip("`").lstrip(".") or None) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"We could not parse the JSON body of your request: {error}.", hint="Is it valid JSON in UTF-8?") from None
    if asked.background:
        raise Invalid("This mock does not answer in the background.", field="background")
    if asked.max_output_tokens is not None and asked.max_output_tokens < LEAST_OUTPUT:
        raise Invalid(
            f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {LEAST_OUTPUT}, "
            f"but got {asked.max_output_tokens} instead.",
            field="max_output_tokens",
            code="integer_below_min_value",
        )
    thinks = _thinks(asked)
    prompt = _Prompt()
    if asked.instructions:
        prompt.say("system", asked.instructions, tokens.PER_MESSAGE + tokens.count(asked.instructions))
    if asked.previous_response_id is not None:
        kept = memory.find(key, asked.previous_response_id)
        prompt.turns += kept.turns
        prompt.count += kept.tokens
        prompt.open |= kept.calls
    _input(asked.input, prompt)
    offered = _offered(asked, prompt)
    schema = _schema(asked, prompt)
    prompt.count += tokens.PER_REQUEST
    return ResponsesRequest(
        ask=Ask(
            model=asked.model,
            turns=prompt.turns,
            prompt_tokens=prompt.count,
            tools=offered,
            choice=_choice(asked.tool_choice, [tool.name for tool in offered]),
            parallel=asked.parallel_tool_calls is not False,
            schema=schema,
            limit=asked.max_output_tokens,
        ),
        body=asked,
        thinks=thinks,
        sums=thinks and asked.reasoning is not None and asked.reasoning.summary is not None,
        seals=SEALED in (asked.include or ()),
    )


def unknown_members(body: bytes) -> dict[str, object]:
    """Members of a request that the mock does not read."""
    try:
        members = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return {name: value for name, value in members.items() if name not in ResponsesBody.__struct_fields__}


def _thinks(asked: ResponsesBody) -> bool:
    """Whether the model thinks over this request: those that can do, unless they are told not to."""
    able = asked.model.startswith(THINKS)
    if SEALED in (asked.include or ()) and not able:
        raise Invalid("Encrypted content is not supported with this model.", field="include")
    effort = asked.reasoning.effort if asked.reasoning is not None else None
    if asked.reasoning is not None and not able and (effort or asked.reasoning.summary):
        raise Invalid(
            "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
            field="reasoning.effort",
            code="unsupported_parameter",
        )
    return able and effort not in ("none", "minimal")


def _input(given: str | list[dict[str, Any]], prompt: _Prompt) -> None:
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not items and not prompt.turns:
        raise Invalid("Invalid 'input': empty array. Expected at least one item.", field="input", code="empty_array")
    for at, item in enumerate(items):
        place = f"input[{at}]"
        match item.get("type", "message"):
            case "message":
                role = item.get("role")
                if role not in ROLES:
                    raise _unsupported(str(role), ROLES, f"{place}.role")
                text, cost = _content(item.get("content"), f"{place}.content")
                prompt.say(role, text, tokens.PER_MESSAGE + cost)
            case "function_call":
                _text(item, "name", place)
                _text(item, "arguments", place)
                prompt.open.add(_text(item, "call_id", place))
                prompt.say("assistant", "", _json(item))
            case "function_call_output":
                call = _text(item, "call_id", place)
                if call not in prompt.open:
                    raise Invalid(f"No tool call found for function call output with call_id {call}.", field="input")
                prompt.open.discard(call)
                text, cost = _content(item.get("output"), f"{place}.output")
                prompt.say("tool", text, tokens.PER_MESSAGE + cost)
            case "reasoning":
                prompt.count += _thought(item, place)
            case kind:
                raise _unsupported(str(kind), ("message", "function_call", "function_call_output", "reasoning"), f"{place}.type")
    if prompt.open:
        raise Invalid(f"No tool output found for function call {min(prompt.open)}.", field="input")


def _thought(item: dict[str, Any], place: str) -> int:
    """Tokens of a thought that comes back; only one that was sealed here does."""
    id, sealed = _text(item, "id", place), item.get("encrypted_content")
    if sealed is None:
        raise NotFound(f"Item with id '{id}' not found. Items are not persisted when `store` is set to false.", field="input")
    if sealed != seal(id):
        raise Invalid(
            f"The encrypted content for item {id} could not be verified.", field="input", code="invalid_encrypted_content"
        )
    return _json(item)


def _content(given: Any, place: str) -> tuple[str, int]:
    """Text and tokens of what a message, or a tool, says."""
    if isinstance(given, str):
        return given, tokens.count(given)
    if not isinstance(given, list):
        raise Invalid(f"Invalid type for '{place}': expected a text or an array.", field=place, code="invalid_type")
    texts: list[str] = []
    cost = 0
    for at, part in enumerate(given):
        match part:
            case {"type": "input_text" | "output_text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
                texts.append(text)
                cost += tokens.count(text)
            case {"type": "input_image"}:
                cost += tokens.IMAGE_LOW if part.get("detail") == "low" else tokens.IMAGE
            case {"type": "input_file"}:
                cost += _json(part)
            case _:
                kind = part.get("type") if isinstance(part, dict) else part
                raise _unsupported(str(kind), ("input_text", "input_image", "input_file"), f"{place}[{at}]")
    return "\n".join(texts), cost


def _json(item: Any) -> int:
    return tokens.count(msgspec.json.encode(item).decode())


def _text(item: dict[str, Any], name: str, place: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise Invalid(
            f"Missing required parameter: '{place}.{name}'.", field=f"{place}.{name}", code="missing_required_parameter"
        )
    return value


def _offered(asked: ResponsesBody, prompt: _Prompt) -> tuple[Tool, ...]:
    found: list[Tool] = []
    for at, row in enumerate(asked.tools or ()):
        prompt.count += _json(row)
        if row.get("type") != "function":
            raise _unsupported(str(row.get("type")), ("function",), f"tools[{at}].type")
        name, parameters = _text(row, "name", f"tools[{at}]"), row.get("parameters")
        found.append(Tool(name=name, parameters=parameters if isinstance(parameters, dict) else {"type": "object"}))
    return tuple(found)


def _schema(asked: ResponsesBody, prompt: _Prompt) -> Schema | None:
    form = asked.text.format if asked.text is not None else None
    match form.type if form is not None else "text":
        case "text":
            return None
        case "json_object":
            return {}
        case "json_schema" if form is not None and form.schema and form.name:
            prompt.count += _json(form)
            return form.schema
        case "json_schema":
            raise Invalid("Missing required parameter: 'text.format.name' or 'text.format.schema'.", field="text.format")
        case kind:
            raise _unsupported(kind, ("text", "json_object", "json_schema"), "text.format.type")


def _choice(choice: str | dict[str, Any] | None, names: Sequence[str]) -> str:
    """`auto`, `none`, `required` or `=NAME`."""
    match choice:
        case None:
            return "auto"
        case "required" if not names:
            raise Invalid("Tool choice 'required' must be specified with 'tools' parameter.", field="tool_choice")
        case "auto" | "none" | "required":
            return choice
        case {"type": "function", "name": str(name)} if name in names:
            return f"={name}"
        case _:
            raise Invalid(f"Tool choice '{choice}' not found in 'tools' parameter.", field="tool_choice")


def _unsupported(value: str, values: Sequence[str], field: str) -> Invalid:
    listed = ", ".join(f"'{one}'" for one in values)
    return Invalid(f"Invalid value: '{value}'. Supported values are: {listed}.", field=field, code="invalid_value")
