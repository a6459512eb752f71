"""OpenAI's chat completions as words: a request read into a `Chat`, an answer written from deltas.

Needed only where the provider speaks another protocol; else the bytes pass. Fields beyond OpenAI's own that are understood
are those that compatible hosts have made common: `cache_control` on a part, `reasoning_content`, `thinking_blocks`, and
`extra_content.google.thought_signature` on a tool call. Source: https://platform.openai.com/docs/api-reference/chat (2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tandem.core.chat import (
    Begin,
    Chat,
    Choice,
    Delta,
    Document,
    Finish,
    Format,
    Image,
    Keep,
    Message,
    Part,
    Reason,
    Refusal,
    RefusalDelta,
    Role,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolDelta,
    ToolResult,
    Used,
)
from tandem.core.errors import Invalid, TandemError
from tandem.core.money import Usage
from tandem.gateway.wires.base import Letterhead

KNOWN = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "user", "safety_identifier",
        "temperature", "top_p", "top_k", "stop", "seed", "frequency_penalty", "presence_penalty", "tools", "tool_choice",
        "parallel_tool_calls", "response_format", "reasoning_effort",
    }
)  # fmt: skip
ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
REASONS: dict[Reason, str] = {"refusal": "content_filter", "paused": "stop"}
"""Where OpenAI has another word for an end."""
DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,(.*)", re.DOTALL)


class OpenAIDialect:
    """Chat completions, as callers speak them."""

    name = "openai"

    def chat(self, body: bytes) -> Chat:
        """What a request asks for.

        Raises:
            Invalid: a field has another form than OpenAI's, or holds what has no words here.
        """
        tree: dict[str, Any] = msgspec.json.decode(body)
        stop = tree.get("stop")
        return Chat(
            messages=tuple(_message(each, f"messages[{place}]") for place, each in enumerate(tree["messages"])),
            tools=tuple(_tool(each, f"tools[{place}]") for place, each in enumerate(_list(tree.get("tools"), "tools"))),
            choice=_choice(tree.get("tool_choice"), tree.get("parallel_tool_calls")),
            format=_format(tree.get("response_format")),
            max_output=_first(tree, "max_completion_tokens", "max_tokens"),
            temperature=_number(tree.get("temperature"), "temperature"),
            top_p=_number(tree.get("top_p"), "top_p"),
            top_k=_int(tree.get("top_k"), "top_k"),
            stop=(stop,) if isinstance(stop, str) else tuple(_str(each, "stop") for each in _list(stop, "stop")),
            seed=_int(tree.get("seed"), "seed"),
            frequency_penalty=_number(tree.get("frequency_penalty"), "frequency_penalty"),
            presence_penalty=_number(tree.get("presence_penalty"), "presence_penalty"),
            effort=_str(tree.get("reasoning_effort") or "", "reasoning_effort"),
            user=_str(tree.get("safety_identifier") or tree.get("user") or "", "user"),
            stream=bool(tree.get("stream")),
            rest={name: value for name, value in tree.items() if name not in KNOWN and value is not None},
        )

    def whole(self, deltas: Sequence[Delta], head: Letterhead) -> bytes:
        """A chat completion."""
        text, refusal, thoughts = "", "", ""
        blocks: list[dict[str, object]] = []
        calls: dict[int, dict[str, Any]] = {}
        reason, usage = "stop", Usage()
        for delta in deltas:
            match delta:
                case TextDelta():
                    text += delta.text
                case RefusalDelta():
                    refusal += delta.text
                case ThinkingDelta():
                    thoughts += delta.text
                    _thought(blocks, delta)
                case ToolDelta():
                    _called(calls, delta)
                case Used():
                    usage = delta.usage
                case Finish():
                    reason = REASONS.get(delta.reason, delta.reason)
                case Begin():
                    pass
        message: dict[str, object] = {"role": "assistant", "content": text or None, "refusal": refusal or None}
        if thoughts:
            message["reasoning_content"] = thoughts
        if any(block.get("signature") or block.get("data") for block in blocks):
            message["thinking_blocks"] = blocks
        if calls:
            message["tool_calls"] = [calls[place] for place in sorted(calls)]
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        return msgspec.json.encode({**_named(head, "chat.completion"), "choices": [choice], "usage": told(usage)})

    def writer(self, head: Letterhead) -> OpenAIWriter:
        return OpenAIWriter(head)


class OpenAIWriter:
    """A stream of chunks."""

    def __init__(self, head: Letterhead) -> None:
        self._named, self._wants_usage = _named(head, "chat.completion.chunk"), head.wants_usage
        self._reason, self._usage = "", Usage()
        self._begun = False

    def feed(self, deltas: Sequence[Delta]) -> bytes:
        """One chunk for each delta that says something."""
        return b"".join(self._chunk(said) for delta in deltas for said in self._said(delta))

    def _said(self, delta: Delta) -> Iterator[dict[str, object]]:
        if not self._begun and not isinstance(delta, Used):
            self._begun = True
            yield {"role": "assistant", "content": ""}
        match delta:
            case TextDelta():
                yield {"content": delta.text}
            case RefusalDelta():
                yield {"refusal": delta.text}
            case ThinkingDelta():
                said: dict[str, object] = {"reasoning_content": delta.text} if delta.text else {}
                if delta.signature or delta.hidden:
                    said["thinking_blocks"] = [_block(delta)]
                yield said
            case ToolDelta():
                yield {"tool_calls": [_piece(delta)]}
            case Finish():
                self._reason = REASONS.get(delta.reason, delta.reason)
            case Used():
                self._usage = delta.usage
            case Begin():
                pass

    def _chunk(self, delta: dict[str, object], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        told: dict[str, object] = {"usage": None} if self._wants_usage else {}
        return _frame({**self._named, "choices": [choice], **told})

    def end(self) -> bytes:
        """The reason, the usage where it was asked for, and the end."""
        frames = self._chunk({}, self._reason or "stop")
        if self._wants_usage:
            frames += _frame({**self._named, "choices": [], "usage": told(self._usage)})
        return frames + b"data: [DONE]\n\n"

    def fail(self, error: TandemError) -> bytes:
        """An error as OpenAI's clients find it in a stream."""
        body = {"message": str(error), "type": "upstream_error", "code": error.code, "param": None}
        return _frame({"error": body})


