"""The closed set of what can go wrong with a call, whose side it was on, and what may be tried after it. Data, no logic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tandem.core.errors import TandemError, Upstream

Side = Literal["caller", "policy", "provider", "gateway"]
"""Who has to change something: the caller, who set the law, the provider, or we."""
Step = Literal["rotate_key", "fail_over", "retry_same"]
"""What another attempt may be, before the caller has heard a word: with the provider's next key, at the route's next target,
or once more at the same one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to fail."""

    code: str
    """As attempts and calls are booked, and as refusals name it."""
    side: Side
    steps: tuple[Step, ...] = ()
    """In the order they are taken, as far as there is one to take; none: the call ends."""
    told: str
    """What happened, for people."""

    @property
    def label(self) -> str:
        """`provider.rate_limited`: the side and the code, as headers and metrics show them."""
        return f"{self.side}.{self.code}"


_ROWS = (
    Fault(code="unauthenticated", side="caller", told="no key, or one nobody knows"),
    Fault(code="forbidden", side="policy", told="a known key without the right"),
    Fault(code="wrong_network", side="policy", told="the key may not be used from the caller's address"),
    Fault(code="wrong_kind", side="policy", told="the key may not make this kind of call"),
    Fault(code="model_not_allowed", side="policy", told="the key may use none of the models that would answer"),
    Fault(code="over_budget", side="policy", told="a cap has no room for the call"),
    Fault(code="over_limit", side="policy", told="a limit of tokens or calls has no room for the call"),
    Fault(code="run_over", side="policy", told="the run that the call names is over"),
    Fault(code="unpriced_under_cap", side="policy", told="the call has no price, so a hard cap could not be kept"),
    Fault(code="blocked", side="policy", told="a guard or a gate refused the content"),
    Fault(code="guard_blocked", side="policy", told="a guard refused what the model wrote"),
    Fault(code="no_target", side="policy", told="no target of the route takes this call"),
    Fault(code="invalid", side="caller", told="the request is wrong"),
    Fault(code="model_not_found", side="caller", told="nothing answers at this address"),
    Fault(code="not_carried", side="caller", steps=("fail_over",), told="the provider's protocol has no place for a field"),
    Fault(
        code="previous_response_not_found", side="caller", told="an answer that this endpoint cannot go on from for this caller"
    ),
    Fault(code="method_not_allowed", side="caller", told="the address takes another method"),
    Fault(code="bad_request", side="caller", told="the provider calls the request wrong"),
    Fault(code="encoded_body", side="caller", told="the request is compressed"),
    Fault(code="truncated_body", side="caller", told="the request ended early"),
    Fault(code="body_too_large", side="caller", told="the request is larger than what is read"),
    Fault(code="gone", side="caller", told="the caller went away"),
    Fault(
        code="content_policy",
        side="provider",
        told="the provider refused for the sake of safety; never routed around, unless the endpoint says so",
    ),
    Fault(code="context_exceeded", side="caller", steps=("fail_over",), told="more than fits into the model"),
    Fault(code="provider_auth", side="provider", steps=("rotate_key", "fail_over"), told="the platform's own key was refused"),
    Fault(code="quota", side="provider", steps=("rotate_key", "fail_over"), told="the provider's account is used up"),
    Fault(
        code="rate_limited",
        side="provider",
        steps=("rotate_key", "fail_over", "retry_same"),
        told="the provider is asked too often",
    ),
    Fault(code="not_found", side="provider", steps=("fail_over",), told="the provider does not know the model"),
    Fault(code="overloaded", side="provider", steps=("fail_over", "retry_same"), told="the provider is overloaded"),
    Fault(code="upstream_5xx", side="provider", steps=("fail_over", "retry_same"), told="the provider failed"),
    Fault(code="upstream", side="provider", steps=("fail_over", "retry_same"), told="the provider failed in the middle"),
    Fault(code="unreachable", side="provider", steps=("fail_over", "retry_same"), told="no connection to the provider"),
    Fault(code="timed_out", side="provider", steps=("fail_over", "retry_same"), told="the provider took too long"),
    Fault(code="malformed_reply", side="provider", steps=("fail_over", "retry_same"), told="an answer that cannot be read"),
    Fault(code="malformed_stream", side="provider", steps=("fail_over", "retry_same"), told="a stream that cannot be read"),
    Fault(code="truncated_stream", side="provider", steps=("fail_over", "retry_same"), told="a stream without its end"),
    Fault(code="reply_too_large", side="provider", steps=("fail_over",), told="an answer beyond what is read"),
    Fault(code="reservation_used_up", side="policy", told="the provider went on beyond the output it was allowed"),
    Fault(code="closed", side="gateway", told="an answer was given up before its end"),
    Fault(code="lease_expired", side="gateway", told="the worker was held up beyond its money lease; nothing was sent"),
    Fault(code="unavailable", side="gateway", told="the platform cannot take the call now"),
    Fault(code="broken", side="gateway", told="a bug of ours"),
)
CANON: dict[str, Fault] = {row.code: row for row in _ROWS}
_OWN: dict[str, Fault] = {
    "not_found": Fault(code="not_found", side="caller", told="nothing answers at this address"),
    "conflict": Fault(code="conflict", side="caller", told="somebody else was first"),
}
"""Codes that mean something else when no provider said them."""
OTHER = Fault(code="error", side="gateway", told="something that has no class of its own")


def fault_of(code: str) -> Fault:
    """The row of an attempt's outcome; one that nobody listed ends the call, on our side."""
    return CANON.get(code, OTHER)


def classed(error: TandemError) -> Fault:
    """The row of an error, whoever raised it."""
    if not isinstance(error, Upstream) and error.code in _OWN:
        return _OWN[error.code]
    return CANON.get(error.code, OTHER)
