"""A chat as Amazon Bedrock's Converse asks for it. Words in, a request's members out; no key, no address, no answer.

Source: the service model of `bedrock-runtime` (2023-09-30), as botocore 1.44 writes its requests. What only one maker's models
understand goes into `additionalModelRequestFields`; for Anthropic's it is written by the rules of Anthropic's own API.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import assert_never
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
from tandem.gateway.providers.anthropic_put import DEFAULT_MAX_TOKENS, ONLY_JSON, closed, left_out, think, written
from tandem.gateway.providers.responses_put import proved

Block = dict[str, object]

IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
LONGEST_ID, LONGEST_NAME = 64, 200
"""Characters of a call's id, and of a document's name."""
SEVERAL = "parallel_tool_calls"
"""Among what was left out where only one call of a tool may come."""
_CLAUDE = re.compile(r"anthropic\.claude")
_KEEPS = re.compile(r"anthropic\.claude|amazon\.nova")
"""Models that keep beginnings; all others refuse to be asked."""
_FOREIGN_ID = re.compile(r"[^a-zA-Z0-9_.:-]")
_FOREIGN_NAME = re.compile(r"[^a-zA-Z0-9 ()\[\]-]+")
_BLANKS = re.compile(r" {2,}")


def members(chat: Chat, model: str) -> tuple[dict[str, object], tuple[str, ...]]:
    """The members of the request, and the names of the fields that were left out.

    Raises:
        Invalid: the chat holds what Converse cannot carry and what must not be left out; `field` names it.
    """
    return Put(chat, model).body()


class Put:
    """One chat on its way; `dropped` collects what was left out."""

    def __init__(self, chat: Chat, model: str) -> None:
        self.dropped: list[str] = []
        self._chat = chat
        self._claude = _CLAUDE.search(model) is not None
        self._keeps = _KEEPS.search(model) is not None
        self._model = model
        self._titles: set[str] = set()
        """Names of documents, of which no two may be equal."""

    def body(self) -> tuple[dict[str, object], tuple[str, ...]]:
        """As `members`."""
        chat = self._chat
        self.dropped += left_out(chat)
        if chat.user:
            self.dropped.append("user")
        system, turns = self._said()
        body: dict[str, object] = {"messages": turns}
        if chat.format is not None and chat.format.schema is None:
            system.append({"text": ONLY_JSON})
            self.dropped.append("response_format")
        if system:
            body["system"] = system
        if inference := self._inference():
            body["inferenceConfig"] = inference
        if tools := self._tools():
            body["toolConfig"] = tools
        extra: dict[str, object] = {}
        output: dict[str, object] = {}
        self._think(extra, output)
        self._sample(extra)
        if chat.format is not None and chat.format.schema is not None:
            output["textFormat"] = _format(chat.format)
        if output:
            body["outputConfig"] = output
        if extra:
            body["additionalModelRequestFields"] = extra
        if chat.stop and self._claude:  # it says which one it was, if it is asked
            body["additionalModelResponseFieldPaths"] = ["/stop_sequence"]
        return body, tuple(dict.fromkeys(self.dropped))

    # --- what is asked of the model

    def _inference(self) -> Block:
        chat = self._chat
        if chat.temperature is not None and not 0 <= chat.temperature <= 1:
            raise Invalid("Bedrock's temperatures go from 0 to 1.", words=f"It is {chat.temperature}.", field="temperature")
        for at, word in enumerate(chat.stop):
            if not word or (self._claude and not word.strip()):
                raise Invalid(
                    "A stop sequence is empty, or white space alone, which this model does not take.",
                    field=f"stop[{at}]",
                    hint="Leave it out, or add a word.",
                )
        told: Block = {
            "maxTokens": chat.max_output,
            "temperature": chat.temperature,
            "topP": chat.top_p,
            "stopSequences": chat.stop or None,
        }
        return {name: value for name, value in told.items() if value is not None}

    def _think(self, extra: dict[str, object], output: dict[str, object]) -> None:
        chat = self._chat
        if self._claude:
            limit = DEFAULT_MAX_TOKENS if chat.max_output is None else chat.max_output
            think(chat, self._model, limit, extra, output, self.dropped)
        elif chat.thinking:
            self.dropped.append("thinking")
        elif chat.effort not in ("", "none"):
            self.dropped.append("reasoning_effort")

    def _sample(self, extra: dict[str, object]) -> None:
        if self._chat.top_k is None:
            return
        if self._claude:
            extra["top_k"] = self._chat.top_k
        else:
            self.dropped.append("top_k")

    def _tools(self) -> Block:
        """Tools and whether they must be called; those of the conversation where it has some and none is offered any more."""
        chat = self._chat
        past = [part for message in chat.messages for part in message.parts if isinstance(part, ToolCall | ToolResult)]
        choice = chat.choice or Choice()
        if choice.parallel is False and chat.tools and choice.mode != "none":  # its models call several when they see fit
            self.dropped.append(SEVERAL)
        if choice.mode == "none" and chat.tools:
            if past:
                raise Invalid(
                    "Bedrock cannot be kept from calling tools in a conversation that has calls.",
                    hint="Leave tool_choice out, or route to a provider that can.",
                    field="tool_choice",
                )
            return {}  # what is not offered is not called
        if not chat.tools:
            if choice.mode in ("required", "one"):
                raise Invalid(
                    "A tool must be called, but none is offered.", field="tool_choice", hint="Send `tools`, or leave it out."
                )
            names = dict.fromkeys(part.name for part in past if isinstance(part, ToolCall))
            return {"tools": [_tool(Tool(name=name)) for name in names]} if names else {}
        shaped: Block = {"tools": self._marked((_tool(tool), tool.cache) for tool in chat.tools)}
        if chat.choice is not None:
            shaped["toolChoice"] = _choice(choice, [tool.name for tool in chat.tools])
        return shaped

    # --- what was said

    def _said(self) -> tuple[list[Block], list[Block]]:
        """System blocks, and turns that alternate: neighbours of one side are one turn, in which results of tools stand first."""
        system: list[Block] = []
        turns: list[tuple[str, list[Sequence[Block]]]] = []
        for at, message in enumerate(self._chat.messages):
            if message.name:
                self.dropped.append("name")
            place = f"messages[{at}]"
            groups = self._groups(message, place)
            if message.role == "system":
                system += [block for group in groups for block in group]
                continue
            role = "assistant" if message.role == "assistant" else "user"
            if not groups:
                if role == "user":
                    raise Invalid("Bedrock takes no empty message.", field=place, hint="Send some text, or leave it out.")
            elif turns and turns[-1][0] == role:
                turns[-1][1].extend(groups)
            else:
                turns.append((role, list(groups)))
        if not turns:
            raise Invalid("There is nothing to answer.", field="messages", hint="Send at least one message of a user.")
        shaped: list[Block] = []
        for role, groups in turns:
            if role == "user":
                groups.sort(key=lambda group: "toolResult" not in group[0])  # stable: all else keeps its order
            shaped.append({"role": role, "content": [block for group in groups for block in group]})
        return system, shaped

    def _groups(self, message: Message, place: str) -> list[Sequence[Block]]:
        """The blocks of a message, each with the mark behind it."""
        groups: list[Sequence[Block]] = []
        calls = 0
        for at, part in enumerate(message.parts):
            where = f"{place}.content[{at}]"
            if isinstance(part, ToolCall):
                where = f"{place}.tool_calls[{calls}].function.arguments"
                calls += 1
            _fits(message, part, where)
            block = self._block(part, where)
            if block is not None:
                groups.append(self._marked([(block, _kept(part))]))
        return groups

    def _marked(self, blocks: Iterable[tuple[Block, Keep | None]]) -> list[Block]:
        """Blocks, and behind each that is to be kept a cache point."""
        made: list[Block] = []
        for block, keep in blocks:
            made.append(block)
            if keep is None:
                continue
            if not self._keeps:
                self.dropped.append("cache_control")
                continue
            if keep == "1h" and not self._claude:
                self.dropped.append("cache_control.ttl")
            lasting = {"ttl": keep} if keep == "1h" and self._claude else {}
            made.append({"cachePoint": {"type": "default", **lasting}})
        return made

    def _block(self, part: Part, where: str) -> Block | None:
        """A part as a block; None where it says nothing, or must not be sent."""
        match part:
            case Text() | Refusal():
                return {"text": part.text} if part.text.strip() else None
            case Image():
                return self._image(part, where)
            case Document():
                return self._document(part, where)
            case Thinking():
                if part.hidden:
                    return {"reasoningContent": {"redactedContent": part.hidden}}
                if part.signature and proved(part.signature) is None:
                    return {"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}
                self.dropped.append("thinking")  # what nobody has signed is refused, as is what OpenAI has sealed
                return None
            case ToolCall():
                return {"toolUse": {"toolUseId": _id(part.id), "name": part.name, "input": written(part, where)}}
            case ToolResult():
                blocks = [block for each in part.parts if (block := self._block(each, where)) is not None]
                failed = {"status": "error"} if part.failed else {}
                return {"toolResult": {"toolUseId": _id(part.call), "content": blocks, **failed}}
            case _:
                assert_never(part)

    def _image(self, image: Image, where: str) -> Block:
        if image.detail not in ("", "auto"):
            self.dropped.append("image_url.detail")
        if image.url:
            raise Invalid("Bedrock takes the bytes of an image, not its address.", field=where, hint="Send it in base 64.")
        format = IMAGES.get(image.media)
        if format is None:
            raise Invalid(
                "Bedrock does not take images of this type.",
                words=f"It is '{image.media}'.",
                field=where,
                hint=f"Send one of: {', '.join(IMAGES)}.",
            )
        return {"image": {"format": format, "source": {"bytes": image.data}}}

    def _document(self, document: Document, where: str) -> Block:
        if document.url:
            raise Invalid("Bedrock takes the bytes of a document, not its address.", field=where, hint="Send it in base 64.")
        format = DOCUMENTS.get(document.media.partition(";")[0].strip())
        if format is None:
            raise Invalid(
                "Bedrock does not take documents of this type.",
                words=f"It is '{document.media}'.",
                field=where,
                hint=f"Send one of: {', '.join(DOCUMENTS)}.",
            )
        return {"document": {"format": format, "name": self._title(document.name), "source": {"bytes": document.data}}}

    def _title(self, name: str) -> str:
        """A document's name in the characters that Bedrock takes, and unlike all others."""
        plain = _BLANKS.sub(" ", _FOREIGN_NAME.sub(" ", name)).strip()[: LONGEST_NAME - 8].strip() or "document"
        title, count = plain, 1
        while title in self._titles:
            count += 1
            title = f"{plain} ({count})"
        self._titles.add(title)
        return title


