"""The copy of features in Redis: answers are those of the store, whatever happens to Redis, to who copies and in which order."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tests.postgres import Server
from tests.redis_server import RedisServer

from tandem.core.clock import FixedClock
from tandem.core.errors import Invalid, Unavailable
from tandem.core.secret import Secret
from tandem.data.features import redis as copied
from tandem.data.features.redis import Mirror, RedisReading
from tandem.data.features.repo import Change, Noted, Store

VIEW = "spending@1"
KEYS = [f'["customer","{n}"]'.encode() for n in range(20)]
NUMBERS = itertools.count()


class Watched(Store):
    """A store that counts what is read of it, and can be away for reads."""

    reads = 0
    away = False

    def read(self, views: Sequence[str], entities: Sequence[bytes]) -> dict[tuple[str, bytes], bytes]:
        self.reads += 1
        if self.away:
            raise Unavailable("The feature store did not answer.")
        return super().read(views, entities)


class Pausing(Store):
    """A store that lets others go first between reading what was noted and whoever asked for it."""

    between: Callable[[], None] | None = None

    def noted(self, limit: int = 2**62, *, whole: bool = False) -> list[Noted]:
        found, between, self.between = super().noted(limit, whole=whole), self.between, None
        if between is not None:
            between()
        return found


class Bench:
    """A store, its copy, and the reader of both, by one clock that stands still."""

    def __init__(self, place: Path | Secret, server: RedisServer) -> None:
        self.clock, self.server, self.place = FixedClock(), server, place
        self.store = Watched(place, self.clock)
        self.reading, self.mirror = self.reader(), self.copier(self.store)
        self._open: list[Store] = [self.store]

    def reader(self) -> RedisReading:
        return RedisReading(self.store, Secret(self.server.url), self.clock)

    def copier(self, store: Store) -> Mirror:
        return Mirror(store, Secret(self.server.url), self.clock)

    def another(self, kind: type[Store] = Store) -> Store:
        """The same store, as another process has it."""
        self._open.append(kind(self.place, self.clock))
        return self._open[-1]

    def load(self, values: Mapping[bytes, bytes], view: str = VIEW) -> int:
        begun = self.store.begin(view, "")
        self.store.merge(view, begun.number, {key: put(value) for key, value in values.items()})
        self.store.finish(view, begun.number)
        return begun.number

    def push(self, values: Mapping[bytes, bytes], view: str = VIEW, *, copy: bool = True) -> None:
        push(self.store, values, view)
        if copy:
            self.mirror.pushed()

    def settle(self) -> None:
        """Does what the rounds do, until nothing is left: a copy that was lost is begun anew, then filled."""
        for _ in range(3):
            while self.mirror.step():
                pass

    def read(self, keys: Sequence[bytes] = KEYS, view: str = VIEW) -> dict[bytes, bytes]:
        return {key: value for (_, key), value in self.reading.read([view], keys).items()}

    def from_copy(self, keys: Sequence[bytes] = KEYS, view: str = VIEW) -> dict[bytes, bytes]:
        """A read of which the store must hear nothing."""
        before = self.store.reads
        found = self.read(keys, view)
        assert self.store.reads == before, "the store was read"
        return found

    def from_store(self, keys: Sequence[bytes] = KEYS, view: str = VIEW) -> dict[bytes, bytes]:
        """A read that the copy must not answer."""
        before = self.store.reads
        found = self.read(keys, view)
        assert self.store.reads == before + 1, "the copy answered"
        return found

    def names(self) -> set[str]:
        found = self.server.run("KEYS", "tandem:features:*")
        assert isinstance(found, list)
        return {":".join(name.split(":")[3:]) for name in found}

    def prefix(self) -> str:
        copy = self.store.copy()
        assert copy is not None
        return f"tandem:features:{copy.epoch}:"

    def close(self) -> None:
        self.reading.close()
        self.mirror.close()
        for store in self._open:
            store.close()


def put(value: bytes) -> Change:
    return lambda kept: value


def push(store: Store, values: Mapping[bytes, bytes], view: str = VIEW) -> None:
    store.push(
        view.partition("@")[0],
        [b"{}"],
        None,
        "me",
        lambda first, moment: {(view, key): put(value) for key, value in values.items()},
    )


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy stays fresh for as long as a test takes, unless the test ends that."""
    monkeypatch.setattr(copied, "FRESH_SECONDS", 3600)


