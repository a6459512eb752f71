"""The trace store keeps one contract in both of its places; a server outlives loss, and takes several writers."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from tests.observability.conftest import Place, on_server
from tests.postgres import Server

from tandem.core.clock import MICROS, micros
from tandem.core.errors import NotFound, Unavailable
from tandem.core.ids import CallId, TraceId, new_trace
from tandem.core.money import Usage
from tandem.core.score import Score
from tandem.core.trace import Attempt, Corrected, Trace
from tandem.observability import days
from tandem.observability import traces as module
from tandem.observability.attempts import correct, spent
from tandem.observability.content import Subjects
from tandem.observability.traces import Entry, Kept, Traces, day_of
from tandem.observability.traffic import traffic
from tandem.store import few
from tandem.store.vault import Vault

NOON = micros("2026-08-05T12:00:00Z")
DAY = 86_400 * MICROS
TODAY, YESTERDAY = "2026-08-05", "2026-08-04"
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"


@pytest.fixture
def traces(place: Place) -> Iterator[Traces]:
    made = Traces(place.traces)
    yield made
    made.close()


@pytest.fixture
def server_place(postgres: Server) -> Place:
    return on_server(postgres)


@pytest.fixture
def pair(server_place: Place) -> Iterator[tuple[Traces, Traces]]:
    """Two processes, as it were, on one server."""
    made = Traces(server_place.traces), Traces(server_place.traces)
    yield made
    for each in made:
        each.close()


def identified(prefix: str, at: int, number: int) -> str:
    """An id as if it were made at a time, in microseconds."""
    ms = at // 1000
    when = "".join(_LETTERS[ms >> shift & 31] for shift in (45, 40, 35, 30, 25, 20, 15, 10, 5, 0))
    return f"{prefix}_{when}{number:016d}"


def tried(call: str, cost: int | None = 5) -> Attempt:
    return Attempt(
        call=CallId(call), attempt=0, target="mock/m", usage=Usage(), cost=cost, reserved=9, outcome="ok", start=NOON, end=NOON
    )


def entry(number: int, *, at: int = NOON, team: str = "risk", subject: str = "", **more: object) -> Entry:
    """A call that lasted a second."""
    call, trace = CallId(identified("cal", at, number)), TraceId(identified("trc", at, number))
    record = Trace(
        id=trace, call=call, parent=None, endpoint="chat", kind="chat", team=team, principal="app", start=at, end=at + MICROS,
        outcome="ok", status=200, cost=5, spans=[], attempts=[], attributes={}, subject=subject or None,
    )  # fmt: skip
    return Entry(trace=replace(record, **more), subject=subject, sealed=b"sealed" if subject else b"")  # type: ignore[arg-type]


def put(traces: Traces, *entries: Entry, cost: int | None = 5) -> None:
    """Stores calls with one attempt each."""
    traces.store(entries, [(each.trace.id, tried(each.trace.call, cost), ("org", "team/risk")) for each in entries])


def listed(traces: Traces, **more: object) -> list[str]:
    return [row.trace for row in traces.list(team=None, **more)]  # type: ignore[arg-type]


def ids(*entries: Entry) -> list[str]:
    return [each.trace.id for each in entries]


def test_a_trace_lies_in_its_day(traces: Traces) -> None:
    before, after = entry(1, at=NOON - DAY), entry(2)
    put(traces, before, after)
    assert traces.days() == [day_of(after.trace.id), day_of(before.trace.id)] == [TODAY, YESTERDAY]
    assert traces.counts() == {"calls": 2, "attempts": 2}


@pytest.mark.parametrize("text", ["", "trc_", "trc_zz", "trc_" + "u" * 26, "x" * 100, "trc_0il0000000aaaaaaaaaaaaaaaa"])
def test_what_is_no_id_is_not_found(traces: Traces, text: str) -> None:
    with pytest.raises(NotFound, match="is no trace id"):
        traces.find(text, team=None)


def test_what_no_day_holds_is_not_found(traces: Traces) -> None:
    with pytest.raises(NotFound, match="There is no trace"):
        traces.find(new_trace(), team=None)
    assert traces.days() == listed(traces) == []
    assert traces.scores(new_trace()) == traces.marked(TODAY, 5) == []
    assert traces.sealed("cal_x", new_trace()) is None
    traces.unmark(TODAY, ["cal_x"])
    traces.unscore(new_trace(), "sco_x")
    assert traces.days() == [], "asking makes no day"


def test_a_second_time_changes_nothing(traces: Traces) -> None:
    first = entry(1, subject="sub_a", attributes={"review": "odd"})
    for cost in (5, 6):
        put(traces, replace(first, trace=replace(first.trace, cost=cost)), cost=cost)
    assert traces.counts() == {"calls": 1, "attempts": 1}
    assert [call.cost for call in traces.find(first.trace.id, team="risk").calls] == [5]
    assert list(traces.every_attempt()) == [(first.trace.call, 0, 5)]
    assert traces.sealed(first.trace.call, first.trace.id) == ("sub_a", b"sealed")


def test_a_list_is_of_opening_calls_newest_first(traces: Traces) -> None:
    calls = [entry(number, at=NOON + number - DAY * (number % 2)) for number in range(6)]
    nested = entry(7, parent=calls[0].trace.call, id=calls[0].trace.id)
    put(traces, *calls, nested)
    newest = ids(*(calls[number] for number in (4, 2, 0, 5, 3, 1)))
    assert listed(traces) == newest
    assert listed(traces, limit=4) == newest[:4]
    assert listed(traces, before=NOON + 4) == newest[1:]
    assert listed(traces, endpoint="other") == listed(traces, outcome="crashed") == []
    assert [row.cost for row in traces.list(team="risk", limit=3)] == [5, 5, 10], "of a whole trace"
    assert traces.list(team="sales") == []


def test_a_cost_that_is_not_known_makes_the_sum_unknown(traces: Traces) -> None:
    put(traces, entry(1), cost=None)
    put(traces, entry(2))
    traces.store([entry(3)], [])
    assert {row.trace: row.cost for row in traces.list(team=None)} == dict(
        zip(ids(entry(1), entry(2), entry(3)), (None, 5, 0), strict=True)
    )


def test_a_trace_is_found_with_its_orphans_and_corrections(traces: Traces) -> None:
    opening = entry(1)
    nested = entry(2, parent=opening.trace.call, id=opening.trace.id, team="sales", start=NOON - 1)
    traces.store([nested, opening], [(opening.trace.id, tried(call), ()) for call in (opening.trace.call, "cal_lost")])
    correct(traces, [Corrected(
        call=opening.trace.call, attempt=0, trace=opening.trace.id, booked=5, cost=4, at=1, by="ada", why="a bill"
    )])  # fmt: skip
    found = traces.find(opening.trace.id, team=None)
    assert [call.call for call in found.calls] == [opening.trace.call, nested.trace.call], "the opening one first"
    assert [orphan.call for orphan in found.orphans] == ["cal_lost"]
    assert [(each.booked, each.cost) for each in found.corrections] == [(5, 4)]
    assert [call.team for call in traces.find(opening.trace.id, team="sales").calls] == ["sales"]
    with pytest.raises(NotFound):
        traces.find(opening.trace.id, team="other")
    assert [(row.cost, row.attempts) for row in spent(traces, 5, None)] == [(4, 1)]


def test_a_window_is_of_what_ended_in_it(traces: Traces) -> None:
    put(traces, *(entry(number, at=NOON + number * MICROS, subject="sub_a" if number else "") for number in range(5)))
    seen = traces.window(team="risk", endpoint="chat", since=NOON + MICROS, until=NOON + 4 * MICROS, limit=10)
    assert [(each.trace.start - NOON) // MICROS for each in seen] == [3, 2, 1]
    assert {each.kept for each in seen} == {("sub_a", b"sealed")}
    (first,) = traces.window(team="risk", endpoint="chat", since=0, until=NOON + MICROS, limit=10)
    assert first.kept is None
    assert len(traces.window(team="risk", endpoint="chat", since=0, until=2**60, limit=2)) == 2
    assert traces.window(team="sales", endpoint="chat", since=0, until=2**60, limit=2) == []


def test_a_mark_is_taken_off_once_and_for_good(traces: Traces) -> None:
    odd = entry(1, attributes={"review": "odd"})
    put(traces, odd, entry(2))
    assert [call.call for call in traces.marked(TODAY, 9)] == [odd.trace.call]
    traces.unmark(TODAY, [odd.trace.call])
    put(traces, odd)
    assert traces.marked(TODAY, 9) == []


def test_scores_are_replaced_taken_back_and_kept_for_traces_only(traces: Traces) -> None:
    judged = entry(1)
    put(traces, judged)
    for value in (0.5, 0.75):
        assert traces.score(judged.trace.call, Score(id="sco_a", subject=judged.trace.id, scorer="judge", value=value))
    assert traces.score(judged.trace.call, Score(id="sco_b", subject=judged.trace.id, scorer="judge", value=1, created_at=1))
    assert [score.value for score in traces.scores(judged.trace.id)] == [0.75, 1]
    traces.unscore(judged.trace.id, "sco_a")
    assert [score.id for score in traces.scores(judged.trace.id)] == ["sco_b"]
    assert not traces.score("cal_other", Score(id="sco_c", subject=judged.trace.id, scorer="judge", value=1))
    assert not traces.score("cal_other", Score(id="sco_c", subject=entry(1, at=NOON - DAY).trace.id, scorer="judge", value=1))


def test_what_is_thinned_out_leaves_with_everything_about_it(traces: Traces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "THINNED", 2)
    gone = [entry(number, at=NOON - DAY + number, subject="sub_a", attributes={"review": 1}) for number in range(5)]
    kept = [entry(6, at=NOON - DAY, team="sales"), entry(7, at=NOON - DAY, kind="predict"), entry(8)]
    put(traces, *gone, *kept)
    assert traces.score(gone[0].trace.call, Score(id="sco_a", subject=gone[0].trace.id, scorer="judge", value=1))
    assert traces.thin(NOON - DAY + 2 * MICROS, kind="chat", team="risk") == 5
    assert sorted(listed(traces)) == sorted(ids(*kept))
    assert (traces.marked(YESTERDAY, 9), traces.scores(gone[0].trace.id), traces.kept_of("sub_a")) == ([], [], {})
    assert traces.counts() == {"calls": 3, "attempts": 3}
    assert traces.thin(NOON + DAY, kind=None, team=None) == 3


def test_a_day_is_dropped_whole_and_may_come_back(traces: Traces) -> None:
    old = entry(1, at=NOON - DAY)
    put(traces, old, entry(2))
    assert traces.drop(TODAY) == [YESTERDAY]
    assert traces.drop(TODAY) == []
    assert traces.days() == [TODAY]
    with pytest.raises(NotFound):
        traces.find(old.trace.id, team=None)
    put(traces, old)
    assert traces.days() == [TODAY, YESTERDAY]


def test_what_is_kept_of_a_subject_is_counted_by_day(traces: Traces) -> None:
    one = entry(1, subject="sub_a")
    put(traces, one, entry(2, subject="sub_a", id=one.trace.id), entry(3, at=NOON - DAY, subject="sub_a"), entry(4))
    assert traces.kept_of("sub_a") == {TODAY: Kept(contents=2, traces=1, size=12), YESTERDAY: Kept(contents=1, traces=1, size=6)}
    assert traces.kept_of("sub_b") == {}


def test_traffic_comes_in_its_order_and_is_cut_at_the_beginning(traces: Traces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.observability.traffic.PAGE", 2)
    calls = [entry(number, at=NOON + number - DAY * (number < 3), subject="sub_a") for number in range(7)]
    put(traces, *calls, entry(8, kind="predict"), entry(9, team="sales"))
    seen = list(traffic(traces, kind="chat", team="risk", since=0, most=6))
    assert [each.trace.call for each in seen] == [each.trace.call for each in calls[1:]]
    assert seen[0].kept == ("sub_a", b"sealed")
    assert len(list(traffic(traces, kind="chat", team=None, since=NOON, most=99))) == 5


def test_a_name_with_a_character_that_no_server_keeps_does_not_stop_the_mover(traces: Traces) -> None:
    odd = entry(1, endpoint="a\0b")
    put(traces, odd)
    assert [call.endpoint for call in traces.find(odd.trace.id, team=None).calls] == ["a\0b"]
    assert listed(traces, endpoint="a\0b") == ids(odd)


def test_a_transaction_that_fails_leaves_nothing(traces: Traces) -> None:
    put(traces, entry(1))

    def fail() -> None:
        with traces.writing(TODAY) as rows:
            assert rows is not None
            assert rows.run("DELETE FROM calls") == 1
            raise ValueError("no")

    with pytest.raises(ValueError):
        fail()
    assert traces.counts() == {"calls": 1, "attempts": 1}


def test_a_day_is_there_with_all_its_tables_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traces, other, seen = Traces(tmp_path), Traces(tmp_path), list[object]()

    def slowly(schema: str, *, server: bool) -> list[str]:
        found = tables(schema, server=server)
        seen.append(other.aside(TODAY, "SELECT call FROM calls"))
        return [*found[:2], "and no more"]

    tables = days.tables
    monkeypatch.setattr(days, "tables", slowly)
    with pytest.raises(Unavailable):  # half of the tables were made when it broke off
        traces.store([entry(1)], [])
    assert traces.days() == []
    monkeypatch.setattr(days, "tables", tables)
    traces.store([entry(1)], [])
    assert seen == [[]]
    assert other.aside(TODAY, "SELECT call FROM calls") == [(entry(1).trace.call,)]


def test_a_day_file_is_not_much_longer_than_what_it_holds(tmp_path: Path) -> None:
    traces = Traces(tmp_path)
    said, told = bytes(1300), "x" * 1800
    traces.store([replace(_told(entry(number, subject="sub_1"), told), sealed=said) for number in range(500)], [])
    traces.close()
    (day,) = tmp_path.glob("*.db")
    assert 500 * (1300 + 1800) < day.stat().st_size < 500 * (1300 + 1800) * 2


def _told(each: Entry, words: str) -> Entry:
    return replace(each, trace=replace(each.trace, attributes={"error": words}))


def test_names_of_an_earlier_version_leave_its_files(tmp_path: Path) -> None:
    subjects = Subjects(tmp_path / "subjects.db", Vault(bytes(32)))
    ann, _ = subjects.keep("ann", b"", begun=1, now=1)
    traces = Traces(tmp_path / "traces")
    put(traces, entry(1, subject="ann"), entry(2, subject="gone"))
    traces.close()
    with sqlite3.connect(tmp_path / "traces" / f"traces-{TODAY}.db") as db:
        db.execute("PRAGMA user_version = 0")
    db.close()
    assert traces.adopt(subjects) == [TODAY]
    assert traces.adopt(subjects) == []
    named, gone = (traces.find(each.trace.id, team=None).calls[0].subject for each in (entry(1), entry(2)))
    assert named == ann
    assert gone not in (None, "gone", ann)
    traces.close()
    subjects.close()
    assert b"gone" not in (tmp_path / "traces" / f"traces-{TODAY}.db").read_bytes()


def together(*works: Callable[[], None]) -> None:
    """Runs each in a thread of its own, begun at once."""
    gate, failed = threading.Barrier(len(works)), list[BaseException]()

    def run(work: Callable[[], None]) -> None:
        gate.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # told below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_two_writers_make_the_same_days_at_once(pair: tuple[Traces, Traces]) -> None:
    shared = [entry(number, at=NOON - number % 4 * DAY) for number in range(40)]
    own = [[entry(100 * (1 + which) + number, at=NOON - number % 4 * DAY) for number in range(40)] for which in range(2)]

    def write(traces: Traces, mine: list[Entry]) -> None:
        for each, other in zip(shared, mine, strict=True):
            put(traces, each, other)

    together(lambda: write(pair[0], own[0]), lambda: write(pair[1], own[1]))
    assert pair[0].counts() == pair[1].counts() == {"calls": 120, "attempts": 120}
    assert len(pair[0].days()) == 4


def test_a_day_that_another_dropped_holds_nothing_and_is_made_again(pair: tuple[Traces, Traces]) -> None:
    ours, theirs = pair
    old = entry(1, at=NOON - DAY)
    put(ours, old, entry(2))
    assert ours.days() == [TODAY, YESTERDAY]
    assert theirs.drop(TODAY) == [YESTERDAY]
    assert ours.read(YESTERDAY, "SELECT * FROM calls") == ours.aside(YESTERDAY, "SELECT * FROM calls") == []
    assert ours.thin(NOON, kind=None, team=None) == 0
    assert not ours.score(old.trace.call, Score(id="sco_a", subject=old.trace.id, scorer="judge", value=1))
    put(ours, old)
    assert listed(theirs) == [*ids(entry(2)), old.trace.id]


def test_a_reader_that_waits_for_a_drop_reads_nothing(server_place: Place) -> None:
    traces = Traces(server_place.traces)
    put(traces, entry(1))
    found: list[object] = []
    with psycopg.connect(server_place.traces.reveal()) as other:
        other.execute("DROP SCHEMA traces_2026_08_05 CASCADE")
        reader = threading.Thread(target=lambda: found.append(traces.read(TODAY, "SELECT body FROM calls")))
        reader.start()
        wait_for(server_place, "relation")
        assert found == []
        other.commit()
    reader.join()
    assert found == [[]]
    traces.close()


def wait_for(place: Place, kind: str, count: int = 1) -> None:
    """Until so many sessions wait for a lock of a kind."""
    assert not isinstance(place.traces, Path)
    with psycopg.connect(place.traces.reveal(), autocommit=True) as conn:
        for _ in range(20_000):
            row = conn.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = %s", (kind,)).fetchone()
            if row == (count,):
                return
    raise AssertionError("nobody waits")


def test_nobody_waits_for_a_long_read(server_place: Place) -> None:
    traces = Traces(server_place.traces)
    put(traces, entry(1))
    long = "SELECT pg_advisory_lock_shared(77) FROM calls"
    works = [lambda: traces.aside(TODAY, long) for _ in range(days.ASIDE)] + [lambda: traces.read(TODAY, long)]
    with psycopg.connect(server_place.traces.reveal(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(77)")
        readers = [threading.Thread(target=work) for work in works]
        for reader in readers:
            reader.start()
        wait_for(server_place, "advisory", len(works))
        put(traces, entry(2))
        assert len(listed(traces)) == 2
        assert all(reader.is_alive() for reader in readers)
        other.execute("SELECT pg_advisory_unlock(77)")
        for reader in readers:
            reader.join()
    traces.close()


def test_more_readers_than_connections_are_told_so(server_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(days, "ASIDE", 1)
    traces = Traces(server_place.traces)
    put(traces, entry(1))
    with psycopg.connect(server_place.traces.reveal(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(77)")
        reader = threading.Thread(target=lambda: traces.aside(TODAY, "SELECT pg_advisory_lock_shared(77) FROM calls"))
        reader.start()
        wait_for(server_place, "advisory")
        with pytest.raises(Unavailable, match="busy: 1 reads are under way"):
            traces.aside(TODAY, "SELECT 1 FROM calls")
        other.execute("SELECT pg_advisory_unlock(77)")
        reader.join()
    assert traces.aside(TODAY, "SELECT 1 FROM calls") == [(1,)]
    traces.close()


def test_a_server_that_goes_and_comes_back_has_each_call_once(postgres: Server, pair: tuple[Traces, Traces]) -> None:
    ours, theirs = pair
    first, second = entry(1), entry(2)
    put(ours, first)
    assert listed(theirs) == ids(first)

    def cut_short() -> None:
        with ours.writing(TODAY) as rows:
            assert rows is not None
            rows.run("DELETE FROM calls")
            postgres.stop()
            rows.run("DELETE FROM attempts")

    try:
        with pytest.raises(Unavailable, match="The trace store did not answer"):
            cut_short()
        for ask in (lambda: put(ours, first, second), lambda: listed(theirs), ours.days, lambda: ours.aside(TODAY, "SELECT 1")):
            with pytest.raises(Unavailable, match="The trace store did not answer"):
                ask()
    finally:
        postgres.start()
    put(ours, first, second)
    assert sorted(listed(theirs)) == ids(first, second)
    assert theirs.counts() == {"calls": 2, "attempts": 2}


def test_idle_connections_that_the_server_ended_are_noticed_before_they_are_used(
    postgres: Server, pair: tuple[Traces, Traces]
) -> None:
    put(pair[0], entry(1))
    assert pair[0].aside(TODAY, "SELECT 1 FROM calls") == [(1,)]
    postgres.stop()
    postgres.start()
    assert listed(pair[0]) == ids(entry(1))
    assert pair[0].aside(TODAY, "SELECT 1 FROM calls") == [(1,)]
    put(pair[0], entry(1), entry(2))
    assert pair[0].counts() == {"calls": 2, "attempts": 2}


def test_what_one_scorer_judged_and_another_did_not_comes_oldest_first(traces: Traces) -> None:
    entries = [entry(number, at=NOON + number * MICROS, subject="sub_a") for number in range(4)]
    put(traces, *entries)

    def judged(since: int = 0, limit: int = 9, team: str = "risk") -> list[int]:
        found = traces.judged(team=team, endpoint="chat", since=since, scorer="label", without="learned", limit=limit)
        assert all(each.kept == ("sub_a", b"sealed") for each in found)
        return [(each.trace.start - NOON) // MICROS for each in found]

    def score(number: int, scorer: str) -> None:
        trace = entries[number].trace
        traces.score(trace.call, Score(id=f"sco_{scorer}{number}", subject=trace.id, scorer=scorer, value=1.0))

    assert judged() == []
    for number in (3, 1, 0):
        score(number, "label")
    score(2, "label of another kind")
    assert judged() == [0, 1, 3]
    assert judged(limit=2) == [0, 1]
    assert judged(since=NOON) == [1, 3]
    assert judged(team="sales") == []
    score(1, "learned")
    assert judged() == [0, 3]
