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
    hour_price: str = ""
    """US dollars an hour, of a machine of one's own."""
    tokens_per_second: float = 0.0
    """What the machine does in a second; 0: as it is measured."""
    region: str = ""
    """Where it keeps and processes what it is sent."""
    collects: bool = True
    """Whether it may keep what it is sent, or learn from it."""
    managed: str | None = None
    """Where `tandem.toml` declares it; then it is read-only here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHost:
    """A host whose name alone declares a provider."""

    name: str
    protocol: str = ""
    base_url: str = ""
    """With `{account}` and the like where every customer has an address of their own."""
    variable: str | None = None
    """The environment variable its key is usually in."""
    prices: str | None = None
    """Whose price list applies; None: nobody's."""
    note: str = ""
    models: int = 0
    """How many of them have a price today."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that has a price: US dollars per million tokens."""

    model: str
    input: str = ""
    output: str = ""
    cache_read: str | None = None
    context: int | None = None
    """Tokens that fit, where it is known."""
    source: str = ""


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

    def known(self) -> tuple[KnownHost, ...]:
        """Every host whose name alone declares a provider."""
        return read_replies(KnownHost, self._wire.get(f"{API}/providers/known"))

    def models(self, name: str) -> tuple[Model, ...]:
        """The models of a provider, or of a known host, that have a price today.

        Raises:
            NotFound: there is neither.
        """
        return read_replies(Model, self._wire.get(f"{API}/providers/{segment(name)}/models"))

    def set(
        self,
        name: str,
        *,
        protocol: str | None = None,
        base_url: str | None = None,
        keys: Sequence[str] | None = None,
        prices: str | None = None,
        region: str | None = None,
        collects: bool | None = None,
        hour_price: str | None = None,
        tokens_per_second: float | None = None,
    ) -> Provider:
        """Makes or replaces a provider; of a known host (`known`) everything may be left out.

        Args:
            name: how endpoints name it, as in `NAME/gpt-4o-mini`.
            protocol: None: the known host's, else `openai`.
            base_url: up to and with `/v1`.
            keys: `env:NAME`, `file:PATH`, or the key itself, which is encrypted when it is stored.
            prices: whose price list applies; None: the known host's, else the protocol's own vendor.
            region: where it keeps and processes what it is sent, in your own words.
            collects: whether it may keep what it is sent, or learn from it; None: yes.
            hour_price: dollars an hour of a machine of one's own, by which tokens are priced then.
            tokens_per_second: input and output tokens that it does in a second when it is busy; None: as it is measured.

        Raises:
            Invalid: there is no address.
            Conflict: `tandem.toml` declares it.
        """
        given = {"protocol": protocol, "base_url": base_url, "keys": None if keys is None else list(keys), "prices": prices,
            "region": region, "collects": collects, "hour_price": hour_price, "tokens_per_second": tokens_per_second,
        }  # fmt: skip
        body = {field: value for field, value in given.items() if value is not None}
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
