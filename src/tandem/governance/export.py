"""The audit as a file that anybody can verify who has the public key: rows, and a last line that signs all bytes before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from tandem.core.clock import Clock
from tandem.core.errors import Invalid
from tandem.core.principal import Principal
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise
from tandem.governance.repo import Entry
from tandem.store.canonical import canonical
from tandem.store.sql import Sql

FORMAT = 1
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which rows are exported."""

    first: int
    last: int
    before: str
    """The hash of the row before the first."""


def begin(audit: Audit, sql: Sql, *, since: int | None, until: int | None, by: Principal) -> Span:
    """Writes into the audit that it is exported, and finds the rows; that row is one of them, unless `until` is earlier.

    Args:
        since: UTC microseconds; rows from then on. None: from the first.
        until: UTC microseconds; rows up to then. None: to the last.

    Raises:
        Forbidden: `by` may not audit.
        Invalid: the times are the wrong way round.
    """
    authorise(by, "audit")
    if since is not None and until is not None and since > until:
        raise Invalid("The export would end before it begins.", hint="Give --since an earlier time than --until.", field="since")
    with sql.write() as conn:
        detail = {"since": since, "until": until}
        audit.append(conn, actor=by.name, action="audit.export", subject="audit", team=by.team, detail=detail)
        first, last, before = audit.span(conn, since, until)
    return Span(first=first, last=last, before=before)


def stream(audit: Audit, span: Span, clock: Clock) -> Iterator[bytes]:
    """The lines of an export, a page of rows at a time: rows do not change, so pages need no common transaction."""
    digest, last, rows = hashlib.sha256(), span.before, 0
    begun = {"tandem_audit": FORMAT, "first": span.first, "before": span.before, "key": audit.signer.public}
    yield _hashed(digest, canonical(begun))
    after = span.first - 1
    while after < span.last:
        page = audit.page(after, min(PAGE, span.last - after))
        if not page:
            break
        for entry in page:
            yield _hashed(digest, _line(entry))
        last, rows, after = page[-1].hash, rows + len(page), page[-1].seq
    end: dict[str, object] = {
        "rows": rows,
        "first": span.first,
        "last": after,
        "hash": last,
        "sha256": digest.hexdigest(),
        "key": audit.signer.public,
        "at": clock.now(),
    }
    yield (canonical({"end": {**end, "signature": audit.signer.export(end)}}) + "\n").encode()


def _line(entry: Entry) -> str:
    return canonical(
        {
            "seq": entry.seq,
            "at": entry.at,
            "actor": entry.actor,
            "team": entry.team,
            "action": entry.action,
            "subject": entry.subject,
            "detail": entry.detail,
            "hash": entry.hash,
        }
    )


def _hashed(digest: hashlib._Hash, text: str) -> bytes:
    line = (text + "\n").encode()
    digest.update(line)
    return line
