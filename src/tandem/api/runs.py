"""Runs over HTTP: start one, watch it, cancel it, look at the rows an evaluation asked about."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer
from tandem.core.asset import Kind, Ref, check_name
from tandem.core.errors import Invalid
from tandem.core.principal import Principal
from tandem.core.run import ENDED
from tandem.data.versions import newest_of
from tandem.evaluation.look import Looked
from tandem.evaluation.suite import check_addresses
from tandem.governance.authorise import authorise, scope_of
from tandem.jobs.repo import Runs
from tandem.jobs.workflow import Jobs
from tandem.registry.kinds.suite import REPEATS, read
from tandem.registry.registry import Registry
from tandem.scorers.base import TaskName
from tandem.serving.offline.tasks import Inputs, Outside, asked
from tandem.training.task import (
    LONGEST,
    LONGEST_WINDOW,
    MOST_SEASONS,
    MOST_TRIALS,
    AlgorithmName,
    Calibrate,
    Leaks,
    Pixels,
    Split,
)

Param = float | int | str | bool


class TrainIn(BaseModel):
    """What a training run is made from."""

    model_config = ConfigDict(extra="forbid")
    data: Annotated[str, Field(max_length=140)]
    target: Annotated[
        str, Field(max_length=256, description="Only a search for anomalies does without one; of a recommendation the items")
    ] = ""
    task: Annotated[TaskName | None, Field(description="By default what the target's values are")] = None
    algorithm: Annotated[
        AlgorithmName | None,
        Field(description="By default what the task takes: gradient-boosting, isolation-forest, neighbours or cnn"),
    ] = None
    params: Annotated[dict[Annotated[str, Field(max_length=64)], Param], Field(max_length=64)] = {}
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 7
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    split: Annotated[Split, Field(description="How rows come into folds: at random, whole groups, or forward in time")] = "random"
    group: Annotated[str, Field(max_length=256)] | None = None
    time: Annotated[str | None, Field(max_length=256, description="The dataset's own time column, unless named")] = None
    leaks: Annotated[Leaks, Field(description="What to do about columns that tell the target")] = "warn"
    balance: bool = False
    calibrate: Calibrate = "none"
    cost_false_positive: Annotated[float, Field(gt=0, lt=1e12)] | None = None
    cost_false_negative: Annotated[float, Field(gt=0, lt=1e12)] | None = None
    tune: Annotated[int, Field(ge=0, le=MOST_TRIALS, description="Trials of each search for parameters")] = 0
    fairness: Annotated[
        list[Annotated[str, Field(max_length=256)]], Field(max_length=20, description="Columns whose groups are judged")
    ] = []
    purpose: Annotated[str, Field(max_length=2_000, description="What the model is for; its card quotes it")] = ""
    positive: Annotated[str, Field(max_length=256)] | None = None
    horizon: Annotated[int, Field(ge=0, le=LONGEST, description="Of a forecast: steps that are told")] = 0
    season: Annotated[
        list[Annotated[int, Field(ge=1, le=10 * LONGEST)]],
        Field(max_length=MOST_SEASONS, description="Of a forecast: steps after which things repeat"),
    ] = []
    series: Annotated[str | None, Field(max_length=256, description="Of a forecast: the column that names the series")] = None
    known: Annotated[
        list[Annotated[str, Field(max_length=256)]],
        Field(max_length=100, description="Of a forecast: columns whose values are known ahead"),
    ] = []
    frequency: Annotated[str, Field(max_length=16, description="Of a forecast: how far moments are apart, such as 1h")] = "auto"
    false_alarms: Annotated[float, Field(ge=1e-4, le=0.5, description="The share of ordinary rows called anomalies")] = 0.01
    user: Annotated[str | None, Field(max_length=256, description="Of a recommendation: the column of who behaved")] = None
    weight: Annotated[str | None, Field(max_length=256, description="Of a recommendation: how much a row counts")] = None
    embed: Annotated[
        str | None, Field(max_length=140, description="Of images: the model whose network makes numbers of them")
    ] = None
    pixels: Annotated[Pixels, Field(description="Of images: how that network wants pixels")] = "imagenet"
    signal: Annotated[str | None, Field(max_length=256, description="Of signals: the column of the units")] = None
    window: Annotated[int, Field(ge=0, le=LONGEST_WINDOW, description="Of signals: samples of a window")] = 0
    stride: Annotated[int, Field(ge=0, le=LONGEST_WINDOW, description="Of signals: samples to the next; 0: a window's")] = 0
    baseline: bool = True
    exclude: Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=1000)] = []


class EvaluateIn(BaseModel):
    """What an evaluating run asks."""

    model_config = ConfigDict(extra="forbid")
    prompt: Annotated[str, Field(max_length=140)]
    suite: Annotated[str, Field(max_length=140)]
    repeats: Annotated[int, Field(ge=1, le=REPEATS)] | None = Field(None, description="Instead of the suite's own number")
    fresh: bool = Field(False, description="Ask everything again, whatever was answered before")
    against: Annotated[str, Field(max_length=140)] | None = Field(None, description="Whom a judge compares with")


class TrainRunIn(BaseModel):
    """A training to be started."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["train"]
    name: Annotated[str, Field(max_length=64)]
    inputs: TrainIn


