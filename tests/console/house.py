"""A home with everything a console shows, made by the packages themselves: data, models, calls, runs, budgets, audit."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2
import msgspec
import polars as pl
from fastapi import FastAPI
from sklearn.datasets import load_breast_cancer
from sqlalchemy import and_, delete, or_

from tandem.api.server import Face, build
from tandem.console import pages
from tandem.core.approval import Request
from tandem.core.asset import Ref, Version
from tandem.core.clock import FixedClock, iso
from tandem.core.endpoint import Endpoint, Provider, Target
from tandem.core.errors import Blocked, TandemError, Upstream
from tandem.core.money import Usage, nano
from tandem.core.monitor import Finding, Histogram, Monitor, Report
from tandem.core.policy import Alert, Budget, Gate
from tandem.core.principal import LOCAL, Principal, Terms
from tandem.core.project import Step as Deed
from tandem.core.review import Review, Said
from tandem.core.score import Estimate
from tandem.data.child import carry_out
from tandem.data.corpus import hashed
from tandem.data.corpus.indexes import Indexes
from tandem.data.corpus.shelf import Shelf
from tandem.data.features.features import Features
from tandem.data.features.repo import Store
from tandem.data.ingest import Reading, ingest
from tandem.data.reader import Reader
from tandem.data.repo import Contracts
from tandem.data.tasks import Datasets, How
from tandem.evaluation.about.card import Cards
from tandem.evaluation.approved import PROMOTE, Promoting
from tandem.evaluation.held.repo import HeldEvidence
from tandem.evaluation.look import Look
from tandem.evaluation.promote import Promotions
from tandem.evaluation.repo import Evaluations
from tandem.evaluation.reviews.queue import Queue
from tandem.evaluation.reviews.repo import Reviews, reviews
from tandem.evaluation.suite import Stores, make_evaluate
from tandem.gateway.call import NOTHING_SENT, UNKNOWN, Call, Door, open_call, open_nested
from tandem.gateway.compile import Compiler, Sources
from tandem.gateway.inside import Inside
from tandem.gateway.metrics import Metrics
from tandem.gateway.pricing.repo import Prices, Throughputs
from tandem.gateway.repo import Routes
from tandem.gateway.routing.board import Told
from tandem.gateway.snapshot import Replica
from tandem.governance.admit import Purse
from tandem.governance.alerts.alerts import Alerts
from tandem.governance.alerts.fake import Fake as Outside
from tandem.governance.alerts.send import Courier
from tandem.governance.approvals import rules
from tandem.governance.approvals.approvals import Approvals
from tandem.governance.approvals.requests import Requests
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.governance.bills.correct import Corrections
from tandem.governance.bills.forecast import Forecasts
from tandem.governance.bills.reconcile import Bills
from tandem.governance.digest import PEPPER
from tandem.governance.erase import Erasures
from tandem.governance.keys import Keys
from tandem.governance.ledger import Ledger
from tandem.governance.machines import Machines
from tandem.governance.people.invitations import Invitations, Invited
from tandem.governance.people.issuer import Issuer
from tandem.governance.people.oidc import Oidc
from tandem.governance.people.passwords import Passwords
from tandem.governance.people.persons import NewPerson, Persons
from tandem.governance.people.vouched import Newcomers
from tandem.governance.projects.projects import Projects
from tandem.governance.rotation import Rotation, SubjectKeys
from tandem.governance.sessions import Sessions
from tandem.jobs.fake import InlineJobs
from tandem.jobs.repo import Runs
from tandem.monitoring.canary import Canaries
from tandem.monitoring.canary import Stores as Trying
from tandem.monitoring.findings import control
from tandem.monitoring.harm import Finding as Harm
from tandem.monitoring.online.nouns import Plan, State
from tandem.monitoring.online.online import Online
from tandem.monitoring.outcomes import Outcome, Outcomes
from tandem.monitoring.repo import Monitors, Standing
from tandem.monitoring.shadowed import Shadowing
from tandem.observability.content import Subjects
from tandem.observability.journal import Journal
from tandem.observability.move import Mover
from tandem.observability.traces import Traces
from tandem.observability.usage import Usages
from tandem.pipelines.pipelines import Pipelines
from tandem.pipelines.repo import Step, Steps, Triggers
from tandem.pipelines.talk import Parts
from tandem.pipelines.triggers import Triggering
from tandem.registry.registry import Registry
from tandem.store.blobs import Blobs, digest_of
from tandem.store.lake import Lake
from tandem.store.search import Chunk, Document, Refresh
from tandem.store.sql import Sql
from tandem.store.vault import Vault, replace_file
from tandem.training.fit import fit
from tandem.training.task import AlgorithmName, Task
from tests.evaluation.place import Fake, reader
from tests.migrated import migrated

EVIL = "<script>window.stolen=1</script>\"'><img src=x onerror=window.stolen=2>"
PASSWORD = "a long sentence indeed"
"""Planted wherever a caller or an author can write."""
DECISION = b'''"""A second opinion."""

from tandem.decisions import Calls


def second_opinion(case: Case, calls: Calls) -> Opinion:
    scored = calls.predict("tumor", case.measurements, explain=True)
    if 0.1 < scored.probability < 0.9:
        calls.ask_a_person("The model is uncertain. <script>window.stolen=3</script>")
    return Opinion(probability=scored.probability)
'''
CHAT = {
    "model": "assistant",
    "messages": [
        {"role": "system", "content": "You explain a classifier's result to a clinician."},
        {"role": "user", "content": f"The probability is 0.62. worst area: 1032 (pushes by +0.81)\n{EVIL}"},
    ],
    "max_tokens": 160,
}
SAID = "The worst area of 1032 speaks for malignancy; the smooth outline against it. A biopsy review is advised."


async def admitted(call: Call) -> None:
    """Reserves for a call as the door does: awaiting only what the purse does not hold."""
    owed = call.admit(100, 160, call.endpoint.route if call.endpoint else ())
    if owed:
        await call.reserve()


@dataclass
class House:
    """One home."""

    home: Path
    clock: FixedClock = field(default_factory=lambda: FixedClock(micros=1_763_830_000_000_000))

    def __post_init__(self) -> None:
        home, clock = self.home, self.clock
        replace_file(home / "master.key", base64.b64encode(bytes(range(32))) + b"\n")
        self.vault = Vault.load(home, {})
        url = f"sqlite:///{home / 'control.db'}"
        migrated(url)
        self.sql, self.blobs = Sql(url), Blobs(home / "blobs")
        self.audit = Audit(self.sql, self.vault, clock, home / "audit.head")
        self.keys, self.table = Keys(self.sql, self.vault, clock, self.audit), Routes(self.sql, clock, self.audit)
        self.runs, self.evaluations = Runs(self.sql, clock), Evaluations(self.sql, clock)
        self.registry = Registry(self.sql, self.blobs, self.audit, clock)
        self.ledger, self.subjects = Ledger(home / "ledger.db", clock), Subjects(home / "subjects.db", self.vault)
        self.traces = Traces(home / "traces")
        self.mover = Mover(
            home / "journal", traces=self.traces, subjects=self.subjects, books=self.ledger, vault=self.vault, clock=clock
        )
        self.erasures = Erasures(
            home=home,
            sql=self.sql,
            audit=self.audit,
            subjects=self.subjects,
            mover=self.mover,
            traces=self.traces,
            vault=self.vault,
            clock=clock,
            forget=lambda subject: 0,
        )
        self.persons, passwords = Persons(self.sql, clock, self.audit, self.keys.trim), Passwords()
        self.invitations = Invitations(self.sql, self.vault, clock, self.audit, self.persons, passwords)
        self.sessions = Sessions(self.sql, self.keys, self.vault, clock, self.audit, passwords)
        self.queue = Queue(
            Reviews(self.sql, self.audit, clock), traces=self.traces, subjects=self.subjects, clock=clock, retention_days=90
        )
        self.monitors, self.rules = Monitors(self.sql, self.audit, clock), Approvals(self.sql, self.audit, clock)
        self.steps, self.triggers = Steps(self.sql, clock), Triggers(self.sql, self.audit, clock)
        self.pipelines = Pipelines(self.registry, self.runs, InlineJobs(self.runs, clock), self.steps, self.sql, self.audit)
        self.triggering = Triggering(
            self.triggers,
            self.pipelines,
            registry=self.registry,
            runs=self.runs,
            monitors=self.monitors,
            clock=clock,
            holds=lambda principal: True,
        )
        promoting = Promoting(self.registry, Promotions(self.registry, self.evaluations, clock))
        acts = {PROMOTE: promoting, rules.SET: rules.Changes(self.rules), rules.DROP: rules.Changes(self.rules)}
        self.requests = Requests(self.sql, self.audit, clock, self.rules, acts)
        self.outside = Outside()
        keys = {"subjects": SubjectKeys(self.subjects)}
        self.rotation = Rotation(home, self.vault, self.sql, self.audit, clock, keys, environment={})
        self.projects = Projects(self.sql, self.audit, self.clock)
        self.alerts = Alerts(
            self.sql, self.audit, self.vault, clock, address="http://console", channel=lambda kind: self.outside, environment={}
        )
        sources = Sources(
            registry=self.registry,
            routes=self.table,
            prices=Prices(self.sql, clock, self.audit),
            throughputs=Throughputs(self.sql),
            keys=self.keys,
            ledger=self.ledger,
            blobs=self.blobs,
            vault=self.vault,
            clock=clock,
        )
        self.compiler = Compiler(sources, replica=home / "replica.db", served=home / "served", max_age=None, environment={})
        self.bills = Bills(
            corrections=Corrections(self.ledger, self.traces, clock, nullcontext),
            traces=self.traces,
            audit=self.audit,
            sql=self.sql,
            clock=clock,
            known=lambda: self.compiler.book().price,
            work=home / "work",
        )
        self.outcomes = Outcomes(self.traces, self.subjects, clock, b"of labels")
        self.trying = Trying(
            sql=self.sql,
            audit=self.audit,
            table=self.table,
            traces=self.traces,
            registry=self.registry,
            runs=self.runs,
            clock=clock,
            current=self.compiler.current,
            subjects=self.subjects,
            outcomes=self.outcomes,
        )
        self.cards = Cards(self.registry, HeldEvidence(self.sql, self.audit, self.clock), lambda names, scope: ())
        self.shelf = Shelf(home / "search")
        self.features = Features(self.registry, Store(home / "features.db", clock))
        self.tokens: dict[str, str] = {}
        self.issuers: dict[str, Issuer] = {}
        self.faults: list[BaseException] = []
        self.resting: list[Told] = []
        """What door workers tell of targets that rest."""
        self.heard: list[str] = []
        """Traces of calls that a shadow heard."""
        self.marks: dict[str, str] = {}
        """Names that tests use: trace and run ids."""

    # --- people

    def person(self, name: str, role: str, team: str = "risk") -> Principal:
        principal, secret = self.keys.create(name, role=role, team=team, scopes=("any-version", EVIL), by=LOCAL)  # type: ignore[arg-type]
        self.tokens[name] = secret.reveal()
        return principal

    # --- the application

    def app(self) -> FastAPI:
        shown = pages.Sources(
            registry=self.registry,
            cards=self.cards,
            features=self.features,
            indexes=Indexes(self.registry, self.shelf, Inside("http://127.0.0.1:9", b"", self.clock), self.sql, self.audit),
            reader=Reader(self.registry, self.sql, self.audit, lake=self.home / "lake", work=self.home / "work"),
            runs=self.runs,
            pipelines=self.pipelines,
            triggering=self.triggering,
            look=Look(self.registry, self.evaluations, self.subjects),
            traces=self.traces,
            subjects=self.subjects,
            erasures=self.erasures,
            ledger=self.ledger,
            machines=Machines(self.ledger, self.mover, self.sql, self.audit),
            bills=self.bills,
            forecasts=Forecasts(ledger=self.ledger, audit=self.audit, sql=self.sql, clock=self.clock),
            audit=self.audit,
            sql=self.sql,
            keys=self.keys,
            persons=self.persons,
            invitations=self.invitations,
            oidc=Oidc(self.issuers, self.vault, self.clock, "http://console"),
            newcomers=Newcomers(self.sql, self.vault, self.clock, self.audit, self.persons),
            sessions=self.sessions,
            address="http://console",
            current=self.compiler.current,
            monitors=self.monitors,
            requests=self.requests,
            rules=rules.Rules(self.sql, self.rules, self.requests),
            queue=self.queue,
            alerts=self.alerts,
            projects=self.projects,
            usages=Usages(self.traces),
            rotation=self.rotation,
            price=self.compiler.price,
            resting=lambda: self.resting,
            canaries=Canaries(self.trying, InlineJobs(self.runs, self.clock)),
            shadowing=Shadowing(self.trying),
            learning=Online(self.trying, InlineJobs(self.runs, self.clock)),
            clock=self.clock,
        )
        return build(
            Face(
                sessions=self.sessions,
                projects=self.projects,
                routers=[],
                openai=[],
                pages=[pages.routes(shown)],
                log=self.faults.append,
                hot={},
            )
        )

    @asynccontextmanager
    async def client(self, name: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
        """A browser without scripts, signed in as `name`."""
        transport = httpx2.ASGITransport(app=self.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://console") as client:
            if name is not None:
                answer = await client.post("/console/sign-in", data={"key": self.tokens[name], "after": "/"})
                assert answer.status_code == 303, answer.text
            yield client

    def _people(self, admin: Principal) -> None:
        """Persons, a service, invitations, and a key that everything binds."""
        for name, teams in (("nina", {"risk": "admin", "sales": "viewer"}), ("paul", {"risk": "editor"})):
            self.persons.add(NewPerson(name=name, email=f"{name}@example.org", teams=teams), by=admin)  # type: ignore[arg-type]
            self.invitations.set_password(name, PASSWORD, by=admin)
        self.persons.add(NewPerson(name="rita", role="auditor", teams={}), by=admin)
        self.persons.add(NewPerson(name="etl", kind="service", teams={"risk": "editor"}), by=admin)
        self.persons.change("paul", disabled=True, by=admin)
        wanted = Invited(email="quinn.with.a.long.name@department.example.org", teams={"risk": "approver", "sales": "viewer"})
        self.link = self.invitations.invite(wanted, by=admin)[1].reveal()
        terms = Terms(
            owner="service/etl",
            kinds=("chat", "embed"),
            models=("openai/gpt-4o*", "a-provider-with-a-long-name/model-*"),
            networks=("10.0.0.0/8", "2001:db8::/32"),
            content=False,
        )
        self.keys.create("etl-night", team="risk", role="editor", terms=terms, by=admin)

    # --- what is made

    def dataset(self, by: Principal) -> Version:
        """The Wisconsin diagnostic breast cancer data, as it ships with scikit-learn."""
        found = load_breast_cancer()
        table = {str(name).replace(" ", "_"): found.data[:, place] for place, name in enumerate(found.feature_names)}
        frame = pl.DataFrame({"id": [f"b{n:04d}" for n in range(len(found.target))], **table}).with_columns(
            diagnosis=pl.Series(["benign" if target else "malignant" for target in found.target])
        )
        path = self.home / "biopsies.csv"
        frame.write_csv(path)
        done = ingest(path, Reading(id_column="id"))
        self.frame, self.contract = done.frame, done.contract
        run = self.runs.create("ingest", "biopsies", inputs={"bytes": path.stat().st_size, "id": "id"}, by=by)
        self.runs.start(run.id)
        self.clock.advance(0.8)
        version = self.registry.publish(
            "dataset",
            "biopsies",
            members={"contract.json": done.contract.to_json(), "profile.json": done.profile.to_json()},
            meta={
                "rows": done.rows,
                "columns": len(done.contract.columns),
                "digest": done.digest,
                "lake": {"table": "biopsies", "version": 0},
                "contract": msgspec.to_builtins(done.contract),
                "profile": msgspec.json.decode(done.profile.to_json()),
            },
            run=run.id,
            by=by,
        )
        self.runs.finish(run.id, "succeeded", outputs={"asset": str(version.ref), "rows": done.rows})
        Lake(self.home / "lake").write("biopsies", done.frame)
        return version

    def orders(self, by: Principal) -> None:
        """Two versions of a dataset under rules, the second with rows added and a row kept apart."""
        contracts = Contracts(self.sql, self.audit, self.clock)
        (self.home / "ingests").mkdir()
        datasets = Datasets(
            self.registry, self.runs, contracts, lake=self.home / "lake", work=self.home / "ingests", read=carry_out
        )
        rules = {
            "columns": [
                {"name": "order", "dtype": "int", "unique": True},
                {"name": "amount", "dtype": "float", "low": 0, "severity": "quarantine"},
                {"name": "paid", "dtype": "float"},
                {"name": "note", "dtype": "string", "nullable": True},
            ],
            "id_column": "order",
            "quarantine_share": 0.5,
            "rows": [{"name": EVIL, "expression": "paid <= amount", "severity": "warn"}],
        }
        datasets.set_contract("orders", msgspec.json.encode(rules), by=by)
        for name, append, lines in (("one", False, range(40)), ("two", True, range(40, 60))):
            path = self.home / f"{name}.csv"
            rows = "".join(f"{n},{n - 41 if append else n},{n - 41 if append else n % 7},{EVIL}\n" for n in lines)
            path.write_text(f"order,amount,paid,note\n{rows}")
            datasets.ingest(path, "orders", How(append=append), by=by)

    def model(self, dataset: Version, algorithm: AlgorithmName, by: Principal, *, folds: int = 3) -> Version:
        """A model trained on the data, with its evidence, as the workflow `train` publishes one."""
        run = self.runs.create(
            "train",
            "tumor",
            inputs={"data": str(dataset.ref), "target": "diagnosis", "algorithm": algorithm, "params": {}, "seed": 7},
            by=by,
        )
        self.runs.start(run.id)
        task = Task(
            name="tumor",
            dataset=str(dataset.ref),
            target="diagnosis",
            algorithm=algorithm,
            positive="malignant",
            seed=7,
            folds=folds,
            fairness=("mean_radius",),
            contract=self.contract,
            params={"rounds": 40} if algorithm == "gradient-boosting" else {},
        )
        made = fit(task, self.frame, lambda share, stage: None)
        self.clock.advance(6.4)
        metrics = msgspec.to_builtins(made.metrics)
        version = self.registry.publish(
            "model",
            "tumor",
            members=dict(made.members),
            meta={
                "signature": msgspec.to_builtins(made.signature),
                "metrics": {**metrics, EVIL: 0.5},
                "algorithm": algorithm,
                "params": {},
                "target": "diagnosis",
                "classes": made.classes,
                "runtime": made.runtime,
                "parity": msgspec.to_builtins(made.parity),
                "importances": made.importances,
                "rows": len(made.oof.rows),
                "environment": made.environment,
                "note": EVIL,
            },
            parents=(str(dataset.ref),),
            run=run.id,
            by=by,
        )
        self.runs.finish(
            run.id,
            "succeeded",
            outputs={"asset": str(version.ref), "metrics": metrics, "environment": dict(made.environment), "cost": 1_250_000},
        )
        self.marks["trained"] = run.id
        return version

    def furnish(self) -> House:
        """Everything a page can show, and `EVIL` wherever somebody could write it."""
        admin, editor = self.person("ops", "admin"), self.person("ada", "editor")
        approver = self.person("grace", "approver")
        self.person("vera", "viewer")
        self.person("otto", "viewer", "sales")
        self.person("lou", "viewer", "lab")
        self.person("iris", "auditor", "audit")
        self.person("gone", "viewer")
        self.keys.revoke("gone", admin)
        self._people(admin)
        self.clock.advance(60)
        dataset = self.dataset(editor)
        self.orders(editor)
        self.registry.set_gate(Gate(asset="model/tumor", size_bytes=50_000_000), by=admin)
        promotions = Promotions(self.registry, self.evaluations, self.clock)
        for algorithm in ("logistic", "gradient-boosting"):
            self.clock.advance(600)
            version = self.model(dataset, algorithm, editor)  # type: ignore[arg-type]
            self.clock.advance(60)
            try:
                promotions.promote(version.ref, "production", by=approver)
            except Blocked:  # another build of the libraries may judge the second one inconclusive
                assert version.version == 2
        self._written(editor, approver)
        self._routes(admin)
        self.clock.advance(3600)
        asyncio.run(self._calls())
        self.ledger.set_budget(Budget(scope="org", cap=nano("25"), window="month"))
        self.ledger.set_budget(Budget(scope="team/risk", cap=nano("3"), window="day@Europe/Berlin", mode="soft"))
        self.ledger.set_budget(Budget(scope="team/risk", cap=600, unit="requests", window="rolling-60s", fair=True))
        self.ledger.set_budget(Budget(scope="endpoint/assistant", cap=32, unit="calls", window="total"))
        self._unfinished(editor)
        self._evaluated(dataset, editor)
        self._watched(editor)
        self._tried(admin)
        self._learned(admin)
        self._declared(editor)
        self.compiler.publish()
        return self

    def _written(self, editor: Principal, approver: Principal) -> None:
        prompt = self.registry.publish(
            "prompt",
            "explain",
            members={},
            meta={
                "template": [
                    {"role": "system", "content": "You explain a classifier's result to a clinician."},
                    {"role": "user", "content": f"The probability is {{{{ probability }}}}.\n{{{{ evidence }}}}\n{EVIL}"},
                ],
                "variables": {"probability": "number", "evidence": "string"},
            },
            by=editor,
        )
        self.registry.promote(prompt.ref, "production", by=approver)
        decision = self.registry.publish(
            "decision",
            "second-opinion",
            members={"source.py": DECISION},
            meta={
                "source": digest_of(DECISION),
                "entry": "second_opinion",
                "input": {"type": "object"},
                "output": {"type": "object", "description": EVIL},
            },
            parents=("model/tumor@production", "prompt/explain@production"),
            by=editor,
        )
        self.registry.promote(decision.ref, "production", by=approver)
        self._documents(editor)
        self._features(editor)
        self._piped(editor)

    def _features(self, editor: Principal) -> None:
        """A view that somebody pushes into, and a service over it; one customer's name is an attack."""
        told = {
            "entity": ["customer"],
            "time": "at",
            "ttl": "30d",
            "features": ["amount", "note", "spent_7d = sum(amount) over 7d"],
            "columns": {"customer": "string", "at": "datetime", "amount": "float", "note": "string"},
        }
        self.features.define_view("spending", told, by=editor)
        service = {"features": ["spending"], "inputs": {"wanted": "number"}, "computed": ["share = wanted / (spent_7d + 1)"]}
        self.features.define_service("lending", service, by=editor)
        moments = ((5_000_000, 2), (9_000_000, 9))
        rows = [{"customer": "ada", "at": iso(self.clock.now() - ago), "amount": amount, "note": EVIL} for ago, amount in moments]
        self.features.push("spending", rows, None, by=editor)

    def _documents(self, editor: Principal) -> None:
        """An index of three documents: one for the team, one of another's, one whose every word is an attack."""
        corpus = self.shelf.corpus("handbook")
        texts = {
            "biopsy.md": ("A biopsy is reviewed by two pathologists within three days.", ("team/risk",)),
            "prices.md": ("The price of a biopsy review is agreed with sales alone.", ("team/sales",)),
            f"{EVIL}.md": (f"A biopsy {EVIL}", ("everyone",)),
        }
        documents = [
            Document(
                name=name, title=name, digest=digest_of(text.encode()), readers=readers, embedder=hashed.NAME,
                chunks=(Chunk(text=text, start=0, end=len(text), page=1, heading=name),), vectors=hashed.embed(text),
            )
            for name, (text, readers) in texts.items()
        ]  # fmt: skip
        corpus.stage(Refresh(key="run_handbook", tick=corpus.tick(), documents=documents))
        corpus.settle("run_handbook")
        meta = {
            "content": digest_of(b"handbook"),
            "chunker": "recursive-v1:1200",
            "embedder": hashed.NAME,
            "store": "run_handbook",
        }
        guards = [{"detector": "email", "action": "mask"}, {"detector": "injection", "action": "block", "on": ["in"]}]
        self.registry.publish("policy", "strict", members={}, meta={"guards": guards}, by=editor)
        self.registry.publish("index", "handbook", members={}, meta={**meta, "documents": 3, "chunks": 3}, by=editor)

    def _routes(self, admin: Principal) -> None:
        self.table.put_provider(
            Provider(name="openai", protocol="openai", base_url="https://api.openai.com/v1", keys=("env:OPENAI_API_KEY",)),
            by=admin,
        )
        route = (Target(target="openai/gpt-4o-mini", weight=3), Target(target="openai/gpt-4.1-nano", priority=1))
        self.table.put_endpoint(Endpoint(name="assistant", kind="chat", route=route), by=admin)
        self.table.put_endpoint(
            Endpoint(name="local", kind="chat", route=(Target(target="openai/unheard-of"), Target(target="nowhere/m"))), by=admin
        )
        for scope, cap in (("team/risk", "0.002"), ("key/vera", "0.0005"), ("team/sales", "1")):
            self.ledger.set_budget(Budget(scope=scope, cap=nano(cap), window="day"))
        with self.sql.write() as conn:
            self.audit.append(conn, actor="ops", action="budget.set", subject="org", team="risk", detail={"note": EVIL})

    def _piped(self, by: Principal) -> None:
        """A pipeline with an attack wherever somebody writes something, a Run of it with steps of every state, and a trigger."""
        source = f"# {EVIL}\n".encode()
        git = {"commit": "0" * 40, "dirty": True, "remote": EVIL}
        parameters = {"source": {"type": "string", "default": EVIL}}
        meta = {"source": digest_of(source), "entry": "nightly", "steps": {"clean": digest_of(b"")}, "parameters": parameters}
        version = self.registry.publish(
            "pipeline", "nightly", members={"source.py": source}, meta={**meta, "git": git}, parents=(), by=by
        )
        given = {"pipeline": str(version.ref), "given": {"source": EVIL}, "because": [EVIL]}
        run = self.runs.create("pipeline", "nightly", inputs=given, by=by)
        self.runs.start(run.id)
        states = ("done", "cached", "failed", "running")
        for place, state in enumerate(states):
            now = self.clock.now()
            self.steps.keep(
                Step(
                    run=run.id, position=place, team="risk", pipeline="nightly", name=f"{state} {EVIL}", key=state, state=state,
                    parts=Parts("sha256:0", {"rows": "sha256:0"}, "python"), after=(place - 1,) if place else (),
                    why="its code changed", source=run.id if state == "cached" else "", attempts=place + 1,
                    error=EVIL if state == "failed" else "", log=EVIL, started_at=now,
                    ended_at=None if state == "running" else now + 1_000_000,
                )
            )  # fmt: skip
        self.clock.advance(5)
        self.runs.finish(run.id, "failed", reason=EVIL)
        self.runs.create("train", EVIL, inputs={}, by=replace(by, run=run.id))
        trigger = self.triggering.add("nightly", on="every", what="3600", given={}, by=by)
        standing = self.triggers.find(trigger.id, ALL)[1]
        self.triggers.move(trigger.id, standing, replace(standing, causes=(EVIL,), note=EVIL))
        self.marks["piped"] = run.id

    def _unfinished(self, by: Principal) -> None:
        running = self.runs.create("train", EVIL, inputs={"data": "dataset/biopsies@1", "note": EVIL}, by=by)
        self.runs.start(running.id)
        self.runs.progress(running.id, 0.42, f"fold 3 of 5 {EVIL}")
        failed = self.runs.create("train", "tumor", inputs={"data": "dataset/biopsies@1", "target": "diagnoses"}, by=by)
        self.runs.start(failed.id)
        self.clock.advance(2)
        self.runs.finish(failed.id, "failed", reason=f"There is no column 'diagnoses'. {EVIL}")
        self.marks |= {"running": running.id, "failed": failed.id}

    def _evaluated(self, dataset: Version, by: Principal) -> None:
        """Two versions of the prompt asked the same, the second of them worse."""
        scorers = [{"scorer": "contains"}, {"scorer": "regex", "options": {"pattern": "the.*|<"}}]
        meta = {"data": str(dataset.ref), "endpoint": "assistant", "scorers": scorers, "expected": "diagnosis", "repeats": 2}
        meta["variables"] = {"probability": "mean_radius", "evidence": "diagnosis"}
        self.registry.publish("suite", "explain", members={}, meta=meta, parents=(str(dataset.ref),), by=by)
        pins = ("model/tumor@1", "suite/explain@1")
        self.registry.publish("release", "opinion", members={}, meta={"pins": list(pins)}, parents=pins, by=by)
        told = self.registry.find(Ref.parse("prompt/explain@1"), ALL).meta
        self.registry.publish("prompt", "explain", members={}, meta={**told, "model": "assistant"}, by=by)
        rows = reader([{"mean_radius": 10.0 + n, "diagnosis": "benign" if n % 3 else "malignant"} for n in range(40)])
        for version, words in ((1, "It is malignant, or benign."), (2, f"It is benign. {EVIL}")):
            stores = Stores(
                registry=self.registry,
                evaluations=self.evaluations,
                subjects=self.subjects,
                traces=self.traces,
                calls=Fake(lambda last, body, words=words: words),  # type: ignore[misc]
                records=lambda endpoint: True,
                now=self.clock.now,
                lake=self.home / "lake",
            )
            jobs = InlineJobs(self.runs, self.clock)
            jobs.register("evaluate", make_evaluate(stores, rows=rows))
            inputs = {"prompt": f"prompt/explain@{version}", "suite": "suite/explain@1", "by": msgspec.to_builtins(by)}
            run = self.runs.create("evaluate", "explain", inputs=inputs, by=by)
            jobs.start("evaluate", run.id, inputs)
            self.marks["evaluated"] = run.id

    def _declared(self, by: Principal) -> None:
        """A repository that was applied twice; the second apply was refused in the middle."""
        things = {"prompt/explain": f"prompts/explain.txt {EVIL}", "alias/prompt/explain@dev": "project.toml:9"}
        things |= {"endpoint/assistant": "project.toml:21", "budget/team/risk@day": "project.toml:30"}
        steps = [Deed(thing="prompt/explain", action="new version"), Deed(thing="alias/prompt/explain@dev", action="promote")]
        for commit, states in (("c0ffee", ("done", "done")), (EVIL[:40], ("done", "failed"))):
            begun = self.projects.begin("insurance", things, steps, plan=f"sha256:{'7' * 64}", stage="dev", commit=commit, by=by)
            ended = [replace(step, state=state, note=EVIL) for step, state in zip(steps, states, strict=True)]  # type: ignore[arg-type]
            self.projects.end("insurance", begun.id, "failed" if "failed" in states else "done", ended, by=by)

    def _watched(self, by: Principal) -> None:
        for name, url in (("oncall", "https://hooks.example.org/canary-token"), ("lost", f"env:{EVIL}")):
            self.alerts.put(Alert(name=name, kind="slack", url=url, on=("monitor.alarm", "monitor.add")), by=LOCAL)
        self.monitors.add(Monitor(name="tumor-drift", team="risk", endpoint="tumor", every=3600, on_alarm="retrain"), by=by)
        self.monitors.add(Monitor(name="new", team="risk", endpoint="assistant", question="scores", span=86_400), by=by)
        effect = Estimate(value=0.31, low=0.18, high=0.44, n=240)
        bins = Histogram(labels=("≤ 1", EVIL, "> 2", "missing"), reference=(50, 50, 0, 2), now=(10, 200, 30, 0))
        moved = Finding(
            subject=EVIL, what="values", verdict="stable", n=240, reference_n=569, measure="psi", threshold=0.1, effect=effect,
            p=1e-9, histogram=bins, note=EVIL,
        )  # fmt: skip
        few = Finding(
            subject="contract", what="schema", verdict="not-enough-data", n=3, reference_n=0, measure="rate", threshold=0.05
        )
        for number, drifted in enumerate((False, True)):
            self.clock.advance(3600)
            now = self.clock.now()
            report = Report(
                id=f"rpt_{number}", monitor="tumor-drift", team="risk", at=now, trigger="schedule",
                verdict="drifted" if drifted else "not-enough-data", alarm=drifted, n=240, since=now - 3_600_000_000, until=now,
                level=0.001, reference="dataset/biopsies@1, which model/tumor@1 was trained on", coverage={"read": 240},
                findings=control([moved, few], level=0.001) if drifted else (), note=EVIL,
                run=self.marks["trained"] if drifted else None,
            )  # fmt: skip
            self.monitors.keep(report, Standing(since=now, checked_at=now, alarmed=drifted), None)
        for number, state in enumerate(("open", "declined")):
            self.requests.open(
                Request(
                    id=f"req_{number}", team="risk", subject="model/tumor@1", alias="production", reason=f"It moved. {EVIL}",
                    monitor="tumor-drift", report="rpt_1", run=self.marks["trained"], passed=number == 0,
                )
            )  # fmt: skip
            if state == "declined":
                self.requests.decline(f"req_{number}", by=replace(by, role="approver"), note=EVIL)

        Courier(self.alerts, self.clock, start=lambda work: work()).step()

    # --- calls, each through the door's own state machine and journal

    async def _calls(self) -> None:
        self.compiler.publish()
        journal = Journal(self.home / "journal")
        purse = Purse(ledger=Ledger(self.home / "ledger.db", self.clock), boot=journal.boot, clock=self.clock)
        self.door = Door(
            replica=Replica(self.home / "replica.db", self.vault.derive(PEPPER), self.clock),
            purse=purse,
            journal=journal,
            vault=self.vault,
            clock=self.clock,
            metrics=Metrics("0"),
        )
        try:
            for number in range(4):
                await self._chat(f"plain{number}")
            await self._decide()
            for number in range(32):
                self._heard(number)
            await self._chat("erased", subject="patient-7")
            self._refused("nobody", None, "assistant")
            self._refused("unknown", "vera", EVIL)
            await self._failing()
            await self._chat("sales", token="otto")
            await self._unpriced()
        finally:
            purse.close()
            journal.close()
        while self.mover.step():
            pass
        self._reviewed()
        assert self.subjects.erase("patient-7", now=self.clock.now())

    def ask_anew(self, *marks: str) -> list[Review]:
        """Puts these calls before a person as if nobody had ever looked at them; no other of `assistant` waits."""
        these = reviews.c.trace.in_([self.marks[mark] for mark in marks])
        waiting = and_(reviews.c.endpoint == "assistant", reviews.c.state == "open")
        with self.sql.write() as conn:
            conn.execute(delete(reviews).where(or_(these, waiting)))
        by = Principal(id="key_ada", name="ada", team="risk", role="editor")
        return [self.queue.add(self.marks[mark], by=by) for mark in marks]

    def _reviewed(self) -> None:
        """One review that waits, one that was done, and one about somebody who is erased afterwards."""
        editor = Principal(id="key_ada", name="ada", team="risk", role="editor")
        self.queue.step(self.traces.days())
        (waiting,) = self.queue.reviews.list(ALL)
        self.marks["review"] = waiting.id
        for mark in ("plain0", "erased"):
            review = self.queue.add(self.marks[mark], by=editor)
            self.queue.decide(review.id, Said(opinion="wrong", correction=f"It is 43. {EVIL}", note=EVIL), editor)
            self.marks["reviewed" if mark == "plain0" else "reviewed-erased"] = review.id

    async def _chat(self, mark: str, *, subject: str | None = None, token: str = "vera", parent: Call | None = None) -> None:
        origin = {"client.address": "127.0.0.1", "url.path": "/v1/chat/completions"}
        call = (
            open_call(self.door, "chat", attributes=origin)
            if parent is None
            else open_nested(parent, "chat", {"prompt": "prompt/explain@1"})
        )
        call.subject = call.subject or subject
        if parent is None:
            call.identify(self.tokens[token])
        call.request = msgspec.json.encode(CHAT)
        call.enter("assistant")
        await admitted(call)
        self.clock.advance(0.0004)
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"}
        call.begin("openai/gpt-4o-mini", "chat gpt-4o-mini", attributes)
        self.clock.advance(0.180)
        call.first_byte()
        self.clock.advance(0.420)
        call.keep(msgspec.json.encode({"choices": [{"index": 0, "message": {"role": "assistant", "content": SAID}}]}))
        call.end("ok", Usage(input=92, output=31, source="provider"))
        call.attributes["guards"] = [{"detector": "email", "on": "in", "action": "mask", "count": 2}, EVIL]
        self.clock.advance(0.0003)
        call.close("ok", 200)
        self.marks[mark] = call.trace
        self.clock.advance(11 if parent is None else 0)

    async def _decide(self) -> None:
        call = open_call(self.door, "decide", "second-opinion", attributes={"client.address": "127.0.0.1"})
        call.identify(self.tokens["vera"])
        call.request = b'{"record": "b0007", "measurements": {"worst_area": 1032}}'
        self._serve(call, "second-opinion", "decide")
        self.clock.advance(0.002)
        nested = open_nested(call, "predict", {})
        nested.request = b'{"inputs": []}'
        self._serve(nested, "tumor", "infer")
        self.clock.advance(0.003)
        nested.keep(b'{"outputs": [{"name": "probability", "data": [0.62]}]}')
        nested.end("ok", NOTHING_SENT)
        nested.close("ok", 200)
        self.clock.advance(0.004)
        await self._chat("nested", parent=call)
        self.clock.advance(0.005)
        call.attributes["review"] = 2
        call.notes = {"review": ["The model is uncertain (0.620).", EVIL]}
        call.keep(b'{"finding": "uncertain", "for_a_person": true}')
        call.end("ok", NOTHING_SENT)
        call.close("ok", 200)
        self.marks["decide"] = call.trace
        self.clock.advance(30)

    def _heard(self, number: int) -> None:
        """A prediction, and what a shadow said of the same row."""
        call = open_call(self.door, "predict", "tumor")
        call.identify(self.tokens["vera"])
        self.heard.append(call.trace)
        self._serve(call, "tumor", "infer")
        shadow = open_nested(call, "predict", {"tandem.route.role": "shadow"})
        self._serve(shadow, "tumor", "infer")
        for each, label in ((call, "benign"), (shadow, "malignant" if number % 3 else "benign")):
            self.clock.advance(0.002)
            said = [{"name": "probability", "data": [0.4 + number / 90]}, {"name": "label", "data": [label]}]
            each.keep(msgspec.json.encode({"outputs": said}))
            each.end("ok", NOTHING_SENT)
            each.close("ok", 200)

    def _tried(self, admin: Principal) -> None:
        """A canary that was taken back, and labels of what a shadow heard."""
        known = [Outcome(trace=trace, label=("benign",)) for trace in self.heard]
        self.outcomes.add("tumor", known, by=admin)
        told = {"endpoint": "tumor", "target": "model/tumor@2", "share": 0.1, "seconds": 3600.0}
        run = self.runs.create("canary", "tumor", inputs=told, by=admin)
        self.runs.start(run.id)
        more = Estimate(value=0.12, low=0.031, high=0.24, n=180)
        counted = {"canary": 0.14, "champion": 0.02, "canary_calls": 30, "champion_calls": 150}
        found = Harm(question="slow", more=more, margin=0.03, harm=True, detail=f"above 12 ms {EVIL}", **counted)
        self.runs.finish(
            run.id,
            "succeeded",
            outputs={"outcome": "rolled-back", "findings": [found.words], "evidence": [msgspec.to_builtins(found)]},
        )

    def _learned(self, admin: Principal) -> None:
        """Steps of learning online, and one that waits for labels."""
        plan = Plan(endpoint="tumor", model="tumor", by=EVIL)
        outcomes = ("started", "waits", "promoted", "")
        for number, outcome in enumerate(outcomes, 1):
            state = State(number=number, first="model/tumor@1", champion="model/tumor@1")
            inputs = msgspec.to_builtins({"plan": plan, "state": state})
            run = self.runs.create("online", "tumor", inputs=inputs, by=admin)
            self.runs.start(run.id)
            self.clock.advance(1)
            if not outcome:
                self.runs.progress(run.id, 0.2, "40 of 200 labels have come")
                continue
            losses = {"champion": 0.21, "first": 0.2 + number / 100, "learner": 0.17, "candidate": 0.1625}
            step = {"number": number, "outcome": outcome, "reason": f"Better {EVIL}.", "labels": 200, "losses": losses}
            self.runs.finish(run.id, "succeeded", outputs={**step, "champion": "model/tumor@2", "version": None, "request": None})

    def _serve(self, call: Call, address: str, verb: str) -> None:
        """What `wires.served` does with a call before its target answers."""
        endpoint = call.enter(address)
        served = call.snapshot.served[endpoint.route[0].target]
        call.attributes["versions"] = {served.ref: {"digest": served.digest, **served.attributes}}
        call.begin(served.ref, f"{verb} {endpoint.name}", {"tandem.asset": served.ref})

    def _refused(self, mark: str, name: str | None, address: str) -> None:
        call = open_call(self.door, "chat", address, attributes={"user.agent": EVIL})
        try:
            call.identify(None if name is None else self.tokens[name])
            call.enter(address)
        except TandemError as error:
            call.close(error.code, error.status, error)
        self.marks[mark] = call.trace
        self.clock.advance(5)

    async def _unpriced(self) -> None:
        """A call under no cap, to a model whose price nobody knows."""
        call = open_call(self.door, "chat")
        call.identify(self.tokens["lou"])
        call.enter("local")
        call.begin("openai/unheard-of", "chat unheard-of", {})
        self.clock.advance(0.3)
        call.end("ok", Usage(input=10, output=3, source="provider"))
        call.close("ok", 200)
        self.marks["unpriced"] = call.trace

    async def _failing(self) -> None:
        call = open_call(self.door, "chat")
        call.identify(self.tokens["vera"])
        call.enter("assistant")
        error = Upstream(f"The provider answered {EVIL}", hint=f"Ask it why. {EVIL}", field=EVIL)
        call.attributes["tandem.route"] = [
            {"target": "openai/gpt-4o-mini", "place": 1, "expected": "$0.00012"},
            {"target": "openai/gpt-4.1-nano", "place": 2, "rests": "rate_limited"},
            {"target": "openai/gpt-4o", "dropped": f"its condition on metadata.{EVIL} is not met"},
        ]
        for target in ("openai/gpt-4o-mini", "openai/gpt-4.1-nano"):
            await admitted(call)
            call.begin(target, f"chat {target}", {"note": EVIL})
            self.clock.advance(0.2)
            call.end("upstream", UNKNOWN, error.message)
        call.close("upstream", 502, error)
        self.marks["failing"] = call.trace
        self.clock.advance(9)


