"""Features as the platform keeps them: define, load, push, read and join, on a file, on PostgreSQL and with a copy in Redis."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from tests.migrated import migrated
from tests.postgres import Server
from tests.redis_server import RedisServer

from tandem.core.asset import Ref, Version
from tandem.core.clock import MICROS, FixedClock, iso
from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound
from tandem.core.principal import Principal, Role
from tandem.core.run import Run
from tandem.core.secret import Secret
from tandem.data.child import carry_out
from tandem.data.features import child
from tandem.data.features.child import Join, Load, Result
from tandem.data.features.features import Features
from tandem.data.features.redis import Mirror, RedisReading
from tandem.data.features.repo import Store
from tandem.data.features.tasks import JOIN, LOAD, Freshening, make_join, make_load
from tandem.data.repo import Contracts
from tandem.data.tasks import Datasets, How
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.jobs.apart import Progress
from tandem.jobs.fake import InlineJobs
from tandem.jobs.repo import Runs
from tandem.registry.registry import Registry
from tandem.store.blobs import Blobs
from tandem.store.lake import Lake
from tandem.store.sql import Sql
from tandem.store.vault import Vault

T0 = 1_750_000_000
"""Seconds; the fixed clock begins here."""


def person(role: Role = "editor", team: str = "risk") -> Principal:
    return Principal(id=f"key_{role}", name=f"{team}-{role}", team=team, role=role)


def at(seconds: float) -> str:
    """A time so many seconds after the beginning."""
    return iso(int((T0 + seconds) * MICROS))


def here(order: Load | Join, progress: Progress, cancelled: Callable[[], bool]) -> Result:
    """The child's work in this process; `test_a_child_of_its_own` uses a child."""
    return child.carry_out(msgspec.json.decode(msgspec.json.encode(order), type=Load | Join), progress)


@dataclass
class House:
    home: Path
    clock: FixedClock
    registry: Registry
    runs: Runs
    datasets: Datasets
    features: Features
    jobs: InlineJobs
    mirror: Mirror | None = None
    """Where reads are answered by a copy in Redis."""

    def settle(self) -> None:
        """Does what the rounds do in the background, until nothing is left."""
        while self.mirror is not None and (self.mirror.step() or self.mirror.step()):
            pass

    def add(self, name: str, text: str, **options: str) -> Version:
        path = self.home / "upload.csv"
        path.write_text(text)
        return self.datasets.ingest(path, name, How(**options), by=person())

    def done(self, kind: str, what: str, **inputs: object) -> Run:
        run = self.runs.create(kind, what, inputs=inputs, by=person())
        self.jobs.start(kind, run.id, inputs)
        ended = self.runs.find(run.id, ALL)
        assert ended.state == "succeeded", ended.reason
        return ended

    def load(self, name: str) -> Run:
        done = self.done(LOAD, name, view=f"view/{name}")
        self.settle()
        return done

    def values(self, service: str, *customers: object) -> list[list[object]]:
        ref = Ref.parse(f"service/{service}")
        found = self.features.vectors(ref, [{"customer": each} for each in customers], by=person("viewer"))
        return [[cell.value for cell in row] for row in found.rows]


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, FixedClock]]:
    clock = FixedClock()
    if request.param != "postgres":
        made = Store(tmp_path / "features.db", clock)
    else:
        server: Server = request.getfixturevalue("postgres")
        made = Store(Secret(server.database(f"features_{next(_NUMBERS)}")), clock)
    yield made, clock
    made.close()


_NUMBERS = itertools.count()


@pytest.fixture
def mirrored(request: pytest.FixtureRequest, store: tuple[Store, FixedClock]) -> Iterator[tuple[RedisReading, Mirror] | None]:
    """What reads and keeps a copy, where there is one."""
    if request.node.callspec.params["store"] != "redis":
        yield None
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    server.flush()
    reading, mirror = RedisReading(store[0], Secret(server.url), store[1]), Mirror(store[0], Secret(server.url), store[1])
    yield reading, mirror
    reading.close()
    mirror.close()


