"""Each wire of callers against each protocol of providers: published examples in, and exactly what becomes of them.

What goes in and out is looked at by eye, against the vendor's reference, before it is frozen: a change of one byte's meaning is
a change of these files. Where both sides speak the same, the answer's bytes pass, and there is nothing to freeze of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tandem.gateway import translate
from tandem.gateway.providers.base import PROTOCOLS, Wire, load
from tandem.gateway.wires import anthropic, openai, responses
from tandem.gateway.wires.answer import bounded
from tandem.gateway.wires.base import DIALECTS, Letterhead, dialect_of

CELLS = Path(__file__).parents[1] / "golden" / "cells"
READS = {"openai": openai.read_chat, "anthropic": anthropic.read_messages, "responses": responses.read_responses}
MODELS = {
    "anthropic": "claude-haiku-4-5",
    "azure": "gpt-4o-mini",
    "bedrock": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    "cohere": "command-a-03-2025",
    "gemini": "gemini-2.5-flash",
    "mistral": "mistral-small-2603",
    "openai": "gpt-4o-mini",
    "responses": "gpt-4o-mini",
}
ANSWERS: dict[str, tuple[TypeAdapter[Any], TypeAdapter[Any]]] = {
    "openai": (TypeAdapter(ChatCompletion), TypeAdapter(ChatCompletionChunk)),
    "anthropic": (TypeAdapter(Message), TypeAdapter(RawMessageStreamEvent)),
    "responses": (TypeAdapter(Response), TypeAdapter(ResponseStreamEvent)),
}
"""What each wire's own SDK takes for an answer, and for an event of a stream."""
AZURE = "https://red.openai.azure.com"
PAIRS = [(wire, protocol) for wire in sorted(DIALECTS) for protocol in sorted(PROTOCOLS)]


def published(name: str) -> dict[str, Any]:
    return dict(json.loads((CELLS / "published" / f"{name}.json").read_text()))


def cell(wire: str, protocol: str) -> dict[str, Any]:
    return dict(json.loads((CELLS / f"{wire}_{protocol}.json").read_text()))


def passes(speaks: Wire, wire: str) -> bool:
    return speaks.dialect == wire


def sent(wire: str, protocol: str) -> dict[str, Any]:
    """The published request of a wire, as it goes to a provider; without a key."""
    speaks, model = load(protocol), MODELS[protocol]
    read = READS[wire](json.dumps(published(f"{wire}_request")["body"]).encode(), ())
    asked = bounded(read, 1000, capped=False)
    if passes(speaks, wire):
        ask = speaks.ask("chat", asked.body, {**asked.edits, "model": msgspec.json.encode(model)}, None)
    else:
        ask = translate.put(speaks, dialect_of(wire), asked, model, None)
    if protocol == "azure":
        assert ask.bound is not None
        ask = ask.bound(ask, AZURE, 0)
    return {"path": ask.path, "body": json.loads(ask.body), "dropped": list(ask.dropped)}


def told(wire: str, protocol: str) -> dict[str, Any]:
    """The published answers of a protocol, as a caller hears them."""
    speaks, dialect = load(protocol), dialect_of(wire)
    answer, asked = published(f"{protocol}_answer"), json.dumps(published(f"{wire}_request")["body"]).encode()
    head = Letterhead(id="trc_1", model="assistant", at=1741476542, asked=asked)
    whole = json.loads(dialect.whole(speaks.whole(json.dumps(answer["whole"]).encode()), head))
    reader, writer = speaks.reader(), dialect.writer(head)
    written = b""
    for frame in answer["stream"]:
        written += writer.feed(reader.feed((frame if isinstance(frame, str) else json.dumps(frame)).encode()))
    assert reader.ended
    written += writer.end()
    lines = [line[6:] for line in written.decode().split("\n") if line.startswith("data: ")]
    return {"whole": whole, "stream": [json.loads(line) if line.startswith("{") else line for line in lines]}


@pytest.mark.parametrize(("wire", "protocol"), PAIRS)
def test_a_published_request_goes_out_as_the_vendor_wants_it(wire: str, protocol: str) -> None:
    frozen = cell(wire, protocol)
    assert sent(wire, protocol) == frozen["request"]


@pytest.mark.parametrize(("wire", "protocol"), [pair for pair in PAIRS if not passes(load(pair[1]), pair[0])])
def test_a_published_answer_is_told_in_the_callers_words(wire: str, protocol: str) -> None:
    frozen = cell(wire, protocol)
    assert told(wire, protocol) == {"whole": frozen["whole"], "stream": frozen["stream"]}


@pytest.mark.parametrize(("wire", "protocol"), [pair for pair in PAIRS if not passes(load(pair[1]), pair[0])])
def test_what_is_frozen_is_what_the_callers_sdk_takes(wire: str, protocol: str) -> None:
    frozen, (whole, event) = cell(wire, protocol), ANSWERS[wire]
    whole.validate_python(frozen["whole"])
    for frame in frozen["stream"]:
        if frame != "[DONE]":
            event.validate_python(frame)


def test_every_file_names_where_it_is_from_and_no_cell_is_missing() -> None:
    assert set(READS) == set(DIALECTS)
    assert set(MODELS) == set(PROTOCOLS)
    names = {f"{wire}_{protocol}.json" for wire, protocol in PAIRS}
    assert {path.name for path in CELLS.glob("*.json")} == names
    for path in sorted((CELLS / "published").glob("*.json")):
        given = json.loads(path.read_text())
        assert given["source"].startswith(("https://", "made for this test")), path.name
        assert given["read"].startswith("2026-"), path.name
    for name in names:
        frozen = json.loads((CELLS / name).read_text())
        assert frozen["reviewed"].startswith("https://"), name
        assert frozen["read"].startswith("2026-"), name