def told(usage: Usage) -> dict[str, object]:
    """Usage as OpenAI nests it."""
    heard = {"cached_tokens": usage.cache_read + usage.cache_read_audio}
    optional = {
        "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        "audio_tokens": usage.input_audio + usage.cache_read_audio,
    }
    heard |= {name: tokens for name, tokens in optional.items() if tokens}
    said = {"reasoning_tokens": usage.reasoning}
    if usage.output_audio:
        said["audio_tokens"] = usage.output_audio
    return {
        "prompt_tokens": usage.total_input,
        "completion_tokens": usage.total_output,
        "total_tokens": usage.total_input + usage.total_output,
        "prompt_tokens_details": heard,
        "completion_tokens_details": said,
    }


# --- requests


def _message(tree: object, where: str) -> Message:
    if not isinstance(tree, Mapping):
        raise _odd(where, "an object")
    role = ROLES.get(str(tree.get("role")))
    if role is None:
        raise Invalid(f"{where}.role is none of {', '.join(ROLES)}.", field=f"{where}.role")
    if role == "tool":
        call = _str(tree.get("tool_call_id"), f"{where}.tool_call_id")
        return Message(role="tool", parts=(ToolResult(call=call, parts=tuple(_said_by_tool(tree.get("content"), where))),))
    parts: list[Part] = list(_thoughts(tree)) if role == "assistant" else []
    parts += _content(tree.get("content"), f"{where}.content")
    if role == "assistant":
        if isinstance(refusal := tree.get("refusal"), str) and refusal:
            parts.append(Refusal(text=refusal))
        calls = _list(tree.get("tool_calls"), f"{where}.tool_calls")
        parts += [_call(each, f"{where}.tool_calls[{place}]") for place, each in enumerate(calls)]
    return Message(role=role, parts=tuple(parts), name=_str(tree.get("name") or "", f"{where}.name"))


