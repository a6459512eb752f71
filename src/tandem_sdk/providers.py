"""Providers: hosts of language models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A host of language models: its protocol, address and keys."""

    name: str
    protocol: str = ""
    base_url: str = ""
    keys: tuple[str, ...] = ()
    """References or fingerprints, never the keys themselves."""
    prices: str | None = None
    """Whose price list applies."""
    managed: str | None = None
    """Where `tandem.toml` declares it; then it is read-only here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was examined."""

    check: str
    ok: bool
    detail: str = ""
    hint: str = ""


class Providers:
    """`client.providers`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Provider, ...]:
        """Every provider."""
        return read_replies(Provider, self._wire.get(f"{API}/providers"))

    def set(self, name: str, *, protocol: str, base_url: str, keys: Sequence[str] = (), prices: str | None = None) -> Provider:
        """Makes or replaces a provider.

        Args:
            name: how endpoints name it, as in `NAME/gpt-4o-mini`.
            protocol: such as `openai`.
            base_url: up to and with `/v1`.
            keys: `env:NAME`, `file:PATH`, or the key itself, which is encrypted when it is stored.
            prices: whose price list applies; None: the protocol's own vendor.

        Raises:
            Conflict: `tandem.toml` declares it.
        """
        body = {"protocol": protocol, "base_url": base_url, "keys": list(keys), "prices": prices}
        return read_reply(Provider, self._wire.send("PUT", f"{API}/providers/{segment(name)}", body))

    def drop(self, name: str) -> None:
        """Removes a provider.

        Raises:
            NotFound, Conflict: there is none, or `tandem.toml` declares it.
        """
        self._wire.send("DELETE", f"{API}/providers/{segment(name)}")

    def test(self, name: str, model: str) -> tuple[Check, ...]:
        """Asks a model of the provider a few short questions and tells what works: reply, usage, stream, tools."""
        reply = self._wire.send("POST", f"{API}/providers/{segment(name)}/test", {"model": model}, patient=True)
        return read_replies(Check, reply)
