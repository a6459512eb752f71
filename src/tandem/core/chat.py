"""Chat: the words in which every wire and every provider meet. What is asked, and what is answered piece by piece.

A wire that a caller speaks reads its bytes into a `Chat` and writes `Delta`s back; a provider's protocol asks for a
`Chat` and reads its own events into `Delta`s. Where both speak the same, bytes pass and none of this is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tandem.core.money import Usage

Role = Literal["system", "user", "assistant", "tool"]
"""`developer` is `system`; a `tool` message holds the results of one or more calls."""
Mode = Literal["auto", "none", "required", "one"]
Reason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "paused"]
"""Why an answer ended; `paused`: the provider wants to be asked again with what it has said so far."""
Keep = Literal["5m", "1h"]
"""How long a provider's prompt cache shall keep what ends here."""

# --- parts of a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Words."""

    text: str
    cache: Keep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture: its bytes in base 64, or where it lies."""

    media: str = ""
    """Such as `image/png`; empty where only the address is known."""
    data: str = ""
    url: str = ""
    detail: str = ""
    cache: Keep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file: its bytes in base 64, or where it lies."""

    media: str = ""
    data: str = ""
    url: str = ""
    name: str = ""
    cache: Keep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """What a model thought before it answered; it goes back to the provider that wrote it as it came, or not at all."""

    text: str = ""
    signature: str = ""
    """The provider's own proof."""
    hidden: str = ""
    """What cannot be read: Anthropic's redacted thinking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool that a model asks for."""

    id: str
    name: str
    arguments: str
    """JSON as the model wrote it."""
    signature: str = ""
    """The provider's own proof, which must come back with the call (Gemini's thoughtSignature)."""
    cache: Keep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool said."""

    call: str
    """The call's id."""
    parts: tuple[Text | Image | Document, ...]
    failed: bool = False
    cache: Keep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a model said instead of an answer."""

    text: str


Part = Text | Image | Document | Thinking | ToolCall | ToolResult | Refusal


# --- what is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one side said."""

    role: Role
    parts: tuple[Part, ...]
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that a model may ask to have called."""

    name: str
    description: str = ""
    schema: Mapping[str, object] = field(default_factory=dict)
    """JSON Schema of its arguments."""
    strict: bool | None = None
    cache: Keep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Whether a model may, must or must not call a tool."""

    mode: Mode = "auto"
    name: str = ""
    """The tool, where it is one."""
    parallel: bool | None = None
    """Whether several calls at once are welcome; None leaves it to the provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """The answer is JSON."""

    schema: Mapping[str, object] | None = None
    """None: any JSON object."""
    name: str = ""
    strict: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """What is asked of a language model, whoever asks and whoever answers."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    choice: Choice | None = None
    format: Format | None = None
    max_output: int | None = None
    """Tokens."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    effort: str = ""
    """How hard to think, as OpenAI says it: `none`, `minimal`, `low`, `medium`, `high`."""
    summary: str = ""
    """How a model that hides its thoughts shall sum them up, as OpenAI says it: `auto`, `concise`, `detailed`."""
    thinking: int | None = None
    """Tokens to think with; 0 forbids it; None leaves it to the model or to `effort`."""
    user: str = ""
    """The end user, as the caller names them to the provider."""
    stream: bool = False
    rest: Mapping[str, object] = field(default_factory=dict)
    """Top-level fields of the caller's wire that have no word here: refused or named by the translation, not by a provider."""


# --- what is answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """An answer begins."""

    id: str = ""
    """The provider's own."""
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """More words of the answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalDelta:
    """More words of a refusal."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingDelta:
    """More of what the model thinks; the parts of one block come one after the other, its signature last."""

    text: str = ""
    signature: str = ""
    hidden: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDelta:
    """A call begins (with `id` and `name`), or goes on."""

    place: int
    """Which call of the answer: 0, 1, …; pieces of several may alternate."""
    id: str = ""
    name: str = ""
    arguments: str = ""
    """The next piece of its JSON."""
    signature: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What the answer used so far, whole each time: the last one counts."""

    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The answer is complete."""

    reason: Reason
    sequence: str = ""
    """The stop sequence that ended it, where the provider says which."""


Delta = Begin | TextDelta | RefusalDelta | ThinkingDelta | ToolDelta | Used | Finish