def _content(tree: object, where: str) -> list[Part]:
    if tree is None:
        return []
    if isinstance(tree, str):
        return [Text(text=tree)] if tree else []
    return [_part(each, f"{where}[{place}]") for place, each in enumerate(_list(tree, where))]


def _part(tree: object, where: str) -> Part:
    if not isinstance(tree, Mapping):
        raise _odd(where, "an object")
    cache = _cache(tree)
    match tree.get("type"):
        case "text":
            return Text(text=_str(tree.get("text"), f"{where}.text"), cache=cache)
        case "refusal":
            return Refusal(text=_str(tree.get("refusal"), f"{where}.refusal"))
        case "image_url":
            given = tree.get("image_url")
            told = given if isinstance(given, Mapping) else {"url": given}
            url = _str(told.get("url"), f"{where}.image_url.url")
            inline = DATA_URL.fullmatch(url)
            detail = _str(told.get("detail") or "", f"{where}.image_url.detail")
            if inline:
                return Image(media=inline[1], data=inline[2], detail=detail, cache=cache)
            return Image(url=url, detail=detail, cache=cache)
        case "file":
            given = tree.get("file")
            told = given if isinstance(given, Mapping) else {}
            inline = DATA_URL.fullmatch(_str(told.get("file_data") or "", f"{where}.file.file_data"))
            if inline is None:
                raise Invalid(
                    f"{where} names a file by an id, which belongs to one account of one provider.",
                    field=f"{where}.file",
                    hint="Send its bytes as file_data, or name a model of that provider.",
                )
            return Document(media=inline[1], data=inline[2], name=_str(told.get("filename") or "", where), cache=cache)
        case kind:
            raise Invalid(
                f"{where} is of a type that this model's provider is not asked for through the door.",
                words=f"It is '{kind}'.",
                field=f"{where}.type",
                hint="Send text, image_url or file parts, or name a model whose provider speaks OpenAI's protocol.",
            )


def _said_by_tool(tree: object, where: str) -> Iterator[Text | Image | Document]:
    for part in _content(tree, f"{where}.content"):
        if not isinstance(part, Text | Image | Document):
            raise Invalid(f"{where}.content holds what no tool says.", field=f"{where}.content")
        yield part


def _thoughts(tree: Mapping[str, object]) -> Iterator[Thinking]:
    blocks = tree.get("thinking_blocks")
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, Mapping):
            yield Thinking(
                text=str(block.get("thinking") or ""),
                signature=str(block.get("signature") or ""),
                hidden=str(block.get("data") or ""),
            )


def _call(tree: object, where: str) -> ToolCall:
    if not isinstance(tree, Mapping) or not isinstance(function := tree.get("function"), Mapping):
        raise Invalid(f"{where} is no call of a function.", field=where, hint='Send {"id": …, "function": {…}}.')
    extra = tree.get("extra_content")
    google = extra.get("google") if isinstance(extra, Mapping) else None
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    return ToolCall(
        id=_str(tree.get("id"), f"{where}.id"),
        name=_str(function.get("name"), f"{where}.function.name"),
        arguments=_str(function.get("arguments") or "", f"{where}.function.arguments"),
        signature=signature if isinstance(signature, str) else "",
    )


