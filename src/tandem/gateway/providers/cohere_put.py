"""A chat as Cohere's Chat API v2 asks for it. Words in, a request's members out; no key, no address, no answer.

Source: https://docs.cohere.com/v2/reference/chat, as the SDK cohere 7 writes its requests.
What Cohere has no place for is left out and named where the answer stays what was asked for; else it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tandem.core.chat import (
    Chat,
    Choice,
    Document,
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
from tandem.gateway.providers.anthropic_put import BUDGETS

Json = dict[str, object]

REASONING = re.compile(r"(?:.*/)?command-a-(?:reasoning|plus)")
"""Models that think, unless they are told not to: https://docs.cohere.com/docs/reasoning (2026-11)."""
LEAST_P, MOST_P, MOST_K, MOST_STOPS = 0.01, 0.99, 500, 5
SEVERAL = "parallel_tool_calls"
"""What it cannot be told; only the first call is passed on then."""
_FREE = ("high", "xhigh", "max")
"""Efforts that take as many thoughts as it needs."""


def members(chat: Chat, model: str) -> tuple[Json, tuple[str, ...]]:
    """The members of the request, and the names of the fields that were left out.

    Raises:
        Invalid: the chat holds what Cohere cannot carry and what must not be left out; `field` names it.
    """
    dropped: list[str] = []
    messages = [said for at, each in enumerate(chat.messages) for said in _messages(each, f"messages[{at}]", dropped)]
    if not messages:
        raise Invalid("There is nothing to answer.", field="messages", hint="Send at least one message of a user.")
    body: Json = {"model": model, "messages": messages, "stream": chat.stream}
    body |= _tools(chat, dropped)
    if chat.format is not None:
        if chat.tools:
            raise Invalid(
                "Cohere's models cannot be bound to a form while they are offered tools.",
                hint="Leave out the tools or the form, or route to a provider that takes both.",
                field="response_format",
            )
        schema = {} if chat.format.schema is None else {"json_schema": chat.format.schema}
        body["response_format"] = {"type": "json_object", **schema}
    body |= {name: value for name, value in _sampling(chat, dropped) if value is not None}
    thinking = _thinking(chat, model, dropped)
    if thinking:
        body["thinking"] = thinking
    if chat.user:
        dropped.append("user")
    return body, tuple(dict.fromkeys(dropped))


# --- what is asked of the model


def _sampling(chat: Chat, dropped: list[str]) -> Iterator[tuple[str, object]]:
    if len(chat.stop) > MOST_STOPS:
        raise Invalid(f"Cohere takes {MOST_STOPS} stop sequences.", words=f"They are {len(chat.stop)}.", field="stop")
    yield "max_tokens", chat.max_output
    yield "stop_sequences", chat.stop or None
    yield "temperature", chat.temperature
    yield "seed", chat.seed
    if chat.top_p is not None:  # 1, by which OpenAI's callers mean no bound, is beyond Cohere's
        p = min(max(chat.top_p, LEAST_P), MOST_P)
        dropped += ["top_p"] if p != chat.top_p else []
        yield "p", p
    if chat.top_k is not None:
        dropped += ["top_k"] if chat.top_k > MOST_K else []
        yield "k", min(chat.top_k, MOST_K)
    for name in ("frequency_penalty", "presence_penalty"):
        penalty = getattr(chat, name)
        if penalty is not None and not 0 <= penalty <= 1:
            dropped.append(name)
        else:
            yield name, penalty