@pytest.fixture(params=["sqlite", "postgres"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> Iterator[Bench]:
    redis_server.flush()
    if request.param == "sqlite":
        made = Bench(tmp_path / "features.db", redis_server)
    else:
        postgres: Server = request.getfixturevalue("postgres")
        made = Bench(Secret(postgres.database(f"copied_{next(NUMBERS)}")), redis_server)
    yield made
    made.close()


sqlite_only = pytest.mark.parametrize("bench", ["sqlite"], indirect=True)


def values(word: str, keys: Sequence[bytes] = KEYS) -> dict[bytes, bytes]:
    return {key: f"{word}-{place}".encode() for place, key in enumerate(keys)}


def test_what_is_loaded_and_pushed_is_read_from_redis(bench: Bench) -> None:
    bench.load(values("a", KEYS[:10]))
    assert bench.from_store() == values("a", KEYS[:10])
    bench.settle()
    bench.read()
    assert bench.from_copy() == values("a", KEYS[:10])
    bench.push({KEYS[3]: b"new", KEYS[15]: b"\x00\xff"})
    assert bench.from_copy() == {**values("a", KEYS[:10]), KEYS[3]: b"new", KEYS[15]: b"\x00\xff"}


def test_a_read_of_many_entities_and_views(bench: Bench) -> None:
    many = [f"key-{n}".encode() for n in range(2_300)]
    bench.load(values("a", many[:1_700]))
    bench.load({many[5]: b"other"}, "clicks@3")
    bench.settle()
    bench.read()
    before = bench.store.reads
    found = bench.reading.read([VIEW, "clicks@3"], many)
    assert bench.store.reads == before
    expected = {(VIEW, key): value for key, value in values("a", many[:1_700]).items()}
    assert found == expected | {("clicks@3", many[5]): b"other"} == bench.store.read([VIEW, "clicks@3"], many)


def test_a_view_without_entities_answers_and_one_that_is_not_there_is_asked_of_the_store(bench: Bench) -> None:
    bench.load({})
    bench.settle()
    bench.read()
    assert bench.from_copy() == {}
    assert bench.from_store(view="other@1") == {}


def test_a_generation_that_took_the_place_of_another_is_never_mixed_with_it(bench: Bench) -> None:
    bench.load(values("a"))
    bench.settle()
    bench.read()
    second = bench.load(values("b", KEYS[:5]))
    bench.mirror.pushed()
    assert bench.from_store() == values("b", KEYS[:5])
    bench.push({KEYS[7]: b"late"})
    assert bench.from_store() == {**values("b", KEYS[:5]), KEYS[7]: b"late"}
    bench.settle()
    assert bench.from_copy() == {**values("b", KEYS[:5]), KEYS[7]: b"late"}
    assert bench.names() == {"server", "fresh", "live", f"{VIEW}:{second}"}


def test_pushes_into_a_generation_that_is_being_made_come_with_it(bench: Bench) -> None:
    bench.load(values("a"))
    bench.settle()
    bench.read()
    begun = bench.store.begin(VIEW, "")
    bench.push({KEYS[0]: b"pushed"})
    assert bench.from_copy([KEYS[0]]) == {KEYS[0]: b"pushed"}
    bench.store.merge(VIEW, begun.number, {KEYS[1]: put(b"made")})
    assert bench.store.noted() == [], "it does not answer yet"
    bench.store.finish(VIEW, begun.number)
    bench.settle()
    assert bench.from_copy() == {KEYS[0]: b"pushed", KEYS[1]: b"made"}


def test_a_process_killed_between_commit_and_copy_leaves_it_to_the_rounds(bench: Bench) -> None:
    bench.load(values("a"))
    bench.settle()
    bench.read()
    code = """
import os, signal, sys
from pathlib import Path
from tests.data.features.test_redis import KEYS, Secret, Store, push
place = sys.argv[1]
push(Store(Secret(place) if "://" in place else Path(place)), {KEYS[2]: b"of the dead"})
os.kill(os.getpid(), signal.SIGKILL)
"""
    place = bench.place.reveal() if isinstance(bench.place, Secret) else str(bench.place)
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert bench.store.read([VIEW], [KEYS[2]]) == {(VIEW, KEYS[2]): b"of the dead"}
    assert len(bench.store.noted()) == 1
    bench.settle()
    assert bench.from_copy() == {**values("a"), KEYS[2]: b"of the dead"}
    assert bench.store.noted() == []


def test_an_older_state_does_not_take_the_place_of_a_newer_one(bench: Bench) -> None:
    bench.load(values("a"))
    bench.settle()
    bench.read()
    slow = bench.another(Pausing)
    assert isinstance(slow, Pausing)
    push(slow, {KEYS[0]: b"older"})
    slow.between = lambda: bench.push({KEYS[0]: b"newer"})
    bench.copier(slow).pushed()
    assert bench.from_copy([KEYS[0]]) == {KEYS[0]: b"newer"}
    bench.settle()
    assert bench.from_copy([KEYS[0]]) == {KEYS[0]: b"newer"}


def test_what_changes_while_it_is_copied_stays_on_the_list(bench: Bench) -> None:
    bench.load(values("a"))
    bench.settle()
    bench.read()
    slow = bench.another(Pausing)
    assert isinstance(slow, Pausing)
    push(slow, {KEYS[0]: b"older"})
    slow.between = lambda: bench.push({KEYS[0]: b"newer"}, copy=False)
    bench.copier(slow).pushed()
    assert len(bench.store.noted()) == 1
    bench.settle()
    assert bench.from_copy([KEYS[0]]) == {KEYS[0]: b"newer"}


def test_a_late_copy_into_a_generation_that_went_leaves_nothing(bench: Bench) -> None:
    bench.load(values("a"))
    bench.settle()
    slow = bench.another(Pausing)
    assert isinstance(slow, Pausing)
    push(slow, {KEYS[0]: b"into the first"})

    def another_takes_its_place() -> None:
        bench.load({KEYS[1]: b"second"})
        bench.settle()

    slow.between = another_takes_its_place
    bench.copier(slow).pushed()
    bench.read()
    assert bench.from_copy() == {KEYS[1]: b"second"}
    assert bench.names() == {"server", "fresh", "live", f"{VIEW}:2"}


@sqlite_only
def test_copies_in_any_order_end_in_what_the_store_keeps(bench: Bench) -> None:
    """Some read what was noted, and write it in another order, in between pushes, loads and rounds."""
    draw = random.Random(11)
    bench.load(values("a"))
    bench.settle()
    bench.read()
    waiting: list[list[Noted]] = []
    for place in range(300):
        match draw.randrange(6):
            case 0 | 1:
                bench.push({draw.choice(KEYS): f"push-{place}".encode()}, copy=False)
            case 2:
                waiting.append(bench.store.noted(draw.choice([1, 3, 100])))
            case 3 if waiting:
                noted = waiting.pop(draw.randrange(len(waiting)))
                bench.mirror._copied(noted)
                if draw.random() < 0.7:
                    bench.store.copied(noted)
            case 4:
                bench.mirror.step()
            case 5 if draw.random() < 0.2:
                bench.load(values(f"load-{place}", draw.sample(KEYS, 10)))
    for noted in waiting:
        bench.mirror._copied(noted)
    bench.settle()
    assert bench.from_copy() == {key: value for (_, key), value in bench.store.read([VIEW], KEYS).items()}


def test_redis_killed_under_reads_and_pushes(bench: Bench, redis_server: RedisServer) -> None:
    """Whoever pushed reads it or what came later, before, while and after Redis is away."""
    bench.load(dict.fromkeys(KEYS, b"0"))
    bench.settle()
    bench.read()
    stop, wrong, rounds = threading.Event(), [], [0] * 3

    def go_on(place: int) -> None:
        key = KEYS[place]
        while not stop.is_set():
            rounds[place] += 1
            bench.push({key: b"%d" % rounds[place]})
            found = bench.read([key, KEYS[10]])
            if found != {key: b"%d" % rounds[place], KEYS[10]: b"0"}:
                wrong.append((key, rounds[place], found))

    threads = [threading.Thread(target=go_on, args=(place,)) for place in range(len(rounds))]
    for thread in threads:
        thread.start()

    def wait_for_more() -> None:
        seen = list(rounds)
        while not all(now > before + 5 for now, before in zip(rounds, seen, strict=True)):
            assert all(thread.is_alive() for thread in threads)
            stop.wait(0.01)

    try:
        wait_for_more()
        redis_server.stop()
        wait_for_more()
        redis_server.start()
        bench.clock.advance(60)  # it is asked again
        wait_for_more()
        bench.settle()
        wait_for_more()
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
        if redis_server._process is None:
            redis_server.start()
    assert wrong == []
    bench.settle()
    assert bench.from_copy(KEYS[:3]) == {key: b"%d" % last for key, last in zip(KEYS, rounds, strict=False)}


def test_redis_away_is_the_same_to_who_pushes_and_reads(bench: Bench, redis_server: RedisServer) -> None:
    bench.load(values("a"))
    bench.settle()
    bench.read()
    redis_server.stop()
    try:
        bench.push({KEYS[0]: b"new"})
        assert bench.from_store() == {**values("a"), KEYS[0]: b"new"}
        with pytest.raises(Unavailable, match="Redis, which holds a copy of the features"):
            bench.mirror.step()
    finally:
        redis_server.start()
    bench.clock.advance(60)
    assert bench.from_store() == {**values("a"), KEYS[0]: b"new"}
    bench.settle()
    bench.read()
    assert bench.from_copy() == {**values("a"), KEYS[0]: b"new"}


def test_redis_emptied_answers_nothing_until_it_is_filled_again(bench: Bench, redis_server: RedisServer) -> None:
    bench.load(values("a"))
    bench.settle()
    bench.read()
    redis_server.flush()
    assert bench.from_store() == values("a")
    bench.push({KEYS[0]: b"new"})
    assert bench.from_store() == {**values("a"), KEYS[0]: b"new"}
    bench.settle()
    bench.read()
    assert bench.from_copy() == {**values("a"), KEYS[0]: b"new"}


@sqlite_only
def test_redis_that_has_read_an_old_copy_from_its_disk_is_not_believed(bench: Bench, redis_server: RedisServer) -> None:
    bench.load(values("a"))
    bench.settle()
    bench.read()
    redis_server.run("SAVE")
    try:
        bench.push({KEYS[0]: b"new"})
        redis_server.stop()
        redis_server.start()
        assert "fresh" in bench.names(), "it has read the old copy"
        bench.clock.advance(60)
        assert bench.from_store() == {**values("a"), KEYS[0]: b"new"}
        before = bench.prefix()
        bench.settle()
        bench.read()
        assert bench.from_copy() == {**values("a"), KEYS[0]: b"new"}
        assert bench.prefix() != before
        assert bench.names() == {"server", "fresh", "live", f"{VIEW}:1"}, "the old copy is gone"
    finally:
        (redis_server.folder / "dump.rdb").unlink(missing_ok=True)


@sqlite_only
def test_a_generation_that_redis_threw_away_is_filled_again(bench: Bench, redis_server: RedisServer) -> None:
    bench.load(values("a"))
    bench.load({KEYS[0]: b"other"}, "clicks@3")
    bench.settle()
    bench.read()
    redis_server.run("DEL", f"{bench.prefix()}{VIEW}:1")
    bench.push({KEYS[0]: b"new"})
    assert bench.from_store() == {**values("a"), KEYS[0]: b"new"}
    before = bench.prefix()
    bench.settle()
    assert bench.prefix() == before
    assert bench.from_copy() == {**values("a"), KEYS[0]: b"new"}


@sqlite_only
def test_a_generation_that_is_not_whole_never_answers(bench: Bench, redis_server: RedisServer) -> None:
    """Some of it was thrown away while it was filled."""
    bench.load(values("a"))
    bench.settle()
    many = [f"key-{n}".encode() for n in range(copied.CHUNK + 10)]
    bench.load(values("b", many))
    assert bench.mirror.step(), "there is more to fill"
    redis_server.run("DEL", f"{bench.prefix()}{VIEW}:2")
    bench.mirror.step()
    assert bench.from_store(many) == values("b", many)
    bench.settle()
    bench.read()
    assert bench.from_copy(many) == values("b", many)


@sqlite_only
def test_a_copy_that_nobody_brings_up_to_date_answers_only_while_the_store_is_away(
    bench: Bench, redis_server: RedisServer
) -> None:
    bench.load(values("a"))
    bench.settle()
    bench.read()
    assert 0 < int(str(redis_server.run("TTL", f"{bench.prefix()}fresh"))) <= copied.FRESH_SECONDS
    redis_server.run("DEL", f"{bench.prefix()}fresh")
    assert bench.from_store() == values("a")
    bench.store.away = True
    assert bench.read() == values("a")
    redis_server.flush()
    with pytest.raises(Unavailable, match="feature store"):
        bench.read()


@sqlite_only
def test_who_pushed_reads_it_also_where_copying_takes_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copied, "CHUNK", 2)
    monkeypatch.setattr(copied, "PUSH_SECONDS", -1.0)
    bench.load(values("a"))
    bench.settle()
    bench.read()
    bench.push(values("b"))
    assert bench.from_store() == values("b")
    for _ in range(len(KEYS)):
        bench.settle()
    assert bench.from_copy() == values("b")


@sqlite_only
def test_a_store_that_was_set_back_has_another_copy(bench: Bench, tmp_path: Path) -> None:
    bench.load(values("a"))
    bench.settle()
    bench.store.close()
    shutil.copy(tmp_path / "features.db", tmp_path / "backup.db")
    bench.store = Watched(bench.place, bench.clock)
    bench.mirror = bench.copier(bench.store)
    bench.push({KEYS[0]: b"lost"})
    bench.settle()
    bench.store.close()
    for left in tmp_path.glob("features.db*"):
        left.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "features.db")
    bench.store = Watched(bench.place, bench.clock)
    bench.reading, bench.mirror = bench.reader(), bench.copier(bench.store)
    bench.settle()
    bench.read()
    assert bench.from_copy() == values("a")
    bench.push({KEYS[0]: b"new"})
    assert bench.from_copy([KEYS[0]]) == {KEYS[0]: b"new"}


