"""What a caller of OpenAI's Responses API asks, in the words of a chat. Bytes in, words out; it answers nothing.

Source: OpenAI's API reference for `POST /v1/responses`, as the types of its Python SDK 3.54 encode it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
    Refusal,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from tandem.core.errors import Invalid
from tandem.gateway.providers.responses_put import SEALED, proof
from tandem.gateway.wires.anthropic_chat import without_proof
from tandem.gateway.wires.openai_chat import DATA_URL

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
KNOWN = frozenset(
    {
        "model", "input", "instructions", "stream", "stream_options", "max_output_tokens", "user", "safety_identifier",
        "temperature", "top_p", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "include",
    }
)  # fmt: skip
TOOL = frozenset({"type", "name", "description", "parameters", "strict", "defer_loading"})
KEPT_THERE = ("previous_response_id", "conversation", "prompt", "background", "moderation")
"""Fields that ask for what one account of one provider has kept or does, without which the answer would be another one."""
ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
ELSEWHERE = "Leave it out, or name a model whose provider speaks responses."
_OURS = "tandem."
"""What the sealed content of a thought begins with where it went through words."""
_proof = msgspec.json.Decoder(list[str])


def read(body: bytes) -> Chat:
    """What a request asks for.

    Raises:
        Invalid: it cannot be read, or holds what has no words in a chat and must not be left out; `field` names it.
    """
    try:
        tree: dict[str, Any] = msgspec.json.decode(body)
    except UNREADABLE as error:
        raise unreadable(error) from None
    for name in KEPT_THERE:
        if tree.get(name) not in (None, False):
            raise _only_there(name)
    rest = {name: value for name, value in tree.items() if name not in KNOWN and value is not None}
    text, reasoning = _dict(tree.get("text"), "text"), _dict(tree.get("reasoning"), "reasoning")
    rest |= {f"text.{name}": value for name, value in text.items() if name != "format" and value is not None}
    rest |= {
        f"reasoning.{name}": value
        for name, value in reasoning.items()
        if name not in ("effort", "summary", "generate_summary") and value is not None
    }
    rest |= _beside(tree)
    wanted = [each for each in _list(tree.get("include"), "include") if each != SEALED]
    if wanted:
        rest["include"] = wanted
    return Chat(
        messages=_messages(tree),
        tools=tuple([_tool(each, f"tools[{at}]") for at, each in enumerate(_list(tree.get("tools"), "tools"))]),
        choice=_choice(tree.get("tool_choice"), tree.get("parallel_tool_calls")),
        format=_format(text.get("format")),
        max_output=_int(tree.get("max_output_tokens"), "max_output_tokens"),
        temperature=_number(tree.get("temperature"), "temperature"),
        top_p=_number(tree.get("top_p"), "top_p"),
        effort=_str(reasoning.get("effort") or "", "reasoning.effort"),
        summary=_str(reasoning.get("summary") or reasoning.get("generate_summary") or "", "reasoning.summary"),
        user=_str(tree.get("safety_identifier") or tree.get("user") or "", "user"),
        stream=bool(tree.get("stream")),
        rest=rest,
    )


def _beside(tree: Mapping[str, object]) -> dict[str, object]:
    """Members of tools and messages that have no words, by where they stand."""
    tools, items = _list(tree.get("tools"), "tools"), tree.get("input")
    found: dict[str, object] = {}
    for tool in tools:
        members = tool if isinstance(tool, Mapping) else {}
        found |= {f"tools.{name}": value for name, value in members.items() if name not in TOOL and value not in (None, False)}
    if isinstance(items, list) and any(isinstance(item, Mapping) and item.get("phase") for item in items):
        found["input.phase"] = True
    return found


def unreadable(error: Exception) -> Invalid:
    """A body that is not what the reference describes; `field` names where it is known."""
    text = str(error)
    field = text.rpartition("`$.")[2].rstrip("`") if "`$." in text else None
    if "missing required field" in text:
        field = text.split("`")[1]
    return Invalid(
        "The request is not valid.", words=f"{text}.", field=field, hint="Send the JSON that OpenAI's API reference describes."
    )


def sealed(signature: str, hidden: str) -> str:
    """The sealed content of an item: a thought's proof, whatever protocol it is of.

    >>> unsealed("rs_1", sealed("", "EqQB"))
    ('', 'EqQB')
    """
    return _OURS + urlsafe_b64encode(msgspec.json.encode([signature, hidden])).decode() if signature or hidden else ""


def unsealed(id: str, content: str) -> tuple[str, str]:
    """Signature and hidden thought of an item."""
    if not content.startswith(_OURS):
        return (proof(id, content) if content else ""), ""
    try:
        signature, hidden = _proof.decode(urlsafe_b64decode(content.removeprefix(_OURS)))
    except (ValueError, *UNREADABLE):
        return "", ""
    return signature, hidden


def _only_there(name: str, words: str = "") -> Invalid:
    return _not_carried(f"{name} is for a provider that speaks responses, and passes there only.", name, words)


def _not_carried(message: str, field: str, words: str = "", hint: str = ELSEWHERE) -> Invalid:
    """What another target of the route may have a place for."""
    return Invalid(message, words=words, field=field, hint=hint, code="not_carried")


# --- input


def _messages(tree: Mapping[str, object]) -> tuple[Message, ...]:
    """Messages in their order; what an assistant said, thought and called in a row is one of them, as are results of tools."""
    given = tree.get("input")
    items: Sequence[object] = [{"role": "user", "content": given}] if isinstance(given, str) else _list(given, "input")
    told = [Message(role="system", parts=(Text(text=text),))] if (text := _instructions(tree)) else []
    for at, item in enumerate(items):
        role, parts, phrased = _item(item, f"input[{at}]")
        if told and role in ("assistant", "tool") and told[-1].role == role and not (phrased and _only_words(told[-1])):
            told[-1] = Message(role=role, parts=(*told[-1].parts, *parts))
        else:
            told.append(Message(role=role, parts=tuple(parts)))
    return tuple(told)


def _only_words(message: Message) -> bool:
    """Whether the assistant has spoken and called nothing, so that more words are another message."""
    kinds = {type(part) for part in message.parts}
    return ToolCall not in kinds and bool(kinds & {Text, Refusal})


def _instructions(tree: Mapping[str, object]) -> str:
    return _str(tree.get("instructions") or "", "instructions")


def _item(tree: object, where: str) -> tuple[Role, list[Part], bool]:
    """Whose it is, what it holds, and whether it is a message."""
    item = _dict(tree, where)
    if not item:
        raise _odd(where, "an item")
    match item.get("type", "message"):
        case "message":
            role = ROLES.get(str(item.get("role")))
            if role is None:
                raise Invalid(f"{where}.role is none of {', '.join(ROLES)}.", field=f"{where}.role")
            return role, list(_content(item.get("content"), f"{where}.content")), True
        case "function_call":
            id, signature = without_proof(_str(item.get("call_id"), f"{where}.call_id"))
            call = ToolCall(
                id=id,
                name=_str(item.get("name"), f"{where}.name"),
                arguments=_str(item.get("arguments") or "", f"{where}.arguments"),
                signature=signature,
            )
            return "assistant", [call], False
        case "function_call_output":
            id, _ = without_proof(_str(item.get("call_id"), f"{where}.call_id"))
            parts: list[Text | Image | Document] = []
            for part in _content(item.get("output"), f"{where}.output"):
                if not isinstance(part, Text | Image | Document):
                    raise Invalid(f"{where}.output holds what no tool says.", field=f"{where}.output")
                parts.append(part)
            return "tool", [ToolResult(call=id, parts=tuple(parts))], False
        case "reasoning":
            return "assistant", _thought(item, where), False
        case kind:
            raise _not_carried(
                f"{where} is an item that only a provider that speaks responses knows.",
                f"{where}.type",
                f"It is '{kind}'.",
                "Send messages, function calls, their outputs and reasoning, or name a model of such a provider.",
            )


def _thought(item: Mapping[str, object], where: str) -> list[Part]:
    told = [_dict(part, where) for name in ("content", "summary") for part in _list(item.get(name), f"{where}.{name}")]
    text = "\n\n".join([_str(part.get("text"), f"{where}.summary") for part in told])
    id = _str(item.get("id") or "", f"{where}.id")
    signature, hidden = unsealed(id, _str(item.get("encrypted_content") or "", f"{where}.encrypted_content"))
    return [Thinking(text=text, signature=signature, hidden=hidden)] if text or signature or hidden else []


def _content(tree: object, where: str) -> Iterator[Part]:
    if isinstance(tree, str):
        if tree:
            yield Text(text=tree)
        return
    for at, each in enumerate(_list(tree, where)):
        yield _part(_dict(each, f"{where}[{at}]"), f"{where}[{at}]")


def _part(part: Mapping[str, object], where: str) -> Part:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return Text(text=_str(part.get("text"), f"{where}.text"), cache=_cache(part))
        case "refusal":
            return Refusal(text=_str(part.get("refusal"), f"{where}.refusal"))
        case "input_image":
            url = part.get("image_url")
            if not isinstance(url, str) or not url:
                raise _by_id(where, "image_url")
            detail = _str(part.get("detail") or "", f"{where}.detail")
            inline = DATA_URL.fullmatch(url)
            if inline:
                return Image(media=inline[1], data=inline[2], detail=detail, cache=_cache(part))
            return Image(url=url, detail=detail, cache=_cache(part))
        case "input_file":
            return _file(part, where)
        case kind:
            raise _not_carried(
                f"{where} is of a type that this model's provider is not asked for through the door.",
                f"{where}.type",
                f"It is '{kind}'.",
                "Send input_text, input_image or input_file, or name a model whose provider speaks responses.",
            )


def _file(part: Mapping[str, object], where: str) -> Document:
    name = _str(part.get("filename") or "", f"{where}.filename")
    if isinstance(url := part.get("file_url"), str) and url:
        return Document(url=url, name=name, cache=_cache(part))
    data = _str(part.get("file_data") or "", f"{where}.file_data")
    if not data:
        raise _by_id(where, "file_data")
    inline = DATA_URL.fullmatch(data)
    if inline is None:
        raise Invalid(
            f"{where}.file_data does not say what it is.",
            field=f"{where}.file_data",
            hint='Send "data:application/pdf;base64,…".',
        )
    return Document(media=inline[1], data=inline[2], name=name, cache=_cache(part))


def _by_id(where: str, instead: str) -> Invalid:
    return _not_carried(
        f"{where} names a file by an id, which belongs to one account of one provider.",
        f"{where}.file_id",
        hint=f"Send its bytes as {instead}, or name a model of that provider.",
    )


def _cache(part: Mapping[str, object]) -> Keep | None:
    """Half an hour and half a day, as the shorter and the longer of two."""
    told = part.get("prompt_cache_breakpoint")
    if not isinstance(told, Mapping):
        return None
    return "1h" if told.get("ttl") == "12h" else "5m"


# --- all else


def _tool(tree: object, where: str) -> Tool:
    tool = _dict(tree, where)
    if tool.get("type") != "function":
        raise _not_carried(
            f"{where} is no function; tools of a provider's own are for models of that provider alone.",
            f"{where}.type",
            f"It is '{tool.get('type')}'.",
        )
    if tool.get("defer_loading"):
        raise _only_there(f"{where}.defer_loading")
    schema, strict = tool.get("parameters"), tool.get("strict")
    return Tool(
        name=_str(tool.get("name"), f"{where}.name"),
        description=_str(tool.get("description") or "", f"{where}.description"),
        schema=schema if isinstance(schema, Mapping) else {},
        strict=strict if isinstance(strict, bool) else None,
    )


def _choice(tree: object, parallel: object) -> Choice | None:
    several = parallel if isinstance(parallel, bool) else None
    match tree:
        case None:
            return None if several is None else Choice(parallel=several)
        case "auto" | "none" | "required":
            return Choice(mode=tree, parallel=several)
        case {"type": "function", "name": str(name)}:
            return Choice(mode="one", name=name, parallel=several)
        case _:
            raise _not_carried("tool_choice is none of auto, none, required and a function.", "tool_choice")


def _format(tree: object) -> Format | None:
    match tree:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return Format()
        case {"type": "json_schema", "schema": dict(schema), **more}:
            strict = more.get("strict")
            return Format(schema=schema, name=str(more.get("name") or ""), strict=strict if isinstance(strict, bool) else None)
        case _:
            raise _not_carried("text.format is none of text, json_object and json_schema.", "text.format")


# --- forms


def _odd(where: str, what: str) -> Invalid:
    return Invalid(f"{where} is not {what}.", field=where, hint="Send the JSON that OpenAI's API reference describes.")


def _dict(value: object, where: str) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _odd(where, "an object")
    return value


def _list(value: object, where: str) -> Sequence[object]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _odd(where, "a list")
    return value


def _str(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _odd(where, "a text")
    return value


def _int(value: object, where: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise _odd(where, "a whole number")


def _number(value: object, where: str) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise _odd(where, "a number")
