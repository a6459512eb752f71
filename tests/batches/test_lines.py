"""Lines of a batch: cut out of bytes that come in pieces, and looked at before any is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.batches.lines import LINE_BYTES, LINES, PROBLEMS, Splitter, check_all, read_line, subject_of
from tandem.core.errors import Invalid

CHAT = "/v1/chat/completions"


def line(custom_id: object = "1", **more: Any) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body} | more).encode()


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=12))
def test_lines_join_to_what_came_however_it_was_cut(data: bytes, cuts: list[int]) -> None:
    cut, found, last = Splitter(), list[bytes](), 0
    for at in [*sorted(cuts), len(data)]:
        found += cut.feed(data[last:at])
        last = max(last, at)
    assert b"".join(found) + cut.rest() == data
    assert all(each.count(b"\n") == 1 and each.endswith(b"\n") for each in found)
    assert b"\n" not in cut.rest()


def test_a_line_has_a_bound() -> None:
    cut = Splitter()
    cut.feed(b"short\n" + bytes(LINE_BYTES))
    with pytest.raises(Invalid, match="Line 2 "):
        cut.feed(b"x")


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([line("a"), line("b"), line("c") + b"\r\n", b" \n"])), max_size=8)
)
def test_every_line_is_right_or_told_by_its_number(lines: list[bytes]) -> None:
    found = check_all(enumerate(lines, 1), CHAT)
    told = {problem.line for problem in found.problems if problem.line is not None}
    seen = set[bytes]()
    for number, text in enumerate(lines, 1):
        plain = text.strip()
        good = plain in (line("a"), line("b"), line("c")) and plain not in seen
        seen.add(plain)
        assert (number in told) == bool(plain and not good), text
    assert found.total == sum(bool(text.strip()) for text in lines)
    assert bool(found.faulty) == bool(told or not found.total)


@given(
    st.one_of(
        st.binary(max_size=80),
        st.recursive(st.none() | st.text(max_size=5), lambda v: st.dictionaries(st.text(), v)).map(
            lambda value: json.dumps({"body": value}).encode()
        ),
    )
)
def test_a_line_is_always_about_somebody(text: bytes) -> None:
    assert subject_of(text, "principal:ci")


@pytest.mark.parametrize(
    ("body", "subject"),
    [
        ({"user": "ada"}, "ada"),
        ({"user": "ada", "safety_identifier": "grace"}, "grace"),
        ({"user": " "}, "principal:ci"),
        ({"user": "x" * 2000}, "principal:ci"),
        ({"user": 1}, "principal:ci"),
        ({}, "principal:ci"),
    ],
)
def test_a_line_is_about_whom_its_request_names(body: dict[str, object], subject: str) -> None:
    assert subject_of(line(body=body), "principal:ci") == subject


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"[]", "invalid_type", None),
        (b"\xff", "invalid_json_line", None),
        (b"{}", "missing_required_parameter", "custom_id"),
        (line(1), "invalid_type", "custom_id"),
        (line(""), "invalid_custom_id", "custom_id"),
        (line("x" * 513), "invalid_custom_id", "custom_id"),
        (line(method="GET"), "invalid_method", "method"),
        (line(url="/v1/embeddings"), "mismatched_endpoint", "url"),
        (line(body=[]), "invalid_request", "body"),
        (line(body={"model": "m"}), "invalid_request", "body.messages"),
        (line(body={"model": "m", "messages": "hi"}), "invalid_request", "body.messages"),
        (line(body={"model": "m", "messages": [], "stream": True}), "invalid_request", "body.stream"),
        (line(body={"model": "m", "messages": [], "max_tokens": 0}), "invalid_request", "body.max_tokens"),
    ],
)
def test_what_is_wrong_is_named(text: bytes, code: str, param: str | None) -> None:
    found = check_all([(7, text)], CHAT)
    assert [(each.line, each.code, each.param) for each in found.problems] == [(7, code, param)]


def test_ids_are_there_once_and_requests_are_counted() -> None:
    twice = check_all([(1, line("a")), (2, line("b")), (3, line("a"))], CHAT)
    assert [(each.line, each.code) for each in twice.problems] == [(3, "duplicate_custom_id")]
    assert check_all([], CHAT).problems[0].code == "empty_file"
    assert (check_all([(1, None), (2, line())], CHAT).total, check_all([(1, None)], CHAT).faulty) == (2, 0)
    text = line("x").replace(b'"x"', b'"%d"')
    many = check_all(((number, text % number) for number in range(LINES + 5)), CHAT)
    assert [each.code for each in many.problems] == ["too_many_requests"]
    wrong = check_all(((number, b"{") for number in range(PROBLEMS + 5)), CHAT)
    assert (len(wrong.problems), wrong.faulty) == (PROBLEMS, PROBLEMS + 5)


def test_the_body_is_kept_byte_by_byte() -> None:
    text = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{ "model" : "m", "seed": 1.50 }}'
    assert bytes(read_line(text).body) == b'{ "model" : "m", "seed": 1.50 }'
