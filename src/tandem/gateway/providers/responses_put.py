"""A chat as OpenAI's Responses API asks for it. Words in, a request's members out; no key, no header, no answer.

Nothing is kept there: a chat brings its whole conversation, and a thought comes back as the sealed proof that was given out.
Source: OpenAI's API reference for `POST /v1/responses`, as the types of its Python SDK 3.54 encode it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from zlib import crc32

from tandem.core.chat import (
    Chat,
    Choice,
    Document,
    Format,
    Image,
    Message,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from tandem.core.errors import Invalid
from tandem.gateway.providers.openai import EFFORTS, REASONING

Item = dict[str, object]

SEALED = "reasoning.encrypted_content"
"""What `include` must hold, so that thoughts come as something that can be sent back."""
LONGEST_ID = 64
"""Of a call, and of an end user."""
_PROOF = "responses:"
"""What a thought's signature begins with where it stands for the item of a Responses API."""


def proof(id: str, sealed: str) -> str:
    """The signature of a thought: its item's id, and its content as the provider sealed it.

    >>> proved(proof("rs_1", "gAAA=="))
    ('rs_1', 'gAAA==')
    """
    return f"{_PROOF}{id}:{sealed}"


def proved(signature: str) -> tuple[str, str] | None:
    """The item's id and sealed content; None for the signature of another protocol."""
    if not signature.startswith(_PROOF):
        return None
    id, _, sealed = signature.removeprefix(_PROOF).partition(":")
    return id, sealed


def members(chat: Chat, model: str) -> tuple[dict[str, object], tuple[str, ...]]:
    """The members of the request, and the names of the fields that were left out.

    Raises:
        Invalid: the chat holds what this API cannot carry and what must not be left out; `field` names it.
    """
    if chat.stop:
        raise Invalid(
            "A provider that speaks responses takes no stop sequences.",
            field="stop",
            hint="Leave them out, or name a model whose provider speaks another protocol.",
        )
    dropped = _left_out(chat)
    thinks = REASONING.match(model) is not None
    items = [item for at, message in enumerate(chat.messages) for item in _items(message, f"messages[{at}]", dropped)]
    body: dict[str, object] = {"model": model, "input": items, "store": False}
    if thinks:
        body["include"] = [SEALED]
    plain = {
        "max_output_tokens": chat.max_output, "temperature": chat.temperature, "top_p": chat.top_p, "stream": chat.stream or None
    }  # fmt: skip
    body |= {name: value for name, value in plain.items() if value is not None}
    if chat.tools:
        body["tools"] = [_tool(tool) for tool in chat.tools]
        if chat.choice is not None:
            body |= _choice(chat.choice)
    if chat.format is not None:
        body["text"] = {"format": _format(chat.format)}
    _think(chat, thinks, body, dropped)
    if chat.user:
        if len(chat.user) <= LONGEST_ID:
            body["safety_identifier"] = chat.user
        else:
            dropped.append("user")
    return body, tuple(dict.fromkeys(dropped))


def _left_out(chat: Chat) -> list[str]:
    """What has no place here and does not change what the answer means, as OpenAI's callers name it."""
    dropped = ["seed"] if chat.seed is not None else []
    dropped += [name for name in ("frequency_penalty", "presence_penalty") if getattr(chat, name) not in (None, 0, 0.0)]
    if chat.top_k is not None:
        dropped.append("top_k")
    if any(tool.cache for tool in chat.tools):
        dropped.append("cache_control")
    return dropped


def _think(chat: Chat, thinks: bool, body: dict[str, object], dropped: list[str]) -> None:
    effort = chat.effort
    if not effort and chat.thinking:
        effort = next((name for most, name in EFFORTS if chat.thinking <= most), "high")
    if not thinks:
        dropped += ["reasoning_effort" if chat.effort else "thinking"] if effort else []
        dropped += ["reasoning.summary"] if chat.summary else []
        return
    told = {name: value for name, value in (("effort", effort), ("summary", chat.summary)) if value}
    if told:
        body["reasoning"] = told


# --- input