@pytest.fixture
def house(tmp_path: Path, store: tuple[Store, FixedClock], mirrored: tuple[RedisReading, Mirror] | None) -> House:
    kept, clock = store
    reading, mirror = mirrored or (None, None)
    url = f"sqlite:///{tmp_path / 'control.db'}"
    migrated(url)
    sql = Sql(url)
    audit = Audit(sql, Vault(bytes(32)), clock, tmp_path / "audit.head")
    registry, runs = Registry(sql, Blobs(tmp_path / "blobs"), audit, clock), Runs(sql, clock)
    (tmp_path / "work").mkdir()
    paths = {"lake": tmp_path / "lake", "work": tmp_path / "work"}
    features = Features(registry, kept, reading, None if mirror is None else mirror.pushed)
    jobs = InlineJobs(runs, clock)
    jobs.register(LOAD, make_load(registry, features, child=here, **paths))
    jobs.register(JOIN, make_join(registry, features, child=here, **paths))
    datasets = Datasets(registry, runs, Contracts(sql, audit, clock), read=carry_out, **paths)
    made = House(tmp_path, clock, registry, runs, datasets, features, jobs, mirror)
    made.settle()
    return made


ORDERS = "customer,at,amount\n" + "".join(
    f"{who},{at(when)},{amount}\n" for who, when, amount in [("a", -300, 5), ("a", -30, 7), ("b", -9000, 3)]
)
SPENDING = {
    "source": "dataset/orders",
    "entity": ["customer"],
    "ttl": "1h",
    "features": ["amount", "spent = sum(amount) over 10m", "orders = count(*) over 1m"],
}


def spending(house: House, **changes: object) -> Version:
    house.add("orders", ORDERS, time_column="at")
    return house.features.define_view("spending", {**SPENDING, **changes}, by=person())


def test_a_dataset_is_loaded_and_answers(house: House) -> None:
    assert str(spending(house).ref) == "view/spending@1"
    version = house.features.define_service("credit", {"features": ["spending"]}, by=person())
    assert house.values("credit", "a") == [[None, None, None]]
    run = house.load("spending")
    assert run.outputs == {"view": "view/spending@1", "dataset": "dataset/orders@1", "entities": 2, "generation": 1}
    found = house.features.vectors(version.ref, [{"customer": each} for each in "abc"], by=person())
    assert found.names == ("amount", "spent", "orders")
    assert [[(cell.value, cell.state) for cell in row] for row in found.rows] == [
        [(7.0, "ok"), (12.0, "ok"), (1.0, "ok")],
        [(None, "expired"), (0.0, "expired"), (0.0, "expired")],
        [(None, "not-found")] * 3,
    ]
    assert found.rows[0][0].event == (T0 - 30) * MICROS


def test_a_pushed_fact_answers_at_once_and_a_load_keeps_it(house: House) -> None:
    spending(house)
    house.features.define_service("credit", {"features": ["spending"]}, by=person())
    house.load("spending")
    pushed = house.features.push("spending", [{"customer": "a", "at": at(-1), "amount": 100}], None, by=person())
    assert (pushed.view, pushed.rows, pushed.again) == ("view/spending@1", 1, False)
    assert house.values("credit", "a") == [[100.0, 112.0, 2.0]]
    late = {"customer": "a", "at": at(-200), "amount": 1}
    house.features.push("spending", [late], None, by=person())
    assert house.values("credit", "a") == [[100.0, 113.0, 2.0]]  # the newest stays the newest
    assert house.load("spending").outputs["generation"] == 2
    assert house.values("credit", "a") == [[100.0, 113.0, 2.0]]
    assert len(house.features.store.generations("spending@1")) == 1


def test_rows_that_left_the_dataset_leave_the_store(house: House) -> None:
    spending(house)
    house.features.define_service("credit", {"features": ["spending"]}, by=person())
    house.load("spending")
    house.add("orders", f"customer,at,amount\na,{at(-30)},8\n")
    assert house.values("credit", "b")[0][1] == 0.0
    house.load("spending")
    assert house.values("credit", "a", "b") == [[8.0, 8.0, 1.0], [None, None, None]]


def test_what_is_only_pushed_needs_no_load(house: House) -> None:
    told = {
        "entity": ["customer"],
        "time": "at",
        "features": ["x"],
        "columns": {"customer": "int", "at": "datetime", "x": "float"},
    }
    house.features.define_view("clicks", told, by=person())
    house.features.define_service("web", {"features": ["clicks:x"]}, by=person())
    house.features.push("clicks", [{"customer": 7, "at": at(0), "x": 1.5}], None, by=person())
    assert house.values("web", 7, "7", 8) == [[1.5], [1.5], [None]]


