"""How much machines do is taken from vLLM's counters while they are busy, else from traces, and never from too little."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.governance.bills.office import Office, office, used
from tests.ports import free_port

from tandem.core.clock import micros
from tandem.core.endpoint import Provider
from tandem.core.principal import LOCAL
from tandem.gateway.pricing.meters import PAGE_BYTES, Meters, counters, fetch, measured
from tandem.gateway.pricing.repo import Throughputs
from tandem.gateway.repo import Routes
from tandem.governance.authorise import ALL
from tandem.observability.attempts import tried

PAGE = """# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="m"}} {prompt}
vllm:generation_tokens_total{{engine="0",model_name="m"}} {said}
vllm:generation_tokens_total{{engine="1",model_name="m"}} 5.0
vllm:num_requests_running{{engine="0",model_name="m"}} {running}
process_cpu_seconds_total 12.5
"""


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Office]:
    found = office(tmp_path)
    yield found
    found.sql.close()


def provider(books: Office, speed: float = 0.0) -> Routes:
    table = Routes(books.sql, books.clock, books.audit)
    gpu = Provider(name="gpu", protocol="openai", base_url="http://gpu:8000/v1", hour_price="2", tokens_per_second=speed)
    table.put_provider(gpu, by=LOCAL)
    return table


def test_counters_of_a_page() -> None:
    found = counters(PAGE.format(prompt="1000.0", said="1.5e2", running="2.0"), 7)
    assert found is not None
    assert (found.tokens, found.running, found.at) == (1155, 2.0, 7)
    for page in ("", "up 1\n", "vllm:prompt_tokens_total 1\n", "vllm:prompt_tokens_total 1\nvllm:generation_tokens_total 1e\n"):
        assert counters(page, 7) is None


def test_a_busy_server_is_measured_by_its_counters(books: Office) -> None:
    table, kept = provider(books), Throughputs(books.sql)
    pages: list[str | None] = []
    asked: list[str] = []

    def page(url: str) -> str | None:
        asked.append(url)
        return pages.pop(0)

    meters = Meters(table, kept, books.traces, books.clock, page)
    for second, (tokens, running) in enumerate([(0, 3), (30_000, 3), (30_000, 0), (30_000, 1), (60_000, 1)]):
        pages.append(PAGE.format(prompt=tokens, said=0, running=running))
        meters.step()
        assert len(kept.list(ALL)) == (second == 4)
        books.clock.advance(30)
    (found,) = kept.list(ALL)
    assert (found.tokens, found.micros, found.source) == (60_000, 60_000_000, "vLLM's metrics"), "idle time is no time"
    assert set(asked) == {"http://gpu:8000/metrics"}
    version = found.at
    pages += [PAGE.format(prompt=90_000, said=0, running=1), None]
    meters.step()
    assert kept.list(ALL)[0].at == version, "a figure is kept for an hour"
    meters.step()


def test_a_server_that_began_anew_counts_from_there(books: Office) -> None:
    table, kept = provider(books), Throughputs(books.sql)
    pages = [PAGE.format(prompt=tokens, said=0, running=1) for tokens in (50_000, 10, 40_000, 80_000)]
    meters = Meters(table, kept, books.traces, books.clock, lambda url: pages.pop(0))
    for _ in range(4):
        meters.step()
        books.clock.advance(30)
    assert [(each.tokens, each.micros) for each in kept.list(ALL)] == [(79_990, 60_000_000)]


def test_without_metrics_traces_tell(books: Office) -> None:
    table, kept = provider(books), Throughputs(books.sql)
    for number in range(60):
        books.call(used(input=900, output=100), target="gpu/m", at=f"2026-08-09T12:00:{number:02d}Z")
        books.call(used(), target="other/m", at="2026-08-09T12:00:00Z")
    meters = Meters(table, kept, books.traces, books.clock, lambda url: None)
    meters.step()
    (found,) = kept.list(ALL)
    assert (found.tokens, found.micros, found.source, found.per_second) == (60_000, 60_000_000, "traces", 1000.0)


def test_little_measures_nothing_and_is_not_read_again_at_once(books: Office) -> None:
    table, kept = provider(books), Throughputs(books.sql)
    for number in range(49):
        books.call(used(), target="gpu/m", at=f"2026-08-09T12:00:{number:02d}Z")
    meters = Meters(table, kept, books.traces, books.clock, lambda url: None)
    meters.step()
    for number in range(30):
        books.call(used(), target="gpu/m", at=f"2026-08-09T12:01:{number:02d}Z")
    meters.step()
    assert kept.list(ALL) == ()
    books.clock.advance(601)
    meters.step()
    assert len(kept.list(ALL)) == 1


def test_what_is_declared_is_not_looked_at(books: Office) -> None:
    table, kept = provider(books, speed=5.0), Throughputs(books.sql)
    Meters(table, kept, books.traces, books.clock, lambda url: pytest.fail(f"asked {url}")).step()
    assert kept.list(ALL) == ()


def test_time_together_counts_once(books: Office) -> None:
    """Sixty calls within the same second kept the machine busy for a second, and that measures nothing."""
    for _ in range(60):
        books.call(used(), target="gpu/m", at="2026-08-09T12:00:00Z")
    assert measured("gpu", tried(books.traces, 0, micros("2026-08-10T00:00:00Z")), 0) is None


class Metrics(BaseHTTPRequestHandler):
    """A server with metrics, with none, and with more than anybody reads."""

    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        piece = b"x" * 65536 if self.path == "/endless" else b"up 1\n"
        with contextlib.suppress(OSError):
            for _ in range(2 * PAGE_BYTES // len(piece) if self.path == "/endless" else 1):
                self.wfile.write(piece)

    def log_message(self, format: str, *args: object) -> None:
        return


def test_a_page_is_fetched_up_to_a_bound() -> None:
    with ThreadingHTTPServer(("127.0.0.1", free_port()), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        assert fetch(f"{address}/metrics") == "up 1\n"
        assert fetch(f"{address}/none") is None
        assert fetch(f"{address}/endless") is None
        server.shutdown()


def test_nobody_at_the_address() -> None:
    assert fetch("http://127.0.0.1:9/metrics") is None
    assert fetch("no address") is None
