"""One Redis or Valkey server, asked by scripts, each of which it runs as a whole. It knows no key. [door]"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tandem.core.clock import Clock
from tandem.core.errors import Invalid, Unavailable
from tandem.core.secret import Secret
from tandem.store.pause import Pause

if TYPE_CHECKING:
    from redis.commands.core import Script

TIMEOUT_SECONDS = 0.5
"""For connecting and for an answer, each."""

Word = str | int | bytes


class Redis:
    """A way to the server. Safe for several threads."""

    def __init__(self, url: Secret, clock: Clock, what: str, hint: str, *, texts: bool) -> None:
        """Speaks to nobody yet.

        Args:
            url: `redis://…`, `rediss://…` or `unix://…`.
            clock: of this machine.
            what: how messages call the server.
            hint: what follows for who asks while it is away.
            texts: whether replies are texts, not bytes.

        Raises:
            Invalid: the URL is none, or the client is not installed.
        """
        try:
            import redis  # late: a platform without Redis has no use for it
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise Invalid("Redis needs its client.", hint="Run: pip install 'tandem-ai[redis]'.") from None
        try:
            self._client = redis.Redis.from_url(
                url.reveal(),
                decode_responses=texts,
                socket_connect_timeout=TIMEOUT_SECONDS,
                socket_timeout=TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 0),  # what was sent once may have been done
            )
        except ValueError:
            raise Invalid("The address of Redis is none.", hint="Write it like redis://:password@host:6379/0.") from None
        self._faults: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._what, self._hint, self._pause = what, hint, Pause(clock)

    def script(self, text: str) -> Script:
        """A script that can be asked. It is sent once; then its name does."""
        return self._client.register_script(text)

    def ask(self, script: Script, keys: Sequence[str], values: Sequence[Word]) -> Any:
        """The reply of a script, by one round trip.

        Raises:
            Unavailable: the server is away, just now or a moment ago.
        """
        with self._pause.asking(), self._translated():
            return script(keys=keys, args=values)

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._faults as error:
            self._client.connection_pool.disconnect(inuse_connections=False)  # its successor may be elsewhere
            said = str(error).strip().splitlines()
            reason = said[0][:200] if said else type(error).__name__
            raise Unavailable(f"{self._what} did not answer: {reason}.", hint=self._hint, retry_after=1) from error
