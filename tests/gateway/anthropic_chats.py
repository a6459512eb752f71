"""Chats whose requests to Anthropic are golden, by the name of their file; and deltas put together by blocks."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import replace

from tandem.core.chat import (
    Chat,
    Choice,
    Delta,
    Document,
    Format,
    Image,
    Message,
    Part,
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

SIGNED = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"
WEATHER = Tool(
    name="get_weather",
    description="Get the current weather in a given location",
    schema={"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
)


def say(role: Role, *parts: Part | str) -> Message:
    return Message(role=role, parts=tuple([Text(text=part) if isinstance(part, str) else part for part in parts]))


def call(id: str, location: str) -> ToolCall:
    return ToolCall(id=id, name="get_weather", arguments=f'{{"location": "{location}"}}')


def result(id: str, text: str, *, failed: bool = False) -> Message:
    return say("tool", ToolResult(call=id, parts=(Text(text=text),), failed=failed))


CHATS: dict[str, tuple[str, Chat]] = {
    "plain": (
        "claude-haiku-4-5",
        Chat(
            messages=(
                say("system", "Be brief."),
                say("user", "Hello, Claude"),
                say("assistant", "Hi, I'm Claude."),
                say("user", "Can you explain LLMs in plain English?"),
            ),
            max_output=1024,
            temperature=0.5,
            top_p=0.9,
            stop=("END",),
            user="u-13",
            stream=True,
        ),
    ),
    "parallel_tools": (
        "claude-haiku-4-5",
        Chat(
            messages=(
                say("user", "What's the weather in SF and NYC?"),
                say("assistant", "I'll check both.", call("toolu_01", "San Francisco, CA"), call("toolu_02", "New York, NY")),
                result("toolu_01", "68 °F"),
                say("user", "In Celsius, please."),
                result("toolu_02", "no such station", failed=True),
            ),
            tools=(WEATHER,),
            choice=Choice(parallel=False),
        ),
    ),
    "seen": (
        "claude-haiku-4-5",
        Chat(
            messages=(
                say(
                    "user",
                    Image(media="image/png", data="iVBORw0KGgo="),
                    Image(url="https://example.com/ant.jpg"),
                    Document(media="application/pdf", data="JVBERi0=", name="report.pdf"),
                    Document(media="text/plain; charset=utf-8", data=b64encode("Grüße".encode()).decode()),
                    Text(text="What is in these?", cache="1h"),
                ),
            )
        ),
    ),
    "thought": (
        "claude-haiku-4-5",
        Chat(
            messages=(
                say("user", "What's the weather in Paris?"),
                say(
                    "assistant",
                    Thinking(text="Nobody signed this."),
                    Thinking(text="The user wants the weather.", signature=SIGNED),
                    Thinking(hidden="EmwKAhgBEgy3va3pzix"),
                    call("toolu_01", "Paris"),
                ),
                result("toolu_01", "88 °F"),
            ),
            tools=(WEATHER,),
            max_output=16000,
            effort="medium",
            thinking=8000,
        ),
    ),
    "structured": (
        "claude-opus-5-5",
        Chat(
            messages=(say("user", "Is it fraud?"),),
            max_output=2000,
            effort="high",
            format=Format(
                name="verdict",
                schema={"type": "object", "properties": {"verdict": {"type": "string"}}, "required": ["verdict"]},
            ),
        ),
    ),
    "forced": (
        "claude-haiku-4-5",
        Chat(messages=(say("user", "Paris?"),), tools=(WEATHER,), choice=Choice(mode="one", name="get_weather")),
    ),
}


def folded(deltas: Iterable[Delta]) -> list[Delta]:
    """One delta for each block, calls at their places, the last usage."""
    out: list[Delta] = []
    calls: dict[int, int] = {}
    for delta in deltas:
        last = out[-1] if out else None
        if isinstance(delta, TextDelta) and isinstance(last, TextDelta):
            out[-1] = TextDelta(text=last.text + delta.text)
        elif (
            isinstance(delta, ThinkingDelta)
            and isinstance(last, ThinkingDelta)
            and not (last.signature or last.hidden or delta.hidden)
        ):
            out[-1] = ThinkingDelta(text=last.text + delta.text, signature=delta.signature)
        elif isinstance(delta, ToolDelta) and delta.place in calls:
            at = calls[delta.place]
            begun = out[at]
            assert isinstance(begun, ToolDelta)
            out[at] = replace(begun, arguments=begun.arguments + delta.arguments)
        elif isinstance(delta, Used) and any(isinstance(one, Used) for one in out):
            out = [delta if isinstance(one, Used) else one for one in out]
        else:
            if isinstance(delta, ToolDelta):
                calls[delta.place] = len(out)
            out.append(delta)
    return out
