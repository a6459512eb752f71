"""Labels that come late, over HTTP."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer
from tandem.monitoring.outcomes import MOST, Outcome, Outcomes

Plain = str | bool | int | float
Label = Plain | Annotated[list[Plain], Field(max_length=1_000)] | None
"""Of one row; of a recommendation one item or a list of them; none where it has not come yet."""
MICROS_MAX = 2**62


class OutcomeIn(BaseModel):
    """What turned out to be true of one call."""

    model_config = ConfigDict(extra="forbid")
    trace: str | None = Field(None, max_length=64)
    key: str | None = Field(None, max_length=1024, description="The id that the call was given; either this or the trace")
    label: Plain | Annotated[list[Label], Field(max_length=100_000)] = Field(
        description="One, or a list with one per row: null where it has not come, and of a recommendation a list of items"
    )
    row: int | None = Field(None, ge=1, le=100_000, description="The row that the one label is of, from 1; others keep theirs")
    drawn: bool = Field(False, description="Whether the call was chosen by chance to be looked at, whatever was answered")
    at: int | None = Field(None, ge=0, le=MICROS_MAX, description="When it became known, UTC microseconds; now by default")


class OutcomesIn(BaseModel):
    """Labels of calls of one endpoint."""

    model_config = ConfigDict(extra="forbid")
    endpoint: str = Field(max_length=140)
    outcomes: list[OutcomeIn] = Field(max_length=MOST)


def routes(outcomes: Outcomes) -> APIRouter:
    """The routes of labels."""
    router = APIRouter(tags=["outcomes"])

    @router.post("/outcomes")
    def add(body: OutcomesIn, by: Caller) -> Response:
        """Keeps labels of the caller's calls; one that is there is replaced, so the same body may be sent again."""
        rows = [
            Outcome(label=_texts(each.label), trace=each.trace, key=each.key, at=each.at, row=each.row, drawn=each.drawn)
            for each in body.outcomes
        ]
        return answer(asdict(outcomes.add(body.endpoint, rows, by=by)))

    return router


def _texts(label: Plain | list[Label]) -> tuple[str, ...]:
    return tuple(_text(each) for each in (label if isinstance(label, list) else [label]))


def _text(label: Label) -> str:
    """As a class is written: whole numbers without a fraction, truth values as 1 and 0; a list as JSON, nothing as no text."""
    if label is None:
        return ""
    if isinstance(label, list):
        return json.dumps([_text(each) for each in label])
    if isinstance(label, bool):
        return str(int(label))
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)
