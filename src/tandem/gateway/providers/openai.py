"""The OpenAI protocol towards an upstream: chat completions and embeddings, and every host that is compatible.

The wire in and the wire out are the same here, so the caller's bytes go through with only the named
fields spliced. Usage rules: https://platform.openai.com/docs/api-reference/chat/object (cached tokens
are part of prompt_tokens, reasoning tokens are part of completion_tokens).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import msgspec

from tandem.core.chat import (
    Begin,
    Chat,
    Delta,
    Document,
    Finish,
    Image,
    Message,
    Reason,
    Refusal,
    RefusalDelta,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolDelta,
    ToolResult,
    Used,
)
from tandem.core.errors import Invalid, Upstream
from tandem.core.money import Usage
from tandem.gateway.providers.base import Ask, Verb
from tandem.gateway.splice import splice

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON, not UTF-8, or nested too deeply."""
JSON = (b"content-type", b"application/json")
REASONING = re.compile(r"(?:.*/)?(?:o[1-9]|gpt-[5-9])")
"""Models that think, and take their bound by another name."""
REASONS: dict[str, Reason] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
    "content_filter": "content_filter", "model_length": "length",
}  # fmt: skip
"""Ends of an answer; `error`, as Mistral says it, is a failure of the model, and what nobody knows yet is a plain end."""
CODES = {"insufficient_quota": "quota", "rate_limit_exceeded": "rate_limited", "context_length_exceeded": "context_exceeded"}
EFFORTS = ((2048, "low"), (8192, "medium"))
"""Tokens to think with, up to which an effort has this name; beyond: high."""
EMPTY = re.compile(rb'"choices"\s*:\s*\[\s*\]')
SILENT = re.compile(rb'"delta"\s*:\s*\{(?:\s*"[a-z_]{1,32}"\s*:\s*(?:"assistant"|""|null)\s*,?)*\s*\}')
FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')
"""A chunk that says nothing of the answer, such as what Azure found in the prompt."""
PATHS: dict[Verb, str] = {"chat": "/chat/completions", "embed": "/embeddings", "rerank": "/rerank"}


class _Details(msgspec.Struct):
    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0
    audio_tokens: int | None = 0
    cache_write_tokens: int | None = 0
    """As OpenRouter tells of hosts that charge for it."""


_NONE = _Details()


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Reply(msgspec.Struct):
    usage: _Usage | None = None
    choices: list[msgspec.Raw] | None = None


