"""A router: what was learned about which model answers which prompts well. Its file is one member; the door reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.registry.kinds.base import ALWAYS_ASIDE

FILE = "router.json"
"""The member with what was learned."""


class Router:
    """Meta: `models` (what it knows), `data` (digest of the outcomes), `rows`, `seed`, `scored` (how it did on unseen ones)."""

    aside = ALWAYS_ASIDE | {"scored"}

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        models = meta.get("models")
        if (
            not isinstance(models, list | tuple)
            or len(models) < 2
            or not all(isinstance(model, str) and model for model in models)
        ):
            raise Invalid(
                "The router does not say between which models it chooses.",
                hint="`tandem route publish` reads them from its file.",
                field="meta.models",
            )
        data = meta.get("data")
        if not isinstance(data, str) or not data:
            raise Invalid("The router does not say what it learned from.", hint="Give meta.data.", field="meta.data")
        if set(members) != {FILE}:
            raise Invalid(f"A router has one file, {FILE}.", hint="`tandem route train` writes it.", field="members")

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        """A router may have learned from outcomes that lie anywhere."""
