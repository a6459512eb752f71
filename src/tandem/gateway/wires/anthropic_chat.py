"""What a caller of the Messages API asks, in the words of a chat. Bytes in, words out; it answers nothing.

Source: Anthropic's API reference for `POST /v1/messages`, as the types of its Python SDK 2.14 encode it.
"""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from tandem.core.chat import (
    Chat,
    Choice,
    Document,
    Format,
    Image,
    Keep,
    Message,
    Part,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from tandem.core.errors import Invalid

T = TypeVar("T")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
NONE = msgspec.Raw(b"null")
ELSEWHERE = "Leave it out, or choose an endpoint whose provider is Anthropic."
_PROOF = "__proof_"
"""What stands in a call's id between the id and another provider's proof, which must come back with the call."""


class _Cache(msgspec.Struct):
    type: str = "ephemeral"
    ttl: Keep = "5m"


class _Source(msgspec.Struct):
    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""


class _Citations(msgspec.Struct):
    enabled: bool | None = None


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    cache_control: _Cache | None = None
    source: _Source | None = None
    title: str | None = None
    context: str | None = None
    citations: msgspec.Raw = NONE
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    toolset_name: str | None = None
    tool_use_id: str = ""
    content: str | list[msgspec.Raw] | None = None
    is_error: bool | None = None


class _Kind(msgspec.Struct):
    type: str


class _Turn(msgspec.Struct):
    role: str
    content: str | list[msgspec.Raw]


class _Tool(msgspec.Struct):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] = {}
    strict: bool | None = None
    cache_control: _Cache | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Format(msgspec.Struct):
    type: str
    schema: dict[str, Any] = {}


