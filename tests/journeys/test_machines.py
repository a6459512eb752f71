"""Three machines that serve and two that work, on one PostgreSQL server and one Redis server.

What is changed on one holds on all, caps hold across them, a Run outlives its worker, and a machine that is cut off loses
nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tandem.batches.tasks import AT_ONCE
from tests.journeys.cluster import BEFORE, Cluster, cluster, everywhere
from tests.journeys.conftest import ADMIN, Platform, bearer, on_server, until
from tests.journeys.test_batches import chat, client_of, ended, jsonl, rows
from tests.journeys.test_batches import made as send
from tests.network import Network

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.files]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, network: Network) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster"), network) as running:
        yield running


def storm(made: Cluster, key: str, each: int, names: str = "abc", callers: int = 2) -> list[int]:
    """What the machines answered to that many calls of each caller, all at the same time."""
    answers: list[int] = []

    def call(machine: Platform) -> None:
        answers.extend(machine.chat(key).status_code for _ in range(each))

    threads = [threading.Thread(target=call, args=(made.machines[name],)) for name in names for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_a_key_that_is_made_on_one_works_on_all_and_revoked_on_one_is_refused_on_all(made: Cluster) -> None:
    key = made.machines["a"].key("roamer")
    everywhere(made, lambda machine: machine.chat(key).status_code == 200, "a new key")
    made.machines["b"].api("DELETE", "/keys/roamer")
    everywhere(made, lambda machine: machine.chat(key).status_code == 401, "a revoked key")


def test_an_endpoint_that_is_set_on_one_answers_on_all(made: Cluster) -> None:
    key = made.machines["b"].key("changer")
    made.machines["b"].api("PUT", "/endpoints/second", json={"kind": "chat", "route": [{"target": "mock/gpt-4o-mini"}]})
    everywhere(made, lambda machine: ask(machine, key, "second") == 200, "a new endpoint")
    made.machines["c"].api("DELETE", "/endpoints/second")
    everywhere(made, lambda machine: ask(machine, key, "second") == 404, "an endpoint that is gone")


def ask(machine: Platform, key: str, model: str) -> int:
    body = {"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]}
    return httpx2.post(f"{machine.url}/v1/chat/completions", json=body, headers=bearer(key)).status_code


def test_one_cap_holds_over_three_machines_and_refuses_only_what_has_no_room(made: Cluster) -> None:
    key = made.machines["a"].key("capped")
    everywhere(made, lambda machine: machine.chat(key).status_code == 200, "the key")
    made.settle()
    spent = made.spent("key/capped")
    one, reserved = spent // 3, reservation(made, key)
    spent += one
    cap = spent + 23 * one
    made.change(lambda: made.machines["a"].api("PUT", "/budgets/key/capped", json={"cap": f"{cap / 1e9:.9f}", "window": "day"}))
    answers = storm(made, key, each=20)
    made.settle()
    assert set(answers) == {200, 429}
    assert made.spent("key/capped") == spent + one * answers.count(200)
    assert cap - reserved < made.spent("key/capped") <= cap


def reservation(made: Cluster, key: str) -> int:
    """Nano-dollars that a call of this key reserves."""
    trace = made.machines["a"].chat(key).headers["x-tandem-trace-id"]
    until(lambda: found(made.machines["a"], trace), "its trace")
    return int(made.machines["a"].api("GET", f"/traces/{trace}")["calls"][0]["attempts"][0]["reserved"])


def test_a_limit_of_calls_lets_through_exactly_so_many(made: Cluster) -> None:
    key = made.machines["c"].key("limited")
    everywhere(made, lambda machine: machine.chat(key).status_code == 200, "the key")
    made.settle()
    limit = {"cap": 40, "unit": "requests", "window": "day"}
    made.change(lambda: made.machines["c"].api("PUT", "/limits/key/limited", json=limit))
    assert storm(made, key, each=15).count(200) == 40


def test_who_is_erased_on_one_is_erased_from_the_kept_answers_of_all(made: Cluster) -> None:
    key = made.machines["a"].key("rememberer")
    kept = {"kind": "chat", "route": [{"target": "mock/gpt-4o-mini"}], "cache_seconds": 600}
    made.change(lambda: made.machines["a"].api("PUT", "/endpoints/kept", json=kept))
    for machine in made.machines.values():
        until(lambda machine=machine: is_hit(machine, key), "the answer is given again")  # type: ignore[misc]
    made.settle()
    report = made.machines["c"].api("POST", "/subjects/ada/erase")
    assert any("homes of other machines" in each for each in report["unsearched"])
    for machine in made.machines.values():
        until(lambda machine=machine: answers_of(machine) == 0, "nothing is kept")  # type: ignore[misc]
    assert not is_hit(made.machines["b"], key)


def is_hit(machine: Platform, key: str) -> bool:
    body = {"model": "kept", "max_tokens": 4, "user": "ada", "messages": [{"role": "user", "content": "my name is Ada"}]}
    reply = httpx2.post(f"{machine.url}/v1/chat/completions", json=body, headers=bearer(key))
    return reply.headers.get("x-tandem-cache") == "hit"


def answers_of(machine: Platform) -> int:
    with contextlib.closing(sqlite3.connect(machine.home / "cache.db")) as db:
        return int(db.execute("SELECT count(*) FROM kept").fetchone()[0])


def test_a_run_whose_worker_dies_is_finished_by_the_other(made: Cluster) -> None:
    total = 600
    with client_of(made.machines["b"], ADMIN) as client:
        batch = send(client, jsonl(*[chat(number) for number in range(total)]))
        until(lambda: (client.batches.retrieve(batch.id).request_counts or batch.request_counts).completed >= 50)  # type: ignore[union-attr]
        doing = made.executor()
        made.workers[doing].end(signal.SIGKILL)
        done = ended(client, batch, 120)
        assert done.status == "completed", done
        answers = rows(client, done.output_file_id)
        assert sorted(row["custom_id"] for row in answers) == sorted(f"c-{number}" for number in range(total))
        assert rows(client, done.error_file_id) == []
    made.workers[doing].start()


def test_a_machine_that_is_cut_off_goes_on_and_loses_nothing(made: Cluster) -> None:
    key = made.machines["a"].key("islander")
    everywhere(made, lambda machine: machine.chat(key).status_code == 200, "the key")
    try:
        alone = made.cut_off("b", key, 40)
        others = [made.machines[name].chat(key).status_code for name in "ac" for _ in range(10)]
    finally:
        made.network.mend("b")
    assert [status for status, _ in alone] == [200] * 40
    assert others == [200] * 20
    until(lambda: all(found(made.machines["c"], trace) for _, trace in alone), "its traces are read elsewhere")
    made.settle()
    assert made.machines["a"].api("GET", "/spend?scope=key/islander")["attempts"] == 3 + 40 + 20


def test_a_machine_that_is_cut_off_spends_what_it_holds_of_a_cap_and_no_more(made: Cluster) -> None:
    key = made.machines["a"].key("thrifty")
    everywhere(made, lambda machine: machine.chat(key).status_code == 200, "the key")
    limit = {"cap": 300, "unit": "requests", "window": "day"}
    made.change(lambda: made.machines["a"].api("PUT", "/limits/key/thrifty", json=limit))
    try:
        alone = made.cut_off("b", key, 120)
        others = storm(made, key, each=80, names="ac")
    finally:
        made.network.mend("b")
    statuses = [status for status, _ in alone]
    assert statuses.count(200) + others.count(200) <= 300
    assert statuses.count(200) > BEFORE, "what it held was spent first"
    assert set(statuses) <= {200, 503}
    assert 503 in statuses
    until(lambda: made.machines["b"].chat(key).status_code in (200, 429), "it is let in again")
    until(lambda: all(found(made.machines["a"], trace) for status, trace in alone if status == 200), "its journal is moved")
    rest = storm(made, key, each=60)
    assert statuses.count(200) + others.count(200) + rest.count(200) <= 300
    made.settle()
    (standing,) = [row for row in made.machines["c"].api("GET", "/limits") if row["scope"] == "key/thrifty"]
    assert standing["settled"] <= 300


def found(machine: Platform, trace: str) -> bool:
    return httpx2.get(f"{machine.url}/api/v1/traces/{trace}", headers=bearer(ADMIN)).status_code == 200


def test_every_call_is_in_the_books_at_what_the_upstreams_want(made: Cluster) -> None:
    def attempts() -> list[tuple[Any, ...]]:
        return on_server(made.environment["STORE"], "traces", "SELECT cost, source FROM attempts")

    made.settle()
    until(lambda: made.spent("org") == sum(cost for cost, _ in attempts()), "traces and books tell the same sum", 30)
    until(lambda: made.bill() <= made.spent("org"), "every journal is moved", 30)
    seen = attempts()
    guessed = sum(cost for cost, source in seen if source != "provider")  # whose asker was killed before it was answered
    assert made.spent("org") - guessed <= made.bill() <= made.spent("org")
    assert sum(source != "provider" for _, source in seen) <= AT_ONCE


def test_every_machine_finds_the_audit_whole_and_nothing_wrong(made: Cluster) -> None:
    for machine in made.machines.values():
        assert machine.api("POST", "/audit/verify")["ok"]
        assert [row for row in machine.api("GET", "/doctor") if not row["ok"]] == []


def test_a_machine_that_never_comes_back_is_let_go_of(made: Cluster) -> None:
    key = made.machines["a"].key("orphan")
    everywhere(made, lambda machine: machine.chat(key).status_code == 200, "the key")
    cap = {"cap": "1", "window": "day"}
    made.change(lambda: made.machines["a"].api("PUT", "/budgets/key/orphan", json=cap))
    assert made.machines["c"].chat(key).status_code == 200
    gone = made.machines["c"]
    name = (gone.home / "machine").read_text()
    for pid in (*gone.pids("door"), *gone.pids("control")):
        os.kill(pid, signal.SIGKILL)
    gone.down(signal.SIGKILL)
    refused = httpx2.delete(f"{made.machines['a'].url}/api/v1/machines/{name}", headers=bearer(ADMIN))
    assert refused.status_code == 409
    made.age(name)
    report = {row["check"]: row for row in made.machines["a"].api("GET", "/doctor")}
    assert not report[f"machine {name}"]["ok"]
    made.machines["a"].api("DELETE", f"/machines/{name}")
    del made.machines["c"]
    made.settle()
    (standing,) = [row for row in made.machines["a"].api("GET", "/budgets") if row["scope"] == "key/orphan"]
    assert standing["reserved"] == 0
    assert name not in {row["name"] for row in made.machines["a"].api("GET", "/machines")}
