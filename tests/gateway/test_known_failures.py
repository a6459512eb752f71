"""Failures of other gateways that can happen here, and what keeps each from happening.

The catalogue names a published report and the test that fails when it happens here; tests that had no place elsewhere stand
below it, named after what they prevent.
"""

from __future__ import annotations

import ast
import asyncio
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tandem.core.endpoint import Endpoint, Target, Timeouts
from tandem.core.principal import Principal
from tandem.gateway.snapshot import Host, Served
from tandem.governance.digest import PEPPER, digest
from tandem.store.vault import Vault
from tests.gateway.conftest import KEY, House

TESTS = Path(__file__).resolve().parents[1]
ASK: dict[str, Any] = {"model": "assistant", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
HERE = "gateway/test_known_failures.py"
CATALOGUE: tuple[tuple[str, str, str], ...] = (
    # budgets
    (
        "BerriAI/litellm#34732",
        "concurrent calls pass a cap together",
        "gateway/test_openai_wire.py::test_a_cap_holds_under_concurrency",
    ),
    ("BerriAI/litellm#26672", "a key's cap is passed", "governance/test_ledger.py::test_no_interleaving_passes_the_cap"),
    (
        "BerriAI/litellm#27639",
        "reservations are never released",
        "governance/test_ledger.py::test_an_expired_lease_keeps_only_what_runs",
    ),
    (
        "BerriAI/litellm#28283",
        "a counter is several times what was spent",
        "observability/test_journal.py::test_a_batch_that_is_moved_twice_counts_once",
    ),
    (
        "BerriAI/litellm#36926",
        "a cap is called full while it is not",
        "governance/test_admit.py::test_a_call_waits_for_recalled_slices_before_it_is_refused",
    ),
    ("BerriAI/litellm#38176", "a surface goes round the cap", f"{HERE}::test_no_surface_goes_round_a_cap"),
    ("BerriAI/litellm#25495", "a window is never reset", "governance/test_ledger.py::test_a_new_window_has_its_own_account"),
    (
        "envoyproxy/ai-gateway#1866",
        "a stream passes its limit",
        "gateway/routing/test_order.py::test_a_stream_that_does_not_end_is_cut_at_its_reservation",
    ),
    # spend
    (
        "BerriAI/litellm#37923",
        "a stream is booked at nothing",
        "gateway/test_across.py::test_anthropics_client_is_answered_whole_and_streamed",
    ),
    (
        "BerriAI/litellm#35691",
        "a model without a price costs nothing",
        "gateway/routing/test_order.py::test_a_model_without_a_price_costs_unknown_and_is_refused_under_a_cap",
    ),
    ("BerriAI/litellm#36426", "spend is lost when a process dies", "journeys/test_kill.py::test_fifty_kills_lose_nothing"),
    (
        "BerriAI/litellm#39088",
        "cached tokens are lost in a stream",
        "gateway/test_anthropic_provider.py::test_cache_counters_are_outside_input_tokens_and_counted_once",
    ),
    (
        "Kong/kong#14535",
        "counts that every chunk repeats are added up",
        "gateway/test_gemini.py::test_usage_that_every_chunk_repeats_is_not_summed",
    ),
    (
        "microsoft/agent-framework#7143",
        "the opening's and the end's counts are added up",
        "gateway/test_anthropic_provider.py::test_output_is_cumulative_and_not_added_up",
    ),
    (
        "langwatch/langwatch#7018",
        "cached tokens at the full price",
        "gateway/test_across.py::test_a_marked_beginning_is_written_and_read_and_billed_so",
    ),
    (
        "maximhq/bifrost#6972",
        "an abandoned stream is billed by chance",
        "gateway/test_openai_wire.py::test_a_vanished_caller_cancels_the_upstream_and_is_booked",
    ),
    (
        "BerriAI/litellm#14849",
        "a cache is billed twice",
        "gateway/test_gemini.py::test_cached_tokens_are_part_of_the_prompt_and_thoughts_are_beside_the_answer",
    ),
    # fallbacks and streams
    (
        "BerriAI/litellm#6957",
        "no fallback for an error in the first chunk",
        "gateway/test_anthropic_wire.py::test_before_the_first_word_another_attempt_takes_over",
    ),
    (
        "BerriAI/litellm#40404",
        "a cut, stalled or malformed stream has no fallback",
        f"{HERE}::test_a_stream_that_breaks_before_its_first_word_is_answered_by_the_next_target",
    ),
    (
        "BerriAI/litellm#40406",
        "a safety refusal is routed around",
        "gateway/routing/test_plan.py::test_a_safety_refusal_is_routed_around_only_where_the_owner_says_so",
    ),
    (
        "BerriAI/litellm#10793",
        "a prompt that is too long is not recognised",
        f"{HERE}::test_a_prompt_that_does_not_fit_goes_to_the_next_target",
    ),
    ("mlflow/mlflow#25262", "a refused stream is a 200 with an error in it", f"{HERE}::test_a_refused_stream_is_no_200"),
    (
        "Portkey-AI/gateway#267",
        "a lost connection looks like an end",
        "gateway/test_across.py::test_a_stream_that_breaks_off_never_looks_finished",
    ),
    (
        "maximhq/bifrost#7199",
        "the fallback asks the primary again",
        f"{HERE}::test_a_fallback_is_asked_in_its_own_words_with_its_own_key_and_the_whole_question",
    ),
    (
        "maximhq/bifrost#6973",
        "headers of one provider reach another",
        f"{HERE}::test_a_fallback_is_asked_in_its_own_words_with_its_own_key_and_the_whole_question",
    ),
    (
        "envoyproxy/ai-gateway#2135",
        "a fallback's question is not translated",
        f"{HERE}::test_a_fallback_is_asked_in_its_own_words_with_its_own_key_and_the_whole_question",
    ),
    (
        "alibaba/higress#4537",
        "a fallback's question has no body",
        f"{HERE}::test_a_fallback_is_asked_in_its_own_words_with_its_own_key_and_the_whole_question",
    ),
    (
        "BerriAI/litellm#34836",
        "a target that always fails stays in rotation",
        "gateway/routing/test_health.py::test_calls_go_round_a_target_that_rests_and_the_trace_says_so",
    ),
    (
        "BerriAI/litellm#25504",
        "nobody sees or ends a cooldown",
        "gateway/routing/test_board.py::test_every_worker_forgets_what_it_is_asked_to_and_only_once",
    ),
    ("BerriAI/litellm-docs#734", "retries multiply", "gateway/routing/test_order.py::test_retries_never_multiply"),
    # tools and translation
    (
        "BerriAI/litellm#25836",
        "arguments are dropped in a stream",
        "gateway/test_gemini.py::test_the_arguments_of_a_call_are_not_dropped_in_a_stream",
    ),
    (
        "BerriAI/litellm#21331",
        "parallel calls all have the place 0",
        "gateway/test_words.py::test_parallel_calls_that_a_host_numbers_zero_are_told_apart_by_their_ids",
    ),
    ("maximhq/bifrost#1437", "a thought's proof is lost", "gateway/test_gemini.py::test_a_proof_comes_back_on_its_own_call"),
    (
        "Portkey-AI/gateway#1762",
        "a cache mark within a tool's result",
        "gateway/test_bedrock.py::test_a_mark_stands_beside_the_result_of_a_tool_and_not_within",
    ),
    (
        "OpenRouterTeam/ai-sdk-provider#440",
        "a silent stream hangs",
        "gateway/test_transport.py::test_a_stream_that_falls_silent_and_one_that_never_ends",
    ),
    ("litellm, incident of 2026", "a field nobody sent is sent as null", f"{HERE}::test_nothing_is_sent_that_nobody_said"),
    (
        "litellm, incident of 2026",
        "a sealed thought or a stored answer of another account",
        "gateway/test_responses_wire.py::test_no_team_goes_on_from_anothers_answer",
    ),
    (
        "Portkey-AI/gateway, read",
        "a condition hides its siblings",
        "gateway/routing/test_when.py::test_no_part_hides_its_siblings",
    ),
    (
        "Helicone/ai-gateway, read",
        "why an answer ended is lost",
        "gateway/test_anthropic_provider.py::test_every_stop_reason_has_a_word",
    ),
    # limits and disconnects
    (
        "BerriAI/litellm#40291",
        "each worker counts for itself",
        "governance/test_ledger.py::test_a_lease_lends_no_more_than_the_cap",
    ),
    (
        "BerriAI/litellm#17323",
        "places are never given back",
        "gateway/test_transport.py::test_a_place_is_free_again_after_every_kind_of_end",
    ),
    (
        "BerriAI/litellm#3341",
        "a caller who left is answered on, and billed",
        "gateway/test_openai_wire.py::test_a_vanished_caller_cancels_the_upstream_and_is_booked",
    ),
    # operations
    ("BerriAI/litellm#12159", "series of metrics without bound", f"{HERE}::test_nothing_a_caller_sends_becomes_a_series"),
    ("BerriAI/litellm#6895", "a database on the way of every call", "architecture/test_floors.py::test_the_door_is_light"),
    (
        "litellm, incident of 2026",
        "a changed configuration closes connections in use",
        f"{HERE}::test_a_provider_that_moves_cuts_nobody_off",
    ),
    (
        "BerriAI/litellm#26237",
        "a short outage of the store breaks the door",
        "journeys/test_outage.py::test_calls_go_on_while_control_is_dead_and_it_comes_back",
    ),
    (
        "BerriAI/litellm#30772",
        "a change needs a restart",
        "journeys/test_outage.py::test_a_key_is_known_and_forgotten_on_every_worker_within_a_second",
    ),
    # guards and caches
    (
        "BerriAI/litellm#35260",
        "a wire's streams are not scanned",
        "gateway/test_across.py::test_guards_hold_whatever_the_provider_speaks",
    ),
    (
        "BerriAI/litellm#38721",
        "what was masked leaks in a stream",
        "gateway/test_guard.py::test_a_stream_says_what_the_whole_would_say_however_it_is_cut",
    ),
    ("litellm, incident of 2026", "keys in the logs", "journeys/test_secrets.py::test_no_secret_is_in_the_log"),
    (
        "vllm-project/semantic-router#2134",
        "a cache crosses tenants",
        "gateway/test_cache.py::test_another_question_is_asked_anew",
    ),
    # security
    ("CVE-2026-42208", "a key is a piece of a query", f"{HERE}::test_a_key_is_a_value_and_never_a_query"),
    ("CVE-2026-35030", "who a key is depends on its beginning", f"{HERE}::test_keys_that_begin_alike_are_different_keys"),
    ("CVE-2026-35029", "anybody changes the configuration", "journeys/test_permissions.py::test_a_route_lets_in_whom_it_should"),
    (
        "BerriAI/litellm#24902",
        "a provider's key in an address",
        "gateway/test_gemini.py::test_the_key_is_in_a_header_and_never_in_the_address",
    ),
    ("BerriAI/litellm#31620", "a key in the audit", "journeys/test_secrets.py::test_no_secret_is_in_a_file"),
)
"""Where it was seen, what happened there, and the test that would fail if it happened here."""


@cache
def named_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


@pytest.mark.parametrize(("seen", "what", "test"), CATALOGUE, ids=[f"{seen} {what}" for seen, what, _ in CATALOGUE])
def test_what_happened_elsewhere_is_looked_for_here(seen: str, what: str, test: str) -> None:
    file, _, name = test.partition("::")
    assert name in named_in(file), f"nothing looks for {what} ({seen}) any more"


# --- what had no place elsewhere


async def ask(door: House, path: str = "/v1/chat/completions", key: str = KEY, **more: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=20) as http:
        sent = {"authorization": f"Bearer {key}", "anthropic-version": "2023-06-01", "openai-beta": "x=1"}
        return await http.post(f"{door.url}{path}", json={**ASK, **more}, headers=sent)


def two(door: House, **more: Any) -> None:
    """`assistant` asks gpt-4o first, then gpt-4o-mini."""
    route = (Target(target="mock/gpt-4o"), Target(target="mock/gpt-4o-mini", priority=1))
    own = door.snapshot.prices["mock/gpt-4o-mini"]
    door.publish(
        endpoints={**door.snapshot.endpoints, "assistant": Endpoint(name="assistant", kind="chat", route=route, **more)},
        prices={**door.snapshot.prices, "mock/gpt-4o": own},
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {}),
        ("/v1/chat/completions", {"stream": True}),
        ("/anthropic/v1/messages", {}),
        ("/anthropic/v1/messages", {"stream": True}),
        ("/v1/responses", {"input": "hi"}),
        ("/v1/responses", {"input": "hi", "stream": True}),
        ("/v1/embeddings", {"model": "embedder", "input": "hi"}),
    ],
)
async def test_no_surface_goes_round_a_cap(door: House, path: str, body: dict[str, Any]) -> None:
    door.cap(1)
    reply = await ask(door, path, **body)
    assert reply.status_code == 429, reply.text
    assert reply.headers["x-tandem-fault"] == "policy.over_budget"
    assert door.mock.requests() == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/anthropic/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("fault", ["cut-after=0", "malformed-after=0", "stall", "error-after=0", "reset", "stall-after=0"])
