"""The counting rule, checked by hand and by its promises."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.mock import tokens
from tandem.mock.openai_wire import read_chat

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("abcd", ["abcd"]),
        ("abcde", ["abcd", "e"]),
        ("a b", ["a", " ", "b"]),
        ("a_1,  b", ["a_1", ",", "  ", "b"]),
        ("!!!!!", ["!!!!", "!"]),
        ("x\n\n\n\n\ny", ["x", "\n\n\n\n", "\n", "y"]),
        ("éèàùç", ["éèàù", "ç"]),
        ("👍👍 ok", ["👍👍", " ", "ok"]),
    ],
)
def test_the_rule_by_hand(text: str, pieces: list[str]) -> None:
    assert tokens.split(text) == pieces
    assert tokens.count(text) == len(pieces)


@given(texts)
def test_pieces_are_the_text_and_no_more_than_its_bytes(text: str) -> None:
    pieces = tokens.split(text)
    assert "".join(pieces) == text
    assert len(pieces) <= len(text.encode())
    assert all(1 <= len(piece) <= 4 for piece in pieces)


@given(texts, st.integers(0, 20))
def test_a_cut_answer_counts_as_many_tokens_as_it_was_cut_to(text: str, limit: int) -> None:
    pieces = tokens.split(text)[:limit]
    assert tokens.count("".join(pieces)) == len(pieces)


messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "developer"]), "content": texts},
        optional={"name": texts, "refusal": texts, "tool_calls": st.lists(st.dictionaries(texts, texts, max_size=2), max_size=2)},
    ),
    min_size=1,
    max_size=4,
)


@given(messages, st.booleans(), st.booleans())
def test_a_request_has_no_more_tokens_than_bytes(sent: list[dict[str, object]], with_tools: bool, ascii_only: bool) -> None:
    body: dict[str, object] = {"model": "m", "messages": sent}
    if with_tools:
        body["tools"] = [{"function": {"name": "f"}}]
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}
    raw = json.dumps(body, ensure_ascii=ascii_only, separators=(",", ":")).encode()
    assert read_chat(raw).ask.prompt_tokens <= len(raw)


def test_prompt_tokens_by_hand() -> None:
    def count(**members: object) -> int:
        return read_chat(msgspec.json.encode({"model": "m", **members})).ask.prompt_tokens

    hello = {"role": "user", "content": "hello world!"}
    assert count(messages=[hello]) == 3 + (4 + 6)
    assert count(messages=[hello, {"role": "assistant", "content": None}]) == 3 + (4 + 6) + 4
    assert count(messages=[{**hello, "name": "ann"}]) == 3 + 4 + 6 + 1
    parts = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]
    assert count(messages=[{"role": "user", "content": parts}]) == 3 + 4 + 1 + 765
    low = {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}}
    assert count(messages=[{"role": "user", "content": [low]}]) == 3 + 4 + 85
    calls = b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a"}]}]}'  # [{" id ":" a "}]
    assert read_chat(calls).ask.prompt_tokens == 3 + 4 + 5
    tools = '[{"function":{"name":"f"}}]'  # [{" func tion ":{" name ":" f "}}]
    raw = b'{"model":"m","messages":[{"role":"user","content":"hello world!"}],"tools":' + tools.encode() + b"}"
    assert read_chat(raw).ask.prompt_tokens == 13 + 8
