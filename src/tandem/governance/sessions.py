"""Who is behind a request to the control plane: a key, or the signed cookie of somebody who signed in with one.

A session names the key's digest, so revoking the key ends every session of it. It knows no web framework.
"""

from __future__ import annotations

import base64
import hmac

from tandem.core.clock import MICROS, Clock
from tandem.core.principal import Principal
from tandem.governance.keys import Keys
from tandem.store.vault import Vault

COOKIE = "tandem_session"
SESSION_SECONDS = 12 * 3600
DIGEST_BYTES = MAC_BYTES = 32
TIME_BYTES = 8


class Sessions:
    """Finds principals by key and by cookie."""

    def __init__(self, keys: Keys, vault: Vault, clock: Clock) -> None:
        self._keys, self._clock = keys, clock
        self._secret = vault.derive("console-session")

    def by_key(self, token: str) -> Principal | None:
        """Whose key this is; None when nobody knows it."""
        return self._keys.find_digest(self._keys.digest(token))

    def open(self, token: str) -> tuple[Principal, str] | None:
        """Signs in with a key: the principal and the cookie's value; None when nobody knows the key."""
        digest = self._keys.digest(token)
        principal = self._keys.find_digest(digest)
        if principal is None:
            return None
        body = digest + (self._clock.now() // MICROS + SESSION_SECONDS).to_bytes(TIME_BYTES)
        return principal, base64.urlsafe_b64encode(body + hmac.digest(self._secret, body, "sha256")).decode()

    def by_cookie(self, value: str) -> Principal | None:
        """Whose session this is; None when it is forged, over, or its key was revoked."""
        try:
            raw = base64.urlsafe_b64decode(value.encode())
        except ValueError:
            return None
        body, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        if len(body) != DIGEST_BYTES + TIME_BYTES or not hmac.compare_digest(mac, hmac.digest(self._secret, body, "sha256")):
            return None
        if int.from_bytes(body[DIGEST_BYTES:]) * MICROS < self._clock.now():
            return None
        return self._keys.find_digest(body[:DIGEST_BYTES])
