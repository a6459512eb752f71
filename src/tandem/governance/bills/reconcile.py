"""Lays a provider's bill beside the books: by attempt where the bill names it, else by day and model; and corrects.

What is corrected are attempts that were booked as estimated, to what the provider says they cost. It knows no
wire, no file format, and takes prices as a function.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import msgspec

from tandem.core.clock import MICROS, Clock, iso, micros
from tandem.core.errors import Invalid
from tandem.core.ids import new_id
from tandem.core.money import Price, Usage
from tandem.core.principal import Principal
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise
from tandem.governance.bills.causes import Cause, Sums, Why, apart, because
from tandem.governance.bills.correct import Corrections
from tandem.governance.bills.export import Billed, Columns, Export
from tandem.governance.bills.found import MOST_LINES, Keyed, Line, Reconciliation
from tandem.governance.bills.models import same
from tandem.governance.bills.repo import Reconciliations
from tandem.governance.bills.sheet import Fix, Sheet
from tandem.governance.booking import Correction
from tandem.observability.attempts import Tried, tried
from tandem.observability.traces import Traces
from tandem.store.sql import Sql

DAY = 86_400 * MICROS
LONGEST = 3_600 * MICROS
"""No attempt that a bill names lasts longer."""
GROUPS = 100_000
"""Lines of one comparison."""
FOREVER = 2**62
Pricing = Callable[[str, int, str], Price | None]
"""The row of a target (`provider/model`) at a UTC time (microseconds) for a team; `` is everybody."""
Known = Callable[[], Pricing]
"""Gives the prices as they are known now."""


@dataclass(slots=True)
class _Group:
    """A line in the making."""

    billed: int = 0
    booked: int = 0
    requests: int = 0
    attempts: int = 0
    causes: dict[Why, list[int]] = field(default_factory=dict)

    def because(self, why: Why, amount: int) -> None:
        sums = self.causes.setdefault(why, [0, 0])
        sums[0] += amount
        sums[1] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be compared."""

    provider: str
    since: int | None = None
    """UTC microseconds; None: as the bill's rows."""
    until: int | None = None
    columns: Columns | None = None
    apply: bool = False