def every_page(house: House) -> Mapping[str, str]:
    """Name → address of every kind of page, for somebody who may see all."""
    newest = house.registry.find(Ref.parse("model/tumor"), ALL).version
    return {
        "home": "/",
        "endpoints": "/endpoints",
        "endpoint": "/endpoints/tumor",
        "endpoint-chat": "/endpoints/assistant",
        "assets": "/assets",
        "asset": "/assets/model/tumor",
        "model": f"/assets/model/tumor/{newest}",
        "model-card": f"/assets/model/tumor/{newest}/card",
        "model-production": "/assets/model/tumor/production",
        "dataset": "/assets/dataset/biopsies/1",
        "dataset-added": "/assets/dataset/orders/2",
        "dataset-profile": "/assets/dataset/orders/2/profile",
        "dataset-rows": "/assets/dataset/orders/2/rows?where=amount+%3E+3",
        "dataset-apart": "/assets/dataset/orders/2/quarantine",
        "dataset-diff": "/assets/dataset/orders/1/diff/2",
        "prompt": "/assets/prompt/explain/1",
        "prompt-evaluated": "/assets/prompt/explain/2",
        "suite": "/assets/suite/explain/1",
        "release": "/assets/release/opinion/1",
        "run-evaluated": f"/runs/{house.marks['evaluated']}",
        "decision": "/assets/decision/second-opinion/1",
        "policy": "/assets/policy/strict/1",
        "index": "/assets/index/handbook/1?q=who+reviews+a+biopsy",
        "view": "/assets/view/spending/1",
        "service": "/assets/service/lending/1?q=customer%3Dada+wanted%3D9",
        "traces": "/traces",
        "trace-decide": f"/traces/{house.marks['decide']}?content=1",
        "trace-chat": f"/traces/{house.marks['plain0']}?content=1",
        "trace-erased": f"/traces/{house.marks['erased']}?content=1",
        "trace-failing": f"/traces/{house.marks['failing']}",
        "trace-unknown": f"/traces/{house.marks['unknown']}",
        "runs": "/runs",
        "run": f"/runs/{house.marks['trained']}",
        "run-running": f"/runs/{house.marks['running']}",
        "pipeline": "/pipelines/nightly",
        "pipeline-version": "/assets/pipeline/nightly/1",
        "run-piped": f"/runs/{house.marks['piped']}",
        "run-failed": f"/runs/{house.marks['failed']}",
        "monitors": "/monitors",
        "monitor": "/monitors/tumor-drift",
        "monitor-earlier": "/monitors/tumor-drift?report=rpt_0",
        "monitor-new": "/monitors/new",
        "projects": "/projects",
        "project": "/projects/insurance",
        "requests": "/requests",
        "reviews": "/reviews",
        "review": f"/reviews/{house.marks['review']}",
        "review-done": f"/reviews/{house.marks['reviewed']}?endpoint=assistant&last={house.marks['review']}",
        "alerts": "/alerts",
        "people": "/people",
        "keys": "/keys",
        "budgets": "/budgets",
        "costs": "/costs",
        "audit": "/audit",
        "usage": "/audit/usage",
        "missing": "/runs/run_nothing",
    }
