"""Ingest as the platform does it: a Run, a child process, the lake and the registry; all of it or nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import polars as pl
import pytest
from tests.migrated import migrated

from tandem.core.clock import FixedClock
from tandem.core.errors import Broken, Conflict, Forbidden, Invalid, Unavailable
from tandem.core.principal import Principal, Role
from tandem.core.run import Run
from tandem.data.child import Done, Order, carry_out, ingest_apart
from tandem.data.contract import Contract
from tandem.data.repo import Contracts
from tandem.data.tasks import LOST, Datasets, How
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.jobs.apart import Progress
from tandem.jobs.repo import Runs
from tandem.registry.registry import Registry
from tandem.store.blobs import Blobs
from tandem.store.lake import Lake
from tandem.store.sql import Sql
from tandem.store.vault import Vault

GOOD = "id,when,size,kind\n1,2026-01-01T00:00:00Z,1.5,a\n2,2026-01-02T00:00:00Z,2.5,b\n3,2026-01-03T00:00:00Z,,a\n"


def person(role: Role = "editor", team: str = "risk") -> Principal:
    return Principal(id=f"key_{role}", name=f"{team}-{role}", team=team, role=role)


@dataclass
class House:
    home: Path
    sql: Sql
    registry: Registry
    runs: Runs
    audit: Audit
    contracts: Contracts
    datasets: Datasets = field(init=False)

    def read(self, read: Callable[[Order, Progress], Done]) -> None:
        paths = {"lake": self.home / "lake", "work": self.home / "work"}
        self.datasets = Datasets(self.registry, self.runs, self.contracts, read=read, **paths)

    def file(self, text: str, name: str = "upload.csv") -> Path:
        path = self.home / name
        path.write_text(text)
        return path

    def run(self) -> Run:
        return self.runs.list(ALL)[0]

    def everything(self) -> tuple[object, ...]:
        """All that an ingest may change, but for its Run and blobs nobody refers to."""
        lake = [str(path) for path in (self.home / "lake").rglob("*")]
        return self.registry.versions("dataset", "biopsies", ALL), sorted(lake), sorted((self.home / "work").rglob("*"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    url = f"sqlite:///{tmp_path / 'control.db'}"
    migrated(url)
    sql, clock = Sql(url), FixedClock()
    audit = Audit(sql, Vault(bytes(32)), clock, tmp_path / "audit.head")
    registry = Registry(sql, Blobs(tmp_path / "blobs"), audit, clock)
    runs = Runs(sql, clock)
    (tmp_path / "work").mkdir()
    house = House(home=tmp_path, sql=sql, registry=registry, runs=runs, audit=audit, contracts=Contracts(sql, audit, clock))
    house.read(carry_out)  # a child process takes a second; three tests below use one
    return house


def test_a_file_becomes_a_version_under_a_run(house: House) -> None:
    path = house.file(GOOD)
    house.read(ingest_apart)
    version = house.datasets.ingest(path, "biopsies", How(id_column="id", time_column="when"), by=person())
    assert str(version.ref) == "dataset/biopsies@1"
    assert {key: version.meta[key] for key in ("rows", "columns", "id", "time", "lake")} == {
        "rows": 3,
        "columns": 4,
        "id": "id",
        "time": "when",
        "lake": {"table": "biopsies", "version": 0},
    }
    run = house.run()
    assert (run.kind, run.name, run.state, run.team, run.created_by) == ("ingest", "biopsies", "succeeded", "risk", "risk-editor")
    assert run.outputs == {"asset": "dataset/biopsies@1", "rows": 3}
    assert run.started_at is not None
    assert run.ended_at is not None
    assert version.run == run.id
    contract = Contract.from_json(house.registry.member(version, "contract.json"))
    assert (contract.id_column, contract.names) == ("id", ("id", "when", "size", "kind"))
    assert msgspec.convert(version.meta["contract"], Contract) == contract
    profile = json.loads(house.registry.member(version, "profile.json"))
    assert [column["nulls"] for column in profile["columns"]] == [0, 0, 1, 0]
    assert version.meta["profile"] == profile
    frame = Lake(house.home / "lake").read("biopsies", 0)
    assert frame["size"].to_list() == [1.5, 2.5, None]
    assert path.read_text() == GOOD
    assert list((house.home / "work").iterdir()) == []


def test_the_same_content_is_the_same_version_whatever_its_spelling(house: House) -> None:
    first = house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    before = house.everything()
    again = house.datasets.ingest(house.file(GOOD.replace("1.5", "1.50").replace("\n", "\r\n")), "biopsies", by=person())
    assert again == first
    assert house.everything() == before
    assert [run.outputs["asset"] for run in house.runs.list(ALL)] == ["dataset/biopsies@1"] * 2


def test_other_content_is_the_next_version_and_the_former_stays(house: House) -> None:
    first = house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    second = house.datasets.ingest(house.file(GOOD + "4,2026-01-04T00:00:00Z,2,b\n"), "biopsies", by=person())
    assert (second.version, second.meta["lake"]) == (2, {"table": "biopsies", "version": 1})
    lake = Lake(house.home / "lake")
    assert [lake.read("biopsies", number).height for number in (0, 1)] == [3, 4]
    assert house.registry.versions("dataset", "biopsies", ALL) == (second, first)


@pytest.mark.parametrize("there_already", [False, True])
def test_a_refused_file_leaves_nothing_and_its_run_says_where_the_fault_is(house: House, there_already: bool) -> None:
    if there_already:
        house.read(ingest_apart)
        house.datasets.ingest(house.file(GOOD), "biopsies", How(id_column="id"), by=person())
    before = house.everything()
    with pytest.raises(Invalid) as refused:
        house.datasets.ingest(house.file(GOOD + "4,2026-01-04T00:00:00Z,wide,b\n"), "biopsies", How(id_column="id"), by=person())
    assert "biopsies.csv" in refused.value.message
    assert "upload" not in refused.value.message
    assert "'size'" in refused.value.message
    assert "row 4" in refused.value.message
    assert house.everything() == before
    failed = [run for run in house.runs.list(ALL) if run.state == "failed"]
    assert [run.reason for run in failed] == [str(refused.value)]
    assert failed[0].ended_at is not None


def test_an_edited_contract_governs_every_later_ingest(house: House) -> None:
    first = house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    text = json.loads(house.registry.member(first, "contract.json"))
    for column in text["columns"]:
        if column["name"] == "size":
            column["low"], column["high"] = 0.0, 2.0
    house.datasets.set_contract("biopsies", json.dumps(text).encode(), by=person())
    for _ in range(2):
        with pytest.raises(Invalid, match="'size'"):
            house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    low = house.datasets.ingest(house.file(GOOD.replace("2.5", "0.5")), "biopsies", by=person())
    assert Contract.from_json(house.registry.member(low, "contract.json")).column("size").high == 2.0
    given = Contract.from_json(house.registry.member(first, "contract.json"))
    assert house.datasets.ingest(house.file(GOOD), "biopsies", How(contract=given), by=person()).version == 3
    assert house.audit.verify().ok


def test_the_contract_of_the_newest_version_governs_the_next(house: House) -> None:
    house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    before = house.everything()
    with pytest.raises(Invalid, match="'size'"):
        house.datasets.ingest(house.file(GOOD.replace("2.5", "2500")), "biopsies", by=person())
    assert house.everything() == before


def test_a_dataset_that_came_without_a_contract_file_gets_one(house: House) -> None:
    meta = {"contract": {"columns": ["a"]}}
    house.registry.publish("dataset", "biopsies", members={"data.csv": b"a"}, meta=meta, by=person())
    assert "contract.json" in house.datasets.ingest(house.file(GOOD), "biopsies", by=person()).members


def test_the_same_rows_under_another_contract_are_another_version_of_the_same_rows(house: House) -> None:
    first = house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    text = json.loads(house.registry.member(first, "contract.json"))
    text["id_column"] = "id"
    house.datasets.set_contract("biopsies", json.dumps(text).encode(), by=person())
    second = house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    assert (second.version, second.meta["lake"], second.meta["digest"]) == (2, first.meta["lake"], first.meta["digest"])


def test_a_contract_that_is_none_is_refused_and_the_former_kept(house: House) -> None:
    house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    with pytest.raises(Invalid):
        house.datasets.set_contract("biopsies", b'{"columns": [{"name": "a", "dtype": "int", "hihg": 3}]}', by=person())
    assert house.datasets.ingest(house.file(GOOD), "biopsies", by=person()).version == 1


def test_who_may_not_write_leaves_no_trace_in_the_lake(house: House) -> None:
    house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    before = house.everything()
    other = house.file(GOOD + "4,2026-01-04T00:00:00Z,2,b\n")
    with pytest.raises(Forbidden):
        house.datasets.ingest(other, "biopsies", by=person("viewer"))
    with pytest.raises(Conflict, match="another team"):
        house.datasets.ingest(other, "biopsies", by=person(team="sales"))
    with pytest.raises(Conflict, match="another team"):
        house.datasets.set_contract("biopsies", b"{}", by=person(team="sales"))
    assert house.everything() == before
    assert len(house.runs.list(ALL)) == 1


def test_a_contract_written_before_the_first_file_is_the_teams_own(house: House) -> None:
    text = b'{"columns": [{"name": "a", "dtype": "int", "low": 0}]}'
    house.datasets.set_contract("biopsies", text, by=person())
    with pytest.raises(Conflict, match="another team"):
        house.datasets.ingest(house.file("a\n1\n"), "biopsies", by=person(team="sales"))
    with pytest.raises(Invalid, match="-1"):
        house.datasets.ingest(house.file("a\n-1\n"), "biopsies", by=person())
    assert house.datasets.ingest(house.file("a\n1\n"), "biopsies", by=person()).version == 1


def test_a_child_that_dies_is_our_fault_and_leaves_nothing(house: House, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -9 $$\n")
    python.chmod(0o755)
    house.read(partial(ingest_apart, python=str(python)))
    before = house.everything()
    with pytest.raises(Broken, match="killed by signal 9"):
        house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    assert house.everything() == before
    assert house.run().state == "failed"


def test_parquet_and_json_lines_are_read_by_their_suffix(house: House) -> None:
    lines = '{"id": 1, "size": 1.5}\n{"id": 2, "size": null}\n'
    version = house.datasets.ingest(house.file(lines, "x.jsonl"), "biopsies", by=person())
    Lake(house.home / "lake").read("biopsies").write_parquet(house.home / "x.parquet")
    assert house.datasets.ingest(house.home / "x.parquet", "biopsies", by=person()) == version


def test_what_a_killed_process_left_open_is_ended_by_what_it_had_reached(house: House) -> None:
    done = house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    reached = house.runs.create("ingest", "biopsies", by=person())
    house.runs.start(reached.id)
    other = house.runs.create("train", "biopsies", by=person())
    again = house.registry.publish(
        "dataset",
        "biopsies",
        members={"contract.json": b"{}"},
        meta={**done.meta, "rows": 4},
        run=reached.id,
        by=person(),
    )
    lost = house.runs.create("ingest", "biopsies", by=person())
    folder = house.home / "work" / lost.id
    folder.mkdir()
    (folder / "biopsies.csv").symlink_to(house.home / "gone")
    house.datasets.sweep()
    found = {run.id: run for run in house.runs.list(ALL)}
    assert (found[lost.id].state, found[lost.id].reason) == ("failed", LOST)
    assert (found[reached.id].state, found[reached.id].outputs) == ("succeeded", {"asset": str(again.ref), "rows": 4})
    assert found[other.id].state == "queued"
    assert not folder.exists()


def test_the_control_process_does_not_load_the_frame_libraries() -> None:
    code = "import sys, tandem.data.tasks; print({'polars', 'numpy', 'deltalake', 'dbos'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "set()"


def test_without_the_libraries_the_hint_says_what_to_install(house: House, tmp_path: Path) -> None:
    python = tmp_path / "python"
    blocked = "import sys; sys.modules['polars'] = None; from tandem.data.child import main; sys.exit(main())"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{blocked}"\n')
    python.chmod(0o755)
    house.read(partial(ingest_apart, python=str(python)))
    with pytest.raises(Unavailable, match="'polars'") as refused:
        house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    assert "tandem-ai[ml]" in str(refused.value.hint)


def test_rows_that_lie_elsewhere_are_checked_and_stay_there(house: House, tmp_path: Path) -> None:
    place = tmp_path / "place"
    outside = Lake(place)
    outside.write("orders", pl.DataFrame({"id": [1, 2, 3], "amount": pl.Series([1.5, 2.5, None], dtype=pl.Float32)}))
    house.datasets = Datasets(
        house.registry, house.runs, house.contracts, lake=house.home / "lake", work=house.home / "work", read=carry_out,
        places=(str(place),),
    )  # fmt: skip
    version = house.datasets.link(f"delta:{place}/orders", "orders", How(id_column="id"), by=person())
    assert version.meta["lake"] == {"table": f"delta:{place}/orders", "version": 0}
    assert (version.meta["rows"], version.meta["source"]) == (3, {"address": f"delta:{place}/orders"})
    assert not (house.home / "lake").exists()
    assert not list((house.home / "work").iterdir())
    outside.write("orders", pl.DataFrame({"id": [1], "amount": [2.0]}))
    assert house.datasets.link(f"delta:{place}/orders", "orders", version=0, by=person()) == version
    newer = house.datasets.link(f"delta:{place}/orders", "orders", by=person())
    assert (newer.version, newer.meta["rows"]) == (2, 1)
    assert Lake(house.home / "lake").read(f"delta:{place}/orders", 0).height == 3  # the first version stays what it is
    copied = house.datasets.ingest(house.file("id,amount\n1,2.0\n"), "orders", by=person())  # the same content, of its own
    assert (copied.version, copied.meta["lake"]) == (3, {"table": "orders", "version": 0})
    assert Lake(house.home / "lake").read("orders", 0).height == 1
    appended = house.datasets.ingest(house.file("id,amount\n7,1.5\n"), "orders", How(append=True), by=person())
    assert (appended.meta["rows"], appended.meta["lake"]) == (2, {"table": "orders", "version": 1})
    with pytest.raises(Invalid, match="lies in no place"):
        house.datasets.link("delta:/etc/orders", "orders", by=person())
    outside.write("orders", pl.DataFrame({"id": [1, 1], "amount": [2.0, 1.5]}))
    with pytest.raises(Invalid, match="occurs a second time"):
        house.datasets.link(f"delta:{place}/orders", "orders", by=person())
