"""What a caller sent is repeated to the caller alone: no refusal carries it into a record."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.conftest import KEY, House, house

from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import TandemError
from tandem.decisions.target import Decisions
from tandem.decisions.worker import SOURCE
from tandem.gateway.snapshot import Served
from tandem.gateway.wires import openai
from tandem.serving import oip
from tandem.serving.door import Predictions
from tandem.serving.signature import Field, Signature

WORD = "canary-4471-has-hiv"
NUMBER = 8_231_977.25
SHAPES = (WORD, NUMBER, 8231977, [WORD], {WORD: WORD}, f"{WORD}," * 3)
SIGNATURE = Signature(
    fields=(Field(name="age", low=0, high=120), Field(name="smokes", dtype="bool"), Field(name="visits", dtype="int"))
)
INFER: dict[str, Any] = {
    "id": "abc",
    "inputs": [
        {"name": "age", "shape": [1], "datatype": "FP64", "data": [41.5]},
        {"name": "smokes", "shape": [1], "datatype": "BOOL", "data": [True], "parameters": {}},
        {"name": "visits", "shape": [1], "datatype": "INT64", "data": [3]},
    ],
    "outputs": [{"name": "label"}],
    "parameters": {"explain": True},
}
MATRIX: dict[str, Any] = {
    "inputs": [
        {
            "name": "in",
            "shape": [1, 3],
            "datatype": "FP64",
            "data": [41.5, 1, 3],
            "parameters": {"columns": ["age", "smokes", "visits"]},
        }
    ]
}
CHAT: dict[str, Any] = {
    "model": "assistant",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 5,
    "n": 1,
    "stream": True,
    "stream_options": {"include_usage": True},
    "user": "u",
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in places(item, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any, *, beside: bool) -> Any:
    """A copy of `value` with `new` at `path`; `beside` names a member with it, or adds it to a list, instead."""
    if path:
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[path[0]] = put(value[path[0]], path[1:], new, beside=beside)
        return copy
    if not beside:
        return new
    return {**value, WORD: new} if isinstance(value, dict) else [*value, new] if isinstance(value, list) else [value, new]


def refusal(reader: Callable[[bytes], object], body: bytes) -> str:
    """What is recorded of a refusal, if there is one."""
    try:
        reader(body)
    except TandemError as error:
        return f"{error.message} {error.hint} {error.field}"
    return ""


def repeats(text: str) -> bool:
    return "canary" in text or "hiv" in text or "8231977" in text or "8.23198e+06" in text


def read_infer(body: bytes) -> None:
    SIGNATURE.check_values(oip.parse(body, SIGNATURE).rows)


def read_rows(body: bytes) -> None:
    with contextlib.suppress(msgspec.ValidationError):  # a decision's own code gives rows
        SIGNATURE.values(msgspec.json.decode(body, type=list[dict[str, Any]]))


READERS: tuple[tuple[Callable[[bytes], object], Any], ...] = (
    (read_infer, INFER),
    (read_infer, MATRIX),
    (read_rows, [{"age": 41.5, "smokes": True, "visits": 3}]),
    (lambda body: openai.read_chat(body, ()), CHAT),
    (lambda body: openai.read_embed(body, ()), {"model": "assistant", "input": ["a"], "user": "u"}),
)


@given(data=st.data())
@pytest.mark.parametrize("number", range(len(READERS)))
def test_no_refusal_of_a_request_repeats_it_where_it_is_recorded(number: int, data: st.DataObject) -> None:
    reader, good = READERS[number]
    reader(json.dumps(good).encode())
    path = data.draw(st.sampled_from(places(good)))
    bad = put(good, path, data.draw(st.sampled_from(SHAPES)), beside=data.draw(st.booleans()))
    assert not repeats(refusal(reader, json.dumps(bad).encode()))


HEAD = """
from dataclasses import dataclass
from typing import Literal
from tandem.core.errors import Invalid
from tandem.decisions import Calls

@dataclass
class Case:
    text: str
    tone: Literal["calm", "loud"] = "calm"

@dataclass
class Opinion:
    said: str
"""
BODIES = {
    "typed": 'return Opinion(said="")',
    "crash": "raise ValueError(case.text)",
    "own": "raise Invalid(case.text, hint=case.text, field=case.text)",
    "predicting": 'calls.predict("tumor", {"age": 8231977.25, "smokes": True, "visits": 3})',
    "chatting": 'calls.chat("assistant", messages=case.text)',
    "prompting": 'calls.chat("assistant", prompt="prompt/explain@production", variables={"p": 0.5, case.text: 1})',
    "reviewed": "calls.ask_a_person(case.text)\n    return Opinion(said=case.text)",
}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[House]:
    """A door whose endpoints keep no content."""
    (tmp_path / "home").mkdir()
    async with house(tmp_path / "home", {"predict": Predictions(), "decide": Decisions(workers=1, seconds=5.0)}) as found:
        meta = b'{"signature":' + SIGNATURE.to_json() + b"}"
        served = {"model/tumor@1": Served(ref="model/tumor@1", members="", digest="sha256:m", meta=meta)}
        endpoints = {name: replace(one, record_content=False) for name, one in found.snapshot.endpoints.items()}
        endpoints["tumor"] = Endpoint(name="tumor", kind="predict", route=(Target(target="model/tumor@1"),), record_content=False)
        for name, body in BODIES.items():
            folder = tmp_path / name
            folder.mkdir()
            (folder / SOURCE).write_text(f"{HEAD}\ndef decide(case: Case, calls: Calls) -> Opinion:\n    {body}\n")
            ref = f"decision/{name}@1"
            served[ref] = Served(ref=ref, members=str(folder), digest="sha256:d", meta=b'{"entry":"decide"}')
            endpoints[name] = Endpoint(name=name, kind="decide", route=(Target(target=ref),), record_content=False)
        template = msgspec.json.encode({"template": "The probability is {{ p }}.", "variables": {"p": "number"}})
        prompt = Served(ref="prompt/explain@3", members="", digest="sha256:p", meta=template)
        found.publish(served=served, endpoints=endpoints, prompts={"prompt/explain@production": prompt})
        yield found


async def test_with_recording_off_nothing_that_was_sent_is_kept_anywhere(door: House, tmp_path: Path) -> None:
    said = {}
    async with httpx2.AsyncClient(timeout=20, headers={"authorization": f"Bearer {KEY}"}) as http:
        for name in BODIES:
            case = {"text": WORD, **({"tone": WORD} if name == "typed" else {})}
            reply = await http.post(f"{door.url}/v1/decide/{name}", json=case)
            said[name] = (reply.status_code, reply.text)
        bad = put(INFER, ("inputs", 0, "data", 0), NUMBER, beside=False)
        said["infer"] = ((reply := await http.post(f"{door.url}/v2/models/tumor/infer", json=bad)).status_code, reply.text)
    door.move()
    statuses = {name: status for name, (status, _) in said.items()}
    assert statuses == {
        "typed": 400,
        "crash": 500,
        "own": 400,
        "predicting": 400,
        "chatting": 400,
        "prompting": 400,
        "reviewed": 200,
        "infer": 400,
    }
    assert {name for name, (_, text) in said.items() if repeats(text)} >= {
        "typed",
        "crash",
        "own",
        "predicting",
        "prompting",
        "reviewed",
        "infer",
    }
    kept = {path.name: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert b"predicting" in b"".join(kept.values())  # the calls themselves are recorded
    assert [name for name, text in kept.items() if repeats(text.decode("latin-1"))] == []
