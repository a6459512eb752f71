"""A decision: a program of steps, the function it begins with, and the shapes of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tandem.core.asset import Ref
from tandem.registry.kinds.base import ALWAYS_ASIDE, need_object, need_program


class Decision:
    """Meta: `source` (digest of the program, one of the members), `entry` (its function), `input` and `output` (JSON Schema)."""

    aside = ALWAYS_ASIDE

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        need_program(meta, members, "decision")
        need_object(meta, "input", "the JSON Schema of what goes in")
        need_object(meta, "output", "the JSON Schema of what comes out")

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        """A decision may use whatever it names, or nothing."""