def _thinking(chat: Chat, model: str, dropped: list[str]) -> Json:
    """How hard to think, for models that do."""
    wanted = chat.thinking if chat.thinking is not None else chat.effort
    if wanted == "":
        return {}
    if chat.thinking is None and chat.effort not in ("none", *BUDGETS):
        raise Invalid("Nobody knows this effort.", words=f"It is '{chat.effort}'.", field="reasoning_effort")
    off = wanted in (0, "none")
    if REASONING.match(model) is None:
        dropped += [] if off else ["thinking" if chat.thinking is not None else "reasoning_effort"]
        return {}
    if off:
        return {"type": "disabled"}
    if isinstance(wanted, int):
        return {"type": "enabled", "token_budget": wanted}
    if wanted in _FREE:
        return {"type": "enabled"}
    budget = BUDGETS[wanted] if chat.max_output is None else min(BUDGETS[wanted], max(1, chat.max_output // 2))
    return {"type": "enabled", "token_budget": budget}  # half stays for the answer itself


def _tools(chat: Chat, dropped: list[str]) -> Json:
    choice = chat.choice or Choice()
    if not chat.tools:
        if choice.mode in ("required", "one"):
            raise Invalid(
                "A tool must be called, but none is offered.", field="tool_choice", hint="Send `tools`, or leave it out."
            )
        return {}
    if choice.parallel is False and choice.mode != "none":  # its models call several when they see fit
        dropped.append(SEVERAL)
    offered: Sequence[Tool] = chat.tools
    told: Json = {}
    match choice.mode:
        case "none":
            told["tool_choice"] = "NONE"
        case "required":
            told["tool_choice"] = "REQUIRED"
        case "one":  # it cannot be named, but it can be the only one
            offered = [tool for tool in chat.tools if tool.name == choice.name]
            if not offered:
                raise Invalid(
                    "The tool that must be called is not offered.", words=f"It is '{choice.name}'.", field="tool_choice"
                )
            told["tool_choice"] = "REQUIRED"
        case "auto":
            pass
    if all(tool.strict for tool in offered):
        told["strict_tools"] = True
    elif any(tool.strict for tool in offered):  # all of them, or none
        dropped.append("tools.strict")
    return {"tools": [_tool(tool, dropped) for tool in offered], **told}


def _tool(tool: Tool, dropped: list[str]) -> Json:
    if tool.cache is not None:
        dropped.append("cache_control")
    described = {"description": tool.description} if tool.description else {}
    return {
        "type": "function",
        "function": {"name": tool.name, **described, "parameters": {"type": "object", **tool.schema}},
    }


# --- what was said


def _messages(message: Message, place: str, dropped: list[str]) -> Iterator[Json]:
    """One message, or one for each result of a tool; words between results follow them."""
    if message.name:
        dropped.append("name")
    if message.role == "assistant":
        yield from _answered(message, place, dropped)
        return
    for at, part in enumerate(message.parts):
        if isinstance(part, ToolResult):
            yield _result(part, f"{place}.content[{at}]", dropped)
    role = "system" if message.role == "system" else "user"
    blocks: list[Json] = []
    for at, part in enumerate(message.parts):
        where = f"{place}.content[{at}]"
        if isinstance(part, Text | Image) and part.cache is not None:
            dropped.append("cache_control")
        match part:
            case Text():
                blocks += [{"type": "text", "text": part.text}] if part.text.strip() else []
            case Image() if role == "user":
                blocks.append(_image(part))
            case ToolResult():
                pass
            case _:
                raise _out_of_place(part, role, where)
    if blocks:
        yield {"role": role, "content": _short(blocks)}
    elif role == "user" and not any(isinstance(part, ToolResult) for part in message.parts):
        raise Invalid("Cohere takes no empty message.", field=place, hint="Send some text, or leave it out.")


def _answered(message: Message, place: str, dropped: list[str]) -> Iterator[Json]:
    """What the model said before. Where it called tools, its thoughts were its plan."""
    blocks: list[Json] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    for at, part in enumerate(message.parts):
        if isinstance(part, Text | ToolCall) and part.cache is not None:
            dropped.append("cache_control")
        match part:
            case Text() | Refusal():
                blocks += [{"type": "text", "text": part.text}] if part.text.strip() else []
            case Thinking():
                if part.signature or part.hidden:  # it bears the proof of another provider, for Cohere gives none
                    dropped.append("thinking")
                elif part.text:
                    thoughts.append(part.text)
            case ToolCall():
                told = {"name": part.name, "arguments": part.arguments if part.arguments.strip() else "{}"}
                calls.append({"id": part.id, "type": "function", "function": told})
            case _:
                raise _out_of_place(part, "assistant", f"{place}.content[{at}]")
    said: Json = {"role": "assistant"}
    if calls:
        said["tool_calls"] = calls
        if thoughts:
            said["tool_plan"] = "".join(thoughts)
    elif thoughts and blocks:
        blocks.insert(0, {"type": "thinking", "thinking": "".join(thoughts)})
    if blocks:
        said["content"] = _short(blocks)
    if blocks or calls:
        yield said


def _result(result: ToolResult, where: str, dropped: list[str]) -> Json:
    if result.failed:
        dropped.append("is_error")
    if result.cache is not None or any(part.cache is not None for part in result.parts):
        dropped.append("cache_control")
    blocks: list[Json] = []
    for part in result.parts:
        if not isinstance(part, Text):
            raise _out_of_place(part, "tool", where)
        blocks.append({"type": "text", "text": part.text})
    return {"role": "tool", "tool_call_id": result.call, "content": _short(blocks) if blocks else ""}


def _image(image: Image) -> Json:
    url = image.url or f"data:{image.media};base64,{image.data}"
    return {"type": "image_url", "image_url": {"url": url, **({"detail": image.detail} if image.detail else {})}}


def _short(blocks: list[Json]) -> object:
    """One plain text as a string, which means the same."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _out_of_place(part: object, role: str, where: str) -> Invalid:
    kind = "document" if isinstance(part, Document) else type(part).__name__.lower()
    return Invalid(
        f"Cohere takes no {kind} in a message of the role {role}.",
        field=where,
        hint="Send its text, or route to a provider that reads it.",
    )
