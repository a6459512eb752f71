"""A chat as Anthropic's Messages API asks for it. Words in, a request's members out; no key, no header, no answer.

Source: Anthropic's API reference for `POST /v1/messages` (API version 2023-06-01), as the types of its Python SDK 2.14 encode it.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, assert_never
from zlib import crc32

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
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from tandem.core.errors import Invalid
from tandem.gateway.providers.responses_put import proved

Block = dict[str, object]

DEFAULT_MAX_TOKENS = 4096
"""Anthropic wants a limit; OpenAI's callers often give none."""
LEAST_BUDGET = 1024
"""Thinking tokens below which Anthropic refuses a budget."""
LONGEST_USER = 256
IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 65536}
"""Effort → thinking tokens, for models that take a budget."""
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
"""Effort → Anthropic's own, for models that weigh by themselves."""
ONLY_JSON = "Answer with one JSON object and nothing else: no words around it, no code fence."
"""What stands for OpenAI's JSON mode without a schema, which Anthropic's API has not."""
_BUDGETED = re.compile(r"claude-(?:v?[123](?!\d)|instant|(?:opus|sonnet|haiku)-4(?!\d)(?![-.][6-9](?!\d)))")
"""Models up to 4.5, which think within a budget; later ones refuse one and weigh by themselves."""
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
_object = msgspec.json.Decoder(dict[str, Any])


def members(chat: Chat, model: str) -> tuple[dict[str, object], tuple[str, ...]]:
    """The members of the request, and the names of the fields that were left out.

    Raises:
        Invalid: the chat holds what Anthropic cannot carry and what must not be left out; `field` names it.
    """
    dropped = left_out(chat)
    limit = DEFAULT_MAX_TOKENS if chat.max_output is None else chat.max_output
    system, turns = _said(chat.messages, dropped)
    body: dict[str, object] = {"model": model, "max_tokens": limit, "messages": turns}
    if chat.format is not None and chat.format.schema is None:
        system.append({"type": "text", "text": ONLY_JSON})
        dropped.append("response_format")
    if system:
        body["system"] = _short(system)
    if chat.tools:
        body["tools"] = [_tool(tool) for tool in chat.tools]
    choice = _choice(chat.choice, chat.tools)
    if choice is not None:
        body["tool_choice"] = choice
    output: dict[str, object] = {}
    think(chat, model, limit, body, output, dropped)
    if chat.format is not None and chat.format.schema is not None:
        output["format"] = _format(chat.format)
    if output:
        body["output_config"] = output
    _sampling(chat, body)
    if chat.stop:
        for at, word in enumerate(chat.stop):
            if not word.strip():
                raise Invalid(
                    "Anthropic takes no stop sequence of white space alone.",
                    field=f"stop[{at}]",
                    hint="Leave it out, or add a word.",
                )
        body["stop_sequences"] = chat.stop
    if chat.user:
        if len(chat.user) <= LONGEST_USER:
            body["metadata"] = {"user_id": chat.user}
        else:
            dropped.append("user")
    if chat.stream:
        body["stream"] = True
    return body, tuple(dict.fromkeys(dropped))


def left_out(chat: Chat) -> list[str]:
    """What has no place at Anthropic and does not change what the answer means, as OpenAI's callers name it."""
    dropped = [name for name in ("seed", "frequency_penalty", "presence_penalty") if getattr(chat, name) not in (None, 0, 0.0)]
    if chat.seed == 0:
        dropped.insert(0, "seed")
    return dropped


# --- messages


def _said(messages: Sequence[Message], dropped: list[str]) -> tuple[list[Block], list[Block]]:
    """System blocks, and turns that alternate: neighbours of one side are one turn, in which results of tools stand first."""
    system: list[Block] = []
    turns: list[tuple[str, list[Block]]] = []
    for at, message in enumerate(messages):
        if message.name:
            dropped.append("name")
        place = f"messages[{at}]"
        blocks = _blocks(message, place, dropped)
        if message.role == "system":
            system += blocks
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if not blocks:
            if role == "user":
                raise Invalid("Anthropic takes no empty message.", field=place, hint="Send some text, or leave the message out.")
            continue
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    if not turns:
        raise Invalid("There is nothing to answer.", field="messages", hint="Send at least one message of a user.")
    shaped: list[Block] = []
    for role, blocks in turns:
        if role == "user":
            blocks.sort(key=lambda block: block["type"] != "tool_result")  # stable: all else keeps its order
        shaped.append({"role": role, "content": _short(blocks)})
    return system, shaped