async def test_a_stream_that_breaks_before_its_first_word_is_answered_by_the_next_target(
    door: House, fault: str, path: str
) -> None:
    two(door, timeouts=Timeouts(first_byte=0.5, idle=0.5))
    door.mock.faults(["reset*1" if fault == "reset" else f"{fault};model=gpt-4o"])
    more = {"input": "hi"} if path == "/v1/responses" else {}
    reply = await ask(door, path, stream=True, **more)
    assert reply.status_code == 200
    assert '"error":{' not in reply.text
    door.move()
    outcomes = [attempt.outcome for attempt in door.traces.find(reply.headers["x-tandem-trace-id"], team=None).calls[0].attempts]
    assert outcomes[-1] == "ok"
    assert len(outcomes) == 2


async def test_a_prompt_that_does_not_fit_goes_to_the_next_target(door: House) -> None:
    two(door, retries=0)
    door.mock.faults(["context;model=gpt-4o"])
    reply = await ask(door)
    assert reply.status_code == 200
    door.mock.faults(["context"])
    refused = await ask(door)
    assert refused.status_code == 400
    assert refused.headers["x-tandem-fault"] == "caller.context_exceeded"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/anthropic/v1/messages", "/v1/responses"])
async def test_a_refused_stream_is_no_200(door: House, path: str) -> None:
    own = door.snapshot.endpoints["assistant"]
    door.publish(endpoints={**door.snapshot.endpoints, "assistant": replace(own, retries=0)})
    door.mock.faults(["429;retry-after=30"])
    more = {"input": "hi"} if path == "/v1/responses" else {}
    reply = await ask(door, path, stream=True, **more)
    assert reply.status_code == 429
    assert reply.headers["retry-after"] == "30"
    assert "event-stream" not in reply.headers["content-type"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/anthropic/v1/messages"])
async def test_a_client_tries_again_after_a_providers_limit_and_not_after_a_cap(door: House, path: str) -> None:
    """A vendor's client retries a 429 by itself, unless it is told that waiting brings no money."""
    gemini = Host(
        name="gemini",
        protocol="gemini",
        base_url=f"{door.mock.url}/v1beta",
        keys=(Vault(bytes(32)).seal("provider", b"mk", b"gemini"),),
    )
    route = (Target(target="gemini/gemini-2.5-flash"),)
    door.publish(
        hosts={**door.snapshot.hosts, "gemini": gemini},
        endpoints={**door.snapshot.endpoints, "far": Endpoint(name="far", kind="chat", route=route, retries=0)},
        prices={**door.snapshot.prices, "gemini/gemini-2.5-flash": door.snapshot.prices["mock/gpt-4o-mini"]},
    )
    door.mock.faults(["429;retry-after=30"])
    limited = await ask(door, path, model="far")
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "30")
    assert "x-should-retry" not in limited.headers
    door.cap(1)
    refused = await ask(door, path, model="far")
    assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "false")


