"""A decision through the door: one call, one trace, both kinds of span; users' code never stalls or leaks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import msgspec
import pytest
from tests.gateway.conftest import KEY, House, house

from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Invalid
from tandem.decisions.describe import describe
from tandem.decisions.target import Decisions
from tandem.decisions.worker import SOURCE
from tandem.gateway.snapshot import Served
from tandem.gateway.target import Answer, Question

HEAD = """
from dataclasses import dataclass
from tandem.decisions import Calls

@dataclass
class Case:
    number: float
    text: str = ""

@dataclass
class Opinion:
    said: str
"""

BODIES = {
    "explain": """
    scored = calls.predict("tumor", {"x": case.number}, explain=True)
    told = calls.chat("assistant", prompt="prompt/explain@production", variables={"p": scored.probability}, max_tokens=16)
    calls.ask_a_person("uncertain")
    return Opinion(said=f"{scored.probability} {sorted(scored.contributions)} {told.text}")
""",
    "spin": """
    while True:
        pass
""",
    "crash": """
    raise ValueError("no such case")
""",
    "die": """
    import os
    os._exit(9)
""",
    "environment": """
    import os
    return Opinion(said=" ".join(sorted(os.environ)))
""",
    "together": """
    told = calls.predict_together({"tumor": {"x": 7.0}, "second": {"x": 7.0}})
    return Opinion(said=f"{list(told)} {[one.probability for one in told.values()]}")
""",
    "together-failing": """
    calls.predict_together({"tumor": {"x": 0.5}, "nobody": {"x": 0.5}})
""",
    "noisy": """
    print("to stdout")
    return Opinion(said="quiet")
""",
}


class Scores:
    """Stands in for serving: the probability is the row's number; of a 7 it is told when two are asked at the same time."""

    def __init__(self) -> None:
        self._both = asyncio.Barrier(2)

    async def answer(self, question: Question) -> Answer:
        body = json.loads(question.body)
        value = body["inputs"][0]["data"][0]
        if value == 7.0:
            await self._both.wait()
        outputs = [
            {"name": "probability", "datatype": "FP64", "shape": [1], "data": [value]},
            {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["benign"]},
            {"name": "contributions", "datatype": "FP64", "shape": [1, 1], "data": [0.5]},
            {"name": "base", "datatype": "FP64", "shape": [1], "data": [0.1]},
        ]
        return Answer(body=json.dumps({"model_name": "tumor", "model_version": "1", "outputs": outputs}).encode())

    async def close(self) -> None:
        return


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[House]:
    targets = {"predict": Scores(), "decide": Decisions(workers=2, seconds=2.0)}
    async with house(tmp_path, targets) as found:
        served, endpoints = {}, dict(found.snapshot.endpoints)
        for name, body in BODIES.items():
            folder = tmp_path / name
            folder.mkdir()
            (folder / SOURCE).write_text(f"{HEAD}\ndef decide(case: Case, calls: Calls) -> Opinion:{body}")
            ref = f"decision/{name}@1"
            served[ref] = Served(ref=ref, members=str(folder), digest="sha256:d", meta=b'{"entry":"decide"}')
            endpoints[name] = Endpoint(name=name, kind="decide", route=(Target(target=ref),))
        served["model/tumor@1"] = Served(
            ref="model/tumor@1", members="", digest="sha256:m", meta=b"{}", attributes={"data_digest": "sha256:x"}
        )
        endpoints["tumor"] = Endpoint(name="tumor", kind="predict", route=(Target(target="model/tumor@1"),))
        endpoints["second"] = Endpoint(name="second", kind="predict", route=(Target(target="model/tumor@1"),))
        meta = msgspec.json.encode({"template": "The probability is {{ p }}.", "variables": {"p": "number"}})
        prompt = Served(ref="prompt/explain@3", members="", digest="sha256:p", meta=meta)
        found.publish(served=served, endpoints=endpoints, prompts={"prompt/explain@production": prompt})
        yield found


async def decide(door: House, name: str, case: object, timeout: float = 10.0) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=timeout) as http:
        return await http.post(f"{door.url}/v1/decide/{name}", json=case, headers={"authorization": f"Bearer {KEY}"})


