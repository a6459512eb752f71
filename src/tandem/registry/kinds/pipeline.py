"""A pipeline: a program of steps, the function that calls them, the digests of their code, and the commit it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.registry.kinds.base import ALWAYS_ASIDE, need_program

TYPES = ("string", "integer", "number", "boolean", "array", "object")
"""What a parameter may be, in JSON Schema's words."""


class Pipeline:
    """Meta: `source` and `entry` as a decision has them; `steps` (name → digest of its code); `parameters` (name → type and
    default); `git` (commit, dirty, remote) where the file lay in a repository."""

    aside = ALWAYS_ASIDE

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        need_program(meta, members, "pipeline")
        steps = meta.get("steps")
        if not isinstance(steps, Mapping):
            raise Invalid("The pipeline does not name its steps.", hint="Give each its digest.", field="meta.steps")
        parameters = meta.get("parameters")
        if not isinstance(parameters, Mapping) or any(
            not isinstance(each, Mapping) or each.get("type") not in TYPES for each in parameters.values()
        ):
            raise Invalid(
                "The pipeline's parameters have no types.", hint=f"Types are {', '.join(TYPES)}.", field="meta.parameters"
            )

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        """A pipeline may use whatever it names, or nothing."""