def _items(message: Message, place: str, dropped: list[str]) -> Iterator[Item]:
    """A message as items, in its order: thoughts, calls and results of tools are items of their own."""
    if message.name:
        dropped.append("name")
    role = "user" if message.role == "tool" else message.role
    said: list[Text | Image | Document | Refusal] = []
    for at, part in enumerate(message.parts):
        where = f"{place}.content[{at}]"
        match part:
            case Text() | Image() | Document() | Refusal():
                _fits(part, role, where)
                said.append(part)
                continue
            case Thinking():
                item = _thought(part)
                if item is None:
                    dropped.append("thinking")  # it is the proof of another provider
                    continue
            case ToolCall():
                if part.cache is not None:
                    dropped.append("cache_control")
                item = {
                    "type": "function_call", "call_id": _id(part.id), "name": part.name, "arguments": part.arguments or "{}"
                }  # fmt: skip
            case ToolResult():
                item = _result(part, where, dropped)
        if said:
            yield _message(role, said, place, dropped)
            said = []
        yield item
    if said or not message.parts:
        yield _message(role, said, place, dropped)


def _fits(part: Text | Image | Document | Refusal, role: str, where: str) -> None:
    """Refuses a part on a side that cannot say it."""
    if role == "assistant" and isinstance(part, Image | Document):
        raise Invalid("An answer of the model's holds a picture or a file, which responses have no place for.", field=where)
    if role != "assistant" and isinstance(part, Refusal):
        raise Invalid("Only the assistant refuses.", field=where)


def _message(role: str, parts: list[Text | Image | Document | Refusal], place: str, dropped: list[str]) -> Item:
    if any(not isinstance(part, Refusal) and part.cache is not None for part in parts):
        dropped.append("cache_control")
    if role == "assistant":
        if all(isinstance(part, Text) for part in parts):
            return {"role": role, "content": "".join([part.text for part in parts if isinstance(part, Text)])}
        told = [
            {"type": "refusal", "refusal": part.text} if isinstance(part, Refusal) else {"type": "output_text", "text": part.text}
            for part in parts
            if isinstance(part, Text | Refusal)
        ]
        return {"type": "message", "role": role, "content": told}
    if len(parts) == 1 and isinstance(parts[0], Text):
        return {"role": role, "content": parts[0].text}
    content = [_content(part, f"{place}.content[{at}]") for at, part in enumerate(parts) if not isinstance(part, Refusal)]
    return {"role": role, "content": content or ""}


def _content(part: Text | Image | Document, where: str) -> Item:
    match part:
        case Text():
            return {"type": "input_text", "text": part.text}
        case Image():
            url = part.url or f"data:{part.media};base64,{part.data}"
            return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
        case Document():
            if part.url:
                return {"type": "input_file", "file_url": part.url}
            if not part.data:
                raise Invalid("A document has neither bytes nor an address.", field=where)
            data = f"data:{part.media};base64,{part.data}"
            return {"type": "input_file", "filename": part.name or "document", "file_data": data}


def _thought(part: Thinking) -> Item | None:
    """A thought of this API's own; None for one that another wrote."""
    found = proved(part.signature)
    if found is None:
        return None
    id, sealed = found
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    return {"type": "reasoning", "id": id, "summary": summary, "encrypted_content": sealed}


def _result(part: ToolResult, where: str, dropped: list[str]) -> Item:
    if part.failed:
        dropped.append("is_error")
    if part.cache is not None or any(one.cache is not None for one in part.parts):
        dropped.append("cache_control")
    texts = [one.text for one in part.parts if isinstance(one, Text)]
    output: object = "\n".join(texts)
    if len(texts) < len(part.parts):
        output = [_content(one, where) for one in part.parts]
    return {"type": "function_call_output", "call_id": _id(part.call), "output": output}


def _id(id: str) -> str:
    """A call's id; one that is too long there is cut, the same way each time."""
    return id if len(id) <= LONGEST_ID else f"{id[: LONGEST_ID - 9]}_{crc32(id.encode()):08x}"


# --- all else


def _tool(tool: Tool) -> Item:
    """A flat function; what is not said to be strict is not, as everywhere but here."""
    told: Item = {"type": "function", "name": tool.name, "parameters": tool.schema, "strict": bool(tool.strict)}
    return told | ({"description": tool.description} if tool.description else {})


def _choice(choice: Choice) -> dict[str, object]:
    told: Mapping[str, object] = {"type": "function", "name": choice.name}
    several = {} if choice.parallel is None else {"parallel_tool_calls": choice.parallel}
    return {"tool_choice": told if choice.mode == "one" else choice.mode, **several}


def _format(form: Format) -> Item:
    if form.schema is None:
        return {"type": "json_object"}
    told: Item = {"type": "json_schema", "name": form.name or "answer", "schema": form.schema}
    return told | ({} if form.strict is None else {"strict": form.strict})
