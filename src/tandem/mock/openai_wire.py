"""OpenAI's words in: reads chat and embedding requests, counts their tokens, words refusals. No socket, no clock.

Source: the OpenAI API reference for `POST /v1/chat/completions`, `POST /v1/embeddings`, `GET /v1/models`,
as its Python client (openai 3) reads and writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from tandem.core.errors import Invalid, TandemError
from tandem.mock import embed, prices, tokens
from tandem.mock.model import Ask, Tool, Turn
from tandem.mock.schema import Schema

T = TypeVar("T")

ROLES = ("developer", "system", "user", "assistant", "tool", "function")
MOST_CHOICES = 128
MOST_INPUTS = 2048
_NOTHING = msgspec.Raw(b"")


class _ImageUrl(msgspec.Struct):
    detail: str | None = None


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: _ImageUrl | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[msgspec.Raw] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: msgspec.Raw = _NOTHING


class _Function(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None


class _JsonSchema(msgspec.Struct):
    name: str
    schema: dict[str, Any] | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: _JsonSchema | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatBody(msgspec.Struct):
    """The members of a chat request that change what the mock does; all others are accepted and ignored."""

    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    tools: msgspec.Raw = _NOTHING
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: msgspec.Raw = _NOTHING


class EmbeddingBody(msgspec.Struct):
    """The members of an embedding request that change what the mock does."""

    model: str
    input: msgspec.Raw
    encoding_format: str | None = None
    dimensions: int | None = None


_chat_body = msgspec.json.Decoder(ChatBody)
_embedding_body = msgspec.json.Decoder(EmbeddingBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A chat request, read: what the model must know, and what only the wire must."""

    ask: Ask
    n: int
    stream: bool
    include_usage: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    model: str
    inputs: Sequence[str | list[int]]
    base64: bool
    dimensions: int
    prompt_tokens: int


def read_chat(body: bytes) -> ChatRequest:
    """Reads the body of `POST /v1/chat/completions`.

    Raises:
        Invalid: as OpenAI would refuse it.
    """
    chat = _decoded(_chat_body, body)
    if not chat.messages:
        raise Invalid("Invalid 'messages': empty array. Expected at least one message.", field="messages", code="empty_array")
    if chat.stream_options is not None and not chat.stream:
        raise Invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", field="stream_options")
    count = tokens.PER_REQUEST
    turns: list[Turn] = []
    for at, message in enumerate(chat.messages):
        turn, cost = _turn(message, at)
        turns.append(turn)
        count += cost
    tools: tuple[Tool, ...] = ()
    if _given(chat.tools):
        count += _raw_tokens(chat.tools)
        tools = _tools(chat.tools)
    schema: Schema | None = None
    if _given(chat.response_format):
        schema, cost = _schema(chat.response_format)
        count += cost
    stop = (chat.stop,) if isinstance(chat.stop, str) else tuple(chat.stop or ())
    if len(stop) > 4:
        raise Invalid(
            "Invalid 'stop': array too long. Expected at most 4 sequences.", field="stop", code="array_above_max_length"
        )
    return ChatRequest(
        ask=Ask(
            model=chat.model,
            turns=turns,
            prompt_tokens=count,
            tools=tools,
            choice=_choice(chat.tool_choice, tools),
            parallel=chat.parallel_tool_calls is not False,
            schema=schema,
            stop=tuple(word for word in stop if word),
            limit=_limit(chat),
            seed=chat.seed or 0,
        ),
        n=_within("n", chat.n, 1, MOST_CHOICES),
        stream=bool(chat.stream),
        include_usage=chat.stream_options is not None and bool(chat.stream_options.include_usage),
    )