class _Output(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Think(msgspec.Struct):
    type: str
    budget_tokens: int | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Body(msgspec.Struct):
    """The members of a request that have words in a chat."""

    model: str
    messages: list[_Turn]
    max_tokens: int
    system: str | list[msgspec.Raw] | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: _Choice | None = None
    output_config: _Output | None = None
    thinking: _Think | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    metadata: _Metadata | None = None
    cache_control: _Cache | None = None
    stream: bool | None = None


_body = msgspec.json.Decoder(_Body)
_members = msgspec.json.Decoder(dict[str, Any])
_KINDS = frozenset({"text", "image", "document", "thinking", "redacted_thinking", "tool_use", "tool_result"})


def read(body: bytes) -> Chat:
    """What a request asks for.

    Raises:
        Invalid: it cannot be read, or holds what has no words in a chat and must not be left out; `field` names it.
    """
    try:
        asked = _body.decode(body)
        everything = _members.decode(body)
    except UNREADABLE as error:
        raise unreadable(error) from None
    if asked.max_tokens < 1:
        raise Invalid("Only Anthropic can be asked for no answer at all.", field="max_tokens", hint=ELSEWHERE)
    output = asked.output_config or _Output()
    return Chat(
        messages=_messages(asked),
        tools=tuple([_tool(raw, f"tools[{at}]") for at, raw in enumerate(asked.tools or ())]),
        choice=_choice(asked.tool_choice),
        format=_format(output.format),
        max_output=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        stop=tuple(asked.stop_sequences or ()),
        effort=output.effort or "",
        thinking=_thinking(asked.thinking),
        user=(asked.metadata.user_id or "") if asked.metadata is not None else "",
        stream=bool(asked.stream),
        rest={name: value for name, value in everything.items() if name not in _Body.__struct_fields__ and value is not None},
    )


def unreadable(error: Exception) -> Invalid:
    """A body that is not what the reference describes; `field` names where it is known."""
    text = str(error)
    field = text.rpartition("`$.")[2].rstrip("`") if "`$." in text else None
    if "missing required field" in text:
        field = text.split("`")[1]
    return Invalid(
        "The request is not valid.", words=f"{text}.", field=field, hint="Send the JSON that Anthropic's API reference describes."
    )


def with_proof(id: str, proof: str) -> str:
    """A call's id that carries another provider's proof, since this wire has no place for one.

    >>> without_proof(with_proof("call_1", "x/y=="))
    ('call_1', 'x/y==')
    """
    return f"{id}{_PROOF}{urlsafe_b64encode(proof.encode()).decode().rstrip('=')}" if proof else id


def without_proof(id: str) -> tuple[str, str]:
    """A call's id, and the proof that it carries or nothing."""
    name, mark, proof = id.partition(_PROOF)
    if not mark:
        return id, ""
    try:
        return name, urlsafe_b64decode(proof + "=" * (-len(proof) % 4)).decode()
    except ValueError:
        return id, ""


# --- messages


def _messages(asked: _Body) -> tuple[Message, ...]:
    messages: list[Message] = []
    if asked.system:
        messages.append(Message(role="system", parts=_parts(asked.system, "system")))
    for at, turn in enumerate(asked.messages):
        place = f"messages[{at}]"
        if turn.role not in ("user", "assistant", "system"):
            raise Invalid("A message is of the user, the assistant or the system.", words=f"It is of '{turn.role}'.", field=place)
        parts = _parts(turn.content, f"{place}.content")
        role: Role = "user" if turn.role == "user" else "assistant" if turn.role == "assistant" else "system"
        results = tuple([part for part in parts if isinstance(part, ToolResult)]) if role == "user" else ()
        if results:
            messages.append(Message(role="tool", parts=results))
            parts = tuple([part for part in parts if not isinstance(part, ToolResult)])
        if parts or not results:
            messages.append(Message(role=role, parts=parts))
    if asked.cache_control is not None and messages:
        messages[-1] = _kept(messages[-1], asked.cache_control.ttl)
    return tuple(messages)


def _kept(message: Message, keep: Keep) -> Message:
    """The message with a mark at its last part that can have one."""
    parts = list(message.parts)
    for at in reversed(range(len(parts))):
        part = parts[at]
        if isinstance(part, Text | Image | Document | ToolCall | ToolResult):
            parts[at] = replace(part, cache=keep)
            break
    return replace(message, parts=tuple(parts))


def _parts(content: str | list[msgspec.Raw], place: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(text=content),)
    return tuple([_part(raw, f"{place}[{at}]") for at, raw in enumerate(content)])


def _part(raw: msgspec.Raw, place: str) -> Part:
    kind = _decoded(raw, _Kind, place).type
    if kind not in _KINDS:
        raise Invalid("Only Anthropic knows this type of block.", words=f"It is '{kind}'.", field=f"{place}.type", hint=ELSEWHERE)
    block = _decoded(raw, _Block, place)
    cache = block.cache_control.ttl if block.cache_control is not None else None
    if block.toolset_name:
        raise Invalid("Only Anthropic has sets of tools.", field=f"{place}.toolset_name", hint=ELSEWHERE)
    match kind:
        case "text":
            return Text(text=block.text, cache=cache)
        case "image":
            return _image(_given(block.source, place), cache, place)
        case "document":
            return _document(block, _given(block.source, place), cache, place)
        case "thinking":
            return Thinking(text=block.thinking, signature=block.signature)
        case "redacted_thinking":
            return Thinking(hidden=block.data)
        case "tool_use":
            id, proof = without_proof(block.id)
            return ToolCall(id=id, name=block.name, arguments=bytes(block.input).decode(), signature=proof, cache=cache)
        case _:
            return _result(block, cache, place)


def _decoded(raw: msgspec.Raw, kind: type[T], place: str) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except UNREADABLE as error:
        inner = unreadable(error)
        raise Invalid(
            inner.message, words=inner.words, hint=inner.hint, field=f"{place}.{inner.field}" if inner.field else place
        ) from None


def _given(source: _Source | None, place: str) -> _Source:
    if source is None:
        raise Invalid("The block has no source.", field=f"{place}.source")
    return source


def _image(source: _Source, cache: Keep | None, place: str) -> Image:
    if source.type == "base64":
        return Image(media=source.media_type, data=source.data, cache=cache)
    if source.type == "url":
        return Image(url=source.url, cache=cache)
    raise _kept_there(source, place)


def _document(block: _Block, source: _Source, cache: Keep | None, place: str) -> Document:
    if block.context:
        raise Invalid("Only Anthropic takes a document's context.", field=f"{place}.context", hint=ELSEWHERE)
    if bytes(block.citations) != b"null" and _decoded(block.citations, _Citations, f"{place}.citations").enabled:
        raise Invalid("Only Anthropic cites documents.", field=f"{place}.citations", hint=ELSEWHERE)
    name = block.title or ""
    match source.type:
        case "base64":
            return Document(media=source.media_type, data=source.data, name=name, cache=cache)
        case "text":
            data = b64encode(source.data.encode()).decode()
            return Document(media=source.media_type or "text/plain", data=data, name=name, cache=cache)
        case "url":
            return Document(url=source.url, name=name, cache=cache)
        case _:
            raise _kept_there(source, place)


def _kept_there(source: _Source, place: str) -> Invalid:
    return Invalid(
        "Only Anthropic can read from this source.", words=f"It is '{source.type}'.", field=f"{place}.source.type", hint=ELSEWHERE
    )


def _result(block: _Block, cache: Keep | None, place: str) -> ToolResult:
    parts: list[Text | Image | Document] = []
    for at, part in enumerate(_parts(block.content or [], f"{place}.content")):
        if not isinstance(part, Text | Image | Document):
            raise Invalid("A tool's result holds text, images and documents.", field=f"{place}.content[{at}]")
        parts.append(part)
    call, _ = without_proof(block.tool_use_id)
    return ToolResult(call=call, parts=tuple(parts), failed=bool(block.is_error), cache=cache)


# --- all else


def _tool(raw: msgspec.Raw, place: str) -> Tool:
    tool = _decoded(raw, _Tool, place)
    if tool.type not in (None, "custom"):
        raise Invalid("Only Anthropic has this tool.", words=f"It is '{tool.type}'.", field=f"{place}.type", hint=ELSEWHERE)
    cache = tool.cache_control.ttl if tool.cache_control is not None else None
    return Tool(name=tool.name, description=tool.description or "", schema=tool.input_schema, strict=tool.strict, cache=cache)


def _choice(choice: _Choice | None) -> Choice | None:
    if choice is None:
        return None
    parallel = None if choice.disable_parallel_tool_use is None else not choice.disable_parallel_tool_use
    match choice.type:
        case "auto":
            return Choice(mode="auto", parallel=parallel)
        case "any":
            return Choice(mode="required", parallel=parallel)
        case "none":
            return Choice(mode="none")
        case "tool":
            return Choice(mode="one", name=choice.name, parallel=parallel)
        case _:
            raise Invalid("tool_choice is auto, any, tool or none.", words=f"It is '{choice.type}'.", field="tool_choice.type")


def _format(form: _Format | None) -> Format | None:
    if form is None:
        return None
    if form.type != "json_schema":
        raise Invalid("The format of an answer is json_schema.", words=f"It is '{form.type}'.", field="output_config.format.type")
    schema: Mapping[str, object] = form.schema
    return Format(schema=schema, strict=True)


def _thinking(think: _Think | None) -> int | None:
    """Tokens to think with; None where the model weighs by itself."""
    if think is None or think.type in ("adaptive", "between_tools"):
        return None
    if think.type == "disabled":
        return 0
    if think.type != "enabled" or think.budget_tokens is None:
        raise Invalid("thinking is enabled with budget_tokens, adaptive, or disabled.", field="thinking")
    return think.budget_tokens
