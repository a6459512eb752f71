"""Prompts and decisions over HTTP: the assets that people write by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.assets import version_body
from tandem.api.wire import Caller, answer
from tandem.core.errors import Invalid
from tandem.decisions.describe import describe
from tandem.decisions.worker import SOURCE
from tandem.governance.authorise import authorise
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


def routes(registry: Registry) -> APIRouter:
    """The routes that publish prompts and decisions."""
    router = APIRouter(tags=["assets"])

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

    @router.post("/decisions/{name}", status_code=201)
    def add_decision(name: str, body: DecisionIn, by: Caller) -> Response:
        """Publishes a decision's next version; its types are read in a process of its own."""
        authorise(by, "write")
        source = body.source.encode()
        meta: dict[str, object] = {"source": digest_of(source), "entry": body.entry, **describe(source, body.entry)}
        return answer(version_body(registry.publish("decision", name, members={SOURCE: source}, meta=meta, by=by), {}), 201)

    return router