async def test_a_fallback_is_asked_in_its_own_words_with_its_own_key_and_the_whole_question(door: House) -> None:
    """From OpenAI's client to a broken OpenAI, then to Anthropic: another path, another key, another body, the same words."""
    (own,) = door.snapshot.hosts.values()
    claude = Host(
        name="claude",
        protocol="anthropic",
        base_url=f"{door.mock.url}/anthropic/v1",
        keys=(Vault(bytes(32)).seal("provider", b"claudes-own", b"claude"),),
    )
    route = (Target(target="mock/gpt-4o"), Target(target="claude/claude-haiku-4-5", priority=1))
    door.publish(
        hosts={"mock": own, "claude": claude},
        endpoints={"assistant": Endpoint(name="assistant", kind="chat", route=route, retries=0)},
    )
    door.mock.faults(["500;model=gpt-4o"])
    words = "a question that is told apart"
    reply = await ask(door, messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": words}])
    assert reply.status_code == 200
    first, second = door.mock.requests()
    assert str(first["path"]).endswith("/v1/chat/completions")
    assert str(second["path"]).endswith("/anthropic/v1/messages")
    sent: Any = second["headers"]
    assert "authorization" not in sent
    assert "openai-beta" not in sent
    assert sent["x-api-key"] != first["headers"]["authorization"]  # type: ignore[index]
    asked: Any = second["body"]
    assert asked["model"] == "claude-haiku-4-5"
    assert asked["system"]
    assert words in json.dumps(asked["messages"])
    assert asked["max_tokens"] == 20


async def test_nothing_is_sent_that_nobody_said(door: House) -> None:
    reply = await ask(door, "/v1/embeddings", model="embedder", input="hi", messages=None, max_tokens=None)
    assert reply.status_code == 200
    plain = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}
    async with httpx2.AsyncClient() as http:
        await http.post(f"{door.url}/v1/chat/completions", json=plain, headers={"authorization": f"Bearer {KEY}"})
    embedded, asked = door.mock.requests()
    assert set(embedded["body"]) == {"model", "input", "messages", "max_tokens"}  # type: ignore[arg-type]
    assert set(asked["body"]) == {"model", "messages"}  # type: ignore[arg-type]


