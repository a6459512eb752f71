"""A home with a model on data, an endpoint, and traces as the mover would have left them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import polars as pl

from tandem.core.asset import Ref, Version
from tandem.core.clock import FixedClock
from tandem.core.endpoint import Endpoint, Target
from tandem.core.ids import new_call, new_trace
from tandem.core.money import Usage
from tandem.core.monitor import Monitor
from tandem.core.principal import Principal, Role
from tandem.core.trace import Attempt, Trace
from tandem.evaluation.approved import PROMOTE, Moves, Promoting
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.promote import Promotions
from tandem.evaluation.replay import Replay
from tandem.evaluation.repo import Evaluations
from tandem.evaluation.reviews.queue import Queue
from tandem.evaluation.reviews.repo import Reviews
from tandem.gateway.call import Content
from tandem.gateway.snapshot import Snapshot
from tandem.governance.approvals.approvals import Approvals
from tandem.governance.approvals.requests import Requests
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.jobs.fake import InlineJobs
from tandem.jobs.job import Job
from tandem.jobs.repo import Runs
from tandem.monitoring.child import carry_out
from tandem.monitoring.repo import Monitors
from tandem.monitoring.retrain import Retraining, make_retrain
from tandem.monitoring.watch import Watch
from tandem.observability.content import Subjects
from tandem.observability.traces import Entry, Seen, Traces
from tandem.registry.registry import Registry
from tandem.serving.base import Card
from tandem.serving.signature import Field, Signature
from tandem.store.blobs import Blobs
from tandem.store.lake import Lake
from tandem.store.sql import Sql
from tandem.store.vault import Vault
from tests.migrated import migrated

SIGNATURE = Signature(fields=(Field(name="x", low=-20, high=20), Field(name="y", nullable=True)))


def person(role: Role = "approver", team: str = "risk") -> Principal:
    return Principal(id=f"key_{role}", name=f"{team}-{role}", team=team, role=role)


class Stored(Traces):
    """The trace store, which takes what is pending before it is asked."""

    def __init__(self, house: House) -> None:
        self.house = house
        super().__init__(house.home / "traces")

    def flush(self) -> None:
        """Keeps what was called, as the mover does."""
        self.store(self.house.pending, [])
        self.house.pending.clear()

    def window(self, *, team: str, endpoint: str, since: int, until: int, limit: int) -> Sequence[Seen]:
        self.flush()
        return super().window(team=team, endpoint=endpoint, since=since, until=until, limit=limit)


@dataclass
class House:
    home: Path
    clock: FixedClock = field(default_factory=FixedClock)

    def __post_init__(self) -> None:
        self.vault = Vault(bytes(range(32)))
        url = f"sqlite:///{self.home / 'control.db'}"
        migrated(url)
        self.sql = Sql(url)
        self.audit = Audit(self.sql, self.vault, self.clock, self.home / "audit.head")
        self.registry = Registry(self.sql, Blobs(self.home / "blobs"), self.audit, self.clock)
        self.runs = Runs(self.sql, self.clock)
        self.jobs = InlineJobs(self.runs, self.clock)
        self.traces, self.subjects = Stored(self), Subjects(self.home / "subjects.db", self.vault)
        self.lake = Lake(self.home / "lake")
        self.monitors = Monitors(self.sql, self.audit, self.clock)
        replay = Replay(self.registry, lake=self.home / "lake")
        self.promotions = Promotions(self.registry, Evaluations(self.sql, self.clock), self.clock, replay)
        self.rules = Approvals(self.sql, self.audit, self.clock)
        acts = {PROMOTE: Promoting(self.registry, self.promotions)}
        self.requests = Requests(self.sql, self.audit, self.clock, self.rules, acts)
        moves = Moves(self.registry, self.promotions, self.requests)
        self.jobs.register("retrain", make_retrain(self.train, self.promotions, moves))
        self.endpoints: dict[str, Endpoint] = {}
        self.queue = Queue(
            Reviews(self.sql, self.audit, self.clock),
            traces=self.traces,
            subjects=self.subjects,
            clock=self.clock,
            retention_days=90,
        )
        self.watch = Watch(
            self.monitors,
            Retraining(self.registry, self.runs, self.jobs),
            traces=self.traces,
            subjects=self.subjects,
            current=lambda: Snapshot(endpoints=self.endpoints),
            clock=self.clock,
            lake=str(self.home / "lake"),
            sample=self.queue.sample,
            judge=carry_out,
        )
        self.draw = random.Random(5)
        self.pending: list[Entry] = []
        self.trained: list[Mapping[str, object]] = []

    def close(self) -> None:
        self.traces.close()
        self.subjects.close()
        self.sql.close()

    # --- what is watched

    def data(self, rows: int = 600, *, shift: float = 0.0) -> Version:
        """The next version of `dataset/rows`: the former rows, and new ones."""
        fresh = pl.DataFrame(
            {
                "x": [self.draw.gauss(shift, 1) for _ in range(rows)],
                "y": [None if self.draw.random() < 0.1 else self.draw.gauss(0, 1) for _ in range(rows)],
            }
        ).with_columns(late=(pl.col("x") + pl.Series([self.draw.gauss(0, 1) for _ in range(rows)]) > shift).cast(pl.Int64))
        self.frame = pl.concat([getattr(self, "frame", fresh.clear()), fresh])
        version = self.lake.write("rows", self.frame)
        return self.registry.publish(
            "dataset",
            "rows",
            members={"profile.json": b"{}"},
            meta={
                "contract": {"columns": []},
                "digest": f"sha256:{version:064x}",
                "lake": {"table": "rows", "version": version},
            },
            by=person(),
        )

    def model(self, dataset: Version, *, run: str | None = None, by: Principal | None = None) -> Version:
        """A model that says what `x` says, with honest evidence on every row of its dataset."""
        frame = self.lake.read("rows", int(dataset.meta["lake"]["version"]))  # type: ignore[index]  # we wrote it
        chances = 1 / (1 + (-2 * frame["x"]).exp())
        oof = OutOfFold(
            dataset=str(dataset.ref),
            digest=str(dataset.meta["digest"]),
            target="late",
            positive="1",
            rows=tuple(str(number) for number in range(1, frame.height + 1)),
            labels=tuple(frame["late"].to_list()),
            probabilities=tuple(chances.to_list()),
            seed=7,
            folds=5,
        )
        card = Card(runtime="fake", native="fake", threshold=0.5, classes=("0", "1"))
        return self.registry.publish(
            "model",
            "credit",
            members={"model.json": msgspec.json.encode(card), "oof.json": oof.to_json()},
            meta={
                "signature": msgspec.to_builtins(SIGNATURE),
                "metrics": {},
                "target": "late",
                "algorithm": "logistic",
                "params": {"c": 2},
                "seed": 7,
                "folds": 5,
                "classes": ["0", "1"],
                "digest": dataset.meta["digest"],
            },
            parents=(str(dataset.ref),),
            run=run,
            by=by or person(),
        )

    def train(self, job: Job) -> Mapping[str, object]:
        """Stands in for the workflow `train`."""
        self.trained.append(job.inputs)
        dataset = self.registry.find(Ref.parse(str(job.inputs["data"])), ALL)
        return {"asset": str(self.model(dataset, run=job.run_id, by=job.by).ref)}

    def serve(self) -> None:
        """A model on data, in production, at the endpoint `credit`."""
        version = self.model(self.data())
        self.promotions.promote(version.ref, "production", by=person())
        route = (Target(target=str(version.ref)),)
        self.endpoints["credit"] = Endpoint(name="credit", kind="predict", route=route, team="risk")
        self.endpoints["assistant"] = Endpoint(name="assistant", kind="chat", route=(Target(target="mock/m"),), team="default")

    def monitor(self, name: str = "m", **more: object) -> Monitor:
        made = {"name": name, "team": "risk", "endpoint": "credit", **more}
        return self.watch.add(msgspec.convert(made, Monitor), by=person())

    # --- what is called

    def predict(self, rows: int = 1, *, shift: float = 0.0, calls: int | None = None, **more: object) -> None:
        """Calls of the endpoint `credit`, `rows` in all, one each or spread over `calls`."""
        each = rows // (calls or rows)
        for _ in range(calls or rows):
            values = [
                [self.draw.gauss(shift, 1) for _ in range(each)],
                [None if self.draw.random() < 0.1 else self.draw.gauss(0, 1) for _ in range(each)],
            ]
            inputs = [
                {"name": name, "shape": [each], "datatype": "FP64", "data": column}
                for name, column in zip("xy", values, strict=True)
            ]
            self.call(request=msgspec.json.encode({"inputs": inputs}), attributes={"rows": each}, **more)  # type: ignore[arg-type]

    def call(
        self,
        *,
        endpoint: str = "credit",
        kind: str = "predict",
        request: bytes = b"",
        answer: bytes = b"{}",
        outcome: str = "ok",
        attributes: Mapping[str, object] | None = None,
        team: str = "risk",
        subject: str = "app",
        recorded: bool = True,
        cut: bool = False,
        cost: int | None = 0,
        tokens: int = 0,
        seconds: float = 0.001,
        notes: Mapping[str, object] | None = None,
    ) -> str:
        start = self.clock.now()
        self.clock.advance(seconds)
        end = self.clock.now()
        call = new_call()
        attempt = Attempt(
            call=call, attempt=0, target="t", usage=Usage(output=tokens, source="provider"), cost=cost, reserved=0,
            outcome=outcome, start=start, end=end,
        )  # fmt: skip
        trace = Trace(
            id=new_trace(), call=call, parent=None, endpoint=endpoint, kind=kind, team=team, principal="app", start=start,
            end=end, outcome=outcome, status=200, cost=cost, spans=[], attempts=[attempt], attributes=dict(attributes or {}),
        )  # fmt: skip
        plain = msgspec.msgpack.encode(Content(request, answer, cut, notes or {}))
        identifier, sealed = self.subjects.keep(subject, plain if recorded else b"", begun=start, now=end)
        self.pending.append(Entry(trace=trace, subject=identifier, sealed=sealed))
        return trace.id

    def chat(
        self, calls: int, *, refused: float = 0.0, price: int = 1000, streamed: bool = False, says: str = "Forty-two."
    ) -> None:
        for _ in range(calls):
            text = "I'm sorry, I cannot help with that." if self.draw.random() < refused else says
            if streamed:
                body = (
                    b"".join(
                        b"data: " + msgspec.json.encode({"choices": [{"index": 0, "delta": {"content": piece}}]}) + b"\n\n"
                        for piece in (text[:5], text[5:])
                    )
                    + b"data: [DONE]\n\n"
                )
            else:
                body = msgspec.json.encode({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]})
            tokens = self.draw.randint(10, 40)
            asked = msgspec.json.encode({"messages": [{"role": "user", "content": "Claim 4471 was filed on 5 March 2024."}]})
            self.call(
                endpoint="assistant", kind="chat", request=asked, answer=body, cost=price * tokens, tokens=tokens,
                seconds=tokens * self.draw.uniform(0.01, 0.02),
            )  # fmt: skip

    def audited(self) -> list[tuple[str, str]]:
        return [(entry.action, entry.actor) for entry in self.audit.list(ALL, limit=1000)]
