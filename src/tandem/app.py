"""The composition root: the only file that knows every adapter. It builds, it does not decide."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tandem.core.clock import SystemClock
from tandem.core.errors import TandemError, Unavailable
from tandem.core.money import nano
from tandem.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI


Role = Literal["all", "serve", "work"]
"""Of a control process: everything, all but the work of Runs, or that work alone."""
CACHE = "cache.db"
AFTER_JOBS = frozenset({"monitors", "files", "batches"})
"""Rounds that wait for the Runs: a check may begin one, and which have ended is known only then."""
BOARD = "targets"
"""Folder of a home in which door workers tell of targets that rest."""


def control_socket(home: Path) -> Path:
    """Where the control process of a home listens."""
    return home / "control.sock"


def door(settings: Settings, worker: int, listening: int | None, ready: Callable[[], None]) -> None:
    """Runs one door worker until it is told to end. Imports nothing heavy."""
    import uvloop

    from tandem.data.corpus.shelf import Shelf
    from tandem.decisions.answer import Answers
    from tandem.decisions.target import Decisions
    from tandem.gateway.cache import Cache
    from tandem.gateway.call import Door
    from tandem.gateway.door import Handler
    from tandem.gateway.metrics import Metrics
    from tandem.gateway.routing.board import Board
    from tandem.gateway.snapshot import Replica
    from tandem.gateway.transport import Pool
    from tandem.gateway.upstream import Hosts
    from tandem.gateway.wires.served import Answering
    from tandem.gateway.worker import Bind, serve, take_files
    from tandem.governance import lend
    from tandem.governance.admit import Purse
    from tandem.governance.digest import PEPPER
    from tandem.governance.ledger import Ledger
    from tandem.governance.shared import SharedBooks
    from tandem.observability.journal import Journal
    from tandem.serving.door import Predictions
    from tandem.store.vault import Vault

    take_files()
    home, clock, options = settings.home, SystemClock(), settings.server
    vault = Vault.load(settings.shared, os.environ)
    journal = Journal(home / "journal")
    ledger, redis = Ledger(settings.database() or home / "ledger.db", clock), settings.counters()
    held = Door(
        replica=Replica(home / "replica.db", vault.derive(PEPPER), clock, vault.derive(lend.PURPOSE)),
        purse=Purse(ledger=SharedBooks(ledger, redis, clock) if redis else ledger, boot=journal.boot, clock=clock),
        journal=journal,
        vault=vault,
        clock=clock,
        metrics=Metrics(str(worker)),
    )
    bind = Bind(
        host=options.host,
        port=options.port,
        socket=listening,
        cert=options.cert,
        key=options.key,
        trusted_proxies=frozenset(options.trusted_proxies),
        drain_seconds=options.drain_seconds,
    )

    async def main() -> None:
        decide = Decisions(workers=settings.decisions.workers, seconds=settings.decisions.deadline_seconds)
        documents = Answers(Shelf(settings.shared / "search"))
        hosts = Hosts(vault, Cache(home / CACHE, vault, clock))
        answering = Answering(hosts, {"predict": Predictions(), "decide": decide, "chat": documents})
        handler = Handler(
            door=held,
            answering=answering,
            control=Pool(f"unix:{control_socket(home)}"),
            board=Board(home / BOARD, str(worker)),
        )
        await serve(handler, bind, ready=ready, fault=lambda error: log("door", error))

    uvloop.run(main())


@dataclass(frozen=True, slots=True)
class App:
    """The control process, built: its application and what runs beside it."""

    web: FastAPI

    background: dict[str, Callable[[], object]]
    """Thread name → work that goes on until `close`."""
    close: Callable[[], None]
    admin: str | None
    """The admin key, on the first start only."""


def app(settings: Settings, role: Role = "all") -> App:
    """Builds the control process of a home: stores, law, registry, jobs, routes."""
    from tandem.api import (
        alerts,
        approvals,
        assets,
        batches,
        budgets,
        costs,
        datasets,
        doctor,
        endpoints,
        files,
        guards,
        hot,
        indexes,
        makers,
        monitors,
        persons,
        policy,
        prices,
        principals,
        reviews,
        runs,
        traces,
        usage,
    )
    from tandem.api import (
        audit as trail,
    )
    from tandem.api import machines as shared_by
    from tandem.api import subjects as erased
    from tandem.api import vault as keeping
    from tandem.api.server import Face, build
    from tandem.batches.batches import KIND as BATCH
    from tandem.batches.batches import Batches
    from tandem.batches.files import UPKEEP_SECONDS, Files
    from tandem.batches.repo import BatchRows, FileRows
    from tandem.batches.tasks import BATCHES_AT_ONCE, make_batch
    from tandem.console import pages
    from tandem.data.corpus.indexes import Indexes
    from tandem.data.corpus.shelf import Shelf
    from tandem.data.corpus.tasks import make_index
    from tandem.data.repo import Contracts
    from tandem.data.tasks import Datasets
    from tandem.evaluation.approved import PROMOTE, ROLLBACK, Moves, Promoting, RollingBack
    from tandem.evaluation.look import Look
    from tandem.evaluation.promote import Promotions
    from tandem.evaluation.replay import Replay
    from tandem.evaluation.repo import Evaluations
    from tandem.evaluation.reviews.export import Exports
    from tandem.evaluation.reviews.queue import Queue
    from tandem.evaluation.reviews.repo import Reviews
    from tandem.evaluation.suite import KIND as EVALUATE
    from tandem.evaluation.suite import Stores, make_evaluate
    from tandem.gateway import approved as endpoints_approved
    from tandem.gateway.cache import Cache
    from tandem.gateway.compile import Compiler, Sources
    from tandem.gateway.declare import declare, declare_prices
    from tandem.gateway.inside import Inside
    from tandem.gateway.pricing.meters import Meters
    from tandem.gateway.pricing.repo import Prices, Throughputs
    from tandem.gateway.repo import Routes
    from tandem.gateway.routing import board
    from tandem.governance import lend
    from tandem.governance.alerts.alerts import Alerts
    from tandem.governance.alerts.send import Courier
    from tandem.governance.approvals import budgets as cap_deeds
    from tandem.governance.approvals import keys as key_deeds
    from tandem.governance.approvals import rules as rule_deeds
    from tandem.governance.approvals.act import Act
    from tandem.governance.approvals.approvals import Approvals
    from tandem.governance.approvals.requests import Requests
    from tandem.governance.audit import Audit
    from tandem.governance.bills.correct import Corrections
    from tandem.governance.bills.forecast import Forecasts
    from tandem.governance.bills.reconcile import Bills
    from tandem.governance.bills.reprice import Repricing
    from tandem.governance.bills.savings import Audits
    from tandem.governance.caps import Caps
    from tandem.governance.erase import Elsewhere, Erasures
    from tandem.governance.keys import Keys
    from tandem.governance.ledger import Ledger
    from tandem.governance.machines import Machines
    from tandem.governance.people.invitations import Invitations
    from tandem.governance.people.oidc import Oidc
    from tandem.governance.people.passwords import Passwords
    from tandem.governance.people.persons import Persons
    from tandem.governance.people.vouched import Newcomers
    from tandem.governance.rotation import Resealing, Rotation, Sealing, SubjectKeys
    from tandem.governance.sessions import Sessions
    from tandem.jobs import staging
    from tandem.jobs.repo import Runs
    from tandem.jobs.rounds import Rounds, always
    from tandem.jobs.workflow import Jobs
    from tandem.monitoring.repo import Monitors
    from tandem.monitoring.retrain import Retraining, make_retrain
    from tandem.monitoring.tell import teller
    from tandem.monitoring.watch import Watch
    from tandem.observability.content import Subjects
    from tandem.observability.move import Mover, Rule, between_passes
    from tandem.observability.traces import Traces
    from tandem.observability.usage import Usages
    from tandem.registry.registry import Registry
    from tandem.store.blobs import Blobs
    from tandem.store.duty import Duty
    from tandem.store.owner import shared_vault
    from tandem.store.sql import Sql, migrate
    from tandem.store.vault import Vault
    from tandem.training.tasks import make_train

    def told(error: BaseException) -> None:
        log("control", error)

    home, shared, clock, launched = settings.home, settings.shared, SystemClock(), threading.Event()
    server = settings.database()
    vault = Vault.load(home, os.environ) if server is None else shared_vault(server, shared, os.environ)
    url = f"sqlite:///{home / 'control.db'}" if server is None else server.reveal()
    migrate(url)
    sql, blobs = Sql(url), Blobs(shared / "blobs")
    duty = None if server is None else Duty(server, clock)
    mine = always if duty is None else duty.mine
    audit = Audit(sql, vault, clock, shared / "audit.head")
    keys, table, past = Keys(sql, vault, clock, audit), Routes(sql, clock, audit), Runs(sql, clock)
    registry = Registry(sql, blobs, audit, clock)
    ledger, subjects = Ledger(server or home / "ledger.db", clock), Subjects(server or home / "subjects.db", vault)
    recorded = Traces(server or home / "traces")
    usages = Usages(recorded)
    recorded.adopt(subjects)
    mover = Mover(
        home / "journal",
        traces=recorded,
        subjects=subjects,
        books=ledger,
        vault=vault,
        clock=clock,
        retention_days=settings.traces.retention_days,
        rules=[Rule(days=rule.days, kind=rule.kind, team=rule.team) for rule in settings.retention.values()],
        machine="" if server is None else machine(home),
    )
    machines = Machines(ledger, mover, sql, audit)
    remembered = Cache(home / CACHE, vault, clock)
    erasures = Erasures(
        home=home,
        sql=sql,
        audit=audit,
        subjects=subjects,
        mover=mover,
        traces=recorded,
        vault=vault,
        clock=clock,
        forget=remembered.erase,
        shared=None if server is None else shared,
    )
    elsewhere = Elsewhere(subjects, mover, remembered.forget, clock)
    admin = keys.first(os.environ.get("TANDEM_ADMIN_KEY"))
    declare(table, vault, settings.providers, settings.endpoints)
    priced, seen = Prices(sql, clock, audit), Throughputs(sql)
    mispriced = declare_prices(priced, settings.prices.file)
    if mispriced:
        print(f"tandem control: {mispriced} The prices of before go on holding.", file=sys.stderr, flush=True)
    sources = Sources(
        registry=registry,
        routes=table,
        prices=priced,
        throughputs=seen,
        keys=keys,
        ledger=ledger,
        blobs=blobs,
        vault=vault,
        clock=clock,
    )
    compiler = Compiler(
        sources,
        replica=home / "replica.db",
        served=home / "served",
        max_age=settings.server.max_snapshot_age,
        hour_price=nano(settings.server.hour_price or "0"),
        environment=os.environ,
    )
    compiler.publish()
    corrections = Corrections(ledger, recorded, clock, lambda: between_passes(home / "journal"))
    bills = Bills(
        corrections=corrections,
        traces=recorded,
        audit=audit,
        sql=sql,
        clock=clock,
        known=lambda: compiler.book().price,
        work=home / "work" / "bills",
    )
    repricing = Repricing(
        corrections=corrections, traces=recorded, audit=audit, sql=sql, clock=clock, known=lambda: compiler.book().price
    )
    forecasts = Forecasts(ledger=ledger, audit=audit, sql=sql, clock=clock)
    audits = Audits(traces=recorded, subjects=subjects, clock=clock, known=lambda: compiler.book().price, routes=compiler.routes)
    meters = Meters(table, seen, recorded, clock)
    jobs = Jobs(
        server or home / "jobs.db",
        executor="control" if server is None else machine(home),
        runs=past,
        clock=clock,
        performs=role != "serve",
    )
    train = make_train(registry, clock, lake=shared / "lake", work=shared / "work")
    jobs.register("train", train)
    shelf = Shelf(shared / "search")
    loaded = Datasets(registry, past, Contracts(sql, audit, clock), lake=shared / "lake", work=shared / "work")
    inside, evaluations = Inside(settings.server.inside, vault.derive(lend.PURPOSE), clock), Evaluations(sql, clock)
    evaluating = Stores(
        registry=registry,
        evaluations=evaluations,
        subjects=subjects,
        traces=recorded,
        calls=inside,
        records=compiler.records,
        now=clock.now,
        lake=shared / "lake",
    )
    jobs.register(EVALUATE, make_evaluate(evaluating))
    looked = Look(registry, evaluations, subjects)
    jobs.register("index", make_index(registry, shelf, inside, work=shared / "work"))
    batched = BatchRows(sql)
    kept = Files(folder=shared / "files", rows=FileRows(sql), batches=batched, subjects=subjects, clock=clock)
    asked = Batches(rows=batched, files=kept, runs=past, jobs=jobs, clock=clock)
    jobs.register(BATCH, make_batch(asked, inside, keys.holds), at_once=BATCHES_AT_ONCE)
    searched = Indexes(registry, shelf, inside, sql, audit)
    promotions = Promotions(registry, evaluations, clock, Replay(registry, lake=shared / "lake"))
    rules = Approvals(sql, audit, clock)
    rules.declare(settings.approvals)
    ruling, guarding = rule_deeds.Changes(rules), endpoints_approved.Guarding(table)
    acts: dict[str, Act] = {
        PROMOTE: Promoting(registry, promotions),
        ROLLBACK: RollingBack(registry, promotions),
        **dict.fromkeys(cap_deeds.DEEDS, cap_deeds.Raising(ledger, audit)),
        key_deeds.CREATE: key_deeds.Admissions(keys),
        rule_deeds.SET: ruling,
        rule_deeds.DROP: ruling,
        endpoints_approved.PUT: guarding,
        endpoints_approved.DELETE: guarding,
    }
    requests = Requests(sql, audit, clock, rules, acts)
    requests.sweep()  # what was approved before the last process died is done before anything else is asked
    moves, raised = Moves(registry, promotions, requests), cap_deeds.Raises(requests, ledger, keys)
    jobs.register("retrain", make_retrain(train, promotions, moves))
    ruled, passwords, people = rule_deeds.Rules(sql, rules, requests), Passwords(), Persons(sql, clock, audit, keys.trim)
    sessions = Sessions(sql, keys, vault, clock, audit, passwords, settings.sign_in.lasting)
    invitations = Invitations(sql, vault, clock, audit, people, passwords)
    queue = Queue(
        Reviews(sql, audit, clock),
        traces=recorded,
        subjects=subjects,
        clock=clock,
        retention_days=settings.traces.retention_days,
    )
    caps = Caps(ledger, sql, audit)
    watched = Monitors(sql, audit, clock)
    told_of = Alerts(sql, audit, vault, clock, address=settings.server.console, tell=teller(watched, requests))
    told_of.declare(settings.alerts)
    courier = Courier(told_of, clock, fault=told)
    sealed: dict[str, Sealing] = {
        "providers": Resealing(table, vault),
        "alerts": Resealing(told_of, vault),
        "subjects": SubjectKeys(subjects),
    }
    rotation = Rotation(shared, vault, sql, audit, clock, sealed)
    watch = Watch(
        watched,
        Retraining(registry, past, jobs),
        traces=recorded,
        subjects=subjects,
        current=compiler.current,
        clock=clock,
        lake=str(shared / "lake"),
        sample=queue.sample,
    )
    shown = pages.Sources(
        registry=registry,
        indexes=searched,
        runs=past,
        look=looked,
        traces=recorded,
        subjects=subjects,
        erasures=erasures,
        ledger=ledger,
        machines=machines,
        bills=bills,
        forecasts=forecasts,
        audit=audit,
        sql=sql,
        keys=keys,
        persons=people,
        invitations=invitations,
        oidc=Oidc(settings.oidc, vault, clock, settings.server.console),
        newcomers=Newcomers(sql, vault, clock, audit, people),
        sessions=sessions,
        address=settings.server.console,
        current=compiler.current,
        monitors=watch.monitors,
        requests=requests,
        rules=ruled,
        queue=queue,
        alerts=told_of,
        price=compiler.price,
        usages=usages,
        rotation=rotation,
        resting=lambda: board.read(home / BOARD, clock.now()),
        clock=clock,
    )
    face = Face(
        sessions=sessions,
        routers=[
            principals.routes(keys, requests),
            persons.routes(people, invitations, sessions, keys, settings.server.console),
            budgets.routes(caps, ledger, clock, raised),
            policy.routes(registry, audit),
            approvals.routes(ruled, requests),
            trail.routes(audit, sql, clock),
            assets.routes(registry, promotions, moves),
            makers.routes(registry),
            guards.routes(registry),
            datasets.routes(registry, loaded, shared / "work"),
            indexes.routes(registry, past, jobs, searched, shared / "work"),
            runs.routes(past, jobs, registry, looked),
            endpoints.routes(table, vault, compiler.current, settings.server.address, clock, home / BOARD, requests),
            traces.routes(recorded, subjects, compiler.price),
            usage.routes(usages, audit, sql),
            keeping.routes(rotation),
            erased.routes(erasures),
            monitors.routes(watch),
            reviews.routes(queue, Exports(queue, registry, loaded, shared / "work")),
            alerts.routes(told_of),
            prices.routes(priced, compiler.book, compiler.current, clock),
            costs.routes(
                costs.Sources(
                    bills=bills,
                    repricing=repricing,
                    forecasts=forecasts,
                    audits=audits,
                    ledger=ledger,
                    traces=recorded,
                    table=table,
                    clock=clock,
                    staging=home / "work",
                )
            ),
            doctor.routes(home, compiler, table, audit, ledger, told_of, machines, mispriced),
            shared_by.routes(machines),
        ],
        openai=[files.routes(kept), batches.routes(asked)],
        pages=[pages.routes(shown)],
        log=told,
        hot=hot.PATHS,
    )

    def begin_jobs() -> None:
        if mine():
            loaded.sweep()
            staging.sweep(shared / "work", past, clock)
        jobs.launch()
        launched.set()
        rounds["jobs"].stop()

    rounds = {
        "jobs": Rounds(begin_jobs, 1.0, at_once=True),
        "monitors": Rounds(watch.step, 2.0, mine=mine),
        "reviews": Rounds(queue.look, 1.0, mine=mine, at_once=True),
        "alerts": Rounds(courier.step, 0.5, mine=mine),
        "requests": Rounds(requests.sweep, 2.0, mine=mine),
        "vault": Rounds(rotation.step, 0.5),
        "files": Rounds(kept.sweep, UPKEEP_SECONDS, mine=mine, at_once=True),
        "batches": Rounds(asked.settle, UPKEEP_SECONDS, mine=mine, at_once=True),
        "caps": Rounds(caps.look, 1.0),
        **({} if server is None else {"erasures": Rounds(elsewhere.step, 0.5)}),
        "meters": Rounds(meters.step, 30.0, mine=mine),
        "forecasts": Rounds(forecasts.warn, 600.0, mine=mine),
    }

    def close() -> None:
        for end in (*[each.stop for each in rounds.values()], courier.stop, mover.stop, compiler.stop):
            end()
        if duty is not None:
            duty.close()
        for last in (jobs.close, mover.drain):
            try:
                last()
            except (TandemError, OSError) as error:  # what is left, the next start does
                told(error)
        inside.close()
        remembered.close()

    def going_round(name: str) -> Callable[[], object]:
        def run() -> None:
            if name in AFTER_JOBS:
                launched.wait()
            rounds[name].run(told)

        return run

    background: dict[str, Callable[[], object]] = {name: going_round(name) for name in rounds}
    if role != "work":  # there are doors, with journals to move and policy to be kept fresh
        background |= {"mover": lambda: mover.run(told), "compiler": lambda: compiler.run(told)}
    return App(build(face), background, close, admin)


def machine(home: Path) -> str:
    """The name of this home among those that share a store: made once, of the machine's own name and chance."""
    path = home / "machine"
    with suppress(FileExistsError), path.open("x") as file:
        file.write(f"{socket.gethostname()}-{secrets.token_hex(4)}")
    return path.read_text()


