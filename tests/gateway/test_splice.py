"""Splicing fields of a JSON object: the named values change, every other byte stays."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.gateway.splice import splice, top_level

NAMES = ("model", "stream_options", "n")


@dataclass(frozen=True)
class Oracle:
    """A character-by-character reader of the top level: decoded key → spans of its values."""

    spans: dict[str, list[tuple[int, int]]]

    @classmethod
    def read(cls, body: bytes) -> Oracle:
        spans: dict[str, list[tuple[int, int]]] = {}
        at = white(body, 0)
        assert body[at : at + 1] == b"{"
        at = white(body, at + 1)
        while body[at : at + 1] != b"}":
            end = skip(body, at)
            key = json.loads(body[at:end])
            at = white(body, end)
            assert body[at : at + 1] == b":"
            start = white(body, at + 1)
            end = skip(body, start)
            spans.setdefault(key, []).append((start, end))
            at = white(body, end)
            if body[at : at + 1] == b",":
                at = white(body, at + 1)
        return cls(spans)


def white(body: bytes, at: int) -> int:
    while body[at : at + 1] in (b" ", b"\t", b"\n", b"\r"):
        at += 1
    return at


def skip(body: bytes, at: int) -> int:
    """The byte after the value at `at`."""
    if body[at : at + 1] == b'"':
        at += 1
        while body[at : at + 1] != b'"':
            at += 2 if body[at : at + 1] == b"\\" else 1
        return at + 1
    if body[at : at + 1] in (b"{", b"["):
        depth = 0
        while True:
            here = body[at : at + 1]
            if here == b'"':
                at = skip(body, at)
                continue
            depth += (here in (b"{", b"[")) - (here in (b"}", b"]"))
            at += 1
            if not depth:
                return at
    while at < len(body) and body[at : at + 1] not in (b",", b"}", b"]", b" ", b"\t", b"\n", b"\r"):
        at += 1
    return at


spaces = st.sampled_from(["", "", "", " ", "\n", "\t \r\n"])
words = st.sampled_from(
    [
        "model",
        "Model",
        "n",
        "stream_options",
        "x",
        'a"model',
        '"model":"evil"',
        "{",
        "}]",
        ":",
        "\\",
        "é",
        "😀",
        "\u2028",
        "\x01",
        "",
    ]
)


@st.composite
def strings(draw: st.DrawFn) -> str:
    """A JSON string of a word, with any of its characters escaped."""
    out = []
    for character in draw(words):
        style = draw(st.integers(0, 5))
        code = ord(character)
        if style == 0 and code < 0x10000:
            out.append(f"\\u{code:04X}" if draw(st.booleans()) else f"\\u{code:04x}")
        elif character in '"\\' or code < 0x20:
            out.append(json.dumps(character)[1:-1])
        else:
            out.append(character)
    return '"' + "".join(out) + '"'


numbers = st.sampled_from(["0", "-1", "1e400", "123456789012345678901234567890", "-0.5E-3", "1.0"])
scalars = st.one_of(strings(), numbers, st.sampled_from(["true", "false", "null"]))


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(st.tuples(spaces, strings(), spaces, spaces, values, spaces), max_size=5))
    return "{" + ",".join(f"{a}{key}{b}:{c}{value}{d}" for a, key, b, c, value, d in members) + draw(spaces) * (not members) + "}"


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(st.tuples(spaces, values, spaces), max_size=4))
    return "[" + ",".join("".join(member) for member in members) + draw(spaces) * (not members) + "]"


anything = st.recursive(scalars, lambda inner: objects(inner) | arrays(inner), max_leaves=8)
bodies = st.tuples(spaces, objects(anything), spaces).map(lambda parts: "".join(parts).encode())
edits = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([b'"new"', b"7", b'{"a": [1]}', b"null"]), min_size=1)


@given(bodies, edits)
def test_only_the_named_values_change(body: bytes, edits: dict[str, bytes]) -> None:
    spans = Oracle.read(body).spans
    lowered = [key.lower() for key, places in spans.items() for _ in places]
    if any(lowered.count(name) > 1 or (name in lowered and name not in spans) for name in edits):
        with pytest.raises(Invalid):
            splice(body, edits)
        return
    assert top_level(body, edits) == {name: spans[name][0] for name in edits if name in spans}
    after = splice(body, edits)
    assert json.loads(after) == {**json.loads(body), **{name: json.loads(value) for name, value in edits.items()}}
    expected = body
    for name in sorted((name for name in edits if name in spans), key=lambda name: -spans[name][0][0]):
        start, end = spans[name][0]
        expected = expected[:start] + edits[name] + expected[end:]
    added = b",".join(json.dumps(name).encode() + b":" + value for name, value in edits.items() if name not in spans)
    if added:
        at = expected.index(b"{") + 1
        expected = expected[:at] + added + (b"," if spans else b"") + expected[at:]
    assert after == expected


@given(bodies)
def test_a_splice_of_the_value_that_stands_there_changes_nothing(body: bytes) -> None:
    try:
        places = top_level(body, NAMES)
    except Invalid:
        return
    assert splice(body, {name: body[start:end] for name, (start, end) in places.items()}) == body


M = {"model": b'"b"'}


@pytest.mark.parametrize(
    ("body", "after"),
    [
        (b'{"model":"a"}', b'{"model":"b"}'),
        (b'{"model": "a" , "x": 1}', b'{"model": "b" , "x": 1}'),
        (b'{"x":{"model":"n"},"model":"a"}', b'{"x":{"model":"n"},"model":"b"}'),
        (b'{"x":{"model":"n"}}', b'{"model":"b","x":{"model":"n"}}'),
        (b'{"x":["model"],"model":"a"}', b'{"x":["model"],"model":"b"}'),
        (b'{"role":"model"}', b'{"model":"b","role":"model"}'),
        (b'{"mod\\u0065l":"a"}', b'{"mod\\u0065l":"b"}'),
        (b'{"MOD":1,"\\u006dodel" : "a"}', b'{"MOD":1,"\\u006dodel" : "b"}'),
        (b'{"t":"say \\"model\\": {","model":"a"}', b'{"t":"say \\"model\\": {","model":"b"}'),
        (b'{"x\\"model":1}', b'{"model":"b","x\\"model":1}'),
        (b'{"t":"\\\\","model":"a"}', b'{"t":"\\\\","model":"b"}'),
        (b'{"n":123456789012345678901234567890,"model":"a"}', b'{"n":123456789012345678901234567890,"model":"b"}'),
        (b'{"e":1e400,"model":-1e400}', b'{"e":1e400,"model":"b"}'),
        (b'{"model":{"a":[1,{"b":"}"}]},"x":1}', b'{"model":"b","x":1}'),
        (b'{"model":null}', b'{"model":"b"}'),
        (b'{"a":[{"b":1}],"model":"a","c":[{"d":2}]}', b'{"a":[{"b":1}],"model":"b","c":[{"d":2}]}'),
        (b'{"t":"\\u003cb\\u003e","model":"a"}', b'{"t":"\\u003cb\\u003e","model":"b"}'),
        (b"{}", b'{"model":"b"}'),
        (b" { } ", b' {"model":"b" } '),
        ('{"é":"ü","model":"ß"}'.encode(), '{"é":"ü","model":"b"}'.encode()),
    ],
)
def test_examples(body: bytes, after: bytes) -> None:
    assert splice(body, M) == after


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","x":{},"mod\\u0065l":"b"}',
        b'{"model":"a","MODEL":"b"}',
        b'{"Model":"a"}',
        b'{"\\u004dodel":"a"}',
    ],
)
def test_a_key_that_two_parsers_would_read_differently_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        splice(body, M)
    assert caught.value.field == "model"


def test_duplicates_of_other_keys_and_of_nested_ones_pass() -> None:
    body = b'{"x":1,"x":2,"y":{"model":1,"model":2},"model":"a"}'
    assert splice(body, M) == body.replace(b'"a"', b'"b"')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"model"',
        b"[{}]",
        b'["model"]',
        b'{"model"',
        b'{"model":}',
        b'{"x":[}',
        b"{1:2}",
        b'{"a":1 "b":2}',
        b'{"\\x":1}',
    ],
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        splice(body, {"model": b"1", "\\": b"1"})


def test_deep_nesting_needs_no_stack() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert splice(b'{"x":' + deep + b',"model":1,"y":' + deep + b"}", M) == b'{"x":' + deep + b',"model":"b","y":' + deep + b"}"


def test_names_that_are_no_identifiers_are_found_too() -> None:
    assert splice(b'{"a\\/b":1,"c d":2}', {"a/b": b"3", "c d": b"4"}) == b'{"a\\/b":3,"c d":4}'
