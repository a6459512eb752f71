"""The contract every kind keeps, and what each kind asks for on top."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.asset import KINDS, Kind, Ref
from tandem.core.errors import Invalid
from tandem.registry.kinds.base import ALWAYS_ASIDE, TABLE, rules_of
from tandem.registry.kinds.prompt import RENDERED_LIMIT, render
from tandem.store.blobs import digest_of

FILE = digest_of(b"x")
ROWS = Ref(kind="dataset", name="rows", version=1)

GOOD: dict[Kind, tuple[dict[str, Any], dict[str, str], tuple[Ref, ...]]] = {
    "dataset": ({"contract": {"columns": ["a"]}}, {"data.csv": FILE}, ()),
    "model": ({"signature": {"inputs": ["a"], "outputs": ["p"]}, "metrics": {"roc_auc": 0.9}}, {"model.onnx": FILE}, (ROWS,)),
    "prompt": ({"template": "Hi {{ name }}", "variables": {"name": "string"}, "model": "mock/small"}, {}, ()),
    "decision": (
        {"source": FILE, "entry": "decide", "input": {"type": "object"}, "output": {"type": "object"}},
        {"decide.py": FILE},
        (),
    ),
    "policy": ({"guards": [{"detector": "card", "action": "mask", "on": ["in", "out"]}]}, {}, ()),
    "suite": (
        {
            "data": "dataset/rows@1",
            "endpoint": "assistant",
            "scorers": [{"scorer": "exact"}, {"scorer": "regex", "options": {"pattern": "^yes"}}],
            "expected": "wanted",
        },
        {},
        (ROWS,),
    ),
    "index": ({"content": FILE, "chunker": "recursive-v1:1200", "embedder": "hashed-v1", "store": "run_1"}, {}, ()),
    "router": ({"models": ["p/a", "p/b"], "data": FILE, "rows": 9}, {"router.json": FILE}, ()),
    "release": ({"pins": ["model/fraud@3"]}, {}, (Ref(kind="model", name="fraud", version=3),)),
    "view": ({"definition": {"time": "at"}, "columns": {"at": "datetime"}, "features": [{"name": "x"}]}, {}, (ROWS,)),
    "service": (
        {"definition": {"features": ["spending"]}, "features": [{"name": "x"}]},
        {},
        (Ref(kind="view", name="spending", version=1),),
    ),
    "pipeline": (
        {"source": FILE, "entry": "nightly", "steps": {"clean": FILE}, "parameters": {"much": {"type": "integer", "default": 1}}},
        {"source.py": FILE},
        (),
    ),
}

BAD: list[tuple[Kind, str, dict[str, Any]]] = [
    ("pipeline", "meta.source", {"source": "sha256:none"}),
    ("pipeline", "meta.entry", {"entry": "1st"}),
    ("pipeline", "meta.steps", {"steps": None}),
    ("pipeline", "meta.parameters", {"parameters": None}),
    ("pipeline", "meta.parameters", {"parameters": {"much": {"type": "set"}}}),
    ("pipeline", "meta.parameters", {"parameters": {"much": "integer"}}),
    ("dataset", "meta.contract", {"contract": None}),
    ("dataset", "meta.contract", {"contract": {}}),
    ("dataset", "meta.digest", {"digest": "md5:1"}),
    ("model", "meta.signature", {"signature": None}),
    ("model", "meta.signature", {"signature": "float -> float"}),
    ("model", "meta.metrics", {"metrics": [0.9]}),
    ("prompt", "meta.template", {"template": ""}),
    ("prompt", "meta.template", {"template": []}),
    ("prompt", "meta.template[0]", {"template": [{"role": "wizard", "content": "x"}]}),
    ("prompt", "meta.template[0]", {"template": [{"role": "user"}]}),
    ("prompt", "meta.template[1]", {"template": [{"role": "user", "content": "x"}, "x"]}),
    ("prompt", "meta.template[0]", {"template": "{{ name"}),
    ("prompt", "meta.template[0]", {"template": "{% include 'x' %}"}),
    ("prompt", "meta.template[0]", {"template": "{% import 'x' as y %}"}),
    ("prompt", "meta.template[0]", {"template": "{% extends 'x' %}"}),
    ("prompt", "meta.template[0]", {"template": "{{ name | nofilter }}"}),
    ("prompt", "variables.age", {"template": "{{ name }} {{ age }}"}),
    ("prompt", "variables.lipsum", {"template": "{{ lipsum() }}"}),
    ("prompt", "meta.variables", {"variables": ["name"]}),
    ("prompt", "meta.variables", {"variables": {"a b": "string"}}),
    ("prompt", "meta.variables", {"variables": {"name": "string", "range": "json"}}),
    ("prompt", "meta.variables.name", {"variables": {"name": "text"}}),
    ("prompt", "meta.variables.name", {"variables": {"name": ["string"]}}),
    ("prompt", "meta.model", {"model": 3}),
    ("policy", "meta.guards", {"guards": None}),
    ("policy", "meta.guards[0].action", {"guards": [{"detector": "card", "action": "shout"}]}),
    ("policy", "meta.guards[0].detector", {"guards": [{"detector": "weather"}]}),
    ("policy", "meta.guards[0].on", {"guards": [{"detector": "card", "on": []}]}),
    ("policy", "meta.guards[1]", {"guards": [{"detector": "card"}, {"detector": "card", "on": ["in"]}]}),
    ("decision", "meta.source", {"source": digest_of(b"another")}),
    ("decision", "meta.source", {"source": None}),
    ("decision", "meta.entry", {"entry": "os.system('x')"}),
    ("suite", "meta", {"endpoint": 3}),
    ("suite", "data", {"data": "dataset/rows"}),
    ("suite", "data", {"data": "model/rows@1"}),
    ("suite", "endpoint", {"endpoint": ""}),
    ("suite", "scorers", {"scorers": []}),
    ("suite", "scorers", {"scorers": [{"scorer": "exact"}, {"scorer": "exact"}]}),
    ("suite", "scorers", {"scorers": [{"scorer": "exact", "name": "weighted"}]}),
    ("suite", "scorers.scorer", {"scorers": [{"scorer": "wizard"}]}),
    ("suite", "scorers.weight", {"scorers": [{"scorer": "exact", "weight": -1}]}),
    ("suite", "scorers.weight", {"scorers": [{"scorer": "exact", "weight": 0}]}),
    ("suite", "scorers.options.pattern", {"scorers": [{"scorer": "regex", "options": {"pattern": "(?=a)"}}]}),
    ("suite", "scorers.options.pattern", {"scorers": [{"scorer": "regex"}]}),
    ("suite", "scorers.options.schema", {"scorers": [{"scorer": "schema", "options": {"schema": {"type": "wizard"}}}]}),
    ("suite", "scorers.options.shout", {"scorers": [{"scorer": "exact", "options": {"shout": True}}]}),
    ("suite", "scorers.options.endpoint", {"scorers": [{"scorer": "judge"}]}),
    ("suite", "expected", {"expected": None}),
    ("suite", "sources", {"scorers": [{"scorer": "grounded"}]}),
    ("suite", "metric", {"metric": "roc_auc"}),
    ("suite", "repeats", {"repeats": 0}),
    ("suite", "temperature", {"temperature": 3}),
    ("decision", "meta.entry", {"entry": ""}),
    ("decision", "meta.input", {"input": {}}),
    ("decision", "meta.output", {"output": "number"}),
    ("router", "meta.models", {"models": ["p/a"]}),
    ("router", "meta.models", {"models": "p/a"}),
    ("router", "meta.data", {"data": ""}),
    ("release", "meta.pins", {"pins": []}),
    ("release", "meta.pins", {"pins": "model/fraud@3"}),
    ("release", "meta.pins", {"pins": [3]}),
    ("release", "meta.pins", {"pins": [f"model/m{place}@1" for place in range(51)]}),
    ("release", "meta.pins[0]", {"pins": ["model/fraud"]}),
    ("release", "meta.pins[0]", {"pins": ["model/fraud@production"]}),
    ("release", "meta.pins[1]", {"pins": ["model/fraud@3", "release/other@1"]}),
    ("release", "meta.pins[1]", {"pins": ["model/fraud@3", "dataset/rows@1"]}),
    ("release", "meta.pins[1]", {"pins": ["model/fraud@3", "model/fraud@4"]}),
    ("view", "meta.definition", {"definition": {}}),
    ("view", "meta.columns", {"columns": None}),
    ("view", "meta.features", {"features": []}),
    ("service", "meta.definition", {"definition": "spending"}),
    ("service", "meta.features", {"features": None}),
    ("index", "meta.content", {"content": "md5:1"}),
    ("index", "meta.chunker", {"chunker": ""}),
    ("index", "meta.embedder", {"embedder": 7}),
    ("index", "meta.store", {"store": None}),
]


def test_every_kind_of_the_vocabulary_has_its_rules() -> None:
    assert tuple(TABLE) == KINDS == tuple(GOOD)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_version_is_accepted_and_left_unchanged(kind: Kind) -> None:
    meta, members, parents = GOOD[kind]
    kept = copy.deepcopy((meta, members))
    rules_of(kind).check(meta, members)
    rules_of(kind).check_parents(meta, parents)
    assert (meta, members) == kept


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_version_is_refused(kind: Kind) -> None:
    with pytest.raises(Invalid) as caught:
        rules_of(kind).check({}, {})
    assert caught.value.hint
    assert caught.value.field


@pytest.mark.parametrize("kind", KINDS)
def test_times_and_run_ids_are_aside_in_every_kind(kind: Kind) -> None:
    assert rules_of(kind).aside >= ALWAYS_ASIDE


@pytest.mark.parametrize(("kind", "field", "change"), BAD)
def test_what_is_wrong_is_named(kind: Kind, field: str, change: dict[str, Any]) -> None:
    meta, members, _ = GOOD[kind]
    with pytest.raises(Invalid) as caught:
        rules_of(kind).check(meta | change, members)
    assert caught.value.field == field
    assert caught.value.hint


def test_another_kind_is_refused() -> None:
    with pytest.raises(Invalid, match="'feature' is no kind"):
        rules_of("feature")  # type: ignore[arg-type]


def test_a_model_names_its_dataset_or_says_that_it_was_imported() -> None:
    rules = rules_of("model")
    with pytest.raises(Invalid, match="which dataset"):
        rules.check_parents({}, (Ref(kind="prompt", name="x", version=1),))
    rules.check_parents({"origin": "imported"}, ())


def test_a_dataset_may_lie_outside_its_files() -> None:
    rules_of("dataset").check({"schema": ["a"], "digest": digest_of(b"rows")}, {})


# Prompts


def said(template: object, variables: Mapping[str, str], **values: object) -> str:
    messages = render({"template": template, "variables": variables}, values)
    return "|".join(f"{message['role']}:{message['content']}" for message in messages)


def test_a_text_is_one_message_of_the_user() -> None:
    assert said("Hello {{ name }}!\n", {"name": "string"}, name="Ada") == "user:Hello Ada!\n"


def test_a_list_is_several_messages() -> None:
    template = [{"role": "system", "content": "Be {{ tone }}."}, {"role": "user", "content": "{{ question }}"}]
    assert said(template, {"tone": "string", "question": "string"}, tone="kind", question="Why?") == "system:Be kind.|user:Why?"


def test_loops_conditions_and_json_work() -> None:
    template = "{% for item in items %}{{ loop.index }}{{ item.a }}{% if big %}!{% endif %}{% endfor %}{{ items | tojson }}"
    assert said(template, {"items": "json", "big": "boolean"}, items=[{"a": "<"}], big=True) == 'user:1<![{"a":"<"}]'


def test_markup_in_a_variable_is_text() -> None:
    assert said("{{ name }}", {"name": "string"}, name="{{ 7 * 7 }}<b>") == "user:{{ 7 * 7 }}<b>"


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", "a"], [1, None, b"a", ["a"], "\ud800"]),
        ("number", [1, 1.5, -2], ["1", True, float("nan"), float("inf"), None]),
        ("integer", [0, -3], [1.0, True, "1"]),
        ("boolean", [True, False], [0, 1, "true", None]),
        ("json", [None, {"a": [1]}, "x", 1.5, False], [float("nan"), b"x", {1: 2}, {"a": {1, 2}}]),
    ],
)
def test_values_are_of_their_type(kind: str, good: list[object], bad: list[object]) -> None:
    for value in good:
        said("{{ v }}", {"v": kind}, v=value)
    for value in bad:
        with pytest.raises(Invalid) as caught:
            said("{{ v }}", {"v": kind}, v=value)
        assert caught.value.field == "variables.v"


def test_missing_and_surplus_variables_are_named() -> None:
    with pytest.raises(Invalid, match="'b' is missing"):
        said("{{ a }}{{ b }}", {"a": "string", "b": "string"}, a="x")
    with pytest.raises(Invalid, match="no variable 'c'"):
        said("{{ a }}", {"a": "string"}, a="x", c="y")


ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ v.__class__.__base__.__subclasses__() }}",
    "{{ v.__init__.__globals__ }}",
    "{{ ''.format.__self__.__class__.__mro__ }}",
    "{{ '{0.__class__.__mro__}'.format(v) }}",
    "{{ v | attr('__class__') | attr('__mro__') }}",
    "{{ (range).__init__ }}",
    "{% set x = v.append(1) %}{{ x }}",
    "{{ range(999999999) | list }}",
    "{{ self.__dict__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ loop.nothing }}",
    "{{ v.nothing }}",
    "{{ 1 / 0 }}",
    "{{ v[9] }}",
    "{{ v + 'x' }}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_the_sandbox_holds_and_every_failure_is_the_prompts(template: str) -> None:
    meta = {"template": template, "variables": {"v": "json"}}

    def check_and_render() -> None:
        rules_of("prompt").check(meta, {})
        render(meta, {"v": [1]})

    with pytest.raises(Invalid):
        check_and_render()


def test_a_runaway_prompt_is_stopped() -> None:
    template = "{% for a in range(90000) %}{% for b in range(90000) %}0123456789{% endfor %}{% endfor %}"
    with pytest.raises(Invalid, match=str(RENDERED_LIMIT)):
        said(template, {})


def test_rendering_changes_nothing_it_was_given() -> None:
    value = {"a": [1, 2]}
    said("{{ v.a | sort(reverse=true) }}{% set x = v %}", {"v": "json"}, v=value)
    assert value == {"a": [1, 2]}


@given(st.text(max_size=30))
def test_a_variable_is_rendered_as_it_is(value: str) -> None:
    try:
        assert said("<{{ v }}>", {"v": "string"}, v=value) == f"user:<{value}>"
    except Invalid as error:
        assert error.field == "variables.v"  # noqa: PT017


@given(st.text(alphabet="{}%a. |()'\"[]-#", max_size=20))
def test_any_template_is_rendered_or_refused(template: str) -> None:
    meta = {"template": template, "variables": {"a": "json"}}
    try:
        rules_of("prompt").check(meta, {})
        render(meta, {"a": {"a": 1}})
    except Invalid:
        return