async def test_one_trace_holds_the_prediction_and_the_chat(door: House) -> None:
    reply = await decide(door, "explain", {"number": 0.4})
    assert reply.status_code == 200, reply.text
    assert reply.json()["said"].startswith("0.4 ['x'] ")
    door.move()
    calls = door.traces.find(reply.headers["x-tandem-trace-id"], team="risk").calls
    assert [call.kind for call in calls] == ["decide", "predict", "chat"]
    root, predict, chat = calls
    assert {call.parent for call in (predict, chat)} == {root.call}
    assert root.attributes["review"] == 1
    assert "prompt/explain@3" in root.attributes["versions"]  # type: ignore[operator]
    assert predict.attributes["versions"]["model/tumor@1"]["data_digest"] == "sha256:x"  # type: ignore[index]
    assert chat.attributes["prompt"] == "prompt/explain@3"
    (billed,) = door.mock.bill()
    assert chat.cost == billed.cost_nano


async def test_predictions_may_be_asked_for_at_the_same_time(door: House) -> None:
    reply = await decide(door, "together", {"number": 1})
    assert reply.json() == {"said": "['tumor', 'second'] [7.0, 7.0]"}
    door.move()
    calls = door.traces.find(reply.headers["x-tandem-trace-id"], team="risk").calls
    assert sorted(call.kind for call in calls) == ["decide", "predict", "predict"]
    refused = await decide(door, "together-failing", {"number": 1})
    assert refused.status_code == 404
    assert (await decide(door, "noisy", {"number": 1})).status_code == 200


async def test_a_blocking_decision_is_stopped_and_does_not_stall_the_door(door: House) -> None:
    blocked = asyncio.create_task(decide(door, "spin", {"number": 1}))
    await asyncio.sleep(0.3)
    slowest = 0.0
    async with httpx2.AsyncClient() as http:
        for _ in range(20):
            start = time.perf_counter()
            assert (await http.get(f"{door.url}/health")).status_code == 200
            slowest = max(slowest, time.perf_counter() - start)
    reply = await blocked
    assert reply.status_code == 504
    assert "deadline" in reply.json()["error"]
    assert slowest < 2.0  # the decision's own deadline: had it run in the door, every request would have waited for it
    again = await decide(door, "noisy", {"number": 1})
    assert again.json() == {"said": "quiet"}


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("crash", 500, "ValueError (line 15). no such case"), ("die", 500, "ended with 9")],
)
async def test_a_failing_decision_says_where(door: House, name: str, status: int, words: str) -> None:
    reply = await decide(door, name, {"number": 1})
    assert reply.status_code == status
    assert words in reply.json()["error"]
    assert (await decide(door, "noisy", {"number": 1})).status_code == 200


@pytest.mark.parametrize(("case", "field"), [({}, "number"), ({"number": "x"}, "number"), ([], None), ("x", None)])
async def test_a_wrong_input_names_its_field(door: House, case: object, field: str | None) -> None:
    reply = await decide(door, "noisy", case)
    assert reply.status_code == 400
    assert reply.json()["field"] == field


async def test_a_worker_sees_no_secret_of_ours(door: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("TANDEM_ADMIN_KEY", "tdm-canary")
    said = (await decide(door, "environment", {"number": 1})).json()["said"]
    assert "PATH" in said
    assert "OPENAI" not in said
    assert "TANDEM" not in said


async def test_a_vanished_caller_frees_the_worker(door: House) -> None:
    for _ in range(3):
        with pytest.raises(httpx2.ReadTimeout):
            await decide(door, "spin", {"number": 1}, timeout=0.2)
    assert (await decide(door, "spin", {"number": 1})).status_code == 504


def test_the_types_of_a_decision_become_its_schemas() -> None:
    source = f"{HEAD}\ndef decide(case: Case, calls: Calls) -> Opinion: ...".encode()
    schemas = describe(source, "decide")
    assert set(schemas) == {"input", "output"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"import nothing_of_the_kind", "ModuleNotFoundError"),
        (b"x = 1", "no function"),
        (b"def decide(a, b): ...", "must take"),
        (b"def decide(", "SyntaxError"),
    ],
)
def test_a_source_that_is_no_decision_is_refused(source: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        describe(source, "decide")
