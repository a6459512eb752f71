"""Mistral's API towards an upstream: OpenAI's protocol, save for names of fields, ids of calls, and strangers, which it refuses.

Source: https://docs.mistral.ai/api, as the SDK mistralai 3 writes requests and reads replies. A body that Mistral takes passes as
it is. What OpenAI's callers say and Mistral does not know is said in its own words, left out and named, or refused where the
answer would be another one; what neither of them knows passes, for Mistral to judge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

from tandem.core.chat import Chat
from tandem.core.errors import Invalid
from tandem.gateway.providers.base import Ask, Verb
from tandem.gateway.providers.openai import UNREADABLE, OpenAI

Members = dict[str, msgspec.Raw]

RENAMED: dict[Verb, dict[str, str]] = {
    "chat": {"max_completion_tokens": "max_tokens", "seed": "random_seed"},
    "embed": {"dimensions": "output_dimension"},
}
"""Fields of OpenAI's that have another name at Mistral."""
IMPLIED = frozenset({"stream_options"})
"""What Mistral does anyway: the last chunk of every stream tells the usage."""
FOREIGN = frozenset({"user", "safety_identifier", "store", "verbosity", "prompt_cache_retention"})
"""Fields of OpenAI's without which the answer is the same."""
REFUSED: dict[str, tuple[object, ...]] = {
    "logit_bias": ({},), "modalities": (["text"],), "audio": (), "web_search_options": (), "functions": ([],),
    "function_call": ("none",),
}  # fmt: skip
"""Fields of OpenAI's without which it would be another one → values with which they ask for nothing."""
FOREIGN_SAID = frozenset({"name", "audio", "annotations", "function_call", "reasoning_content", "reasoning", "thinking_blocks"})
"""Members of a message that Mistral has no place for; a tool's may bear its name."""
_NULL = msgspec.Raw(b"null")
_ID = re.compile(r"[a-zA-Z0-9]{9}")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOO_LONG = re.compile(r"too large for model with|maximum context length", re.IGNORECASE)
_FULL = re.compile(r"capacity exceeded", re.IGNORECASE)
_members = msgspec.json.Decoder(Members)
_rows = msgspec.json.Decoder(list[Members])
_parts = msgspec.json.Decoder(list[Members] | str | None)
_text = msgspec.json.Decoder(str | None)
_encode = msgspec.json.Encoder().encode


class _Fault(msgspec.Struct):
    message: msgspec.Raw = msgspec.Raw(b'""')
    code: str | int | None = None


_fault = msgspec.json.Decoder(_Fault)


