"""A policy with guards: which detectors look at what comes in and goes out, and what happens to what they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.core.policy import Guard
from tandem.registry.kinds.base import ALWAYS_ASIDE
from tandem.scorers.guards.rules import rules_for


class _Meta(msgspec.Struct):
    guards: list[Guard]


class Policy:
    """Meta: `guards`, a list of `{"detector": …, "action": allow|observe|mask|block, "on": ["in", "out"]}`."""

    aside = ALWAYS_ASIDE

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        try:
            guards = msgspec.convert(meta, _Meta).guards
        except msgspec.ValidationError as error:
            where = str(error).rpartition("`$.")[2].rstrip("`") or "guards"
            raise Invalid(
                "The policy's guards cannot be read.",
                words=f"{error}.",
                hint='Give {"guards": [{"detector": "card", "action": "mask", "on": ["in", "out"]}]}.',
                field=f"meta.{where}",
            ) from None
        seen: set[tuple[str, str]] = set()
        for place, guard in enumerate(guards):
            try:
                rules_for([guard.detector])
            except Invalid as error:
                raise Invalid(error.message, hint=error.hint, field=f"meta.guards[{place}].detector") from None
            if not guard.on:
                raise Invalid("A guard looks at nothing.", hint="Give in, out or both.", field=f"meta.guards[{place}].on")
            for side in guard.on:
                if (guard.detector, side) in seen:
                    raise Invalid(
                        f"Two guards of '{guard.detector}' look at what goes {side}.",
                        hint="Keep one of them.",
                        field=f"meta.guards[{place}]",
                    )
                seen.add((guard.detector, side))

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        """A policy is written, not made from anything."""
