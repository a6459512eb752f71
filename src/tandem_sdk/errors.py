"""Everything that goes wrong, as one tree.

TandemError                 code, status, hint, field, trace
  + Refused                 the law said no
  |   - Unauthenticated     401  no key, or one nobody knows
  |   - Forbidden           403  a known key without the right
  |   - RateLimited         429  too many at once; `retry_after` tells when
  |   - OverBudget          429  a cap has no room
  |   - Blocked             403  a guard refused the content
  |       - GateRefused     403  a gate refused the promotion; `report` says why
  + ApprovalNeeded          202  nothing was done yet: people must approve; `request` says what and who
  + NotFound                404
  + Conflict                409  somebody else was first, or `tandem.toml` manages it
  + Invalid                 400  the input is wrong; `field` names where
  + RunFailed                 -  a run that was waited for failed or was cancelled
  + Upstream                502  a provider failed
  |   - Unreachable         502  no connection: to a provider, or to the platform itself (then status is 0)
  |   - TimedOut            504
  + Unavailable             503  the platform cannot take work now
  + Broken                  500  its fault, or an answer that makes no sense
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from tandem_sdk.shape import Mismatch, read
from tandem_sdk.verdicts import GateReport
from tandem_sdk.waiting import Request


class TandemError(Exception):
    """Base of all errors of this client.

    Attributes:
        message: what happened to what, and why.
        hint: what to do next, where the platform knows.
        code: stable word for programs, such as `over_budget`.
        status: HTTP status; 0 when no answer came.
        field: where in the input the fault is.
        trace: id of the call; `tandem trace show ID` explains it.
        retry_after: seconds after which a retry makes sense.
    """

    code = "error"
    status = 0

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        code: str | None = None,
        status: int | None = None,
        field: str | None = None,
        trace: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field
        self.trace = trace
        self.retry_after = retry_after
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class Refused(TandemError):
    """The law said no."""

    code = "refused"


class Unauthenticated(Refused):
    """No key, or one nobody knows."""

    code = "unauthenticated"


class Forbidden(Refused):
    """A known key without the right."""

    code = "forbidden"


class RateLimited(Refused):
    """Too many at once; `retry_after` tells when."""

    code = "rate_limited"


class OverBudget(Refused):
    """A cap has no room for this call."""

    code = "over_budget"


class Blocked(Refused):
    """A guard or a gate refused."""

    code = "blocked"


class GateRefused(Blocked):
    """A gate refused a promotion; nothing was moved."""

    code = "gate_refused"
    report: GateReport = GateReport(passed=False)
    """The gate's verdict, estimates with intervals, and reasons."""


class ApprovalNeeded(TandemError):
    """Nothing was done yet: a rule asks for people, and the request waits for them.

    Attributes:
        request: what exactly shall be done, and who may approve it.
        key: of a key that was asked for, its secret; it is refused until people approved.
    """

    code, status = "approval_needed", 202

    def __init__(self, request: Request, *, key: str | None = None) -> None:
        super().__init__(
            f"Nothing was done yet: {request.id} waits for {request.waits_for or 'people'}.",
            hint=f"They approve it with `tandem request approve {request.id}`, or in the console under Requests.",
        )
        self.request, self.key = request, key


class NotFound(TandemError):
    """There is no such thing, or not for this key."""

    code = "not_found"


class Conflict(TandemError):
    """Somebody else was first, or `tandem.toml` manages it."""

    code = "conflict"


class Invalid(TandemError):
    """The input is wrong; `field` names where."""

    code = "invalid"


class RunFailed(TandemError):
    """A run that was waited for failed or was cancelled."""

    code = "run_failed"


class Upstream(TandemError):
    """A provider failed."""

    code = "upstream"


class Unreachable(Upstream):
    """No connection: to a provider, or (status 0) to the platform itself."""

    code = "unreachable"


class TimedOut(Upstream):
    """Something took too long."""

    code = "timed_out"


class Unavailable(TandemError):
    """The platform cannot take work now."""

    code = "unavailable"


class Broken(TandemError):
    """The platform's fault, or an answer that makes no sense."""

    code = "broken"


_CODED: tuple[type[TandemError], ...] = (
    Refused, Unauthenticated, Forbidden, RateLimited, OverBudget, Blocked, GateRefused, NotFound, Conflict, Invalid, Upstream,
    Unreachable, TimedOut, Unavailable, Broken,
)  # fmt: skip
_BY_CODE: dict[str, type[TandemError]] = {kind.code: kind for kind in _CODED}
_BY_CODE |= dict.fromkeys(("guard_blocked", "no_evidence", "training_rows"), Blocked)
_BY_STATUS: dict[int, type[TandemError]] = {
    400: Invalid, 401: Unauthenticated, 403: Forbidden, 404: NotFound, 405: Invalid, 409: Conflict, 413: Invalid, 415: Invalid,
    422: Invalid, 429: RateLimited, 502: Upstream, 503: Unavailable, 504: TimedOut,
}  # fmt: skip
EXCERPT = 200
"""Characters of a foreign error page that are worth showing."""


def read_error(status: int, body: bytes, *, trace: str | None = None, retry_after: float | None = None) -> TandemError:
    """The error that a refused request tells of, in whichever of the platform's shapes it is written.

    Ours `{"error": {"code", "message", "hint", "field"}}`, OpenAI's `{"error": {"message", "type", "param", "code"}}`,
    the Open Inference Protocol's `{"error": "text", "code", …}`; anything else is quoted.
    """
    whole = _object(body)
    error = whole.get("error")
    told: Mapping[str, object] = whole if isinstance(error, str) else error if isinstance(error, Mapping) else {}
    message = error if isinstance(error, str) else _text(told, "message")
    code = _text(told, "code")
    kind = _BY_CODE.get(code or "") or _BY_STATUS.get(status) or (Broken if status >= 500 else TandemError)
    found = kind(
        message or _quoted(status, body),
        hint=_text(told, "hint"),
        code=code or _text(told, "type"),
        status=status,
        field=_text(told, "field") or _text(told, "param"),
        trace=trace or _text(told, "trace") or None,
        retry_after=retry_after,
    )
    if isinstance(found, GateRefused) and "report" in told:
        try:
            found.report = read(GateReport, told["report"])
        except Mismatch:  # the refusal matters more than its details
            found.report = GateReport(passed=False, reasons=(found.message,))
    return found


def read_waiting(body: bytes) -> ApprovalNeeded:
    """What the answer tells of a deed that waits for people."""
    whole = _object(body)
    try:
        request = read(Request, whole)
    except Mismatch:  # of another version: that it waits matters more than the rest
        request = Request(id=_text(whole, "id") or "a request")
    return ApprovalNeeded(request, key=_text(whole, "key"))


def _object(body: bytes) -> Mapping[str, object]:
    try:
        return _mapping(json.loads(body))
    except ValueError:
        return {}


def _mapping(data: object) -> Mapping[str, object]:
    return data if isinstance(data, dict) else {}


def _text(told: Mapping[str, object], name: str) -> str | None:
    value = told.get(name)
    return None if value is None else str(value)


def _quoted(status: int, body: bytes) -> str:
    text = " ".join(body[: EXCERPT * 4].decode("utf-8", "replace").split())[:EXCERPT]
    return f"The answer was HTTP {status}: {text}" if text else f"The answer was HTTP {status} without a word."