class Bills:
    """Compares bills with the books, keeps what was found, and corrects."""

    def __init__(
        self, *, corrections: Corrections, traces: Traces, audit: Audit, sql: Sql, clock: Clock, known: Known, work: Path
    ) -> None:
        """
        Args:
            work: folder for scratch files.
        """
        self._corrections, self._traces, self._audit, self._sql = corrections, traces, audit, sql
        self._clock, self._known, self._work = clock, known, work
        self.kept = Reconciliations(sql)
        """What was found before."""

    def reconcile(self, file: IO[str], name: str, asked: Asked, *, by: Principal) -> Reconciliation:
        """Compares a bill with the books; with `apply` it corrects what was estimated.

        Args:
            file: the export's text.
            name: what errors call it.

        Raises:
            Forbidden: `by` is no auditor, or no admin and something is to be corrected.
            Invalid: the file has a fault; the message names its line, and nothing was changed.
            Unavailable: the disk is full.
        """
        authorise(by, "admin" if asked.apply else "audit")
        if asked.since is not None and asked.until is not None and asked.since >= asked.until:
            raise Invalid(
                "The time that is to be compared ends before it begins.", field="until", hint="Give an earlier --since."
            )
        export = Export(file, name, asked.columns)
        if asked.apply and not export.has_ids:
            raise Invalid(
                f"{name} does not say which attempts it bills, so none can be corrected.",
                hint="Leave --apply away; a bill with a row per request names the call and the attempt.",
                field="apply",
            )
        self._work.mkdir(parents=True, exist_ok=True)
        with Sheet(self._work / f"{new_id('bil')}.db") as sheet:
            found = self._by_attempt(export, sheet, asked, name) if export.has_ids else self._by_sums(export, asked, name)
            corrected = self._apply(sheet, found, by) if asked.apply else 0
        found = replace(found, corrected=corrected, applied=asked.apply, at=self._clock.now(), by=by.name)
        self.kept.add(found)
        return found

    # --- by attempt

    def _by_attempt(self, export: Export, sheet: Sheet, asked: Asked, name: str) -> Reconciliation:
        first, last, count, places = FOREVER, 0, 0, 0
        for row in export.rows():
            if not _within(row.at, asked):
                continue
            first, last, count, places = min(first, row.at), max(last, row.at), count + 1, max(places, row.places)
            sheet.add(row)
        if not count:
            raise _nothing(name)
        # Only what began between the bill's first and last row can be missing from it: it may have been fetched at noon.
        since = first if asked.since is None else asked.since
        until = last + 1 if asked.until is None else asked.until
        groups: dict[tuple[str, str, str], _Group] = {}
        price, missing = self._known(), 0
        for each in tried(self._traces, since - LONGEST, until + LONGEST):
            provider, _, model = each.attempt.target.partition("/")
            if provider != asked.provider:
                continue
            rows = sheet.take(each.attempt.call, each.attempt.attempt)
            if rows:
                group = _group(groups, (rows[0].day, model, rows[0].key), name)
            elif since <= each.attempt.start < until and each.cost != 0:
                group = _group(groups, (iso(each.attempt.start)[:10], model, ""), name)
            else:
                continue
            group.attempts += 1
            group.booked += each.cost or 0
            missing += int(not rows and each.attempt.usage.source == "provider")
            self._pair(sheet, group, each, rows, price)
        if missing:  # the bill lacks what was surely used: then nothing is known of the others that it lacks
            sheet.keep_billed()
        for row, retried in sheet.left():
            group = _group(groups, (row.day, row.model, row.key), name)
            group.requests += 1
            group.billed += row.cost or 0
            if row.cost:
                group.because("retries" if retried else "unrecorded", row.cost)
        lines = [
            Line(
                day=day,
                model=model,
                key=key,
                billed=group.billed,
                booked=group.booked,
                difference=group.billed - group.booked,
                requests=group.requests,
                attempts=group.attempts,
                causes=tuple(Cause(why=why, amount=sums[0], count=sums[1]) for why, sums in group.causes.items()),
            )
            for (day, model, key), group in groups.items()
        ]
        return self._found(export, asked, lines, since=since, until=until, rows=count, estimated=sheet.count(), missing=missing)

    def _pair(self, sheet: Sheet, group: _Group, each: Tried, rows: Sequence[Billed], price: Pricing) -> None:
        """Lays an attempt beside its rows, and notes what corrects it where it was estimated."""
        attempt = each.attempt
        estimated = attempt.usage.source == "estimated"
        if not rows:
            group.because("unbilled", -(each.cost or 0))
            cost: int | None = 0
        else:
            group.requests += len(rows)
            group.billed += sum(row.cost or 0 for row in rows)
            why = because(rows[0], each, price(attempt.target, attempt.start, each.payer))
            cost = rows[0].cost
            if why is not None and cost is not None:
                group.because(why, cost - (each.cost or 0))
            elif cost is None and each.cost:
                group.because("unexplained", -each.cost)
            for again in rows[1:]:
                if again.cost:
                    group.because("retries", again.cost)
        if estimated and cost is not None and cost != each.cost:
            scopes = each.scopes
            correction = Correction(call=attempt.call, attempt=attempt.attempt, cost=cost, scopes=scopes, at=attempt.start)
            sheet.fix(Fix(trace=each.trace, booked=each.cost, correction=correction), billed=bool(rows))

    # --- by sums

    def _by_sums(self, export: Export, asked: Asked, name: str) -> Reconciliation:
        bill: dict[tuple[str, str, str], Billed] = {}
        lines_of: Counter[tuple[str, str]] = Counter()
        first, last, count, places, amounts = FOREVER, 0, 0, 0, False
        for row in export.rows():
            if not _within(row.at, asked):
                continue
            first, last, count = min(first, row.at), max(last, row.at), count + 1
            places, amounts = max(places, row.places), amounts or row.cost is not None
            key = (row.day, row.model, row.key)
            bill[key] = row if key not in bill else _added(bill[key], row)
            lines_of[row.day, row.model] += 1
            if len(bill) > GROUPS:
                raise _too_many(name)
        if not count:
            raise _nothing(name)
        since = first - first % DAY if asked.since is None else asked.since
        until = last - last % DAY + DAY if asked.until is None else asked.until
        books = self._books(asked.provider, since, until, name)
        known = {model for _, model in books}
        together: dict[tuple[str, str], list[Billed]] = {}
        for (day, model, _), row in bill.items():
            together.setdefault((day, same(model, known)), []).append(row)
        pricing = self._known()
        half = (10 ** (9 - min(9, places)) + 1) // 2 if amounts else 0
        lines = []
        for day, model in sorted({*together, *books}):
            rows = together.get((day, model), [])
            price = pricing(f"{asked.provider}/{model}", micros(day) + DAY // 2, "")
            slack = half * sum(lines_of[day, name] for name in {row.model for row in rows})
            lines.append(_line(day, model, rows, books.get((day, model), Sums()), price, export, slack, amounts=amounts))
        return self._found(export, asked, lines, since=since, until=until, rows=count, priced=not amounts)

    def _books(self, provider: str, since: int, until: int, name: str) -> dict[tuple[str, str], Sums]:
        books: dict[tuple[str, str], Sums] = {}
        for each in tried(self._traces, since, until):
            host, _, model = each.attempt.target.partition("/")
            if host == provider:
                key = (iso(each.attempt.start)[:10], model)
                books[key] = _more(books.get(key, Sums()), each)
                if len(books) > GROUPS:
                    raise _too_many(name)
        return books

    # --- what was found, and what is done about it

    def _found(
        self,
        export: Export,
        asked: Asked,
        lines: Sequence[Line],
        *,
        since: int,
        until: int,
        rows: int,
        estimated: int = 0,
        missing: int = 0,
        priced: bool = False,
    ) -> Reconciliation:
        differing = [line for line in lines if line.difference or line.causes]
        differing.sort(key=lambda line: (-abs(line.difference), line.day, line.model, line.key))
        billed, booked = sum(line.billed for line in lines), sum(line.booked for line in lines)
        return Reconciliation(
            id=new_id("rec"),
            provider=asked.provider,
            form=export.form,
            since=since,
            until=until,
            rows=rows,
            priced=priced,
            billed=billed,
            booked=booked,
            difference=billed - booked,
            lines=tuple(differing[:MOST_LINES]),
            differing=len(differing),
            same=len(lines) - len(differing),
            causes=summed(line.causes for line in lines),
            estimated=estimated,
            missing=missing,
            corrected=0,
            applied=False,
            at=0,
            by="",
        )

    def _apply(self, sheet: Sheet, found: Reconciliation, by: Principal) -> int:
        digest = hashlib.sha256()
        for fixes in sheet.fixes():
            for fix in fixes:
                digest.update(msgspec.json.encode(fix.correction))
        # The deed is written down first; should the rest break off, the same command does what is left, and nothing twice.
        with self._sql.write() as conn:
            self._audit.append(
                conn,
                actor=by.name,
                action="cost.reconcile",
                subject=f"provider/{found.provider}",
                team=by.team,
                detail={
                    "reconciliation": found.id,
                    "since": found.since,
                    "until": found.until,
                    "billed_nano_usd": found.billed,
                    "booked_nano_usd": found.booked,
                    "attempts": found.estimated,
                    "corrections_sha256": digest.hexdigest(),
                },
            )
        why = f"the bill of {found.provider}, {found.id}"
        return sum(self._corrections.apply(fixes, by=by.name, why=why) for fixes in sheet.fixes())


def summed(causes: Iterable[Sequence[Cause]]) -> tuple[Cause, ...]:
    """Causes of many lines, each once, the largest first."""
    sums: dict[Why, Cause] = {}
    for each in causes:
        for cause in each:
            before = sums.get(cause.why, Cause(why=cause.why, amount=0, count=0))
            sums[cause.why] = replace(
                cause,
                amount=before.amount + cause.amount,
                count=before.count + cause.count,
                tokens=before.tokens + cause.tokens,
            )
    return tuple(sorted(sums.values(), key=lambda cause: (-abs(cause.amount), cause.why)))


def _within(at: int, asked: Asked) -> bool:
    return (asked.since is None or at >= asked.since) and (asked.until is None or at < asked.until)


def _group(groups: dict[tuple[str, str, str], _Group], key: tuple[str, str, str], name: str) -> _Group:
    group = groups.get(key)
    if group is None:
        if len(groups) >= GROUPS:
            raise _too_many(name)
        group = groups[key] = _Group()
    return group


def _line(
    day: str, model: str, rows: Sequence[Billed], sums: Sums, price: Price | None, export: Export, slack: int, *, amounts: bool
) -> Line:
    counted = bool(export.columns.output)
    whole: Billed | None = None
    for row in rows:
        whole = row if whole is None else _added(whole, row)
    if whole is None:
        billed = 0
        causes: tuple[Cause, ...] = (Cause(why="unbilled", amount=-sums.booked, count=sums.attempts),) if sums.booked else ()
    else:
        if not amounts:
            used = Usage(
                input=whole.input or 0, cache_read=whole.cached or 0, cache_write=whole.written or 0, output=whole.output or 0
            )
            whole = replace(whole, cost=None if price is None else price.cost(used))
        billed = whole.cost or 0
        causes = apart(whole, counted, slack, sums, price)
    of_keys: Counter[str] = Counter()
    for row in rows:
        of_keys[row.key] += row.cost or 0
    keys = tuple(Keyed(key=key, billed=cost) for key, cost in sorted(of_keys.items()))
    return Line(
        day=day,
        model=model,
        key=keys[0].key if len(keys) == 1 else "",
        billed=billed,
        booked=sums.booked,
        difference=billed - sums.booked,
        requests=0 if whole is None else whole.requests or 0,
        attempts=sums.attempts,
        causes=causes,
        keys=keys if len(keys) > 1 and amounts else (),
    )


def _added(a: Billed, b: Billed) -> Billed:
    return replace(
        a,
        requests=_sum(a.requests, b.requests),
        input=_sum(a.input, b.input),
        cached=_sum(a.cached, b.cached),
        written=_sum(a.written, b.written),
        output=_sum(a.output, b.output),
        cost=_sum(a.cost, b.cost),
    )


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None and b is None else (a or 0) + (b or 0)


def _more(sums: Sums, each: Tried) -> Sums:
    used = each.attempt.usage
    booked = each.cost or 0
    more = replace(sums, attempts=sums.attempts + 1, booked=sums.booked + booked, unpriced=sums.unpriced + int(each.cost is None))
    match used.source:
        case "estimated":
            return replace(more, estimated=sums.estimated + 1, reserved=sums.reserved + booked)
        case "none":
            return replace(more, failed=sums.failed + 1)
        case "provider":
            return replace(more, counted=_both(sums.counted, used))


def _both(a: Usage, b: Usage) -> Usage:
    return Usage(
        input=a.input + b.input + b.input_audio + b.input_image,
        cache_read=a.cache_read + b.cache_read + b.cache_read_audio,
        cache_write=a.cache_write + b.cache_write + b.cache_write_1h,
        output=a.output + b.total_output,
        source="provider",
    )


def _nothing(name: str) -> Invalid:
    return Invalid(f"{name} has no row in the time that is to be compared.", hint="Look at --since and --until.", field="since")


def _too_many(name: str) -> Invalid:
    return Invalid(
        f"{name} has more than {GROUPS} days, models and keys.",
        hint="Compare a shorter time: --since and --until.",
        field="since",
    )