async def test_nothing_a_caller_sends_becomes_a_series(door: House) -> None:
    async def series() -> set[str]:
        async with httpx2.AsyncClient() as http:
            told = (await http.get(f"{door.url}/metrics")).text
        return {line.rpartition(" ")[0] for line in told.splitlines() if not line.startswith("#")}

    await ask(door)
    await ask(door, model="nobody")
    before = await series()
    for number in range(20):
        await ask(door, user=f"user-{number}", metadata={"n": str(number)})
        await ask(door, model=f"model-{number}")
    assert await series() == before


async def test_a_provider_that_moves_cuts_nobody_off(door: House) -> None:
    (own,) = door.snapshot.hosts.values()
    door.mock.faults(["drip=1"])
    async with httpx2.AsyncClient(timeout=20) as http:
        async with http.stream(
            "POST",
            f"{door.url}/v1/chat/completions",
            json={**ASK, "stream": True},
            headers={"authorization": f"Bearer {KEY}"},
        ) as reply:
            pieces = reply.aiter_text()
            said = await anext(pieces)
            door.publish(hosts={"mock": replace(own, base_url=own.base_url.replace("127.0.0.1", "localhost"))})
            await door.handler.answering.hosts.refresh(door.snapshot)
            said += "".join([piece async for piece in pieces])
    assert said.rstrip().endswith("data: [DONE]")
    assert '"error"' not in said
    await asyncio.sleep(0)