class Mistral(OpenAI):
    """Chat and embeddings as Mistral speaks them."""

    name = "mistral"

    def ask(self, verb: Verb, body: bytes, edits: Mapping[str, bytes], key: str | None) -> Ask:
        if verb == "rerank":
            raise Invalid(
                "Mistral has no reranking.",
                hint="Choose a provider that has /rerank, for an endpoint of the kind rerank.",
                field="model",
            )
        return _theirs(super().ask(verb, body, edits, key), verb)

    def put(self, chat: Chat, model: str, key: str | None) -> Ask:
        return _theirs(super().put(chat, model, key), "chat")

    def fault(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str:
        try:
            said = bytes(_fault.decode(body).message).decode()
        except UNREADABLE:
            said = ""
        if status == 400 and _TOO_LONG.search(said):
            return "context_exceeded"
        if status == 402:
            return "quota"
        if status == 429 and _FULL.search(said):
            return "overloaded"
        return super().fault(status, headers, body)


def _theirs(ask: Ask, verb: Verb) -> Ask:
    """The request as Mistral takes it.

    Raises:
        Invalid: it asks for what Mistral cannot do; `field` names it.
    """
    try:
        members = _members.decode(ask.body)
    except UNREADABLE:
        return ask
    dropped = list(ask.dropped)
    told = _named(members, verb, dropped)
    if verb == "chat" and "messages" in told:
        said = _messages(told["messages"], dropped)
        if said is not None:
            told["messages"] = said
    if told == members:
        return ask
    return msgspec.structs.replace(ask, body=_encode(told), dropped=tuple(dict.fromkeys(dropped)))


def _named(members: Members, verb: Verb, dropped: list[str]) -> Members:
    """The fields by Mistral's names, those of OpenAI's that it does not know left out."""
    told: Members = {}
    for name, value in members.items():
        known = RENAMED[verb].get(name)
        if known is not None:
            if bytes(value) != b"null":
                told[known] = value
        elif name in REFUSED:
            if _plain(value) not in (None, *REFUSED[name]):
                raise Invalid(
                    f"{name} cannot be carried to Mistral.",
                    field=name,
                    code="not_carried",
                    hint="Leave it out, or name a model whose provider takes it.",
                )
        elif name in FOREIGN:
            dropped += [name] if _plain(value) else []
        elif name not in IMPLIED and name not in told:
            told[name] = value
    return told


def _plain(raw: msgspec.Raw) -> object:
    return msgspec.json.decode(raw)


# --- messages


def _messages(raw: msgspec.Raw, dropped: list[str]) -> msgspec.Raw | None:
    """The messages as Mistral takes them; None where they are as they must be, or nobody can read them."""
    try:
        messages = _rows.decode(raw)
        _ordered(messages)
        changed = [_message(each, dropped, last=at == len(messages) - 1) for at, each in enumerate(messages)]
    except UNREADABLE:
        return None
    return None if changed == messages else msgspec.Raw(_encode(changed))


def _ordered(messages: Sequence[Members]) -> None:
    """Refuses what Mistral refuses of the order of messages, so that a target that takes it may be asked.

    Raises:
        Invalid: a user speaks right behind the result of a tool.
    """
    before: str | None = None
    for at, message in enumerate(messages):
        role = _text.decode(message.get("role", _NULL))
        if (before, role) == ("tool", "user"):
            raise Invalid(
                "Mistral takes no message of a user right behind the result of a tool.",
                field=f"messages[{at}]",
                code="not_carried",
                hint="Let the model answer first, or name a model whose provider takes it.",
            )
        before = role


def _message(message: Members, dropped: list[str], *, last: bool) -> Members:
    role = _text.decode(message.get("role", _NULL))
    told: Members = {}
    for name, value in message.items():
        if name == "role" and role == "developer":
            told[name] = msgspec.Raw(b'"system"')
        elif name in FOREIGN_SAID and not (name == "name" and role == "tool"):
            dropped += [name] if _plain(value) else []
        elif name == "tool_calls":
            if _plain(value):
                told[name] = _calls(value, dropped)
        elif name == "tool_call_id":
            told[name] = _nine(value)
        elif name == "content":
            told[name] = _content(value, dropped)
        elif name != "refusal":
            told[name] = value
    refusal = _text.decode(message.get("refusal", _NULL))
    if refusal and not _plain(message.get("content", _NULL)):  # what it said instead of an answer
        told["content"] = msgspec.Raw(_encode(refusal))
    if last and role == "assistant" and "tool_calls" not in told:  # what it has begun to say it shall go on with
        told.setdefault("prefix", msgspec.Raw(b"true"))
    return told


def _calls(raw: msgspec.Raw, dropped: list[str]) -> msgspec.Raw:
    calls = _rows.decode(raw)
    told = [{name: _nine(value) if name == "id" else value for name, value in call.items()} for call in calls]
    for call in told:
        if call.pop("extra_content", None) is not None:
            dropped.append("extra_content")
    return raw if told == calls else msgspec.Raw(_encode(told))


def _content(raw: msgspec.Raw, dropped: list[str]) -> msgspec.Raw:
    parts = _parts.decode(raw)
    if not isinstance(parts, list) or not any("cache_control" in part for part in parts):
        return raw
    dropped.append("cache_control")
    return msgspec.Raw(_encode([{name: value for name, value in part.items() if name != "cache_control"} for part in parts]))


def _nine(raw: msgspec.Raw) -> msgspec.Raw:
    """The id of a call as Mistral takes it: nine letters and digits, the same for the call and its result."""
    id = _text.decode(raw)
    return raw if id is None or _ID.fullmatch(id) else msgspec.Raw(_encode(made_id(id)))


def made_id(id: str) -> str:
    """Nine letters and digits for an id of another form.

    >>> made_id("call_1"), len(made_id("toolu_01A")), made_id("call_1") == made_id("call_2")
    ('t8wLHgKZJ', 9, False)
    """
    number = int.from_bytes(blake2b(id.encode(), digest_size=8).digest())
    letters = []
    for _ in range(9):
        number, place = divmod(number, len(_DIGITS))
        letters.append(_DIGITS[place])
    return "".join(letters)
