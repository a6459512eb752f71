"""What is kept of a key instead of the key: HMAC-SHA256 (RFC 2104) under a pepper from the vault. It knows no table.

A key holds 256 random bits, so one fast keyed digest is enough: there is nothing to guess (NIST SP 800-63B, look-up secrets).
"""

from __future__ import annotations

import hmac
import secrets

PEPPER = "api-keys"
"""The vault's purpose: `vault.derive(PEPPER)` is the pepper."""
PREFIX = "tdm_"
LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LENGTH = 43
"""Base-62 characters after the prefix: 256 bits."""


def digest(pepper: bytes, token: str) -> bytes:
    """The 32 bytes under which a key is stored and found.

    >>> digest(b"pepper", "tdm_a") == digest(b"pepper", "tdm_b")
    False
    """
    return hmac.digest(pepper, token.encode(errors="surrogatepass"), "sha256")


def new_token() -> str:
    """A fresh key: `tdm_` and 43 characters, 256 bits from the operating system."""
    return PREFIX + "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
