"""Keys the platform lends itself: a Run calls the door in its asker's name, and on its asker's budget.

A lent key is no row anywhere: it names its principal and its end and bears a MAC under a key that only this
home's processes can derive. It is made for one call and lasts a minute.
"""

from __future__ import annotations

import base64
import hmac

import msgspec

from tandem.core.principal import Principal

PURPOSE = "lent-keys"
PREFIX = "tdml_"
SECONDS = 60
_MAC = 32


class _Lent(msgspec.Struct, frozen=True, array_like=True):
    until: int
    """UTC microseconds."""
    principal: Principal


def lend(secret: bytes, principal: Principal, now: int) -> str:
    """A key that names `principal` until a minute after `now` (UTC microseconds).

    Args:
        secret: 32 bytes, the vault's for `PURPOSE`.
    """
    body = msgspec.msgpack.encode(_Lent(now + SECONDS * 1_000_000, principal))
    return PREFIX + base64.urlsafe_b64encode(hmac.digest(secret, body, "sha256") + body).decode().rstrip("=")


def lent(secret: bytes, token: str, now: int) -> Principal | None:
    """Whom a lent key names; None when it was not made here, or has ended."""
    text = token.removeprefix(PREFIX)
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    mac, body = raw[:_MAC], raw[_MAC:]
    if not hmac.compare_digest(mac, hmac.digest(secret, body, "sha256")):
        return None
    found = msgspec.msgpack.decode(body, type=_Lent)
    return found.principal if now < found.until else None