def _short(blocks: list[Block]) -> str | list[Block]:
    """One plain text as a string, which means the same."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return str(blocks[0]["text"])
    return blocks


def _blocks(message: Message, place: str, dropped: list[str]) -> list[Block]:
    blocks: list[Block] = []
    calls = 0
    for at, part in enumerate(message.parts):
        where = f"{place}.content[{at}]"
        if isinstance(part, ToolCall):
            where = f"{place}.tool_calls[{calls}].function.arguments"
            calls += 1
        _fits(message, part, where)
        block = _block(part, where, dropped)
        if block is not None:
            blocks.append(block)
    return blocks


def _fits(message: Message, part: Part, where: str) -> None:
    """Refuses a part on a side that cannot say it."""
    match message.role:
        case "system":
            fits = isinstance(part, Text)
        case "assistant":
            fits = isinstance(part, Text | Refusal | Thinking | ToolCall)
        case "user":
            fits = isinstance(part, Text | Image | Document | ToolResult)
        case "tool":
            fits = isinstance(part, ToolResult | Text | Image | Document)
        case role:
            assert_never(role)
    if not fits:
        raise Invalid(
            f"Anthropic takes no {type(part).__name__.lower()} in a message of the role {message.role}.",
            field=where,
            hint="Send it in a message of the user.",
        )


def _block(part: Part, where: str, dropped: list[str]) -> Block | None:
    """A part as a block; None where it says nothing, or must not be sent."""
    match part:
        case Text():
            return _kept({"type": "text", "text": part.text}, part.cache) if part.text.strip() else None
        case Refusal():
            return {"type": "text", "text": part.text} if part.text.strip() else None
        case Image():
            return _image(part, where, dropped)
        case Document():
            return _document(part, where)
        case Thinking():
            if part.hidden:
                return {"type": "redacted_thinking", "data": part.hidden}
            if proved(part.signature) is not None:
                dropped.append("thinking")  # it is the proof of another provider
                return None
            if part.signature:
                return {"type": "thinking", "thinking": part.text, "signature": part.signature}
            return None  # what nobody has signed is refused
        case ToolCall():
            return _kept({"type": "tool_use", "id": _id(part.id), "name": part.name, "input": written(part, where)}, part.cache)
        case ToolResult():
            return _result(part, where, dropped)
        case _:
            assert_never(part)


def _kept(block: Block, cache: Keep | None) -> Block:
    if cache is not None:
        block["cache_control"] = _ephemeral(cache)
    return block


def _ephemeral(cache: Keep) -> Block:
    return {"type": "ephemeral", "ttl": cache}


def _image(image: Image, where: str, dropped: list[str]) -> Block:
    if image.detail not in ("", "auto"):
        dropped.append("image_url.detail")
    if image.url:
        return _kept({"type": "image", "source": {"type": "url", "url": image.url}}, image.cache)
    if image.media not in IMAGES:
        raise Invalid(
            "Anthropic does not take images of this type.",
            words=f"It is '{image.media}'.",
            field=where,
            hint=f"Send one of: {', '.join(sorted(IMAGES))}.",
        )
    return _kept({"type": "image", "source": {"type": "base64", "media_type": image.media, "data": image.data}}, image.cache)


def _document(document: Document, where: str) -> Block:
    source: Block
    media = document.media.partition(";")[0].strip()
    if document.url:
        source = {"type": "url", "url": document.url}
    elif media == "application/pdf":
        source = {"type": "base64", "media_type": media, "data": document.data}
    elif media == "text/plain":
        try:
            text = b64decode(document.data, validate=True).decode()
        except (NotBase64, ValueError):
            raise Invalid("The document is not text in base 64 of UTF-8.", field=where) from None
        source = {"type": "text", "media_type": media, "data": text}
    else:
        raise Invalid(
            "Anthropic does not take documents of this type.",
            words=f"It is '{document.media}'.",
            field=where,
            hint="Send application/pdf or text/plain.",
        )
    named: Block = {"title": document.name} if document.name else {}
    return _kept({"type": "document", "source": source, **named}, document.cache)


def _id(id: str) -> str:
    """A call's id in the characters that Anthropic takes, the same one for the call and its result.

    >>> _id("call_1"), _id("call.1")
    ('call_1', 'call_1_f114f143')
    """
    if id and not _FOREIGN.search(id):
        return id
    return f"{_FOREIGN.sub('_', id)}_{crc32(id.encode()):08x}"


def written(call: ToolCall, where: str) -> msgspec.Raw:
    """A call's arguments as the object that Anthropic wants, byte by byte as the model wrote it."""
    text = call.arguments if call.arguments.strip() else "{}"
    try:
        _object.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Invalid(
            "The arguments of a tool call are not a JSON object.",
            field=where,
            hint="Send back what the model wrote; a call that was cut short cannot be replayed.",
        ) from None
    return msgspec.Raw(text.encode())


def _result(result: ToolResult, where: str, dropped: list[str]) -> Block:
    blocks = [block for part in result.parts if (block := _block(part, where, dropped)) is not None]
    shaped: Block = {"type": "tool_result", "tool_use_id": _id(result.call)}
    if blocks:
        shaped["content"] = _short(blocks)
    if result.failed:
        shaped["is_error"] = True
    return _kept(shaped, result.cache)