def test_a_batch_counts_once(house: House) -> None:
    spending(house)
    house.features.define_service("credit", {"features": ["spending"]}, by=person())
    house.load("spending")
    row = {"customer": "b", "at": at(-5), "amount": 4}
    for again in (False, True):
        assert house.features.push("spending", [row], "mon-1", by=person()).again is again
    assert house.values("credit", "b") == [[4.0, 4.0, 1.0]]
    assert house.features.standing("spending", by=person()).pushed == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"customer": "a", "at": at(0), "amount": "7"}, "'amount' of row 2 is not a whole number"),
        ({"customer": "a", "at": "yesterday", "amount": 7}, "'at' of row 2 is not an RFC 3339 time"),
        ({"customer": "a", "amount": 7}, "Fact 2 has no 'at'"),
        ({"at": at(0), "amount": 7}, "Fact 2 has no 'customer'"),
        ({"customer": "a", "at": at(0), "size": 7}, "Fact 2 has a column 'size'"),
        ({"customer": "a", "at": at(0), "amount": True}, "'amount' of row 2 is not a whole number"),
    ],
)
def test_one_wrong_fact_refuses_all(house: House, row: dict[str, object], said: str) -> None:
    spending(house)
    good = {"customer": "a", "at": at(0), "amount": 7}
    with pytest.raises(Invalid) as caught:
        house.features.push("spending", [good, row], None, by=person())
    assert said in caught.value.message
    assert house.features.standing("spending", by=person()).pushed == 0


def test_others_neither_see_nor_push(house: House) -> None:
    spending(house)
    other = person(team="sales")
    with pytest.raises(NotFound):
        house.features.push("spending", [{"customer": "a", "at": at(0), "amount": 7}], None, by=other)
    with pytest.raises(NotFound):
        house.features.standing("spending", by=other)
    with pytest.raises(Forbidden):
        house.features.push("spending", [{"customer": "a", "at": at(0), "amount": 7}], None, by=person("viewer"))
    with pytest.raises(NotFound):
        house.features.define_service("credit", {"features": ["spending"]}, by=other)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"entity": []}, "has no entity"),
        ({"entity": ["who"]}, "names 'who' as entity"),
        ({"entity": ["amount"], "time": "customer"}, "not datetime"),
        ({"features": ["x = sum(customer) over 1h"]}, "takes the sum of what is no number"),
        ({"features": ["x = median(amount) over 1h"]}, "cannot be a median"),
        ({"features": ["amount", "amount = 1"]}, "names 'amount' twice"),
        ({"features": ["x = amount over 1h"]}, "is not expected here"),
        ({"features": ["x = seconds_between(now(), at)"]}, "asks for now()"),
        ({"ttl": "soon"}, "is no span of time"),
        ({"source": "dataset/orders@1"}, "whichever version"),
        ({"colour": "red"}, "is no view"),
    ],
)
def test_a_view_that_does_not_fit(house: House, told: dict[str, object], said: str) -> None:
    with pytest.raises(Invalid) as caught:
        spending(house, **told)
    assert said in caught.value.message


ASKED = [("b", -8000, 1), ("a", -100, 0), ("c", -1, 0), ("a", -300, 1), ("a", -301, 0), ("b", 0, 1)]
LABELS = "no,customer,asked,late\n" + "".join(f"{no},{who},{at(when)},{late}\n" for no, (who, when, late) in enumerate(ASKED))


def test_a_join_keeps_every_row_in_order_and_knows_nothing_of_later(house: House) -> None:
    spending(house)
    told = {
        "features": ["spending"],
        "inputs": {"late": "number"},
        "computed": ["each = spent / orders", "age = seconds_between(now(), now())", "after = late + 1"],
    }
    house.features.define_service("credit", told, by=person())
    house.add("labels", LABELS, id_column="no", time_column="asked")
    run = house.done(JOIN, "training", service="service/credit", data="dataset/labels", name="training", states=True)
    version = house.registry.find(Ref.parse("dataset/training"), ALL)
    assert run.outputs["asset"] == "dataset/training@1"
    frame = Lake(house.home / "lake").read("training", 0)
    assert frame["no"].to_list() == list(range(6))
    assert frame["amount"].to_list() == [3.0, 5.0, None, 5.0, None, None]
    assert frame["spent"].to_list() == [0.0, 5.0, None, 5.0, None, 0.0]
    assert frame["amount__state"].to_list() == ["ok", "ok", "not-found", "ok", "not-found", "expired"]
    assert frame["each"].to_list() == [None, None, None, 5.0, None, None]
    assert set(frame["age"]) == {0.0}
    assert frame["after"].to_list() == [2.0, 1.0, 1.0, 2.0, 1.0, 2.0]
    assert run.outputs["missing"]["amount"] == 0.5  # type: ignore[index]
    assert version.meta["service"] == "service/credit@1"
    assert version.meta["id"] == "no"
    parents = {edge.parent for edge in house.registry.lineage(version.ref, 3, ALL).edges}
    assert {"dataset/labels@1", "service/credit@1", "view/spending@1", "dataset/orders@1"} <= parents


