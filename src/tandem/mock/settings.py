"""The options of the mock upstream. It knows no command line and no file."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.core.errors import Invalid
from tandem.core.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class MockSettings:
    """Everything that can be set before the mock starts."""

    host: str = "127.0.0.1"
    port: int = 9101
    """0 takes a free port; the handle's `url` tells which."""
    key: Secret | None = None
    """The one bearer key that is accepted; without it any key that is not empty."""
    latency_ms: float = 0.0
    """Milliseconds from the whole request to the first byte of the reply."""
    per_token_ms: float = 0.0
    """Milliseconds each output token takes, after the first byte."""
    jitter_ms: float = 0.0
    """Each wait is longer by a seeded draw between 0 and this many milliseconds."""
    delta_tokens: int = 1
    """Output tokens in one delta of a stream."""
    faults: tuple[str, ...] = ()
    """The fault script at the start, in the grammar of `tandem.mock.faults`."""
    seed: int = 0
    """Seeds jitter and the chances of faults; what the model says depends on the request's own `seed`."""
    max_rows: int = 1_000_000
    """Rows the bill keeps; older ones are dropped, its totals keep counting them."""
    max_requests: int = 1_000
    """Requests that `GET /requests` remembers."""

    def __post_init__(self) -> None:
        for name in ("latency_ms", "per_token_ms", "jitter_ms"):
            if not 0 <= getattr(self, name) <= 3_600_000:
                raise Invalid(f"{name} is {getattr(self, name)}.", hint="Give milliseconds from 0 to 3600000.", field=name)
        for name in ("delta_tokens", "max_rows", "max_requests"):
            if getattr(self, name) < 1:
                raise Invalid(f"{name} is {getattr(self, name)}.", hint="Give 1 or more.", field=name)
        if self.key is not None and not self.key:
            raise Invalid("The key is empty.", hint="Give a key, or leave it out to accept any.", field="key")