def _fits(message: Message, part: Part, where: str) -> None:
    """Refuses a part on a side that cannot say it."""
    match message.role:
        case "system":
            fits = isinstance(part, Text)
        case "assistant":
            fits = isinstance(part, Text | Refusal | Thinking | ToolCall)
        case "user" | "tool":
            fits = isinstance(part, Text | Image | Document | ToolResult)
        case role:
            assert_never(role)
    if not fits:
        raise Invalid(
            f"Bedrock takes no {type(part).__name__.lower()} in a message of the role {message.role}.",
            field=where,
            hint="Send it in a message of the user.",
        )


def _kept(part: Part) -> Keep | None:
    """For how long what ends with a part is to be kept; a mark within a tool's result is one behind it."""
    match part:
        case Thinking() | Refusal():
            return None
        case ToolResult():
            keeps = {part.cache, *(each.cache for each in part.parts)}
            return "1h" if "1h" in keeps else "5m" if "5m" in keeps else None
        case _:
            return part.cache


def _id(id: str) -> str:
    """A call's id as Bedrock takes it, the same one for the call and its result.

    >>> _id("call_1"), _id("call/1"), len(_id("x" * 99))
    ('call_1', 'call_1_e80fc002', 64)
    """
    plain = _FOREIGN_ID.sub("_", id)
    if id and plain == id and len(id) <= LONGEST_ID:
        return id
    return f"{plain[: LONGEST_ID - 9]}_{crc32(id.encode()):08x}"


def _tool(tool: Tool) -> Block:
    shaped: Block = {"name": tool.name, "inputSchema": {"json": {"type": "object", **tool.schema}}}
    if tool.description.strip():
        shaped["description"] = tool.description
    if tool.strict is not None:
        shaped["strict"] = tool.strict
    return {"toolSpec": shaped}


def _choice(choice: Choice, names: Sequence[str]) -> Block:
    match choice.mode:
        case "auto" | "none":
            return {"auto": {}}
        case "required":
            return {"any": {}}
        case "one":
            if choice.name not in names:
                raise Invalid(
                    "The tool that must be called is not offered.", words=f"It is '{choice.name}'.", field="tool_choice"
                )
            return {"tool": {"name": choice.name}}
        case mode:
            assert_never(mode)


def _format(form: Format) -> Block:
    assert form.schema is not None
    schema: Block = {"schema": msgspec.json.encode(closed(form.schema)).decode()}
    if form.name:
        schema["name"] = form.name
    return {"type": "json_schema", "structure": {"jsonSchema": schema}}
