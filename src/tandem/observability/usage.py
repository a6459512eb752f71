"""Who used which endpoint, asset and document, and when: asked of the traces without opening any content.

It reads beside the mover, on connections of its own, so that a long search holds nobody up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from tandem.core.trace import Trace
from tandem.observability.traces import Traces
from tandem.store.search import document_id

PAGE = 200
"""Calls that are read at once."""
COLUMNS = "start, call, body"
_ID = re.compile("doc_[0-9a-f]{20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One call, by what it used."""

    at: int
    """When it began, UTC microseconds."""
    call: str
    trace: str
    principal: str
    team: str
    endpoint: str
    kind: str
    outcome: str
    assets: tuple[str, ...]
    """Versions that took part, as `kind/name@version`: model, prompt, policy, index, decision…"""
    targets: tuple[str, ...]
    """What was asked: `provider/model` or a version."""
    documents: tuple[str, ...]
    """Documents that were shown to whoever wrote the answer, as `doc_…`: records hold no names of documents."""
    subject: str | None
    """The end user, as `sub_…`, where the call named one."""
    cost: int | None
    """Nano-dollars; None when no price is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which calls are meant. What is None sets no bound."""

    team: str | None = None
    principal: str | None = None
    endpoint: str | None = None
    asset: str | None = None
    """`kind/name`, of whatever version, or `kind/name@version`; or a target, `provider/model`."""
    document: str | None = None
    """Its name, or `doc_…`."""
    since: int | None = None
    """UTC microseconds, like `until`."""
    until: int | None = None


class Usages:
    """Reads the traces by what was used."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def page(self, wanted: Wanted, *, before: tuple[int, str] | None, limit: int) -> list[Use]:
        """The newest calls that fit, newest first.

        Args:
            before: `at` and `call` of the last one of an earlier page.

        Raises:
            Unavailable: the trace store cannot be read.
        """
        found: list[Use] = []
        for use in self.every(wanted, before=before):
            found.append(use)
            if len(found) >= limit:
                break
        return found

    def every(self, wanted: Wanted, *, before: tuple[int, str] | None = None) -> Iterator[Use]:
        """All calls that fit, newest first, `PAGE` in memory at once.

        Raises:
            Unavailable: the trace store cannot be read.
        """
        for day in self._traces.days():
            last = before
            while True:
                rows = self._traces.aside(day, *_asked(wanted, last))
                for _, _, body in rows:
                    use = _use(msgspec.json.decode(body, type=Trace))
                    if _fits(use, wanted):
                        yield use
                if len(rows) < PAGE:
                    break
                last = (rows[-1][0], rows[-1][1])


def _asked(wanted: Wanted, before: tuple[int, str] | None) -> tuple[str, list[object]]:
    """The statement that reads a page of one day, and its values."""
    clauses, values = ["1 = 1"], list[object]()
    for clause, value in (
        ("team = ?", wanted.team),
        ("principal = ?", wanted.principal),
        ("endpoint = ?", wanted.endpoint),
        ("start >= ?", wanted.since),
        ("start <= ?", wanted.until),
        ("instr(body, ?) > 0", None if wanted.asset is None else _written(wanted.asset)),
        ("instr(body, ?) > 0", None if wanted.document is None else _written(_document(wanted.document))),
    ):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    if before is not None:
        clauses.append("(start, call) < (?, ?)")
        values += before
    return f"SELECT {COLUMNS} FROM calls WHERE {' AND '.join(clauses)} ORDER BY start DESC, call DESC LIMIT {PAGE}", values


def _document(name: str) -> str:
    return name if _ID.fullmatch(name) else document_id(name)


def _written(name: str) -> bytes:
    """A name as it stands in a record, to look for its bytes before the record is read."""
    return msgspec.json.encode(name)[1:-1]


def _use(trace: Trace) -> Use:
    attributes = trace.attributes
    versions, retrieval = attributes.get("versions"), attributes.get("retrieval")
    chunks = retrieval.get("chunks") if isinstance(retrieval, Mapping) else None
    shown = [chunk.get("document") for chunk in chunks if isinstance(chunk, Mapping)] if isinstance(chunks, list) else []
    return Use(
        at=trace.start,
        call=trace.call,
        trace=trace.id,
        principal=trace.principal,
        team=trace.team,
        endpoint=trace.endpoint,
        kind=trace.kind,
        outcome=trace.outcome,
        assets=tuple(sorted(str(ref) for ref in versions)) if isinstance(versions, Mapping) else (),
        targets=tuple(dict.fromkeys(attempt.target for attempt in trace.attempts)),
        documents=tuple(dict.fromkeys(str(document) for document in shown if document is not None)),
        subject=trace.subject,
        cost=trace.cost,
    )


def _fits(use: Use, wanted: Wanted) -> bool:
    if wanted.document is not None and _document(wanted.document) not in use.documents:
        return False
    asset = wanted.asset
    return asset is None or any(ref == asset or ref.partition("@")[0] == asset for ref in (*use.assets, *use.targets))
