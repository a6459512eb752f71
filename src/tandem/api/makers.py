"""Prompts, suites, decisions, releases and learned routers over HTTP: the assets that people write by hand, or bring."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.assets import version_body
from tandem.api.wire import Caller, answer
from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.decisions.describe import describe
from tandem.decisions.worker import SOURCE
from tandem.evaluation.look import known_columns
from tandem.gateway.routing.learned import MOST_BYTES, load
from tandem.governance.authorise import authorise, scope_of
from tandem.registry.kinds.release import MOST
from tandem.registry.kinds.router import FILE
from tandem.registry.kinds.suite import REPEATS, ROWS, TOKENS
from tandem.registry.registry import Registry
from tandem.store.blobs import digest_of

Text = Annotated[str, Field(max_length=1_000_000)]


class MessageIn(BaseModel):
    """One message of a prompt; its content is a template."""

    model_config = ConfigDict(extra="forbid")
    role: Annotated[str, Field(max_length=32)]
    content: Text


class PromptIn(BaseModel):
    """A prompt: a template or messages, and the types of its variables."""

    model_config = ConfigDict(extra="forbid")
    template: Text | None = None
    messages: list[MessageIn] | None = Field(None, max_length=100)
    variables: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=16)]] = Field(default_factory=dict)
    model: Annotated[str, Field(max_length=140)] | None = None


class DecisionIn(BaseModel):
    """A decision: its Python source and the function it begins with."""

    model_config = ConfigDict(extra="forbid")
    source: Text
    entry: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


class RouterIn(BaseModel):
    """A learned router: the file that `tandem route train` wrote."""

    model_config = ConfigDict(extra="forbid")
    file: Annotated[str, Field(max_length=MOST_BYTES)]


class ReleaseIn(BaseModel):
    """A release: the versions that it moves."""

    model_config = ConfigDict(extra="forbid")
    pins: list[Annotated[str, Field(max_length=140)]] = Field(
        min_length=1, max_length=MOST, description="KIND/NAME[@VERSION-OR-ALIAS]; each is pinned to the version it means now"
    )


class ScoringIn(BaseModel):
    """One scorer of a suite."""

    model_config = ConfigDict(extra="forbid")
    scorer: Annotated[str, Field(max_length=64)]
    name: Annotated[str, Field(max_length=64)] = ""
    options: dict[Annotated[str, Field(max_length=64)], Any] = Field(default_factory=dict)
    weight: Annotated[float, Field(ge=0, le=1e6)] = 1.0


Column = Annotated[str, Field(min_length=1, max_length=256)]


class SuiteIn(BaseModel):
    """A suite: which rows of a dataset are asked, where, and how the answers are judged."""

    model_config = ConfigDict(extra="forbid")
    data: Annotated[str, Field(max_length=140)]
    endpoint: Annotated[str, Field(min_length=1, max_length=140)]
    scorers: Annotated[list[ScoringIn], Field(min_length=1, max_length=20)]
    variables: Annotated[dict[Column, Column], Field(max_length=64)] = Field(default_factory=dict)
    expected: Column | None = None
    sources: Annotated[list[Column], Field(max_length=64)] = Field(default_factory=list)
    metric: Annotated[str, Field(max_length=64)] = ""
    rows: Annotated[int, Field(ge=1, le=ROWS)] | None = None
    repeats: Annotated[int, Field(ge=1, le=REPEATS)] = 1
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 7
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    max_tokens: Annotated[int, Field(ge=1, le=TOKENS)] = 512


def routes(registry: Registry) -> APIRouter:
    """The routes that publish prompts, suites, releases and decisions."""
    router = APIRouter(tags=["assets"])

    @router.post("/routers/{name}", status_code=201)
    def add_router(name: str, body: RouterIn, by: Caller) -> Response:
        """Publishes a learned router's next version; endpoints use it once an alias they name points at it."""
        authorise(by, "write")
        data = body.file.encode()
        told = load(data).described
        meta = {
            "models": list(told.models),
            "data": told.data,
            "rows": told.rows,
            "seed": told.seed,
            "scored": {field: getattr(told.scored, field) for field in told.scored.__struct_fields__},
        }
        return answer(version_body(registry.publish("router", name, members={FILE: data}, meta=meta, by=by), {}), 201)

    @router.post("/prompts/{name}", status_code=201)
    def add_prompt(name: str, body: PromptIn, by: Caller) -> Response:
        """Publishes a prompt's next version; the same text again is the same version."""
        if (body.template is None) == (body.messages is None):
            raise Invalid("A prompt has either a template or messages.", field="template")
        meta: dict[str, object] = {"variables": body.variables}
        if body.template is not None:
            meta["template"] = body.template
        else:
            meta["template"] = [message.model_dump() for message in body.messages or []]
        if body.model is not None:
            meta["model"] = body.model
        return answer(version_body(registry.publish("prompt", name, members={}, meta=meta, by=by), {}), 201)

    @router.post("/suites/{name}", status_code=201)
    def add_suite(name: str, body: SuiteIn, by: Caller) -> Response:
        """Publishes a suite's next version, pinned to a version of its dataset."""
        authorise(by, "write")
        data = Ref.parse(body.data)
        if data.kind != "dataset":
            raise Invalid(f"{data} is no dataset.", field="data", hint="Write dataset/NAME[@VERSION].")
        pinned = registry.find(data, scope_of(by))
        columns = known_columns(pinned.meta)
        named = [*body.variables.values(), *body.sources, *([body.expected] if body.expected else [])]
        missing = [column for column in named if columns and column not in columns]
        if missing:
            raise Invalid(
                f"{pinned.ref} lacks a column that the suite names.", field=missing[0], hint=f"It has: {', '.join(columns)}."
            )
        meta = {**body.model_dump(), "data": str(pinned.ref)}
        version = registry.publish("suite", name, members={}, meta=meta, parents=(str(pinned.ref),), by=by)
        return answer(version_body(version, {}), 201)

    @router.post("/releases/{name}", status_code=201)
    def add_release(name: str, body: ReleaseIn, by: Caller) -> Response:
        """Publishes a release's next version; the same pins again are the same version."""
        authorise(by, "write")
        pins = sorted(str(registry.find(Ref.parse(pin), scope_of(by)).ref) for pin in body.pins)
        version = registry.publish("release", name, members={}, meta={"pins": pins}, parents=tuple(pins), by=by)
        return answer(version_body(version, {}), 201)

    @router.post("/decisions/{name}", status_code=201)
    def add_decision(name: str, body: DecisionIn, by: Caller) -> Response:
        """Publishes a decision's next version; its types are read in a process of its own."""
        authorise(by, "write")
        source = body.source.encode()
        meta: dict[str, object] = {"source": digest_of(source), "entry": body.entry, **describe(source, body.entry)}
        return answer(version_body(registry.publish("decision", name, members={SOURCE: source}, meta=meta, by=by), {}), 201)

    return router
