"""What a route may want to know of a request, read when it is asked for and at most once. Most routes ask for nothing."""

from __future__ import annotations

import re
from functools import cached_property
from hashlib import blake2b

import msgspec

from tandem.gateway.asked import Prompted
from tandem.observability.dialogue import question

BYTES_A_TOKEN = 4
IMAGE_TOKENS = 1_000
"""What an image is taken to count for, where a size is guessed."""
BLOCK = 4 * 1024
"""Bytes of a prompt after which a provider's cache may begin to hold it: about 1,024 tokens."""
MOST_BLOCKS = 64
NONE = msgspec.Raw(b"")
_IMAGE = re.compile(rb'"type"\s*:\s*"(?:image|image_url|input_image)"')
_ENCODED = re.compile(rb'"(?:data:[^",]{0,100},)?[A-Za-z0-9+/=_-]{1024,}+"')
"""A string that is no words: bytes in base 64."""


class _Body(msgspec.Struct):
    """The fields of every caller's wire that can matter to a route."""

    messages: msgspec.Raw = NONE
    input: msgspec.Raw = NONE
    system: msgspec.Raw = NONE
    instructions: msgspec.Raw = NONE
    tools: msgspec.Raw = NONE
    response_format: msgspec.Raw = NONE
    output_config: msgspec.Raw = NONE
    text: msgspec.Raw = NONE
    metadata: msgspec.Raw = NONE
    prompt_cache_key: msgspec.Raw = NONE


class _Said(msgspec.Struct):
    role: str = ""


_string = msgspec.json.Decoder(str)
_body = msgspec.json.Decoder(_Body)
_said = msgspec.json.Decoder(_Said)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_metadata = msgspec.json.Decoder(dict[str, msgspec.Raw])
_plain = msgspec.json.Decoder(str | int | float | bool)
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Seen:
    """One request, as far as its route looks at it."""

    def __init__(self, asked: Prompted) -> None:
        self.asked = asked

    @cached_property
    def _body(self) -> _Body:
        try:
            return _body.decode(self.asked.body)
        except UNREADABLE:  # the wire took it, so this is a form that only the wire knows
            return _Body()

    @cached_property
    def prompt(self) -> bytes:
        """What a provider's prompt cache would see, in the order in which it does."""
        body = self._body
        return b"\n".join([bytes(part) for part in (body.tools, body.system, body.instructions, body.messages, body.input)])

    @cached_property
    def images(self) -> int:
        return len(_IMAGE.findall(self.prompt))

    @cached_property
    def tokens(self) -> int:
        """About how many the prompt has."""
        encoded = sum(len(found) for found in _ENCODED.findall(self.prompt)) if self.images else 0
        return -(-(len(self.prompt) - encoded) // BYTES_A_TOKEN) + self.images * IMAGE_TOKENS

    @cached_property
    def tools(self) -> bool:
        return bytes(self._body.tools) not in (b"", b"[]", b"null")

    @cached_property
    def json(self) -> bool:
        """Whether the answer shall be JSON, on whichever wire that is said."""
        body = self._body
        said = (bytes(body.response_format), bytes(body.output_config), bytes(body.text))
        return any(b'"json_schema"' in each or b'"json_object"' in each for each in said)

    def find(self, name: str) -> object:
        """What the request has of a condition's names `request.…` and `metadata.…`; None: nothing."""
        of, _, key = name.partition(".")
        if of == "metadata":
            return self._metadata.get(key)
        match key:
            case "tokens":
                return self.tokens
            case "stream":
                return self.asked.stream
            case "tools":
                return self.tools
            case "images":
                return self.images > 0
            case "json":
                return self.json
            case "kind":
                return self.asked.verb
        return None

    @cached_property
    def _metadata(self) -> dict[str, object]:
        try:
            read = _metadata.decode(self._body.metadata)
        except UNREADABLE:
            return {}
        found: dict[str, object] = {}
        for key, raw in read.items():
            try:
                found[key] = _plain.decode(raw)
            except UNREADABLE:
                continue
        return found

    @cached_property
    def conversation(self) -> bytes:
        """What the turns of one conversation have in common: its own key, else all up to the first words of the user."""
        body = self._body
        digest = blake2b(digest_size=16)
        own = bytes(body.prompt_cache_key)
        if own not in (b"", b"null"):
            digest.update(own)
            return digest.digest()
        for part in (body.system, body.instructions):
            digest.update(part)
        try:
            said = _list.decode(body.messages or body.input)
            for each in said:
                digest.update(each)
                if _said.decode(each).role == "user":
                    break
        except UNREADABLE:
            digest.update(body.messages or body.input)
        return digest.digest()

    @cached_property
    def question(self) -> str:
        """The last words of the user, which say what is asked."""
        raw = bytes(self._body.messages or self._body.input)
        if raw[:1] == b'"':
            return _string.decode(raw)
        return question('{"messages":' + raw.decode() + "}") if raw[:1] == b"[" else ""

    @cached_property
    def prefixes(self) -> tuple[bytes, ...]:
        """A digest of the prompt up to each whole block, shortest first."""
        found = []
        digest, view = blake2b(digest_size=8), memoryview(self.prompt)
        for start in range(0, min(len(view), MOST_BLOCKS * BLOCK) - BLOCK + 1, BLOCK):
            digest.update(view[start : start + BLOCK])
            found.append(digest.digest())
        return tuple(found)
