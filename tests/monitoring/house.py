"""A home with a model on data, an endpoint, and traces as the mover would have left them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from tandem.core.asset import Ref, Version
from tandem.core.clock import FixedClock
from tandem.core.endpoint import Endpoint, Target
from tandem.core.ids import new_call, new_trace
from tandem.core.money import Usage
from tandem.core.monitor import Monitor
from tandem.core.policy import Gate
from tandem.core.principal import Principal, Role
from tandem.core.trace import Attempt, Trace
from tandem.evaluation.approved import PROMOTE, Moves, Promoting
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.held.evidence import Holdouts
from tandem.evaluation.held.repo import HeldEvidence
from tandem.evaluation.promote import Promotions
from tandem.evaluation.replay import Replay
from tandem.evaluation.repo import Evaluations
from tandem.evaluation.reviews.queue import Queue
from tandem.evaluation.reviews.repo import Reviews
from tandem.gateway.call import Content
from tandem.gateway.repo import Routes
from tandem.gateway.snapshot import Snapshot
from tandem.governance.approvals.approvals import Approvals
from tandem.governance.approvals.requests import Requests
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.jobs.fake import InlineJobs
from tandem.jobs.job import Job
from tandem.jobs.repo import Runs
from tandem.monitoring.canary import Canaries, Stores
from tandem.monitoring.child import carry_out
from tandem.monitoring.counts import Counting
from tandem.monitoring.outcomes import PURPOSE, Outcomes
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
        house = self.house
        entries = [
            replace(each, counted=house.counting(each.trace, plain), key=house.outcomes.name(each.trace, plain))
            for each, plain in house.pending
        ]
        self.store(entries, [])
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
        self.holdouts = Holdouts(self.registry, HeldEvidence(self.sql, self.audit, self.clock), lake=self.home / "lake")
        self.promotions = Promotions(self.registry, Evaluations(self.sql, self.clock), self.clock, replay, self.holdouts)
        self.rules = Approvals(self.sql, self.audit, self.clock)
        acts = {PROMOTE: Promoting(self.registry, self.promotions)}
        self.requests = Requests(self.sql, self.audit, self.clock, self.rules, acts)
        self.moves = moves = Moves(self.registry, self.promotions, self.requests)
        self.endpoints: dict[str, Endpoint] = {}
        retraining = Retraining(self.registry, self.runs, self.jobs)
        self.outcomes = Outcomes(self.traces, self.subjects, self.clock, self.vault.derive(PURPOSE), does=retraining.does)
        self.tried: list[Mapping[str, object]] = []
        """Canaries that were begun; they are watched by nobody here."""
        self.jobs.register("canary", lambda job: self.tried.append(job.inputs) or {})
        self.trying = trying = Stores(
            sql=self.sql,
            audit=self.audit,
            table=Routes(self.sql, self.clock, self.audit),
            traces=self.traces,
            registry=self.registry,
            runs=self.runs,
            clock=self.clock,
            current=lambda: Snapshot(endpoints=self.endpoints),
            subjects=self.subjects,
            outcomes=self.outcomes,
        )
        canaries = Canaries(trying, self.jobs)
        self.jobs.register("retrain", make_retrain(self.train, self.promotions, moves, canaries))
        self.queue = Queue(
            Reviews(self.sql, self.audit, self.clock),
            traces=self.traces,
            subjects=self.subjects,
            clock=self.clock,
            retention_days=90,
        )
        self.watch = Watch(
            self.monitors,
            retraining,
            traces=self.traces,
            subjects=self.subjects,
            current=lambda: Snapshot(endpoints=self.endpoints),
            clock=self.clock,
            lake=str(self.home / "lake"),
            sample=self.queue.sample,
            outcomes=self.outcomes,
            judge=carry_out,
        )
        self.draw = random.Random(5)
        self.counting = Counting(self.watch.hours.plans, self.clock)
        self.pending: list[tuple[Entry, bytes]] = []
        self.trained: list[Mapping[str, object]] = []

    def close(self) -> None:
        self.traces.close()
        self.subjects.close()
        self.sql.close()

    def hour(self, hours: float = 1.0) -> None:
        """Lets the mover finish, and so many hours pass."""
        self.traces.flush()
        self.clock.advance(hours * 3600)

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

    def model(
        self, dataset: Version, *, run: str | None = None, by: Principal | None = None, evidence: Mapping[str, Any] | None = None
    ) -> Version:
        """A model that says what `x` says, with honest evidence on every row of its dataset, or with the evidence given."""
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
        oof = replace(oof, **(evidence or {}))
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
            run=run or self.runs.create("train", "credit", inputs={}, by=by or person()).id,
            by=by or person(),
        )

    def train(self, job: Job) -> Mapping[str, object]:
        """Stands in for the workflow `train`."""
        self.trained.append(job.inputs)
        dataset = self.registry.find(Ref.parse(str(job.inputs["data"])), ALL)
        return {"asset": str(self.model(dataset, run=job.run_id, by=job.by).ref)}

    def serve(self, evidence: Mapping[str, Any] | None = None) -> None:
        """A model on data, in production, at the endpoint `credit`."""
        version = self.model(self.data(), evidence=evidence)
        if evidence is not None and evidence["task"] == "regression":
            self.registry.set_gate(Gate(asset="model/credit", metric="mae"), by=person(role="admin"))
        self.promotions.promote(version.ref, "production", by=person())
        route = (Target(target=str(version.ref)),)
        self.endpoints["credit"] = Endpoint(name="credit", kind="predict", route=route, team="risk")
        self.endpoints["assistant"] = Endpoint(name="assistant", kind="chat", route=(Target(target="mock/m"),), team="default")

    def train_and_serve(self, members: Mapping[str, bytes], frame: pl.DataFrame, *, task: str, signature: Signature) -> None:
        """A model that was trained on a frame, at the endpoint `credit`."""
        dataset = self.registry.publish(
            "dataset",
            "rows",
            members={"profile.json": b"{}"},
            meta={
                "contract": {"columns": []},
                "digest": f"sha256:{0:064x}",
                "lake": {"table": "rows", "version": self.lake.write("rows", frame)},
            },
            by=person(),
        )
        version = self.registry.publish(
            "model",
            "credit",
            members=members,
            meta={"signature": msgspec.to_builtins(signature), "task": task, "metrics": {}, "digest": dataset.meta["digest"]},
            parents=(str(dataset.ref),),
            by=person(),
        )
        self.endpoints["credit"] = Endpoint(name="credit", kind="predict", route=(Target(target=str(version.ref)),), team="risk")

    def route(self, target: str) -> None:
        """Lets the endpoint `credit` serve another version."""
        self.endpoints["credit"] = replace(self.endpoints["credit"], route=(Target(target=target),))

    def pictured(self, images: int = 300) -> None:
        """A model of images in production, at the endpoint `credit`."""
        version = self.lake.write("images", pl.DataFrame(self.look(images)))
        meta = {"contract": {"columns": []}, "digest": f"sha256:{version:064x}", "images": {"duplicates": 0}}
        dataset = self.registry.publish(
            "dataset", "images", members={"profile.json": b"{}"},
            meta={**meta, "lake": {"table": "images", "version": version}}, by=person(),
        )  # fmt: skip
        chances = [self.draw.random() for _ in range(images)]
        oof = OutOfFold(
            dataset=str(dataset.ref), digest=str(dataset.meta["digest"]), target="label", positive="1",
            rows=tuple(map(str, range(images))), labels=(0, 1) * (images // 2), probabilities=tuple(chances), seed=7, folds=5,
        )  # fmt: skip
        signature = Signature(fields=(Field(name="image", dtype="image"),))
        model = self.registry.publish(
            "model", "pictures", members={"oof.json": oof.to_json()},
            meta={"signature": msgspec.to_builtins(signature), "importances": {"image": 1.0}, "target": "label"},
            parents=(str(dataset.ref),), run=self.runs.create("train", "pictures", inputs={}, by=person()).id, by=person(),
        )  # fmt: skip
        route = (Target(target=str(model.ref)),)
        self.endpoints["credit"] = Endpoint(name="credit", kind="predict", route=route, team="risk")

    def look(self, images: int, *, shift: float = 0.0) -> dict[str, list[float | str]]:
        """What is known of images, brighter by `shift`."""
        return {
            "width": [float(self.draw.choice([320, 640])) for _ in range(images)],
            "height": [480.0] * images,
            "bytes": [self.draw.gauss(50_000, 5_000) for _ in range(images)],
            "brightness": [self.draw.gauss(120 + shift, 10) for _ in range(images)],
            "contrast": [self.draw.gauss(40, 5) for _ in range(images)],
            "mode": [self.draw.choice(["L", "RGB"]) for _ in range(images)],
        }

    def show(self, images: int, *, shift: float = 0.0, chance: float = 1.0, tensors: bool = False) -> None:
        """One call about so many images, files or tensors, larger than what is kept of a request."""
        chances = [chance * self.draw.random() for _ in range(images)]
        answer = msgspec.json.encode({"outputs": [{"name": "probability", "data": chances}]})
        looks = self.look(images, shift=shift)
        notes = {"images": {**looks, "bytes": [None] * images} if tensors else looks}
        self.call(request=b'{"inputs": [{', answer=answer, attributes={"rows": images}, cut=True, notes=notes)

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
        target = self.endpoints[endpoint].route[0].target if endpoint in self.endpoints else "mock/m"
        attempt = Attempt(
            call=call, attempt=0, target=target, cost=cost, reserved=0,
            usage=Usage(output=tokens, source="provider"), outcome=outcome, start=start, end=end,
        )  # fmt: skip
        trace = Trace(
            id=new_trace(), call=call, parent=None, endpoint=endpoint, kind=kind, team=team, principal="app", start=start,
            end=end, outcome=outcome, status=200, cost=cost, spans=[], attempts=[attempt], attributes=dict(attributes or {}),
        )  # fmt: skip
        plain = msgspec.msgpack.encode(Content(request, answer, cut, notes or {}))
        identifier, sealed = self.subjects.keep(subject, plain if recorded else b"", begun=start, now=end)
        self.pending.append((Entry(trace=trace, subject=identifier, sealed=sealed), plain if recorded else b""))
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
