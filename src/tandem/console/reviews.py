"""Reviews as pages: the queue, and one call before a person, to be judged from the keyboard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from tandem.console.desk import Desk
from tandem.console.scale import Line, line
from tandem.console.words import plain, readable
from tandem.core.review import Opinion, Said, Tally
from tandem.evaluation.reviews.queue import WORDS, Queue
from tandem.governance.authorise import scope_of
from tandem.observability import dialogue
from tandem.observability.explain import Text

PAGE = 50
CELLS = 400
"""Values of a prediction's tensors that a page shows; more are shown as they went over the wire."""
Word = Annotated[str, Query(max_length=140)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A tally, drawn."""

    tally: Tally
    line: Line | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A prediction as tables: what was asked about, and what was answered."""

    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


def routes(desk: Desk, queue: Queue) -> APIRouter:
    """The pages of reviews."""
    router = desk.router()
    reviews = queue.reviews

    @router.get("/reviews")
    def rows(request: Request, endpoint: Word = "") -> Response:
        by = desk.enter(request)
        scope, wanted = scope_of(by), endpoint.strip() or None
        tallies = reviews.tallies(scope)
        values = {
            "open": reviews.list(scope, state="open", endpoint=wanted, limit=PAGE),
            "done": reviews.list(scope, state="done", endpoint=wanted, limit=PAGE),
            "counts": [Count(tally=each, line=line(each.share, []) if each.share.n else None) for each in tallies],
            "endpoint": endpoint.strip(),
            "endpoints": sorted({each.endpoint for each in tallies}),
            "waiting": sum(each.open for each in tallies if wanted in (None, each.endpoint)),
        }
        return desk.page(request, "reviews.html", "Reviews", values, by=by)

    @router.get("/reviews/next")
    def next_one(request: Request, endpoint: Word = "", after: Word = "", last: Word = "") -> Response:
        """Takes the next one, for ten minutes, and leads to it; to the queue when nothing waits."""
        opened = queue.next(desk.enter(request, "write"), endpoint=endpoint or None, after=after or None)
        if opened is None:
            return RedirectResponse(_way("/reviews", endpoint=endpoint), 303)
        return RedirectResponse(_way(f"/reviews/{opened.review.id}", endpoint=endpoint, last=last), 303)

    @router.get("/reviews/{identifier}")
    def show(request: Request, identifier: str, endpoint: Word = "", last: Word = "") -> Response:
        by = desk.enter(request)
        opened = queue.open(identifier, by)
        text = (opened.trace.content or {}).get(opened.review.call)
        reasons = [] if text is None else text.notes.get("review", [])
        values = {
            "opened": opened,
            "text": text,
            "reasons": reasons if isinstance(reasons, list) else [reasons],
            "turns": () if text is None else dialogue.asked(text.request) + dialogue.answered(text.answer),
            "sheet": None if text is None or opened.review.kind != "predict" else sheet(text),
            "beside": [call for call in opened.trace.calls if call.call != opened.review.call],
            "asked": dialogue.asked,
            "answered": dialogue.answered,
            "readable": readable,
            "endpoint": endpoint,
            "last": last,
            "skip": _way("/reviews/next", endpoint=endpoint, after=identifier, last=last),
            "waiting": sum(each.open for each in reviews.tallies(scope_of(by)) if endpoint in ("", each.endpoint)),
            "words": WORDS,
        }
        return desk.page(request, "review.html", f"Review of {opened.review.endpoint}", values, by=by)

    @router.post("/reviews/{identifier}")
    def decide(
        request: Request,
        identifier: str,
        opinion: Annotated[Opinion, Form()],
        correction: Annotated[str, Form(max_length=WORDS)] = "",
        note: Annotated[str, Form(max_length=WORDS)] = "",
        endpoint: Annotated[str, Form(max_length=140)] = "",
    ) -> Response:
        by = desk.enter(request, "write")
        wanted = correction.strip() if opinion == "wrong" else ""  # what stands in the field counts only where it is needed
        queue.decide(identifier, Said(opinion=opinion, correction=wanted, note=note.strip()), by)
        return RedirectResponse(_way("/reviews/next", endpoint=endpoint, after=identifier, last=identifier), 303)

    return router


def sheet(text: Text) -> Sheet | None:
    """A prediction's tensors by name; None where they are not of this form, or too many to read."""
    inputs, outputs = _tensors(text.request, "inputs"), _tensors(text.answer, "outputs")
    return Sheet(inputs=inputs, outputs=outputs) if inputs else None


def _tensors(body: str, part: str) -> tuple[tuple[str, str], ...]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ()
    tensors = found.get(part) if isinstance(found, Mapping) else None
    rows: list[tuple[str, str]] = []
    for tensor in tensors if isinstance(tensors, list) else ():
        if not isinstance(tensor, Mapping) or not isinstance(data := tensor.get("data"), list):
            return ()
        columns = _columns(tensor)
        if columns and len(data) == len(columns):  # one row as a matrix
            rows += [(name, plain(value)) for name, value in zip(columns, data, strict=True)]
        else:
            rows.append((str(tensor.get("name")), ", ".join(plain(value) for value in data[:CELLS])))
    return tuple(rows) if len(rows) <= CELLS else ()


def _columns(tensor: Mapping[str, object]) -> list[str]:
    parameters = tensor.get("parameters")
    given = parameters.get("columns") if isinstance(parameters, Mapping) else None
    return given.split(",") if isinstance(given, str) else [str(each) for each in given] if isinstance(given, list) else []


def _way(path: str, *, endpoint: str = "", after: str = "", last: str = "") -> str:
    """An address of ours; what is empty is left out."""
    query = {"endpoint": endpoint, "after": after, "last": last}
    told = urlencode({name: value for name, value in query.items() if value})
    return f"{path}?{told}" if told else path