def test_without_a_copy_nothing_is_noted_and_the_next_begins_anew(bench: Bench) -> None:
    bench.load(values("a"))
    bench.push({KEYS[0]: b"b"}, copy=False)
    assert bench.store.noted() == bench.store.noted(whole=True) == []
    bench.settle()
    bench.read()
    assert bench.from_copy([KEYS[0]]) == {KEYS[0]: b"b"}
    before = bench.prefix()
    bench.push({KEYS[0]: b"c"}, copy=False)
    bench.store.end_copy()
    bench.push({KEYS[0]: b"d"}, copy=False)
    assert bench.store.noted() == []
    bench.settle()
    bench.read()
    assert bench.from_copy([KEYS[0]]) == {KEYS[0]: b"d"}
    assert bench.prefix() != before


def test_two_that_begin_a_copy_at_once_begin_one(bench: Bench) -> None:
    bench.load(values("a"))
    assert bench.store.begin_copy("epo_first", None)
    assert not bench.store.begin_copy("epo_second", None)
    copy = bench.store.copy()
    assert copy is not None
    assert copy.epoch == "epo_first"
    bench.settle()
    bench.read()
    assert bench.from_copy() == values("a")


def test_two_platforms_share_a_redis(bench: Bench, tmp_path: Path, redis_server: RedisServer) -> None:
    other = Bench(tmp_path / "other.db", redis_server)
    try:
        for each, word in ((bench, "a"), (other, "b")):
            each.load(values(word))
        for each in (bench, other, bench):
            each.settle()
            each.read()
        assert (bench.from_copy(), other.from_copy()) == (values("a"), values("b"))
    finally:
        other.close()


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="address of Redis"):
        RedisReading(Store(tmp_path / "features.db"), Secret("http://here"), FixedClock())
