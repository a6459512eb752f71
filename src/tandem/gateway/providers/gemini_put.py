"""A chat as Gemini's generateContent asks for it. It makes a body, and reads no answer.

Source: https://ai.google.dev/api/generate-content, as the SDK google-genai 3 writes it.
What Gemini has no place for is left out and named where the answer stays what was asked for; else it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from mimetypes import guess_type
from urllib.parse import urlsplit

import msgspec

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

Json = dict[str, object]

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
"""Tokens to think with, by effort, for models that know no levels: https://ai.google.dev/gemini-api/docs/openai (2026-11)."""
UNSIGNED = "skip_thought_signature_validator"
"""What stands for the proof of a call that Gemini did not make: https://ai.google.dev/gemini-api/docs/thought-signatures."""
SEEDS = 2**31
"""A seed is a 32-bit integer here."""
_LEVELLED = re.compile(r"gemini-(?:[3-9]|\d\d)")
"""Models that think by level, and that refuse a call without its proof: Gemini 3 and later."""
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "one": "ANY"}


class Put:
    """One chat on its way; `dropped` collects what was left out, `single` whether one call of a tool is all that may come."""

    def __init__(self, chat: Chat, model: str) -> None:
        self.dropped: dict[str, None] = {}
        self.single = False
        self._chat = chat
        self._levelled = _LEVELLED.match(model) is not None
        self._names: dict[str, str] = {}
        """Call id → tool; a result names its tool here."""

    def body(self) -> Json:
        """The request's body.

        Raises:
            Invalid: it asks for what Gemini cannot do, or holds what cannot be read.
        """
        chat = self._chat
        if chat.user:
            self._drop("user")
        system, contents = self._turns()
        body: Json = {"contents": contents}
        if system:
            body["systemInstruction"] = {"role": "user", "parts": system}
        if chat.tools:
            body["tools"] = [{"functionDeclarations": [self._tool(tool) for tool in chat.tools]}]
        if chat.choice is not None:
            choice = self._choice(chat.choice)
            if choice:
                body["toolConfig"] = {"functionCallingConfig": choice}
        config = {name: value for name, value in self._config() if value is not None}
        if config:
            body["generationConfig"] = config
        return body

    # what is asked of the model

    def _config(self) -> Iterator[tuple[str, object]]:
        chat = self._chat
        yield "maxOutputTokens", chat.max_output
        yield "temperature", chat.temperature
        yield "topP", chat.top_p
        yield "topK", chat.top_k
        yield "stopSequences", list(chat.stop) or None
        yield "seed", None if chat.seed is None else chat.seed % SEEDS
        yield "presencePenalty", chat.presence_penalty
        yield "frequencyPenalty", chat.frequency_penalty
        if chat.format is not None:
            yield "responseMimeType", "application/json"
            yield "responseJsonSchema", chat.format.schema
        yield "thinkingConfig", self._thinking() or None

    def _thinking(self) -> Json:
        chat = self._chat
        if chat.thinking is not None:
            return {"thinkingBudget": chat.thinking, **({"includeThoughts": True} if chat.thinking else {})}
        if not chat.effort:
            return {}
        if chat.effort == "none":
            return {"thinkingBudget": 0}
        if chat.effort not in BUDGETS:
            raise Invalid(
                "Gemini does not know this effort.",
                words=f"It is '{chat.effort}'.",
                hint=f"Use none, {', '.join(BUDGETS)}.",
                field="reasoning_effort",
            )
        return {"thinkingLevel": chat.effort.upper()} if self._levelled else {"thinkingBudget": BUDGETS[chat.effort]}

    def _tool(self, tool: Tool) -> Json:
        if tool.strict:
            self._drop("tools.strict")
        if tool.cache is not None:
            self._drop("cache_control")
        declared: Json = {"name": tool.name}
        if tool.description:
            declared["description"] = tool.description
        if tool.schema:
            declared["parametersJsonSchema"] = tool.schema
        return declared

    def _choice(self, choice: Choice) -> Json:
        if not self._chat.tools:
            return {}
        if choice.parallel is False and choice.mode != "none":  # Gemini calls several when it sees fit
            self._drop("parallel_tool_calls")
            self.single = True
        config: Json = {"mode": _MODES[choice.mode]}
        if choice.mode == "one":
            config["allowedFunctionNames"] = [choice.name]
        return config

    # what was said

    def _turns(self) -> tuple[list[Json], list[Json]]:
        """Parts of the system's instruction; and the turns, where one side speaks once until the other does."""
        system: list[Json] = []
        contents: list[tuple[str, list[Json]]] = []
        for at, message in enumerate(self._chat.messages):
            if message.name:
                self._drop("name")
            parts = self._parts(message, at)
            role = "model" if message.role == "assistant" else "user"
            if message.role == "system":
                system += parts
            elif not parts:
                continue
            elif contents and contents[-1][0] == role:  # results of parallel calls belong into one turn
                contents[-1][1].extend(parts)
            else:
                contents.append((role, parts))
        if not contents:  # an instruction alone is a question to other providers; here somebody must speak
            if not system:
                raise Invalid("There is no message to answer.", field="messages")
            system, contents = [], [("user", system)]
        return system, [{"role": role, "parts": parts} for role, parts in contents]

    def _parts(self, message: Message, at: int) -> list[Json]:
        parts: list[Json] = []
        proven = False
        for part in message.parts:
            if not isinstance(part, Thinking | Refusal) and part.cache is not None:
                self._drop("cache_control")
            match part:
                case Text(text=text) | Refusal(text=text):
                    if text:
                        parts.append({"text": text})
                case Image() | Document():
                    if message.role == "system":
                        raise Invalid("Gemini's system instruction is text.", field=f"messages[{at}]")
                    parts.append(self._file(part, at))
                case Thinking():  # Gemini needs its proofs, which are on the calls, and not its thoughts
                    self._drop("thinking")
                case ToolCall():
                    parts.append(self._call(part, at, proven=proven))
                    proven = True
                case ToolResult():
                    parts.append(self._result(part, at))
        return parts

    def _file(self, part: Image | Document, at: int) -> Json:
        if isinstance(part, Image) and part.detail not in ("", "auto"):
            self._drop("image_url.detail")
        if isinstance(part, Document) and part.name:
            self._drop("document.name")
        if part.data:
            if not part.media:
                raise Invalid("A file needs its media type.", field=f"messages[{at}]")
            return {"inlineData": {"mimeType": part.media, "data": part.data}}
        media = part.media or guess_type(urlsplit(part.url).path)[0]
        return {"fileData": {"fileUri": part.url, **({"mimeType": media} if media else {})}}

    def _call(self, call: ToolCall, at: int, *, proven: bool) -> Json:
        self._names[call.id] = call.name
        made: Json = {"functionCall": {"id": call.id, "name": call.name, "args": _object(call.arguments or "{}", at)}}
        signature = call.signature or (UNSIGNED if self._levelled and not proven else "")  # only the first bears one
        return {**made, "thoughtSignature": signature} if signature else made

    def _result(self, result: ToolResult, at: int) -> Json:
        name = self._names.get(result.call)
        if name is None:
            raise Invalid(
                "A tool's result belongs to no call that came before it.",
                hint="Send the assistant's message with the call too.",
                field=f"messages[{at}]",
            )
        text = "".join(part.text for part in result.parts if isinstance(part, Text))
        said: object = {"error": text} if result.failed else _whole(text)
        files = [self._file(part, at) for part in result.parts if not isinstance(part, Text)]
        response: Json = {"id": result.call, "name": name, "response": said}
        return {"functionResponse": {**response, "parts": files} if files else response}

    def _drop(self, field: str) -> None:
        self.dropped[field] = None


def _object(text: str, at: int) -> msgspec.Raw:
    """A JSON object, byte for byte.

    Raises:
        Invalid: it is none.
    """
    try:
        msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Invalid("The arguments of a tool call are no JSON object.", field=f"messages[{at}]") from None
    return msgspec.Raw(text.encode())


def _whole(text: str) -> object:
    """What a tool said, as the object that Gemini wants: its own where it is one."""
    try:
        return _object(text, 0)
    except Invalid:
        return {"output": text}


def encode(body: Json) -> bytes:
    """The body as bytes.

    Raises:
        Invalid: it holds what JSON does not.
    """
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError):
        raise Invalid("The chat cannot be written as JSON.", hint="Texts must be UTF-8, and nothing may hold itself.") from None