@pytest.mark.parametrize("key", ["' OR 1=1 --", '" OR ""="', "tdm_'; DROP TABLE keys; --", "%", "_" * 40])
async def test_a_key_is_a_value_and_never_a_query(door: House, key: str) -> None:
    assert (await ask(door, key=key)).status_code == 401
    assert (await ask(door)).status_code == 200


async def test_keys_that_begin_alike_are_different_keys(door: House) -> None:
    held = door.handler.door
    long = "tdm_" + "a" * 60
    principal = Principal(id="key_2", name="long", team="risk")
    door.publisher.write(None, 2, [(digest(held.vault.derive(PEPPER), f"{long}1"), principal)])
    held.replica.refresh()
    assert (await ask(door, key=f"{long}1")).status_code == 200
    for other in (f"{long}2", long, long[:24], f"{long}11"):
        assert (await ask(door, key=other)).status_code == 401


async def test_a_policy_that_is_away_is_no_policy_that_lets_pass(door: House) -> None:
    """BerriAI/litellm#39255: guards that vanish after a short outage of the store."""
    own = door.snapshot.endpoints["assistant"]
    served = Served(ref="policy/strict@1", members="", digest="", meta=b'{"guards": []}')
    door.publish(
        endpoints={**door.snapshot.endpoints, "assistant": replace(own, guards="policy/strict@production")},
        policies={"policy/strict@production": served},
    )
    assert (await ask(door)).status_code == 200
    door.publish(policies={})
    assert (await ask(door)).status_code >= 400


@pytest.mark.parametrize(
    ("header", "body", "told"),
    [
        ("retry-after: 7", "{}", "7"),
        ("retry-after-ms: 1500", "{}", "2"),
        ("x: y", '{"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]}}', "35"),
        ("retry-after: inf", "{}", None),
        ("retry-after: nan", "{}", None),
        ("retry-after: 1e400", "{}", None),
        ("retry-after: -5", "{}", "0"),
        ("retry-after: 1e18", "{}", "86400"),
        ("retry-after: Wed, 21 Oct 2026 07:28:00 GMT", "{}", None),
    ],
)
async def test_no_wait_that_a_provider_asks_for_breaks_a_call(door: House, header: str, body: str, told: str | None) -> None:
    """A provider says anything; the caller hears a number of seconds, or none, and the next call is answered."""

    async def limited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        text = body.encode()
        head = f"HTTP/1.1 429 Too Many Requests\r\n{header}\r\ncontent-type: application/json\r\nconnection: close\r\n"
        writer.write(head.encode() + b"content-length: %d\r\n\r\n%b" % (len(text), text))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(limited, "127.0.0.1", 0)
    host = Host(name="odd", protocol="gemini", base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    door.publish(
        hosts={**door.snapshot.hosts, "odd": host},
        endpoints={
            **door.snapshot.endpoints,
            "odd": Endpoint(name="odd", kind="chat", route=(Target(target="odd/gemini-2.5-flash"),), retries=0),
        },
    )
    for _ in range(2):
        reply = await ask(door, model="odd")
        assert reply.status_code == 429
        assert reply.headers.get("retry-after") == told
    server.close()
