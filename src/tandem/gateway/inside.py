"""The platform's own calls: judges, embeddings and evaluations pass the same door as everybody's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import httpx2
import msgspec

from tandem.core.clock import Clock
from tandem.core.errors import TandemError, Unreachable
from tandem.core.principal import Principal
from tandem.governance.lend import lend

SECONDS = 300.0
TRACE = "x-tandem-trace-id"
BATCH = "x-tandem-batch"
"""Says which batch a call is part of; the door believes it of keys that the platform lent itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer of the door's."""

    status: int
    body: Any
    """Decoded JSON; the text where it is none."""
    trace: str
    seconds: float
    """From the question to the whole answer."""

    def raise_for_status(self) -> Said:
        """This answer, unless it is a refusal or a failure.

        Raises:
            TandemError: it is, with its status and the words of the door.
        """
        if self.status < 400:
            return self
        error = self.body.get("error", {}) if isinstance(self.body, dict) else self.body
        told = error if isinstance(error, dict) else {"message": str(error)}
        raise TandemError(
            f"A call of the platform's own was answered {self.status} ({told.get('code')}); trace {self.trace}.",
            words=str(told.get("message", "")),
            status=self.status,
            code=str(told.get("code") or "refused"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replied:
    """An answer of the door's, as it came."""

    status: int
    body: bytes
    trace: str
    retry_after: float | None
    """Seconds, where the door says when to come back."""


class Calls(Protocol):
    """What asks the door in somebody's name. `Inside` does it; tests bring their own."""

    def post(self, path: str, body: Mapping[str, Any], by: Principal, *, seconds: float = SECONDS) -> Said: ...


class Inside:
    """Asks the platform's own door; one per process, for any number of threads."""

    def __init__(self, url: str, secret: bytes, clock: Clock) -> None:
        self._url, self._secret, self._clock = url, secret, clock
        # The certificate names the platform from outside; this goes to our own port on this machine.
        self._http = httpx2.Client(verify=False, trust_env=False)

    def post(self, path: str, body: Mapping[str, Any], by: Principal, *, seconds: float = SECONDS) -> Said:
        """Asks in `by`'s name: it is admitted, priced and traced as `by`'s own call, and any version may be named.

        Args:
            path: such as `/v1/chat/completions`.
            seconds: after which it is given up.

        Raises:
            Unreachable: the door does not answer.
        """
        principal = replace(by, role="viewer", scopes=("any-version",), expires_at=None)
        reply = self._ask(path, msgspec.json.encode(dict(body)), principal, {}, seconds)
        try:
            told = reply.json()
        except ValueError:
            told = reply.text
        return Said(
            status=reply.status_code,
            body=told,
            trace=reply.headers.get(TRACE, ""),
            seconds=reply.elapsed.total_seconds(),
        )

    def send(self, path: str, body: bytes, by: Principal, *, batch: str, seconds: float = SECONDS) -> Replied:
        """Sends a line of a batch as it stands, with `by`'s own rights and nothing more; its trace names the batch.

        Raises:
            Unreachable: the door does not answer.
        """
        reply = self._ask(path, body, by, {BATCH: batch}, seconds)
        later = reply.headers.get("retry-after", "")
        return Replied(
            status=reply.status_code,
            body=reply.content,
            trace=reply.headers.get(TRACE, ""),
            retry_after=float(later) if later.isdecimal() else None,
        )

    def _ask(self, path: str, body: bytes, by: Principal, more: Mapping[str, str], seconds: float) -> httpx2.Response:
        token = lend(self._secret, by, self._clock.now())
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json", **more}
        try:
            return self._http.post(self._url + path, content=body, headers=headers, timeout=seconds)
        except httpx2.HTTPError as error:
            raise Unreachable(f"The door did not answer: {type(error).__name__}.", hint="`tandem doctor` tells more.") from None

    def close(self) -> None:
        self._http.close()
