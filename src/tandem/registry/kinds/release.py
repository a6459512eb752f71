"""A release: exact versions of other assets, which are promoted and rolled back together. It has no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.registry.kinds.base import ALWAYS_ASIDE

MOST = 50
"""The most assets a release may pin."""
NEVER = ("release", "dataset")
"""Kinds that no release pins: one would nest, the other serves nothing."""


class Release:
    """Meta: `pins`, a list of `kind/name@version`."""

    aside = ALWAYS_ASIDE

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        found = pins(meta)
        if not found or len(found) > MOST:
            raise Invalid(f"A release pins 1 to {MOST} assets.", hint="Name at least one version.", field="meta.pins")
        seen: set[tuple[str, str]] = set()
        for place, ref in enumerate(found):
            if ref.kind in NEVER or ref.version is None:
                raise Invalid(
                    f"A release cannot pin {ref}.",
                    hint="Name exact versions of anything but datasets and releases.",
                    field=f"meta.pins[{place}]",
                )
            if (ref.kind, ref.name) in seen:
                raise Invalid(
                    f"The release pins {ref.kind}/{ref.name} twice.", hint="Keep one version.", field=f"meta.pins[{place}]"
                )
            seen.add((ref.kind, ref.name))
        if members:
            raise Invalid("A release has no files.", hint="It only names versions.", field="members")

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        if set(pins(meta)) != set(parents):
            raise Invalid("The parents of a release are what it pins.", hint="Name the same versions.", field="parents")


def pins(meta: Mapping[str, object]) -> tuple[Ref, ...]:
    """The versions that a release's meta names.

    Raises:
        Invalid: it names none, or something that is no asset.
    """
    found = meta.get("pins")
    if not isinstance(found, Sequence) or isinstance(found, str) or not all(isinstance(pin, str) for pin in found):
        raise Invalid("The release has no list of pins.", hint='Give {"pins": ["model/NAME@VERSION"]}.', field="meta.pins")
    return tuple(Ref.parse(pin) for pin in found)
