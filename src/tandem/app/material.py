"""What is learned from and looked up: datasets, features, indexes of documents, files and their batches."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.app.ground import Ground
from tandem.app.labour import Labour
from tandem.app.records import Records
from tandem.batches.batches import KIND as BATCH
from tandem.batches.batches import Batches
from tandem.batches.files import Files
from tandem.batches.repo import BatchRows, FileRows
from tandem.batches.tasks import BATCHES_AT_ONCE, make_batch
from tandem.data.corpus.indexes import Indexes
from tandem.data.corpus.shelf import Shelf
from tandem.data.corpus.tasks import make_index
from tandem.data.features.features import Features
from tandem.data.features.redis import Mirror, RedisReading
from tandem.data.features.repo import Store
from tandem.data.features.tasks import JOIN, LOAD, Freshening, make_join, make_load
from tandem.data.reader import Reader
from tandem.data.repo import Contracts
from tandem.data.tasks import Datasets


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Datasets, features, documents, batches."""

    datasets: Datasets
    reader: Reader
    features: Features
    freshening: Freshening
    mirror: Mirror | None
    """Keeps the copy of features in Redis, where one is set."""
    shelf: Shelf
    indexes: Indexes
    files: Files
    batches: Batches


def gather(ground: Ground, records: Records, labour: Labour) -> Material:
    """Builds them, and registers their kinds of Run."""
    g, jobs = ground, labour.jobs
    data = g.settings.data
    features, mirror = _features(g)
    jobs.register(LOAD, make_load(g.registry, features, lake=g.lake, work=g.work))
    jobs.register(JOIN, make_join(g.registry, features, lake=g.lake, work=g.work))
    shelf = Shelf(g.server or g.shared / "search")
    jobs.register("index", make_index(g.registry, shelf, labour.inside, work=g.work))
    rows = BatchRows(g.sql)
    files = Files(folder=g.shared / "files", rows=FileRows(g.sql), batches=rows, subjects=records.subjects, clock=g.clock)
    batches = Batches(rows=rows, files=files, runs=g.runs, jobs=jobs, clock=g.clock)
    jobs.register(BATCH, make_batch(batches, labour.inside, g.keys.holds), at_once=BATCHES_AT_ONCE)
    return Material(
        datasets=Datasets(
            g.registry,
            g.runs,
            Contracts(g.sql, g.audit, g.clock),
            lake=g.lake,
            work=g.work,
            databases=data.databases,
            places=data.places,
        ),
        reader=Reader(g.registry, g.sql, g.audit, lake=g.lake, work=g.work),
        features=features,
        freshening=Freshening(g.registry, features, g.runs, jobs),
        mirror=mirror,
        shelf=shelf,
        indexes=Indexes(g.registry, shelf, labour.inside, g.sql, g.audit),
        files=files,
        batches=batches,
    )


def _features(ground: Ground) -> tuple[Features, Mirror | None]:
    facts, redis = Store(ground.server or ground.home / "features.db"), ground.settings.redis()
    if redis is None:
        facts.end_copy()
        return Features(ground.registry, facts, None, None), None
    mirror = Mirror(facts, redis, ground.clock)
    return Features(ground.registry, facts, RedisReading(facts, redis, ground.clock), mirror.pushed), mirror
