"""A decision: a program of steps, the function it begins with, and the shapes of what goes in and comes out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.registry.kinds.base import ALWAYS_ASIDE, need_object
from tandem.store.blobs import DIGEST

ENTRY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_]*)?")


class Decision:
    """Meta: `source` (digest of the program, one of the members), `entry` (its function), `input` and `output` (JSON Schema)."""

    aside = ALWAYS_ASIDE

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        source = meta.get("source")
        if not isinstance(source, str) or not DIGEST.fullmatch(source) or source not in members.values():
            raise Invalid(
                "The decision's source is not one of its files.",
                hint="Give the digest of the program's file as meta.source, and the file as a member.",
                field="meta.source",
            )
        entry = meta.get("entry")
        if not isinstance(entry, str) or not ENTRY.fullmatch(entry):
            raise Invalid("The decision does not name its function.", hint="Give it as meta.entry.", field="meta.entry")
        need_object(meta, "input", "the JSON Schema of what goes in")
        need_object(meta, "output", "the JSON Schema of what comes out")

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        """A decision may use whatever it names, or nothing."""
