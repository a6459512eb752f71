"""What the registry asks of a kind. A new kind is a file, a row in the table here, and a case in the contract suite."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol, cast

from tandem.core.asset import Kind, Ref
from tandem.core.errors import Invalid
from tandem.store.blobs import DIGEST

ENTRY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_]*)?")


class Rules(Protocol):
    """The rules of one kind. Pure: the same version is always judged alike."""

    aside: frozenset[str]
    """Top-level meta keys that do not count towards the identity of a version: times, run ids, measurements."""

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        """Looks at what a version says about itself and at its files (name → blob digest).

        Raises:
            Invalid: something is missing or wrong; `field` names where.
        """
        ...

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        """Looks at what the version was made from.

        Raises:
            Invalid: a parent is missing.
        """
        ...


ALWAYS_ASIDE = frozenset({"created_at", "updated_at", "started_at", "ended_at", "run", "run_id", "seconds", "description"})
"""Aside in every kind."""

TABLE: dict[Kind, str] = {
    "dataset": "tandem.registry.kinds.dataset:Dataset",
    "model": "tandem.registry.kinds.model:Model",
    "prompt": "tandem.registry.kinds.prompt:Prompt",
    "decision": "tandem.registry.kinds.decision:Decision",
    "policy": "tandem.registry.kinds.policy:Policy",
    "suite": "tandem.registry.kinds.suite:Suites",
    "index": "tandem.registry.kinds.index:Index",
    "router": "tandem.registry.kinds.router:Router",
    "release": "tandem.registry.kinds.release:Release",
    "view": "tandem.registry.kinds.features:View",
    "service": "tandem.registry.kinds.features:Service",
    "pipeline": "tandem.registry.kinds.pipeline:Pipeline",
}


def rules_of(kind: Kind) -> Rules:
    """The rules of a kind, imported when first asked for.

    Raises:
        Invalid: there is no such kind.
    """
    if kind not in TABLE:
        raise Invalid(f"'{kind}' is no kind of asset.", hint=f"Kinds are {', '.join(TABLE)}.", field="kind")
    module, _, name = TABLE[kind].partition(":")
    return cast(Rules, getattr(import_module(module), name)())


def need_object(meta: Mapping[str, object], key: str, what: str) -> Mapping[str, object]:
    """The object under `key`, which must be there and not be empty.

    Raises:
        Invalid: it is not.
    """
    found = meta.get(key)
    if not isinstance(found, Mapping) or not found:
        raise Invalid(f"The meta has no '{key}'.", hint=f"Give {what} as a JSON object.", field=f"meta.{key}")
    return found


def need_program(meta: Mapping[str, object], members: Mapping[str, str], what: str) -> None:
    """Looks at `source`, the digest of a program that is one of the files, and `entry`, the function it begins with.

    Raises:
        Invalid: one is missing or wrong.
    """
    source = meta.get("source")
    if not isinstance(source, str) or not DIGEST.fullmatch(source) or source not in members.values():
        raise Invalid(
            f"The {what}'s source is not one of its files.",
            hint="Give the digest of the program's file as meta.source, and the file as a member.",
            field="meta.source",
        )
    entry = meta.get("entry")
    if not isinstance(entry, str) or not ENTRY.fullmatch(entry):
        raise Invalid(f"The {what} does not name its function.", hint="Give it as meta.entry.", field="meta.entry")
