"""What a channel to the outside is, and the table of those that come along. Imports no client: settings are checked by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from tandem.core.errors import Invalid
from tandem.core.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One deed, as a person outside is told of it. It holds no content and no secret."""

    id: str
    """`dlv_…`: the same at every try of one deed for one alert, so that a receiver can tell a repetition."""
    at: int
    """When it was done: UTC microseconds."""
    action: str
    subject: str
    actor: str
    team: str
    title: str
    """One line."""
    facts: Sequence[str]
    """Lines: verdicts with n, effect and interval."""
    link: str
    """Where the console shows it."""
    command: str
    """Which command shows more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a message goes, with every reference resolved."""

    url: Secret
    secret: Secret
    user: str = ""
    sender: str = ""
    to: tuple[str, ...] = ()


class Channel(Protocol):
    """One way to tell somebody outside. Used by one thread per alert at once."""

    def send(self, message: Message, destination: Destination, now: int) -> str:
        """Delivers a message, or gives up within `post.TOTAL` seconds.

        Args:
            now: UTC microseconds.

        Returns:
            What went less than well though it was delivered; empty when nothing did.

        Raises:
            Upstream: it was not delivered; the message names no address and no secret.
            Invalid: the destination is not one, now that its references are resolved.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is known of a channel before it is imported."""

    place: str
    """`module:class`."""
    schemes: tuple[str, ...]
    """Of its addresses."""
    path: bool = True
    """Whether an address may have a path and a query."""
    signs: bool = False
    """Whether messages are signed; then there is always a secret, `whsec_…`."""
    mails: bool = False
    """Whether it goes from an address to others, and may sign in."""


KINDS: dict[str, Kind] = {
    "webhook": Kind(place=".webhook:Webhook", schemes=("https", "http"), signs=True),
    "slack": Kind(place=".slack:Slack", schemes=("https", "http")),
    "email": Kind(place=".mail:Mail", schemes=("smtp", "smtps", "smtp+plain"), path=False, mails=True),
}
"""Name → what it is; the class is imported when first used."""


def kind_of(name: str) -> Kind:
    """The row of that name.

    Raises:
        Invalid: there is none.
    """
    found = KINDS.get(name)
    if found is None:
        raise Invalid(f"There is no alert of the kind '{name[:64]}'.", hint=f"Kinds are {', '.join(KINDS)}.", field="kind")
    return found


def load(name: str) -> Channel:
    """The channel of that name.

    Raises:
        Invalid: there is none.
    """
    module, _, member = kind_of(name).place.partition(":")
    return cast(Channel, getattr(import_module(module, __package__), member)())
