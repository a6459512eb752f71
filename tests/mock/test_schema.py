"""Instances satisfy their schemas; an independent validator is the judge."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from tandem.core.errors import Invalid
from tandem.mock.pattern import example
from tandem.mock.schema import Known, instance, normal

NOTHING = Known(facts={})

NODE = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
    "required": ["next"],
}
TREE = {
    "type": "object",
    "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
    "required": ["kids"],
    "additionalProperties": False,
}
SCHEMAS: list[dict[str, object]] = [
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
    {"type": "object", "required": ["undeclared"]},
    {"type": "object", "minProperties": 3, "additionalProperties": {"type": "number"}},
    {"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": False, "minItems": 2},
    {"type": "array", "items": {"type": "string"}, "maxItems": 0},
    {"enum": ["x", "y"]},
    {"const": {"deep": [1, None]}},
    {"type": ["null", "string"]},
    {"type": "null"},
    {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 7}]},
    {"oneOf": [{"type": "string", "maxLength": 2}, {"type": "number"}]},
    {"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"required": ["b"]}], "type": "object"},
    {"type": "integer", "minimum": 10, "maximum": 12},
    {"type": "integer", "exclusiveMinimum": 10, "exclusiveMaximum": 12},
    {"type": "integer", "maximum": -5},
    {"type": "integer", "minimum": 11, "multipleOf": 7},
    {"type": "number", "minimum": 0.2, "maximum": 0.3},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.01},
    {"type": "number", "multipleOf": 0.25, "minimum": 3.1},
    {"type": "string", "minLength": 40},
    {"type": "string", "maxLength": 3},
    {"type": "string", "pattern": "^[A-Z]{3}-\\d{4}$"},
    {"type": "string", "pattern": "^(foo|bar)+$", "minLength": 7},
    {"type": "string", "format": "date-time"},
    {"type": "boolean"},
    {},
    {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
    {"$ref": "#/$defs/tree", "$defs": {"tree": TREE}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_an_instance_satisfies_its_schema(schema: dict[str, object]) -> None:
    Draft202012Validator(schema).validate(instance(schema, NOTHING))


leaves = st.one_of(
    st.just({"type": "boolean"}),
    st.builds(
        lambda low, width: {"type": "integer", "minimum": low, "maximum": low + width}, st.integers(-999, 999), st.integers(0, 99)
    ),
    st.builds(
        lambda low, width: {"type": "number", "minimum": low, "maximum": low + width}, st.floats(-1e6, 1e6), st.floats(0, 1e6)
    ),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more}, st.integers(0, 30), st.integers(0, 30)
    ),
    st.builds(lambda values: {"enum": values}, st.lists(st.integers() | st.text(max_size=5), min_size=1, max_size=4)),
)
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            lambda items, least, more: {"type": "array", "items": items, "minItems": least, "maxItems": least + more},
            inner,
            st.integers(0, 3),
            st.integers(0, 3),
        ),
        st.builds(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": sorted(properties),
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from(["amount", "name", "riskScore", "x"]), inner, max_size=4),
        ),
        st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner),
    ),
    max_leaves=8,
)


@given(schemas, st.dictionaries(st.sampled_from(["amount", "name", "risk_score", "x"]), st.text(max_size=8) | st.just("12.5")))
def test_any_instance_satisfies_its_schema_whatever_is_known(schema: dict[str, object], facts: dict[str, str]) -> None:
    Draft202012Validator(schema).validate(instance(schema, Known(facts=facts, prose="Because.")))


def test_known_facts_fill_their_properties() -> None:
    schema = {
        "type": "object",
        "properties": {
            "riskScore": {"type": "number"},
            "decision": {"enum": ["approve", "refer"]},
            "summary": {"type": "string"},
            "days": {"type": "integer", "maximum": 10},
        },
    }
    known = Known(facts={"risk_score": "0.93", "decision": "Refer", "days": "40"}, prose="It is high.")
    assert instance(schema, known) == {"riskScore": 0.93, "decision": "refer", "summary": "It is high.", "days": 1}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "integer", "minimum": 3, "maximum": 2}, "No number satisfies"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "No text satisfies"),
        ({"$ref": "#/$defs/gone"}, "not in it"),
        ({"$ref": "https://example.com/s"}, "refers to"),
        ({"$ref": "#"}, "in a circle"),
        ({"type": "string", "pattern": "("}, "cannot be read"),
        ({"type": "string", "pattern": "a{99999999999}"}, "cannot be read"),
        ({"type": "string", "pattern": "a{999999999}"}, "found no text"),
        ({"type": "string", "pattern": "(?!a)"}, "found no text"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "without end"),
    ],
)
def test_what_cannot_be_made_is_said(schema: dict[str, object], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        instance(schema, NOTHING)


@pytest.mark.parametrize(
    "pattern",
    [
        "^a+$",
        "^[^abc]$",
        r"^\w+@\w+\.com$",
        "^(?:x|yy){2,3}z?$",
        "^(?P<n>[0-9])-.$",
        r"^\u0041\x42[\d]*$",
        "^[]a]$",
        "abc$",
        r"^\+\d{1,3}$",
    ],
)
def test_patterns(pattern: str) -> None:
    assert re.search(pattern, example(pattern))


@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")
@given(st.from_regex(r"[a-z0-9.\[\]()|+*?\\d{},^$-]{0,20}", fullmatch=True))
def test_any_pattern_is_matched_or_explained(pattern: str) -> None:
    with contextlib.suppress(Invalid):
        assert re.search(pattern, example(pattern))


def test_names_are_compared_as_people_write_them() -> None:
    assert {normal(name) for name in ("Risk Score", "riskScore", "risk_score", "RISK-SCORE")} == {"risk_score"}