def read_embedding(body: bytes) -> EmbeddingRequest:
    """Reads the body of `POST /v1/embeddings`.

    Raises:
        Invalid: as OpenAI would refuse it.
    """
    request = _decoded(_embedding_body, body)
    inputs = _inputs(request.input)
    if not 1 <= len(inputs) <= MOST_INPUTS:
        raise Invalid(f"Invalid 'input': {len(inputs)} items. Expected 1 to {MOST_INPUTS}.", field="input")
    if not all(inputs):
        raise Invalid("Invalid 'input': input cannot be an empty string.", field="input")
    if request.encoding_format not in (None, "float", "base64"):
        raise _unsupported(str(request.encoding_format), ("float", "base64"), "encoding_format")
    sizes = [tokens.count(one) if isinstance(one, str) else len(one) for one in inputs]
    most = prices.TABLE["text-embedding-3-small"].context
    if max(sizes) > most:
        raise too_long(most, max(sizes), "input")
    return EmbeddingRequest(
        model=request.model,
        inputs=inputs,
        base64=request.encoding_format == "base64",
        dimensions=_within("dimensions", request.dimensions or embed.DIMENSIONS, 1, embed.DIMENSIONS),
        prompt_tokens=sum(sizes),
    )


def too_long(most: int, size: int, field: str) -> Invalid:
    """The refusal of a prompt that does not fit; routers look for its code."""
    return Invalid(
        f"This model's maximum context length is {most} tokens. However, your {field} resulted in {size} tokens. "
        f"Please reduce the length of the {field}.",
        field=field,
        code="context_length_exceeded",
    )


def blocked() -> Invalid:
    """The refusal of a prompt by the content filter."""
    return Invalid("The prompt was refused by the content filter.", field="messages", code="content_filter")


def unknown_members(body: bytes, path: str) -> dict[str, object]:
    """Members of a request that the mock does not read."""
    known = ChatBody.__struct_fields__ if path.endswith("/chat/completions") else EmbeddingBody.__struct_fields__
    if path.endswith("/rerank"):
        known = ("model", "query", "documents", "top_n", "return_documents")
    try:
        members = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return {name: value for name, value in members.items() if name not in known}


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        raise Invalid(f"Invalid request: {reason}.", field=place.strip("`").lstrip(".") or None) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"We could not parse the JSON body of your request: {error}.", hint="Is it valid JSON in UTF-8?") from None


def _unsupported(value: str, values: Sequence[str], field: str) -> Invalid:
    listed = ", ".join(f"'{one}'" for one in values)
    return Invalid(f"Invalid value: '{value}'. Supported values are: {listed}.", field=field, code="invalid_value")


def _given(raw: msgspec.Raw) -> bool:
    text = bytes(raw)
    return text not in (b"", b"null")


def _raw_tokens(raw: msgspec.Raw) -> int:
    """Tokens of a part of the body, exactly as it was sent."""
    return tokens.count(bytes(raw).decode())


def _turn(message: _Message, at: int) -> tuple[Turn, int]:
    """A message and its tokens."""
    if message.role not in ROLES:
        raise _unsupported(message.role, ROLES, f"messages[{at}].role")
    cost = tokens.PER_MESSAGE
    text = ""
    if isinstance(message.content, str):
        text = message.content
        cost += tokens.count(text)
    elif message.content is not None:
        texts: list[str] = []
        for raw in message.content:
            part = _read(raw, _Part, f"messages[{at}].content")
            said = part.text if part.type == "text" else part.refusal if part.type == "refusal" else None
            if said is not None:
                texts.append(said)
                cost += tokens.count(said)
            elif part.type == "image_url" and part.image_url is not None:
                cost += tokens.IMAGE_LOW if part.image_url.detail == "low" else tokens.IMAGE
            else:
                cost += _raw_tokens(raw)
        text = "\n".join(texts)
    if message.name is not None:
        cost += tokens.count(message.name)
    if message.refusal is not None:
        cost += tokens.count(message.refusal)
    if _given(message.tool_calls):
        cost += _raw_tokens(message.tool_calls)
    return Turn(role=message.role, text=text), cost


def _read(raw: msgspec.Raw, kind: type[T], field: str) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"Invalid request: {error}.", field=field) from None


def _tools(raw: msgspec.Raw) -> tuple[Tool, ...]:
    rows = _read(raw, list[_Tool], "tools")
    if not rows:
        raise Invalid("Invalid 'tools': empty array. Expected at least one tool.", field="tools", code="empty_array")
    functions = [row.function for row in rows if row.type == "function"]
    found: list[Tool] = []
    for at, function in enumerate(functions):
        if function is None or not function.name:
            raise Invalid("Missing required parameter: 'function.name'.", field=f"tools[{at}].function.name")
        found.append(Tool(name=function.name, parameters=function.parameters or {"type": "object"}))
    return tuple(found)