def work(settings: Settings) -> None:
    """Does the work of Runs until it is told to end."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stop.set())
    with running(settings, "work"):
        stop.wait()


def control(settings: Settings, role: Role = "all") -> None:
    """Runs the control process until it is told to end."""
    import uvicorn

    with running(settings, role) as built:
        control_socket(settings.home).unlink(missing_ok=True)
        config = uvicorn.Config(
            built.web,
            uds=str(control_socket(settings.home)),
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
        )
        uvicorn.Server(config).run()


@contextmanager
def running(settings: Settings, role: Role) -> Iterator[App]:
    """The control process, built, with what runs beside it; ended in order."""
    lock = os.open(settings.home / "control.lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # an earlier control process of this home may still be ending
    built = app(settings, role)
    if built.admin is not None:
        print(
            f"\n  The admin key of this home, shown once:\n\n    {built.admin}\n\n  Keep it; `tandem login` asks for it.\n",
            flush=True,
        )

    def whole(work: Callable[[], object]) -> None:
        try:
            work()
        except (TandemError, OSError) as error:  # half a control process would go unnoticed; the next one tries again
            log("control", error)
            os.kill(os.getpid(), signal.SIGTERM)

    threads = [threading.Thread(target=whole, args=(work,), name=name, daemon=True) for name, work in built.background.items()]
    for thread in threads:
        thread.start()
    yield built
    built.close()
    os.close(lock)


def log(process: str, error: BaseException) -> None:
    """What went wrong, told once on stderr; a bug with where it is."""
    with suppress(OSError):  # a log that takes nothing is no reason to stop
        if isinstance(error, Unavailable):
            print(f"tandem {process}: {error}", file=sys.stderr, flush=True)
            return
        print(f"tandem {process}: a bug: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        traceback.print_exception(error)