def _tool(tree: object, where: str) -> Tool:
    if not isinstance(tree, Mapping) or not isinstance(function := tree.get("function"), Mapping):
        raise Invalid(
            f"{where} is no function.", field=where, hint="Tools of a provider's own are for models of that provider alone."
        )
    schema = function.get("parameters")
    strict = function.get("strict")
    return Tool(
        name=_str(function.get("name"), f"{where}.function.name"),
        description=_str(function.get("description") or "", f"{where}.function.description"),
        schema=schema if isinstance(schema, Mapping) else {},
        strict=strict if isinstance(strict, bool) else None,
        cache=_cache(tree),
    )


def _choice(tree: object, parallel: object) -> Choice | None:
    several = parallel if isinstance(parallel, bool) else None
    match tree:
        case None:
            return None if several is None else Choice(parallel=several)
        case "auto" | "none" | "required":
            return Choice(mode=tree, parallel=several)
        case {"type": "function", "function": {"name": str(name)}}:
            return Choice(mode="one", name=name, parallel=several)
        case _:
            raise Invalid("tool_choice is none of auto, none, required and a function.", field="tool_choice")


def _format(tree: object) -> Format | None:
    match tree:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return Format()
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)} as told}:
            strict = told.get("strict")
            return Format(schema=schema, name=str(told.get("name") or ""), strict=strict if isinstance(strict, bool) else None)
        case _:
            raise Invalid("response_format is none of text, json_object and json_schema.", field="response_format")


def _cache(tree: Mapping[str, object]) -> Keep | None:
    told = tree.get("cache_control")
    if not isinstance(told, Mapping):
        return None
    return "1h" if told.get("ttl") == "1h" else "5m"


# --- answers


def _named(head: Letterhead, kind: str) -> dict[str, object]:
    return {"id": f"chatcmpl-{head.id}", "object": kind, "created": head.at, "model": head.model}


def _thought(blocks: list[dict[str, object]], delta: ThinkingDelta) -> None:
    """A block goes on until its signature; what is hidden is a block of its own."""
    if delta.hidden:
        blocks.append({"type": "redacted_thinking", "data": delta.hidden})
        return
    if not blocks or blocks[-1].get("signature") or "data" in blocks[-1]:
        blocks.append({"type": "thinking", "thinking": "", "signature": ""})
    blocks[-1]["thinking"] = f"{blocks[-1]['thinking']}{delta.text}"
    blocks[-1]["signature"] = delta.signature


def _block(delta: ThinkingDelta) -> dict[str, object]:
    if delta.hidden:
        return {"type": "redacted_thinking", "data": delta.hidden}
    return {"type": "thinking", "thinking": delta.text, "signature": delta.signature}


def _called(calls: dict[int, dict[str, Any]], delta: ToolDelta) -> None:
    known = calls.get(delta.place)
    if known is None:
        known = calls[delta.place] = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    known["id"] = known["id"] or delta.id
    known["function"]["name"] = known["function"]["name"] or delta.name
    known["function"]["arguments"] += delta.arguments
    if delta.signature:
        known["extra_content"] = {"google": {"thought_signature": delta.signature}}


def _piece(delta: ToolDelta) -> dict[str, object]:
    piece: dict[str, object] = {"index": delta.place}
    if delta.id or delta.name:
        piece |= {"id": delta.id, "type": "function", "function": {"name": delta.name, "arguments": delta.arguments}}
    else:
        piece["function"] = {"arguments": delta.arguments}
    if delta.signature:
        piece["extra_content"] = {"google": {"thought_signature": delta.signature}}
    return piece


def _frame(tree: dict[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(tree) + b"\n\n"


# --- forms


def _odd(where: str, what: str) -> Invalid:
    return Invalid(f"{where} is not {what}.", field=where, hint="Send the JSON that OpenAI's API reference describes.")


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


def _first(tree: Mapping[str, object], *names: str) -> int | None:
    return next((found for name in names if (found := _int(tree.get(name), name)) is not None), None)


def _number(value: object, where: str) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise _odd(where, "a number")