class _Fault(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None
    message: str | None = None


class _FaultReply(msgspec.Struct):
    error: _Fault | str | None = None


class _Used(msgspec.Struct):
    usage: _Usage | None = None


class _Total(msgspec.Struct):
    total_tokens: int


class _Ranked(msgspec.Struct):
    """Of a reranker that reads and says nothing, as Jina and vLLM tell it."""

    usage: _Total


class _Units(msgspec.Struct):
    search_units: float | None = None
    input_tokens: float | None = None


class _Meta(msgspec.Struct):
    billed_units: _Units


class _Billed(msgspec.Struct):
    """Of a reranker, as Cohere tells it."""

    meta: _Meta


_used = msgspec.json.Decoder(_Used)
_reply = msgspec.json.Decoder(_Reply)
_fault = msgspec.json.Decoder(_FaultReply)


class OpenAIMeter:
    """What a stream of chunks used: the last one that says so counts, for some hosts say it on every chunk."""

    __slots__ = ("usage",)

    def __init__(self) -> None:
        self.usage: Usage | None = None

    def tells(self, frame: bytes) -> bool:
        return b'"usage"' in frame or b"[DONE]" in frame or b'"error"' in frame

    def opens(self, frame: bytes) -> bool:
        """A role alone is no word of an answer, nor is a chunk without choices, nor a comment that keeps a line alive."""
        if frame.startswith(b":") or EMPTY.search(frame) is not None:
            return False
        deltas = frame.count(b'"delta"')
        return deltas == 0 or FINISHED.search(frame) is not None or deltas > len(SILENT.findall(frame))

    def frame(self, payload: bytes) -> tuple[bool, bool]:
        if payload == b"[DONE]":
            return False, True
        try:
            reply = _reply.decode(payload)
            failed = msgspec.json.decode(payload).get("error") if b'"error"' in payload else None
        except UNREADABLE:
            return False, False
        if failed:
            raise _told(failed)
        usage = _canonical(reply.usage)
        self.usage = usage or self.usage
        return usage is not None and reply.choices == [], False


class OpenAI:
    """Chat and embeddings as OpenAI speaks them."""

    name = dialect = "openai"

    def ask(self, verb: Verb, body: bytes, edits: Mapping[str, bytes], key: str | None) -> Ask:
        if "max_tokens" in edits and REASONING.match(msgspec.json.decode(edits["model"], type=str)):
            edits = {("max_completion_tokens" if name == "max_tokens" else name): value for name, value in edits.items()}
        return Ask(path=PATHS[verb], headers=_headers(key), body=splice(body, edits))

    def usage(self, body: bytes) -> Usage | None:
        try:
            return _ranked(body) if b'"relevance_score"' in body else _canonical(_used.decode(body).usage)
        except UNREADABLE:
            return None

    def meter(self) -> OpenAIMeter:
        return OpenAIMeter()

    def put(self, chat: Chat, model: str, key: str | None) -> Ask:
        dropped: list[str] = []
        tree = _request(chat, model, dropped)
        return Ask(
            path=PATHS["chat"], headers=_headers(key), body=msgspec.json.encode(tree), dropped=tuple(dict.fromkeys(dropped))
        )

    def whole(self, body: bytes) -> list[Delta]:
        tree = _tree(body)
        choices = tree.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise _unreadable()
        message = choices[0].get("message")
        deltas: list[Delta] = [Begin(id=str(tree.get("id") or ""), model=str(tree.get("model") or ""))]
        deltas += _said(message if isinstance(message, dict) else {}, Places())
        usage = self.usage(body)
        if usage is not None:
            deltas.append(Used(usage=usage))
        return [*deltas, _finished(choices[0].get("finish_reason"))]

    def reader(self) -> OpenAIReader:
        return OpenAIReader()

    def fault(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str:
        try:
            error = _fault.decode(body).error
        except UNREADABLE:
            error = None
        code = str(error.code or error.type or "") if isinstance(error, _Fault) else ""
        if status in (401, 403):
            return "content_policy" if "content" in code else "auth"
        if status == 429:
            return "quota" if code == "insufficient_quota" else "rate_limited"
        if status == 404:
            return "not_found"
        if status in (503, 529):
            return "overloaded"
        if status >= 500:
            return "upstream_5xx"
        if code == "context_length_exceeded":
            return "context_exceeded"
        if code in ("content_filter", "content_policy_violation"):
            return "content_policy"
        return "bad_request"


def _headers(key: str | None) -> tuple[tuple[bytes, bytes], ...]:
    return (JSON, (b"authorization", b"Bearer " + key.encode())) if key else (JSON,)


class Places:
    """Which call a piece belongs to: by its index where the host gives one, else by its id, else to the last one."""

    def __init__(self) -> None:
        self._by_id: dict[str, int] = {}
        self._last = -1

    def of(self, piece: Mapping[str, Any]) -> int:
        index, id = piece.get("index"), piece.get("id")
        if isinstance(id, str) and id:
            known = self._by_id.get(id)
            if known is None:  # some hosts number every call 0: a new id is a new call, whatever its number
                taken = set(self._by_id.values())
                known = index if isinstance(index, int) and index not in taken else max(taken, default=-1) + 1
                self._by_id[id] = known
            self._last = known
        elif isinstance(index, int):
            self._last = index if index in self._by_id.values() or not self._by_id else self._last
        return max(0, self._last)


class OpenAIReader:
    """A stream of chunks, read."""

    def __init__(self) -> None:
        self.ended = False
        self._begun = False
        self._places = Places()

    def feed(self, payload: bytes) -> list[Delta]:
        if payload == b"[DONE]":
            self.ended = True
            return []
        tree = _tree(payload)
        deltas: list[Delta] = []
        if not self._begun:
            self._begun = True
            deltas.append(Begin(id=str(tree.get("id") or ""), model=str(tree.get("model") or "")))
        choices = tree.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and not choice.get("index"):  # words know one choice
                delta = choice.get("delta")
                deltas += _said(delta if isinstance(delta, dict) else {}, self._places)
                if choice.get("finish_reason") is not None:
                    deltas.append(_finished(choice["finish_reason"]))
        if tree.get("usage") is not None:
            try:
                usage = _canonical(_reply.decode(payload).usage)
            except UNREADABLE:
                usage = None
            if usage is not None:
                deltas.append(Used(usage=usage))
        return deltas


def _tree(body: bytes) -> dict[str, Any]:
    try:
        tree = msgspec.json.decode(body)
    except UNREADABLE:
        raise _unreadable() from None
    if not isinstance(tree, dict):
        raise _unreadable()
    if tree.get("error"):
        raise _told(tree["error"])
    return tree


def _told(failed: Any) -> Upstream:
    """An error that came within an answer, after its 200."""
    error = failed if isinstance(failed, dict) else {"message": failed}
    code = str(error.get("code") or error.get("type") or "")
    return Upstream(
        "The provider ended the answer with an error.", words=f"{error.get('message')}.", code=CODES.get(code, "upstream")
    )


def _finished(said: Any) -> Finish:
    """The end of an answer.

    Raises:
        Upstream: it is none.
    """
    if said == "error":
        raise Upstream("The provider could not finish its answer.")
    return Finish(reason=REASONS.get(str(said), "stop"))


def _unreadable() -> Upstream:
    return Upstream("The provider's answer cannot be read.", code="malformed_reply")


def _said(message: Mapping[str, Any], places: Places) -> Iterator[Delta]:
    """What a message, or a piece of one, says."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(thought := message.get(name), str) and thought:
            yield ThinkingDelta(text=thought)
            break
    content = message.get("content")
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        if not isinstance(part, dict):
            continue
        if isinstance(text := part.get("text"), str) and text:
            yield TextDelta(text=text)
        thoughts = part.get("thinking")
        for thought in thoughts if isinstance(thoughts, list) else ():  # as Mistral has them
            if isinstance(thought, dict) and isinstance(text := thought.get("text"), str) and text:
                yield ThinkingDelta(text=text)
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        yield RefusalDelta(text=refusal)
    calls = message.get("tool_calls")
    for piece in calls if isinstance(calls, list) else ():
        if isinstance(piece, dict):
            function = piece.get("function")
            told = function if isinstance(function, dict) else {}
            extra = piece.get("extra_content")
            google = extra.get("google") if isinstance(extra, dict) else None
            yield ToolDelta(
                place=places.of(piece),
                id=str(piece.get("id") or ""),
                name=str(told.get("name") or ""),
                arguments=_written(told.get("arguments")),
                signature=str(google.get("thought_signature") or "") if isinstance(google, dict) else "",
            )


def _written(arguments: Any) -> str:
    """Arguments as text; some hosts give the object that they stand for."""
    if isinstance(arguments, dict | list):
        return msgspec.json.encode(arguments).decode()
    return str(arguments or "")


def _request(chat: Chat, model: str, dropped: list[str]) -> dict[str, object]:
    """The chat in OpenAI's words; what has none is named in `dropped`."""
    thinks = REASONING.match(model) is not None
    tree: dict[str, object] = {"model": model, "messages": [said for each in chat.messages for said in _messages(each, dropped)]}
    if chat.max_output is not None:
        tree["max_completion_tokens" if thinks else "max_tokens"] = chat.max_output
    for name in ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty"):
        if (value := getattr(chat, name)) is not None:
            tree[name] = value
    if chat.stop:
        tree["stop"] = list(chat.stop)
    if chat.user:
        tree["user"] = chat.user
    if chat.stream:
        tree |= {"stream": True, "stream_options": {"include_usage": True}}
    if chat.tools:
        tree["tools"] = [_function(each.name, each.description, each.schema, each.strict) for each in chat.tools]
    if chat.choice is not None and chat.tools:
        one = {"type": "function", "function": {"name": chat.choice.name}}
        tree["tool_choice"] = one if chat.choice.mode == "one" else chat.choice.mode
        if chat.choice.parallel is not None:
            tree["parallel_tool_calls"] = chat.choice.parallel
    if chat.format is not None:
        schema = {"name": chat.format.name or "answer", "schema": chat.format.schema, "strict": chat.format.strict}
        told = {name: value for name, value in schema.items() if value is not None}
        tree["response_format"] = (
            {"type": "json_object"} if chat.format.schema is None else {"type": "json_schema", "json_schema": told}
        )
    effort = chat.effort or _effort(chat.thinking)
    if effort and thinks:
        tree["reasoning_effort"] = effort
    elif effort:
        dropped.append("reasoning_effort" if chat.effort else "thinking")
    if chat.summary:
        dropped.append("reasoning.summary")
    if chat.top_k is not None:
        dropped.append("top_k")
    if any(each.cache for each in chat.tools):
        dropped.append("cache_control")
    return tree


def _effort(tokens: int | None) -> str:
    if not tokens:
        return ""
    return next((name for most, name in EFFORTS if tokens <= most), "high")


def _function(name: str, description: str, schema: Mapping[str, object], strict: bool | None) -> dict[str, object]:
    told: dict[str, object] = {"name": name, "description": description, "parameters": schema, "strict": strict}
    return {"type": "function", "function": {name: value for name, value in told.items() if value not in (None, "")}}


def _messages(message: Message, dropped: list[str]) -> Iterator[dict[str, object]]:
    """One message, or one for each result of a tool; words between results follow them."""
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    for result in results:
        if result.failed:
            dropped.append("is_error")
        content = [_content(part, dropped) for part in result.parts]
        texts = [part.text for part in result.parts if isinstance(part, Text)]
        told: object = "\n".join(texts) if len(texts) == len(result.parts) else content
        yield {"role": "tool", "tool_call_id": result.call, "content": told}
    parts = [part for part in message.parts if not isinstance(part, ToolResult)]
    if results and not parts:
        return
    role = "user" if message.role == "tool" else message.role
    tree: dict[str, object] = {"role": role, **({"name": message.name} if message.name else {})}
    if role == "assistant":
        if any(isinstance(part, Thinking) for part in parts):
            dropped.append("thinking")  # it is the proof of another provider
        calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
        texts = [part.text for part in parts if isinstance(part, Text)]
        refusals = [part.text for part in parts if isinstance(part, Refusal)]
        tree["content"] = "".join(texts) if texts or not (calls or refusals) else None
        if calls:
            tree["tool_calls"] = calls
        if refusals:
            tree["refusal"] = "".join(refusals)
        if any(isinstance(part, Image | Document) for part in parts):
            raise Invalid(
                "An answer of the model's holds a picture or a file, which OpenAI's protocol has no place for.", field="messages"
            )
    elif len(parts) == 1 and isinstance(parts[0], Text) and parts[0].cache is None:
        tree["content"] = parts[0].text
    else:
        tree["content"] = [_content(part, dropped) for part in parts if isinstance(part, Text | Image | Document)]
    yield tree


def _content(part: Text | Image | Document, dropped: list[str]) -> dict[str, object]:
    if part.cache is not None:
        dropped.append("cache_control")
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            url = part.url or f"data:{part.media};base64,{part.data}"
            return {"type": "image_url", "image_url": {"url": url, **({"detail": part.detail} if part.detail else {})}}
        case Document():
            if part.url:
                raise Invalid("A document is named by its address, which OpenAI's protocol does not take.", field="messages")
            data = f"data:{part.media};base64,{part.data}"
            return {"type": "file", "file": {"filename": part.name or "document", "file_data": data}}


def _call(part: ToolCall) -> dict[str, object]:
    tree: dict[str, object] = {
        "id": part.id,
        "type": "function",
        "function": {"name": part.name, "arguments": part.arguments or "{}"},
    }
    if part.signature:
        tree["extra_content"] = {"google": {"thought_signature": part.signature}}
    return tree


def _canonical(usage: _Usage | None) -> Usage | None:
    """The disjoint counters of OpenAI's nested ones; a part larger than its whole is cut to it."""
    if usage is None or usage.prompt_tokens is None:
        return None
    prompt, completion = max(0, usage.prompt_tokens), max(0, usage.completion_tokens or 0)
    read, said = usage.prompt_tokens_details or _NONE, usage.completion_tokens_details or _NONE
    cached = _part(read.cached_tokens, prompt)
    written = _part(read.cache_write_tokens, prompt - cached)
    heard = _part(read.audio_tokens, prompt - cached - written)
    reasoning = _part(said.reasoning_tokens, completion)
    spoken = _part(said.audio_tokens, completion - reasoning)
    return Usage(
        input=prompt - cached - written - heard,
        cache_read=cached,
        cache_write=written,
        input_audio=heard,
        output=completion - reasoning - spoken,
        reasoning=reasoning,
        output_audio=spoken,
        source="provider",
    )


def _ranked(body: bytes) -> Usage | None:
    """What a reranker used; None where the answer is of another kind."""
    try:
        if b'"total_tokens"' in body:
            return Usage(input=max(0, msgspec.json.decode(body, type=_Ranked).usage.total_tokens), source="provider")
        if b'"billed_units"' in body:
            units = msgspec.json.decode(body, type=_Billed).meta.billed_units
            if units.search_units is not None or units.input_tokens is not None:
                count = Usage(input=max(0, int(units.input_tokens or 0)), searches=max(0, ceil(units.search_units or 0)))
                return replace(count, source="provider")
    except (*UNREADABLE, OverflowError, ValueError):
        return None
    return None


def _part(told: int | None, whole: int) -> int:
    return min(max(0, told or 0), whole)
