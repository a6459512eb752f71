"""Passwords: what is a good one, and how it is kept: Argon2id (RFC 9106). It knows no table.

Checking one takes 19 MiB and some 20 ms on purpose, so only a few are checked at a time; an unknown name costs the same.
"""

from __future__ import annotations

import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tandem.core.errors import Invalid, RateLimited

SHORTEST, LONGEST = 12, 256
"""Characters. NIST SP 800-63B, section 3.1.1: length counts, rules about letters and digits do not."""
MEMORY_KIB, PASSES, LANES = 19 * 1024, 2, 1
"""The second recommendation of OWASP's Password Storage Cheat Sheet; Argon2id takes as much at any of them."""
AT_ONCE, WAITING = 2, 8
"""How many are looked at together, and how many may wait for that: a flood must not take the threads of everything else."""
WAIT_SECONDS = 5.0
COMMON = frozenset(
    ["password", "passwort", "qwertyuiop", "qwerty", "letmein", "welcome", "admin", "administrator",
     "iloveyou", "changeme", "abc", "monkey", "dragon", "secret", "tandem"]
)  # fmt: skip
"""Words that a password may not consist of alone, however often they are repeated."""


class Passwords:
    """Makes and checks what is kept of passwords; one per process."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._room, self._queue = threading.BoundedSemaphore(AT_ONCE), threading.BoundedSemaphore(AT_ONCE + WAITING)
        self._nobody = self._hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        """What is kept of a password.

        Raises:
            RateLimited: too many are checked at the moment.
        """
        with _Turn(self._queue, self._room):
            return self._hasher.hash(_form(password))

    def holds(self, kept: str | None, password: str) -> bool:
        """Whether it is the one that was kept; where none is kept it takes as long, and is not.

        Raises:
            RateLimited: too many are checked at the moment.
        """
        with _Turn(self._queue, self._room):
            try:
                self._hasher.verify(self._nobody if kept is None else kept, _form(password))
            except (VerificationError, InvalidHashError):
                return False
            return kept is not None

    def outdated(self, kept: str) -> bool:
        """Whether it was kept with other parameters than are used now."""
        return self._hasher.check_needs_rehash(kept)


class _Turn:
    """A place among those that are checked at once."""

    def __init__(self, queue: threading.BoundedSemaphore, room: threading.BoundedSemaphore) -> None:
        self._queue, self._room = queue, room

    def __enter__(self) -> None:
        if not self._queue.acquire(blocking=False):
            raise _crowded()
        if not self._room.acquire(timeout=WAIT_SECONDS):
            self._queue.release()
            raise _crowded()

    def __exit__(self, *told: object) -> None:
        self._room.release()
        self._queue.release()


def _crowded() -> RateLimited:
    return RateLimited("Too many people sign in at this moment.", hint="Try again in a moment.", retry_after=1)


def check_password(password: str, *, name: str, email: str | None) -> None:
    """Looks at a password that somebody chose.

    Raises:
        Invalid: it is too short or too long, or easily guessed.
    """
    text = _form(password)
    if not SHORTEST <= len(text) <= LONGEST:
        raise Invalid(
            f"A password has {SHORTEST} to {LONGEST} characters.", hint="A sentence is easy to remember.", field="password"
        )
    bare = text.casefold().strip(" 0123456789!?.,-_*#$")
    parts = {name.casefold(), *([] if email is None else [email.casefold(), email.casefold().partition("@")[0]])}
    easy = len(set(text)) < 5 or any(word and not bare.replace(word, "") for word in COMMON | parts)
    if easy:
        raise Invalid(
            "This password is easily guessed.", hint="Take one that is neither a name nor a common word.", field="password"
        )


def _form(password: str) -> str:
    """The same characters, however a keyboard put them together."""
    return unicodedata.normalize("NFKC", password)
