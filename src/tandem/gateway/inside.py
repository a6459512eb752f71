"""The platform's own calls: judges, embeddings and evaluations pass the same door as everybody's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import httpx2

from tandem.core.clock import Clock
from tandem.core.errors import TandemError, Unreachable
from tandem.core.principal import Principal
from tandem.governance.lend import lend

SECONDS = 300.0


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
        token = lend(self._secret, principal, self._clock.now())
        try:
            reply = self._http.post(
                self._url + path, json=dict(body), headers={"authorization": f"Bearer {token}"}, timeout=seconds
            )
        except httpx2.HTTPError as error:
            raise Unreachable(f"The door did not answer: {type(error).__name__}.", hint="`tandem doctor` tells more.") from None
        try:
            told = reply.json()
        except ValueError:
            told = reply.text
        return Said(
            status=reply.status_code,
            body=told,
            trace=reply.headers.get("x-tandem-trace-id", ""),
            seconds=reply.elapsed.total_seconds(),
        )

    def close(self) -> None:
        self._http.close()