# --- tools, thinking, format, sampling


def _tool(tool: Tool) -> Block:
    shaped: Block = {"name": tool.name, "input_schema": {"type": "object", **tool.schema}}
    if tool.description:
        shaped["description"] = tool.description
    if tool.strict is not None:
        shaped["strict"] = tool.strict
    return _kept(shaped, tool.cache)


def _choice(choice: Choice | None, tools: Iterable[Tool]) -> Block | None:
    names = [tool.name for tool in tools]
    if choice is None:
        return None
    if not names:
        if choice.mode in ("required", "one"):
            raise Invalid(
                "A tool must be called, but none is offered.", field="tool_choice", hint="Send `tools`, or leave it out."
            )
        return None
    shaped: Block
    match choice.mode:
        case "none":
            return {"type": "none"}
        case "auto":
            shaped = {"type": "auto"}
        case "required":
            shaped = {"type": "any"}
        case "one":
            if choice.name not in names:
                raise Invalid(
                    "The tool that must be called is not offered.", words=f"It is '{choice.name}'.", field="tool_choice"
                )
            shaped = {"type": "tool", "name": choice.name}
        case mode:
            assert_never(mode)
    if choice.parallel is False:
        shaped["disable_parallel_tool_use"] = True
    return shaped


def think(chat: Chat, model: str, limit: int, body: dict[str, object], output: dict[str, object], dropped: list[str]) -> None:
    """How hard to think, as the model's generation wants to be told."""
    budgeted = _BUDGETED.search(model) is not None
    if chat.effort not in ("", "none", *EFFORTS):
        raise Invalid("Nobody knows this effort.", words=f"It is '{chat.effort}'.", field="reasoning_effort")
    if chat.thinking == 0 or (chat.thinking is None and chat.effort == "none"):
        if not budgeted:
            body["thinking"] = {"type": "disabled"}
        return
    if chat.thinking is not None:
        if not LEAST_BUDGET <= chat.thinking < limit:
            raise Invalid(
                f"Anthropic wants at least {LEAST_BUDGET} tokens to think with, and fewer than the whole answer may have.",
                words=f"They are {chat.thinking} of {limit}.",
                field="thinking",
            )
        body["thinking"] = {"type": "enabled", "budget_tokens": chat.thinking}
    elif not chat.effort:
        return
    elif budgeted:
        budget = min(BUDGETS[chat.effort], limit // 2)  # half stays for the answer itself
        if budget < LEAST_BUDGET:
            dropped.append("reasoning_effort")
            return
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:
        body["thinking"] = {"type": "adaptive"}
        output["effort"] = EFFORTS[chat.effort]
    _unforced(chat)


def _unforced(chat: Chat) -> None:
    """Refuses what Anthropic does not allow while a model thinks."""
    hint = "Leave it out, or ask without thinking (reasoning_effort: none)."
    if chat.temperature not in (None, 1, 1.0):
        raise Invalid("Anthropic's models think at the temperature 1 only.", field="temperature", hint=hint)
    if chat.top_p is not None and chat.top_p < 0.95:
        raise Invalid("Anthropic's models think with a top_p from 0.95 only.", field="top_p", hint=hint)
    if chat.top_k is not None:
        raise Invalid("Anthropic's models take no top_k while they think.", field="top_k", hint=hint)
    if chat.choice is not None and chat.choice.mode in ("required", "one"):
        raise Invalid("Anthropic's models cannot be made to call a tool while they think.", field="tool_choice", hint=hint)


def _format(form: Format) -> Block:
    assert form.schema is not None
    return {"type": "json_schema", "schema": closed(form.schema)}


def closed(schema: Mapping[str, object]) -> dict[str, object]:
    """The schema with objects that list their properties closed, as Anthropic demands; what is closed or a map stays."""
    made: dict[str, object] = {}
    for name, value in schema.items():
        if name in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            made[name] = {key: closed(one) if isinstance(one, Mapping) else one for key, one in value.items()}
        elif name == "items" and isinstance(value, Mapping):
            made[name] = closed(value)
        elif name in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list | tuple):
            made[name] = [closed(one) if isinstance(one, Mapping) else one for one in value]
        else:
            made[name] = value
    if "properties" in made and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


def _sampling(chat: Chat, body: dict[str, object]) -> None:
    if chat.temperature is not None:
        if not 0 <= chat.temperature <= 1:
            raise Invalid("Anthropic's temperatures go from 0 to 1.", words=f"It is {chat.temperature}.", field="temperature")
        body["temperature"] = chat.temperature
    if chat.top_p is not None:
        body["top_p"] = chat.top_p
    if chat.top_k is not None:
        body["top_k"] = chat.top_k
