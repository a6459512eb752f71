"""Gemini's words in: reads generateContent requests, counts their tokens, words refusals. No socket, no clock.

Source: https://ai.google.dev/api/generate-content, as its Python client (google-genai 3) writes requests. Like
Google it refuses members it does not know, results that do not fit the calls before them, and, for Gemini 3,
a call that comes back without its proof.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from tandem.core.errors import Forbidden, Invalid, TandemError
from tandem.mock import tokens
from tandem.mock.model import Ask, Tool, Turn
from tandem.mock.schema import Schema

T = TypeVar("T")

FILE = 258
"""Tokens of an image or another file: Google's figure for a picture of up to 384 by 384 pixels."""
PATH = re.compile(r"/v1(?:beta)?/models/(?P<model>[^/:]+):(?P<verb>generateContent|streamGenerateContent)")
ANYTHING = "skip_thought_signature_validator"
"""A proof that is always taken."""
_OWN = frozenset({"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "labels"})
"""Members whose content is the caller's own and keeps its names."""
_NOTHING = msgspec.Raw(b"")


class _Member(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """What Google would refuse a stranger in."""


class _Blob(_Member):
    mime_type: str
    data: str


class _File(_Member):
    file_uri: str
    mime_type: str | None = None


class _Call(_Member):
    name: str
    args: dict[str, Any] | None = None
    id: str | None = None


class _Response(_Member):
    name: str
    response: dict[str, Any]
    id: str | None = None
    parts: list[Any] | None = None


class _Part(_Member):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: _Blob | None = None
    file_data: _File | None = None
    function_call: _Call | None = None
    function_response: _Response | None = None


class _Content(_Member):
    parts: list[msgspec.Raw] = []
    role: str | None = None


class _Declaration(_Member):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    parameters_json_schema: dict[str, Any] | None = None
    behavior: str | None = None
    response: Any = None
    response_json_schema: Any = None


class _Tools(_Member):
    function_declarations: list[_Declaration] = []


class _Calling(_Member):
    mode: str | None = None
    allowed_function_names: list[str] | None = None


class _ToolConfig(_Member):
    function_calling_config: _Calling | None = None
    retrieval_config: Any = None


class _Thinking(_Member):
    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: str | None = None


class _Config(_Member):
    candidate_count: int | None = None
    max_output_tokens: int | None = None
    stop_sequences: list[str] | None = None
    seed: int | None = None
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | None = None
    thinking_config: _Thinking | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool | None = None
    logprobs: int | None = None
    response_modalities: list[str] | None = None
    media_resolution: str | None = None
    speech_config: Any = None
    image_config: Any = None


class GenerateBody(_Member):
    """A request; all but what is read here is accepted and ignored."""

    contents: list[_Content]
    system_instruction: _Content | None = None
    tools: msgspec.Raw = _NOTHING
    tool_config: _ToolConfig | None = None
    generation_config: msgspec.Raw = _NOTHING
    safety_settings: Any = None
    cached_content: str | None = None
    labels: Any = None
    service_tier: str | None = None
    store: bool | None = None


_body = msgspec.json.Decoder(GenerateBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """A request, read: what the model must know, and what only the wire must."""

    ask: Ask
    thoughts: str
    """What the model shall be heard to think first; empty where nobody asked."""
    signs: bool
    """Whether calls bear an id and a proof, as from Gemini 3 on."""


def read(body: bytes, model: str) -> GenerateRequest:
    """Reads the body of `POST /v1beta/models/{model}:generateContent` (or `/v1/…`, where the client asks by default).

    Raises:
        Invalid: as Google would refuse it.
    """
    asked = _read(_spelt(body), GenerateBody, _body)
    if not asked.contents:
        raise Invalid("* GenerateContentRequest.contents: contents is not specified")
    config = _read(bytes(asked.generation_config) or b"{}", _Config)
    if config.candidate_count not in (None, 1):
        raise Invalid("Multiple candidates is not enabled for this model")
    count = tokens.PER_REQUEST
    turns: list[Turn] = []
    signs = re.match(r"gemini-(?:[3-9]|\d\d)", model) is not None
    calls: list[_Call] = []
    for content in ([asked.system_instruction] if asked.system_instruction is not None else []) + asked.contents:
        system = content is asked.system_instruction
        if not system and content.role not in (None, "user", "model", "function"):
            raise Invalid("Please use a valid role: user, model.")
        parts = [_read(raw, _Part) for raw in content.parts]
        if not parts:
            raise Invalid("* GenerateContentRequest.contents.parts: must include at least one parts field")
        _match(parts, calls)
        calls = [part.function_call for part in parts if part.function_call is not None]
        if signs and calls:
            _prove(parts)
        turn, cost = _turn(content, parts, system=system)
        turns.append(turn)
        count += cost
    tools: tuple[Tool, ...] = ()
    if bytes(asked.tools) not in (b"", b"null"):
        count += tokens.count(bytes(asked.tools).decode())
        tools = _tools(asked.tools)
    schema, cost = _schema(config)
    choice, tools = _choice(asked.tool_config, tools)
    thinking = config.thinking_config
    heard = thinking is not None and thinking.include_thoughts and thinking.thinking_budget != 0
    return GenerateRequest(
        ask=Ask(
            model=model,
            turns=turns,
            prompt_tokens=count + cost,
            tools=tools,
            choice=choice,
            schema=schema,
            stop=tuple(word for word in config.stop_sequences or () if word),
            limit=_limit(config.max_output_tokens),
            seed=config.seed or 0,
        ),
        thoughts="The request is read, and its facts are put into an answer." if heard else "",
        signs=signs,
    )


def _spelt(body: bytes) -> bytes:
    """A request in its shortest form with lowerCamelCase names: Google takes snake_case too, and its client sends both."""
    try:
        return msgspec.json.encode(_camel(msgspec.json.decode(body)))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"Invalid JSON payload received. {error}.") from None


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        named = {re.sub(r"_([a-z])", lambda found: found[1].upper(), key): inner for key, inner in value.items()}
        return {key: inner if key in _OWN else _camel(inner) for key, inner in named.items()}
    return [_camel(item) for item in value] if isinstance(value, list) else value


def signature(name: str) -> str:
    """The proof of a call: base 64, as a client's JSON of bytes has it."""
    return b64encode(f"proof of {name}".encode()).decode()


def _turn(content: _Content, parts: Sequence[_Part], *, system: bool) -> tuple[Turn, int]:
    """A turn and its tokens."""
    cost = tokens.PER_MESSAGE
    texts: list[str] = []
    for raw, part in zip(content.parts, parts, strict=True):
        if part.text is not None:
            cost += tokens.count(part.text)
            if not part.thought:
                texts.append(part.text)
        elif part.inline_data is not None or part.file_data is not None:
            cost += FILE
        else:
            cost += tokens.count(bytes(raw).decode())
            if part.function_response is not None:
                texts.append(msgspec.json.encode(part.function_response.response).decode())
    answered = any(part.function_response is not None for part in parts)
    role = "system" if system else "tool" if answered else "assistant" if content.role == "model" else "user"
    return Turn(role=role, text="\n".join(texts)), cost


def _match(parts: Sequence[_Part], calls: Sequence[_Call]) -> None:
    """As many results as the turn before has calls, each for one of them."""
    results = [part.function_response for part in parts if part.function_response is not None]
    if len(results) != len(calls):
        raise Invalid(
            "Please ensure that the number of function response parts is equal to the number of function call parts "
            "of the function call turn."
        )
    if sorted(result.name for result in results) != sorted(call.name for call in calls):
        raise Invalid("Please ensure that function response names are those of the function call turn.")


def _prove(parts: Sequence[_Part]) -> None:
    """The first call of a turn bears the proof that it was given."""
    first = next(part for part in parts if part.function_call is not None)
    name = first.function_call.name if first.function_call is not None else ""
    if first.thought_signature is None:
        raise Invalid(f"Function call is missing a thought_signature in functionCall parts: {name}.")
    if first.thought_signature not in (signature(name), ANYTHING):
        raise Invalid("Thought signature is not valid.")


def _tools(raw: msgspec.Raw) -> tuple[Tool, ...]:
    declared = [row for tool in _read(raw, list[_Tools]) for row in tool.function_declarations]
    if not declared:
        raise Invalid("* GenerateContentRequest.tools[0].tool_type: required one_of 'tool_type' must have one initialized field")
    found: list[Tool] = []
    for row in declared:
        if not re.fullmatch(r"[A-Za-z_][\w.:-]{0,127}", row.name):
            raise Invalid(f"Invalid function name '{row.name}'. Must start with a letter or an underscore.")
        schema = row.parameters_json_schema or _lowered(row.parameters) or {"type": "object"}
        found.append(Tool(name=row.name, parameters=schema))
    return tuple(found)


def _choice(config: _ToolConfig | None, tools: tuple[Tool, ...]) -> tuple[str, tuple[Tool, ...]]:
    """`auto`, `none`, `required` or `=NAME`; and the tools that may be called."""
    calling = config.function_calling_config if config is not None else None
    if calling is None or calling.mode in (None, "AUTO", "VALIDATED", "MODE_UNSPECIFIED"):
        return "auto", tools
    if calling.mode == "NONE":
        return "none", tools
    if calling.mode != "ANY":
        raise Invalid(f"Invalid value at 'tool_config.function_calling_config.mode': \"{calling.mode}\"")
    allowed = calling.allowed_function_names or [tool.name for tool in tools]
    left = tuple(tool for tool in tools if tool.name in allowed)
    if not left or len(left) != len(set(allowed)):
        raise Invalid("allowed_function_names holds a function that is not declared.")
    return (f"={left[0].name}" if len(left) == 1 and calling.allowed_function_names else "required"), left


def _schema(config: _Config) -> tuple[Schema | None, int]:
    """The schema an answer must satisfy, and its tokens."""
    given = config.response_json_schema if config.response_json_schema is not None else _lowered(config.response_schema)
    if config.response_mime_type in (None, "text/plain"):
        if given is not None:
            raise Invalid("Unable to submit request because a response schema needs response_mime_type application/json.")
        return None, 0
    if config.response_mime_type != "application/json":
        raise Invalid("response_mime_type must be text/plain or application/json.")
    return (given, tokens.count(msgspec.json.encode(given).decode())) if given is not None else ({}, 0)


def _lowered(schema: Any) -> Any:
    """Google's own schema, whose types are in capitals, as JSON Schema."""
    if isinstance(schema, dict):
        return {
            key: value.lower() if key == "type" and isinstance(value, str) else _lowered(value) for key, value in schema.items()
        }
    return [_lowered(item) for item in schema] if isinstance(schema, list) else schema


def _limit(given: int | None) -> int | None:
    if given is not None and given < 1:
        raise Invalid("max_output_tokens must be positive.")
    return given


def _read(raw: msgspec.Raw | bytes, kind: type[T], decoder: msgspec.json.Decoder[T] | None = None) -> T:
    try:
        return decoder.decode(raw) if decoder is not None else msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"Invalid JSON payload received. {error}.") from None


def addresses(path: str) -> bool:
    """Whether an address is Google's and not OpenAI's: the two share `/v1/models/`."""
    return path.startswith("/v1beta/") or PATH.fullmatch(path) is not None


def too_long(most: int, size: int) -> Invalid:
    """The refusal of a prompt that does not fit; routers look for its words."""
    return Invalid(
        f"The input token count ({size}) exceeds the maximum number of tokens allowed ({most}).",
        code="context_length_exceeded",
    )


def blocked() -> Invalid:
    """The refusal of a prompt by the filter, as an error."""
    return Invalid("The request was blocked by the safety policy.", code="content_filter")


def unregistered() -> Forbidden:
    return Forbidden(
        "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form "
        "of API consumer identity to call this API."
    )


def wrong_key() -> Invalid:
    return Invalid("API key not valid. Please pass a valid API key.", code="API_KEY_INVALID")


_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_SCRIPTED = {
    401: "Request had invalid authentication credentials.",
    403: "The caller does not have permission.",
    429: "You exceeded your current quota, please check your plan and billing details.",
    500: "An internal error has occurred. Please retry or report.",
    503: "The model is overloaded. Please try again later.",
}


def error(problem: TandemError) -> bytes:
    """A refusal, in Google's shape."""
    message = f"{problem.message} {problem.hint}" if problem.hint else problem.message
    return _error(problem.status, message, list(_details(problem)))


def scripted(status: int) -> bytes:
    """The body of a refusal that a fault asked for."""
    details: list[object] = []
    if status == 429:
        violation = {
            "quotaMetric": "generate_content_requests",
            "quotaId": "GenerateRequestsPerMinutePerProject",
            "quotaValue": "10",
        }
        details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}]
    return _error(status, _SCRIPTED.get(status, f"The mock refuses this request with status {status}."), details)


def _details(problem: TandemError) -> Iterator[object]:
    if problem.code == "API_KEY_INVALID":
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        yield {"@type": kind, "reason": problem.code, "domain": "googleapis.com", "metadata": {"service": "mock"}}


def _error(status: int, message: str, details: list[object]) -> bytes:
    said = _STATUS.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    error: dict[str, object] = {"code": status, "message": message, "status": said}
    if details:
        error["details"] = details
    return msgspec.json.encode({"error": error})
