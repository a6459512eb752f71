"""Reviews over HTTP: what waits for a person, what there is to judge, what is said, and datasets of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.assets import version_body
from tandem.api.wire import Caller, answer, usd
from tandem.core.review import Opinion, Said
from tandem.evaluation.reviews.export import Exports
from tandem.evaluation.reviews.queue import WORDS, Opened, Queue
from tandem.governance.authorise import authorise, scope_of

Limit = Annotated[int, Query(ge=1, le=1000)]
Word = Annotated[str | None, Query(max_length=140)]


class ReviewIn(BaseModel):
    """A call that somebody wants judged."""

    model_config = ConfigDict(extra="forbid")
    trace: str = Field(max_length=64)
    call: str | None = Field(None, max_length=64, description="Which call of the trace; by default the one that opened it")


class NextIn(BaseModel):
    """Which review is wanted."""

    model_config = ConfigDict(extra="forbid")
    endpoint: str | None = Field(None, max_length=140)
    after: str | None = Field(None, max_length=64, description="The review that was looked at before; it is let go")


class SaidIn(BaseModel):
    """What a person says to a review."""

    model_config = ConfigDict(extra="forbid")
    opinion: Opinion
    correction: str = Field("", max_length=WORDS, description="What would have been right: a label, a text, or JSON")
    note: str = Field("", max_length=WORDS)


class ExportIn(BaseModel):
    """Whose reviews become a dataset, and which."""

    model_config = ConfigDict(extra="forbid")
    endpoint: str = Field(max_length=140)
    dataset: str = Field(max_length=64)


def routes(queue: Queue, exports: Exports) -> APIRouter:
    """The routes of reviews."""
    router = APIRouter(tags=["reviews"])
    reviews = queue.reviews

    @router.get("/reviews")
    def list_reviews(
        by: Caller,
        state: Annotated[Literal["open", "done"] | None, Query()] = None,
        endpoint: Word = None,
        source: Word = None,
        limit: Limit = 50,
    ) -> Response:
        """What waits, in the order of the queue; then what was decided, newest first."""
        authorise(by, "read")
        found = reviews.list(scope_of(by), state=state, endpoint=endpoint, source=source, limit=limit)
        return answer([asdict(review) for review in found])

    @router.post("/reviews", status_code=201)
    def add(body: ReviewIn, by: Caller) -> Response:
        """Puts a call before a person."""
        return answer(asdict(queue.add(body.trace, call=body.call, by=by)), 201)

    @router.post("/reviews/next")
    def next_review(body: NextIn, by: Caller) -> Response:
        """The next review that nobody else looks at, held for the caller for ten minutes; null when nothing waits."""
        opened = queue.next(by, endpoint=body.endpoint, after=body.after)
        return answer(None if opened is None else _body(opened))

    @router.post("/reviews/export", status_code=201)
    def export(body: ExportIn, by: Caller) -> Response:
        """Makes what people said of an endpoint's calls the next version of a dataset."""
        done = exports.export(body.endpoint, body.dataset, by)
        return answer({**version_body(done.version, {}), "rows": done.rows, "left_out": done.left_out}, 201)

    @router.get("/reviews/tally")
    def tally(by: Caller) -> Response:
        """What people said of each endpoint, with intervals."""
        authorise(by, "read")
        return answer([asdict(each) for each in reviews.tallies(scope_of(by))])

    @router.get("/reviews/{identifier}")
    def show(identifier: str, by: Caller) -> Response:
        """One review with what there is to judge."""
        return answer(_body(queue.open(identifier, by)))

    @router.post("/reviews/{identifier}/decide")
    def decide(identifier: str, body: SaidIn, by: Caller) -> Response:
        """Keeps what a person says as a Score of the trace; saying something else later replaces it."""
        said = Said(opinion=body.opinion, correction=body.correction.strip(), note=body.note.strip())
        return answer(asdict(queue.decide(identifier, said, by)))

    return router


def _body(opened: Opened) -> dict[str, Any]:
    trace = {**asdict(opened.trace), "cost_usd": usd(opened.trace.cost)}
    said = None if opened.said is None else asdict(opened.said)
    return {**asdict(opened.review), "said": said, "explained": trace}