class EvaluateRunIn(BaseModel):
    """An evaluation to be started."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["evaluate"]
    name: Annotated[str, Field(max_length=64)]
    inputs: EvaluateIn


class PredictIn(BaseModel):
    """What a scoring run asks about which rows: a dataset's, or what a database answers."""

    model_config = ConfigDict(extra="forbid")
    model: Annotated[str, Field(max_length=140, description="NAME or model/NAME[@VERSION]; else what is in production")]
    data: Annotated[str, Field(max_length=140)] = ""
    sql: Annotated[str, Field(max_length=100_000, description="One statement that reads; its rows are scored")] = ""
    database: Annotated[str, Field(max_length=1_000, description="env:NAME or file:PATH, as the settings list it")] = ""
    key: Annotated[str, Field(max_length=256, description="A column of the answer that names its rows")] = ""
    into: Annotated[
        str, Field(max_length=1_000, description="Put the scored rows there too: TABLE, SCHEMA.TABLE or parquet:PLACE/FOLDER")
    ] = ""
    into_database: Annotated[str, Field(max_length=1_000, description="The table's database; by default `database`")] = ""


class PredictRunIn(BaseModel):
    """A scoring to be started; its name is that of the dataset that is made."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["predict"]
    name: Annotated[str, Field(max_length=64)]
    inputs: PredictIn


RunIn = Annotated[TrainRunIn | EvaluateRunIn | PredictRunIn, Field(discriminator="kind")]


def routes(runs: Runs, jobs: Jobs, registry: Registry, looked: Looked, outside: Outside) -> APIRouter:
    """The routes of Run."""
    router = APIRouter(tags=["runs"])

    @router.post("/runs", status_code=202)
    def start(body: RunIn, by: Caller) -> Response:
        """Starts a run; it goes on when this process dies, and says how far it is."""
        authorise(by, "write")
        check_name(body.name)
        if isinstance(body, TrainRunIn):
            pinned = {"data": _pinned(registry, body.inputs.data, "dataset", by)}
        elif isinstance(body, PredictRunIn):
            newest_of(registry, body.name, by)
            wanted = Inputs(name=body.name, **body.inputs.model_dump())
            pinned = {"model": str(asked(registry, wanted.model, by).ref)}
            outside.target(wanted)
            if outside.question(wanted) is None:
                pinned["data"] = _pinned(registry, wanted.data, "dataset", by)
        else:
            given = body.inputs
            pinned = {
                "prompt": _pinned(registry, given.prompt, "prompt", by),
                "suite": _pinned(registry, given.suite, "suite", by),
            }
            if given.against is not None:
                pinned["against"] = _pinned(registry, given.against, "prompt", by)
            check_addresses(read(registry.find(Ref.parse(pinned["suite"]), scope_of(by)).meta), by)
        inputs = {**body.inputs.model_dump(), **pinned}
        run = runs.create(body.kind, body.name, inputs=inputs, by=by)
        jobs.start(body.kind, run.id, {"name": body.name, "by": asdict(by), **inputs})
        return answer(asdict(run), 202)

    @router.get("/runs")
    def list_runs(
        by: Caller,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        parent: Annotated[str | None, Query(max_length=64, description="Only those that this run started")] = None,
    ) -> Response:
        """The newest runs of the caller's team."""
        authorise(by, "read")
        return answer([asdict(run) for run in runs.list(scope_of(by), parent=parent, limit=limit)])

    @router.get("/runs/{identifier}")
    def show(identifier: str, by: Caller) -> Response:
        """One run."""
        authorise(by, "read")
        return answer(asdict(runs.find(identifier, scope_of(by))))

    @router.get("/runs/{identifier}/rows")
    def rows(
        identifier: str,
        by: Caller,
        metric: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 20,
        content: bool = False,
    ) -> Response:
        """The rows an evaluation asked about, the worst first, with their grades; what was answered when asked for."""
        authorise(by, "read")
        run = runs.find(identifier, scope_of(by))
        return answer(looked(run, by, metric=metric, limit=limit, content=content))

    @router.post("/runs/{identifier}/cancel", status_code=202)
    def cancel(identifier: str, by: Caller) -> Response:
        """Stops a run; what it made so far is thrown away."""
        authorise(by, "write")
        run = runs.find(identifier, scope_of(by))
        if run.state not in ENDED:
            jobs.cancel(run.id)
        return answer(asdict(runs.find(identifier, scope_of(by))), 202)

    return router


def _pinned(registry: Registry, name: str, kind: Kind, by: Principal) -> str:
    """The exact version that a name means now.

    Raises:
        Invalid: it is of another kind.
        NotFound: there is none.
    """
    ref = Ref.parse(name)
    if ref.kind != kind:
        raise Invalid(
            f"{ref} is no {kind}.", field=f"inputs.{'data' if kind == 'dataset' else kind}", hint=f"Write {kind}/NAME[@VERSION]."
        )
    return str(registry.find(ref, scope_of(by)).ref)
