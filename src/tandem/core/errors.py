"""Every error Tandem raises on purpose, and how it looks to a caller.

    TandemError                 code, status, retryable, hint
      + Refused                 the law said no
      |   - Unauthenticated     401  no key, or one nobody knows
      |   - Forbidden           403  a known key without the right
      |   - RateLimited         429  too many at once; `retry_after` tells when
      |   - OverBudget          429  a cap has no room for this call
      |   - Blocked             403  a guard or a gate refused the content
      + NotFound                404
      + Conflict                409  somebody else was first, or the thing is managed elsewhere
      + Invalid                 400  the input is wrong; `field` names where
      + Upstream                502  a provider failed
      |   - Unreachable         502  no connection
      |   - TimedOut            504  connect, first byte, idle or total
      |   - Rejected            (the provider's own status)
      + Unavailable             503  we cannot take work now (draining, journal unwritable)
      + Broken                  500  our fault

A message says what happened to what and why; `hint` says what to do next. Both are kept in traces and logs,
so neither repeats what a caller sent: that is said in `words`, which the caller alone hears.
Foreign errors are translated once, where they enter: `gateway.transport` and each `repo`.
"""

from __future__ import annotations


class TandemError(Exception):
    """Base of all deliberate errors."""

    code = "error"
    status = 500
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        words: str = "",
        hint: str | None = None,
        field: str | None = None,
        retry_after: float | None = None,
        status: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.words = words
        """What goes on to be said to the caller alone, since it may repeat what was sent: never logged, kept only sealed."""
        self.hint = hint
        self.field = field
        """Where in the input the fault is: a JSON path, a column, a row."""
        self.retry_after = retry_after
        """Seconds after which a retry makes sense."""
        if status is not None:
            self.status = status
        if code is not None:
            self.code = code

    @property
    def said(self) -> str:
        """The message as the caller hears it."""
        return f"{self.message} {self.words}" if self.words else self.message

    def __str__(self) -> str:
        return f"{self.said} {self.hint}" if self.hint else self.said


class Refused(TandemError):
    code, status = "refused", 403


class Unauthenticated(Refused):
    code, status = "unauthenticated", 401


class Forbidden(Refused):
    code, status = "forbidden", 403


class RateLimited(Refused):
    code, status, retryable = "rate_limited", 429, True


class OverBudget(Refused):
    code, status = "over_budget", 429


class Blocked(Refused):
    code, status = "blocked", 403


class NotFound(TandemError):
    code, status = "not_found", 404


class Conflict(TandemError):
    code, status = "conflict", 409


class Invalid(TandemError):
    code, status = "invalid", 400


class Upstream(TandemError):
    code, status, retryable = "upstream", 502, True


class Unreachable(Upstream):
    code, status = "unreachable", 502


class TimedOut(Upstream):
    code, status = "timed_out", 504


class Rejected(Upstream):
    code, status, retryable = "rejected", 502, False
    body: bytes = b""
    """What the provider itself wrote, for a caller that speaks its dialect."""


class Unavailable(TandemError):
    code, status, retryable = "unavailable", 503, True


class Broken(TandemError):
    code, status = "broken", 500
