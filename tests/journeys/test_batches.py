"""OpenAI's own client, unmodified, sends files, makes batches, polls, reads and cancels, against a whole platform."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai.types import Batch

from tests.journeys.conftest import ADMIN, Platform, bearer, platform, until

pytestmark = pytest.mark.journey

CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"


def chat(number: int, **more: Any) -> dict[str, Any]:
    body = {"model": "assistant", "max_tokens": 8, "messages": [{"role": "user", "content": f"question {number}"}], **more}
    return {"custom_id": f"c-{number}", "method": "POST", "url": CHAT, "body": body}


def jsonl(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture(scope="module")
def embedding(house: Platform) -> Platform:
    house.api("PUT", "/endpoints/embed", json={"kind": "embed", "route": [{"target": "mock/text-embedding-3-small"}]})
    return house


@pytest.fixture
def client(house: Platform) -> Iterator[openai.OpenAI]:
    with client_of(house, ADMIN) as made:
        yield made


def client_of(house: Platform, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key=key, max_retries=0)


def made(client: openai.OpenAI, content: bytes, endpoint: Any = CHAT, **more: Any) -> Batch:
    file = client.files.create(file=("requests.jsonl", content), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def ended(client: openai.OpenAI, batch: Batch, seconds: float = 60) -> Batch:
    ends = ("completed", "failed", "expired", "cancelled")

    def look() -> Batch | None:
        found = client.batches.retrieve(batch.id)
        return found if found.status in ends else None

    found: Batch = until(look, "the batch ends", seconds)
    return found


def rows(client: openai.OpenAI, identifier: str | None) -> list[Any]:
    if identifier is None:
        return []
    return [json.loads(line) for line in client.files.content(identifier).text.splitlines()]


def test_a_file_comes_back_as_it_was_sent(client: openai.OpenAI) -> None:
    content = jsonl(chat(1), chat(2, user="ada")) + b'\r\n{"no": "end"}'
    file = client.files.create(
        file=("a b.jsonl", content), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(content), "a b.jsonl", "batch")
    assert file.expires_at == file.created_at + 3600
    assert client.files.content(file.id).content == content
    assert client.files.retrieve(file.id) == file
    second = client.files.create(file=("second.jsonl", content), purpose="batch")
    assert [each.id for each in client.files.list(limit=1)][:2] == [second.id, file.id]  # turns the page by itself
    assert [each.id for each in client.files.list(order="asc", after=file.id)][:1] == [second.id]
    assert [each.id for each in client.files.list(purpose="vision")] == []
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)
    client.files.delete(second.id)


def test_a_batch_of_chats_is_asked_and_what_fails_is_told_apart(house: Platform, client: openai.OpenAI) -> None:
    content = jsonl(*[chat(number, user="ada") for number in range(20)], chat(20, model="nobody"))
    batch = made(client, content, metadata={"night": "one"})
    assert batch.status in ("validating", "in_progress")
    done = ended(client, batch)
    assert done.status == "completed", done
    counts = done.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (21, 20, 1)
    assert done.metadata == {"night": "one"}
    assert done.completed_at is not None
    assert done.in_progress_at is not None
    answers, failures = rows(client, done.output_file_id), rows(client, done.error_file_id)
    assert sorted(row["custom_id"] for row in answers) == sorted(f"c-{number}" for number in range(20))
    assert len({row["id"] for row in answers}) == 20
    for row in answers:
        assert row["error"] is None
        assert row["response"]["status_code"] == 200
        assert row["response"]["body"]["choices"][0]["message"]["content"]
    (failure,) = failures
    assert failure["custom_id"] == "c-20"
    assert failure["response"]["status_code"] == 404
    assert failure["response"]["body"]["error"]["code"] == "model_not_found"

    trace = answers[0]["response"]["request_id"]
    until(lambda: httpx2.get(f"{house.url}/api/v1/traces/{trace}", headers=bearer(ADMIN), timeout=9).status_code == 200)
    found = house.api("GET", f"/traces/{trace}")
    (call,) = found["calls"]
    assert call["attributes"]["tandem.batch"] == batch.id
    assert (call["principal"], call["subject"]) == ("admin", "ada")

    run = house.api("GET", f"/runs/{done.model_extra['run']}")  # type: ignore[index]
    assert (run["kind"], run["state"], run["outputs"]["completed"], run["outputs"]["failed"]) == ("batch", "succeeded", 20, 1)


def test_a_batch_of_embeddings(embedding: Platform, client: openai.OpenAI) -> None:
    lines = [
        {"custom_id": str(number), "method": "POST", "url": EMBED, "body": {"model": "embed", "input": f"text {number}"}}
        for number in range(5)
    ]
    done = ended(client, made(client, jsonl(*lines), EMBED))
    answers = rows(client, done.output_file_id)
    assert {len(row["response"]["body"]["data"][0]["embedding"]) for row in answers} == {1536}
    assert {row["custom_id"] for row in answers} == {str(number) for number in range(5)}
    assert done.error_file_id is None


def test_a_batch_of_responses(client: openai.OpenAI) -> None:
    lines = [
        {
            "custom_id": str(number),
            "method": "POST",
            "url": "/v1/responses",
            "body": {"model": "assistant", "input": f"say {number}"},
        }
        for number in range(3)
    ]
    done = ended(client, made(client, jsonl(*lines), "/v1/responses"))
    assert {row["custom_id"] for row in rows(client, done.output_file_id)} == {"0", "1", "2"}
    assert {row["response"]["body"]["object"] for row in rows(client, done.output_file_id)} == {"response"}
    failed = ended(client, made(client, jsonl({**lines[0], "body": {**lines[0]["body"], "stream": True}}), "/v1/responses"))
    assert [each.param for each in failed.errors.data or []] == ["body.stream"]  # type: ignore[union-attr]


def test_lines_that_are_wrong_are_told_by_number_and_nothing_is_sent(house: Platform, client: openai.OpenAI) -> None:
    before = httpx2.get(f"{house.mock_url}/bill?limit=0", headers=bearer("mk")).json()["totals"]
    content = (
        jsonl(chat(1))
        + b"not JSON\n\n"
        + jsonl(chat(1), {**chat(2), "url": EMBED}, chat(3, stream=True), {"custom_id": "x"}, {**chat(4), "method": "GET"})
    )
    done = ended(client, made(client, content))
    assert done.status == "failed"
    assert done.failed_at is not None
    assert done.errors is not None
    told = [(each.line, each.code, each.param) for each in done.errors.data or []]
    assert told == [
        (2, "invalid_json_line", None),
        (4, "duplicate_custom_id", "custom_id"),
        (5, "mismatched_endpoint", "url"),
        (6, "invalid_request", "body.stream"),
        (7, "missing_required_parameter", "method"),
        (8, "invalid_method", "method"),
    ]
    assert (done.output_file_id, done.error_file_id) == (None, None)
    assert httpx2.get(f"{house.mock_url}/bill?limit=0", headers=bearer("mk")).json()["totals"] == before


def test_what_is_asked_wrongly_is_refused_in_openais_shape(client: openai.OpenAI) -> None:
    file = client.files.create(file=("requests.jsonl", jsonl(chat(1))), purpose="batch")
    create: Any = client.batches.create
    for wrong, param in (
        ({"endpoint": "/v1/moderations", "completion_window": "24h"}, "endpoint"),
        ({"endpoint": CHAT, "completion_window": "1h"}, "completion_window"),
        ({"endpoint": CHAT, "completion_window": "24h", "metadata": {"a": "b" * 513}}, "metadata.a"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            create(input_file_id=file.id, **wrong)
        assert (refused.value.param, refused.value.type) == (param, "invalid_request_error")
    with pytest.raises(openai.NotFoundError):
        create(input_file_id="file_none", endpoint=CHAT, completion_window="24h")
    for purpose, content, param in (("vision", b"{}\n", "purpose"), ("batch", b"", "file")):
        send: Any = client.files.create
        with pytest.raises(openai.BadRequestError) as refused:
            send(file=("a.jsonl", content), purpose=purpose)
        assert refused.value.param == param
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="tdm_nobody").files.list()


def test_another_team_is_told_nothing(house: Platform) -> None:
    red, blue = house.key("red", team="red"), house.key("blue", team="blue")
    until(lambda: house.chat(red).status_code == 200)
    with client_of(house, red) as own, client_of(house, blue) as other:
        batch = made(own, jsonl(chat(1)))
        done = ended(own, batch)
        for identifier in (batch.input_file_id, done.output_file_id):
            assert identifier is not None
            for ask in (other.files.retrieve, other.files.content, other.files.delete):
                with pytest.raises(openai.NotFoundError):
                    ask(identifier)
        for look in (other.batches.retrieve, other.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                look(batch.id)
        with pytest.raises(openai.NotFoundError):
            other.batches.create(input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h")
        assert [each.id for each in other.files.list()] == []
        assert [each.id for each in other.batches.list()] == []
        assert [each.id for each in own.batches.list(limit=1)] == [batch.id]


def test_an_erased_person_is_gone_from_the_files(house: Platform, client: openai.OpenAI) -> None:
    content = jsonl(chat(1, user="grace-of-the-batch"), chat(2))
    batch = ended(client, made(client, content))
    assert batch.output_file_id is not None
    house.settle()
    report = house.api("POST", "/subjects/grace-of-the-batch/erase")
    assert report["complete"], report
    assert client.files.content(batch.input_file_id).content == jsonl(chat(2))
    assert [row["custom_id"] for row in rows(client, batch.output_file_id)] == ["c-2"]
    again = client.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h")
    done = ended(client, again)
    assert [row["custom_id"] for row in rows(client, done.output_file_id)] == ["c-2"]
    assert [row["error"]["code"] for row in rows(client, done.error_file_id)] == ["subject_erased"]


def test_the_command_line_does_all_of_it(house: Platform, tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes(jsonl(chat(1), chat(2, model="nobody")))
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": ADMIN}

    def tandem(*words: str) -> str:
        command = [sys.executable, "-m", "tandem", "batch", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    batch = json.loads(tandem("create", str(lines), "--wait", "--metadata", "night=one", "--json"))
    assert (batch["status"], batch["metadata"]) == ("completed", {"night": "one"})
    assert json.loads(tandem("output", batch["id"]))["custom_id"] == "c-1"
    assert json.loads(tandem("output", batch["id"], "--errors"))["custom_id"] == "c-2"
    assert batch["id"] in tandem("list")


SLOW = ("--latency", "150")


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("slow"), mock=SLOW) as running:
        yield running


def test_a_batch_is_cancelled_within_a_moment_and_keeps_what_was_answered(slow: Platform) -> None:
    with client_of(slow, ADMIN) as client:
        batch = made(client, jsonl(*[chat(number) for number in range(2000)]))
        until(lambda: (client.batches.retrieve(batch.id).request_counts or batch.request_counts).completed >= 16)  # type: ignore[union-attr]
        begun = time.monotonic()
        told = client.batches.cancel(batch.id)
        assert told.status in ("cancelling", "cancelled")
        done = ended(client, batch, seconds=8)
        assert time.monotonic() - begun < 8
        assert done.status == "cancelled"
        assert done.cancelling_at is not None
        assert done.cancelled_at is not None
        counts = done.request_counts
        assert counts is not None
        assert 16 <= counts.completed < 2000
        assert len(rows(client, done.output_file_id)) == counts.completed
        assert slow.api("GET", f"/runs/{done.model_extra['run']}")["state"] == "cancelled"  # type: ignore[index]
        with pytest.raises(openai.ConflictError):
            client.batches.cancel(ended(client, made(client, jsonl(chat(1)))).id)


def test_a_cap_that_is_reached_fails_the_rest_and_loses_nothing(slow: Platform) -> None:
    key = slow.key("capped")
    slow.api("PUT", "/budgets/key/capped", json={"cap": "0.0005", "window": "total"})
    until(lambda: slow.chat(key).status_code == 200)
    with client_of(slow, key) as client:
        done = ended(client, made(client, jsonl(*[chat(number, max_tokens=200) for number in range(60)])))
        answers, failures = rows(client, done.output_file_id), rows(client, done.error_file_id)
    assert done.status == "completed"
    assert answers
    assert failures
    assert sorted(row["custom_id"] for row in answers + failures) == sorted(f"c-{number}" for number in range(60))
    assert {row["response"]["body"]["error"]["code"] for row in failures} == {"over_budget"}
    slow.settle()
    (budget,) = [row for row in slow.api("GET", "/budgets") if row["scope"] == "key/capped"]
    assert budget["settled"] <= budget["cap"]


def test_a_key_that_is_revoked_ends_its_batch(slow: Platform) -> None:
    key = slow.key("leaving")
    until(lambda: slow.chat(key).status_code == 200)
    with client_of(slow, key) as client, client_of(slow, ADMIN) as admin:
        batch = made(client, jsonl(*[chat(number) for number in range(2000)]))
        until(lambda: (admin.batches.retrieve(batch.id).request_counts or batch.request_counts).completed >= 16)  # type: ignore[union-attr]
        slow.api("DELETE", "/keys/leaving")
        done = ended(admin, batch)
        assert done.status == "failed"
        assert done.errors is not None
        assert [each.code for each in done.errors.data or []] == ["key_revoked"]
        answers, failures = rows(admin, done.output_file_id), rows(admin, done.error_file_id)
    assert len(answers) + len(failures) == 2000
    assert {row["custom_id"] for row in answers + failures} == {f"c-{number}" for number in range(2000)}
    assert "key_revoked" in {row["error"]["code"] for row in failures}


@pytest.mark.slow
def test_a_batch_goes_on_after_its_process_was_killed(tmp_path: Path) -> None:
    total = 400
    with platform(tmp_path, mock=("--latency", "100")) as house, client_of(house, ADMIN) as client:
        batch = made(client, jsonl(*[chat(number) for number in range(total)]))
        for share in (30, 120, 250):
            seen = share
            until(lambda seen=seen: _done(client, batch) >= seen)  # type: ignore[misc]
            (control,) = house.pids("control")
            os.kill(control, signal.SIGKILL)
            until(lambda old=control: [pid for pid in house.pids("control") if pid != old])  # type: ignore[misc]
            house.wait()
        done = ended(client, batch, 120)
        assert done.status == "completed", done
        answers, failures = rows(client, done.output_file_id), rows(client, done.error_file_id)
        assert failures == []
        assert sorted(row["custom_id"] for row in answers) == sorted(f"c-{number}" for number in range(total))
        house.settle()
        spent = house.api("GET", "/spend?scope=org")["cost"]
        bill = httpx2.get(f"{house.mock_url}/bill?limit=1000000", headers=bearer("mk")).json()["totals"]
        house.down()
    known, guessed = booked(house, "provider"), booked(house, "estimated")
    traces = {row["response"]["request_id"] for row in answers}
    assert len(traces) == total
    assert traces <= known.keys()
    assert not traces & guessed.keys()
    assert spent == sum(known.values()) + sum(guessed.values())  # what lost its asker is booked at its reservation
    assert sum(known.values()) <= bill["cost_nano"] <= spent
    assert {*known.values()} == {cost for trace, cost in known.items() if trace in traces}
    assert len(known) + len(guessed) <= total + 3 * 16  # only what was under way is asked again


def booked(house: Platform, source: str) -> dict[str, int]:
    """Trace → cost of its attempts, of those whose usage is known in this way."""
    found: dict[str, int] = {}
    query = f"SELECT c.trace, a.cost FROM attempts a JOIN calls c ON c.call = a.call WHERE a.source = '{source}'"
    for trace, cost in house.rows("traces", query):
        found[trace] = found.get(trace, 0) + cost
    return found


def _done(client: openai.OpenAI, batch: Batch) -> int:
    try:
        counts = client.batches.retrieve(batch.id).request_counts
    except openai.APIError:  # the process is just being killed
        return 0
    return 0 if counts is None else counts.completed
