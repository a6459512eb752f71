"""A home with a dataset in it, and a process that trains on it and is killed: the ground of the tests of `training.tasks`.

python -m tests.training.place HOME RUN HOW      HOW: `training` or `published`, the moment at which it is killed
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.migrated import migrated

from tandem.core.asset import Kind, Version
from tandem.core.clock import SystemClock
from tandem.core.principal import Principal
from tandem.data.child import Done, Order, carry_out
from tandem.data.repo import Contracts
from tandem.data.tasks import Datasets
from tandem.governance.audit import Audit
from tandem.governance.ledger import Ledger
from tandem.governance.metering import Meter
from tandem.jobs.repo import Runs
from tandem.jobs.workflow import Jobs
from tandem.registry.registry import Registry
from tandem.store.blobs import Blobs
from tandem.store.sql import Sql
from tandem.store.vault import Vault
from tandem.training.tasks import make_train

EDITOR = Principal(id="key_1", name="risk-editor", team="risk", role="editor")
INPUTS: dict[str, object] = {"data": "dataset/biopsies", "target": "kind", "seed": 7, "folds": 2, "algorithm": "logistic"}


@dataclass
class Place:
    home: Path
    sql: Sql
    audit: Audit
    registry: Registry
    runs: Runs
    clock: SystemClock

    def dataset(self, text: str = "size,kind\n1.5,a\n2.5,b\n3.5,a\n", read: Callable[[Order], Done] = carry_out) -> Version:
        path = self.home / "upload.csv"
        path.write_text(text)
        contracts = Contracts(self.sql, self.audit, self.clock)
        datasets = Datasets(self.registry, self.runs, contracts, lake=self.home / "lake", work=self.home / "work", read=read)
        return datasets.ingest(path, "biopsies", by=EDITOR)

    def meter(self, hour: int = 0) -> Meter:
        """Prices work by nano-dollars an hour."""
        ledger = Ledger(self.home / "ledger.db", self.clock)
        return Meter(ledger=ledger, audit=self.audit, sql=self.sql, clock=self.clock, hour=hour)

    def python(self) -> str:
        """An interpreter whose every module is the fake child."""
        path = self.home / "python"
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("fake_child.py")} "$@"\n')
        path.chmod(0o755)
        return str(path)


def open_place(home: Path, registry: type[Registry] = Registry) -> Place:
    url = f"sqlite:///{home / 'control.db'}"
    migrated(url)
    sql, clock = Sql(url), SystemClock()
    audit = Audit(sql, Vault(bytes(32)), clock, home / "audit.head")
    made = registry(sql, Blobs(home / "blobs"), audit, clock)
    return Place(home=home, sql=sql, audit=audit, registry=made, runs=Runs(sql, clock), clock=clock)


def jobs_of(place: Place) -> Jobs:
    """A durable engine that trains with the fake child."""
    jobs = Jobs(place.home / "jobs.db", executor="control", runs=place.runs, clock=place.clock)
    paths = {"lake": place.home / "lake", "work": place.home / "work"}
    jobs.register("train", make_train(place.registry, place.clock, place.meter(), python=place.python(), **paths))
    return jobs


class Dying(Registry):
    """Publishes a model, and takes its process with it before anybody can note that down."""

    def publish(
        self,
        kind: Kind,
        name: str,
        *,
        members: Mapping[str, bytes | Path],
        meta: Mapping[str, object],
        parents: tuple[str, ...] = (),
        run: str | None = None,
        by: Principal,
    ) -> Version:
        made = super().publish(kind, name, members=members, meta=meta, parents=parents, run=run, by=by)
        if kind == "model":
            os.kill(os.getpid(), signal.SIGKILL)
        return made


def main(home: Path, run_id: str, how: str) -> None:
    place = open_place(home, Dying if how == "published" else Registry)
    place.dataset()
    inputs = {**INPUTS, "seed": 16 if how == "training" else 7}
    run = place.runs.create("train", "tumor", inputs=inputs, by=EDITOR, id=run_id)
    jobs = jobs_of(place)
    jobs.launch()
    jobs.start("train", run.id, inputs)
    threading.Event().wait(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