def test_what_was_told_online_is_what_a_join_says(house: House) -> None:
    """Over a dataset and random pushes, with loads in between."""
    draw = random.Random(5)
    spending(house, features=[*SPENDING["features"], "spread = std(amount) over 10m", "kinds = distinct(amount) over 5m"])  # type: ignore[misc]
    house.features.define_service("credit", {"features": ["spending"], "computed": ["rest = amount - spent"]}, by=person())
    told: list[tuple[str, float, list[object]]] = []
    house.load("spending")
    for _ in range(30):
        house.clock.advance(draw.randint(1, 90))
        now = house.clock.now() / MICROS - T0
        rows = [
            {"customer": draw.choice("abc"), "at": at(now - draw.choice([-20, 0, 0, 5, 400])), "amount": draw.randint(1, 9)}
            for _ in range(draw.randint(1, 3))
        ]
        house.features.push("spending", rows, None, by=person())
        if draw.random() < 0.1:
            house.load("spending")
        house.clock.advance(1)
        for who in "abcd":
            told.append((who, house.clock.now() / MICROS - T0, house.values("credit", who)[0]))
    lines = "".join(f"{who},{at(when)}\n" for who, when, _ in told)
    house.add("asked", f"customer,asked\n{lines}", time_column="asked")
    house.done(JOIN, "replayed", service="service/credit", data="dataset/asked", name="replayed")
    frame = Lake(house.home / "lake").read("replayed", 0)
    names = ["amount", "spent", "orders", "spread", "kinds", "rest"]
    for (who, when, found), row in zip(told, frame.select(names).rows(), strict=True):
        assert found == pytest.approx(list(row), nan_ok=True), (who, when)


def test_a_newer_version_of_the_dataset_is_loaded_by_itself(house: House) -> None:
    spending(house)
    house.features.define_service("credit", {"features": ["spending"]}, by=person())
    freshening = Freshening(house.registry, house.features, house.runs, house.jobs)
    assert freshening.step() == 0  # nothing answers yet, so nothing is stale
    house.load("spending")
    assert freshening.step() == 0
    house.add("orders", f"customer,at,amount\na,{at(-30)},8\n")
    assert freshening.step() == 1
    assert house.values("credit", "a") == [[8.0, 8.0, 1.0]]
    assert freshening.step() == 0
    run = house.runs.list(ALL)[0]
    assert (run.kind, run.created_by, run.team) == (LOAD, "view/spending@1", "risk")


def test_a_load_that_was_overtaken_changes_nothing(house: House) -> None:
    spending(house)
    store = house.features.store
    first, second = store.begin("spending@1", ""), store.begin("spending@1", "")
    with pytest.raises(Conflict, match="begun meanwhile"):
        store.finish("spending@1", first.number)
    assert store.finish("spending@1", second.number).live


def test_a_child_of_its_own(house: House) -> None:
    paths = {"lake": house.home / "lake", "work": house.home / "work"}
    house.jobs.register(LOAD, make_load(house.registry, house.features, **paths))
    house.jobs.register(JOIN, make_join(house.registry, house.features, **paths))
    spending(house)
    house.features.define_service("credit", {"features": ["spending"]}, by=person())
    house.load("spending")
    assert house.values("credit", "a") == [[7.0, 12.0, 1.0]]
    house.add("labels", LABELS, id_column="no", time_column="asked")
    run = house.runs.create(JOIN, "x", inputs={}, by=person())
    house.jobs.start(JOIN, run.id, {"service": "service/credit", "data": "dataset/labels", "name": "labels"})
    assert house.runs.find(run.id, ALL).state == "succeeded"
    again = house.runs.create(JOIN, "x", inputs={}, by=person())
    house.jobs.start(JOIN, again.id, {"service": "service/credit", "data": "dataset/labels", "name": "more"})
    assert "already" in (house.runs.find(again.id, ALL).reason or "")
    assert not list((house.home / "work").iterdir())