def _schema(raw: msgspec.Raw) -> tuple[Schema | None, int]:
    """The schema an answer must satisfy, and the tokens of the whole `response_format`, which only a schema costs."""
    form = _read(raw, _Format, "response_format")
    match form.type:
        case "text":
            return None, 0
        case "json_object":
            return {}, 0
        case "json_schema" if form.json_schema is not None and form.json_schema.schema:
            return form.json_schema.schema, _raw_tokens(raw)
        case "json_schema":
            raise Invalid(
                "Missing required parameter: 'response_format.json_schema.schema'.", field="response_format.json_schema"
            )
        case _:
            raise _unsupported(form.type, ("text", "json_object", "json_schema"), "response_format.type")


def _choice(choice: str | dict[str, Any] | None, tools: Sequence[Tool]) -> str:
    """`auto`, `none`, `required` or `=NAME`."""
    if choice is None:
        return "auto"
    names = [tool.name for tool in tools]
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required"):
            raise _unsupported(choice, ("auto", "none", "required"), "tool_choice")
        if not names and choice == "required":
            raise Invalid("Invalid value for 'tool_choice': it is only allowed when 'tools' are given.", field="tool_choice")
        return choice
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        return "required" if isinstance(allowed, dict) and allowed.get("mode") == "required" else "auto"
    if not isinstance(name, str) or name not in names:
        raise Invalid(f"Tool choice '{name}' not found in 'tools'.", field="tool_choice")
    return f"={name}"


def _limit(chat: ChatBody) -> int | None:
    if chat.max_tokens is not None and chat.max_completion_tokens is not None:
        raise Invalid("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", field="max_tokens")
    name = "max_tokens" if chat.max_tokens is not None else "max_completion_tokens"
    limit = chat.max_tokens if chat.max_tokens is not None else chat.max_completion_tokens
    return None if limit is None else _within(name, limit, 1, 1 << 40)


def _within(name: str, value: int | None, least: int, most: int) -> int:
    """The value, or `least` where none is given."""
    if value is None:
        return least
    if value < least:
        raise Invalid(f"Invalid '{name}': expected {least} or more, but got {value}.", field=name, code="integer_below_min_value")
    if value > most:
        raise Invalid(f"Invalid '{name}': expected {most} or less, but got {value}.", field=name, code="integer_above_max_value")
    return value


def _inputs(raw: msgspec.Raw) -> Sequence[str | list[int]]:
    """A text, texts, the numbers of tokens, or lists of them: four shapes of the same list."""
    try:
        value = msgspec.json.decode(raw, type=str | list[str | int | list[int]])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"Invalid 'input': {error}.", field="input") from None
    if isinstance(value, str):
        return [value]
    numbers = [one for one in value if isinstance(one, int)]
    if numbers and len(numbers) == len(value):
        return [numbers]
    items = [one for one in value if not isinstance(one, int)]
    if len(items) != len(value):
        raise Invalid("Invalid 'input': a list holds texts or tokens, not both.", field="input")
    return items


def error(problem: TandemError) -> bytes:
    """A refusal, in OpenAI's shape; the class's own code is ours and shown as null."""
    code = None if problem.code == type(problem).code else problem.code
    message = f"{problem.message} {problem.hint}" if problem.hint else problem.message
    return _error(problem.status, message, problem.field, code)


_SCRIPTED: dict[int, tuple[str, str | None]] = {
    400: ("The request was rejected.", None),
    401: ("Incorrect API key provided: it is refused on purpose.", "invalid_api_key"),
    403: ("You are not allowed to do this.", "unsupported_country_region_territory"),
    404: ("The model does not exist or you do not have access to it.", "model_not_found"),
    429: ("Rate limit reached for requests. Please slow down.", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request. Sorry about that!", None),
    503: ("The engine is currently overloaded, please try again later.", None),
}


def scripted(status: int) -> bytes:
    """The body of a refusal that a fault asked for."""
    message, code = _SCRIPTED.get(status, (f"The mock refuses this request with status {status}.", None))
    return _error(status, message, None, code)


def _error(status: int, message: str, field: str | None, code: str | None) -> bytes:
    kind = "server_error" if status >= 500 else "requests" if status == 429 else "invalid_request_error"
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": field, "code": code}})
