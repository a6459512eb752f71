"""Asset: anything named and versioned. `model/fraud@3`, `prompt/support@production`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from tandem.core.errors import Invalid

Kind = Literal[
    "dataset", "model", "prompt", "decision", "policy", "suite", "index", "router", "release", "view", "service", "pipeline"
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
ALIAS = re.compile(r"[a-z][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """The written name of an Asset: kind, name, and a version number or an alias or neither."""

    kind: Kind
    name: str
    version: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        tail = f"@{self.version}" if self.version is not None else f"@{self.alias}" if self.alias else ""
        return f"{self.kind}/{self.name}{tail}"

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Reads `kind/name[@version-or-alias]`.

        Raises:
            Invalid: the text is not such a name; the message says which part.

        >>> Ref.parse("model/fraud@3").version
        3
        """
        head, _, tail = text.partition("@")
        kind, slash, name = head.partition("/")
        if not slash or kind not in KINDS:
            raise Invalid(f"'{text}' names no asset.", hint=f"Write KIND/NAME[@VERSION], KIND one of {', '.join(KINDS)}.")
        check_name(name)
        if "@" not in text:
            return cls(kind=kind, name=name)
        if tail.isascii() and tail.isdigit() and 0 < len(tail) <= 9 and int(tail) > 0:
            return cls(kind=kind, name=name, version=int(tail))
        if ALIAS.fullmatch(tail):
            return cls(kind=kind, name=name, alias=tail)
        raise Invalid(f"'{tail}' is neither a version nor an alias.", hint="Versions count from 1; aliases are lower case.")


def check_name(name: str) -> str:
    """The name itself if it can name an asset, an endpoint or a key.

    Raises:
        Invalid: it cannot.
    """
    if not NAME.fullmatch(name):
        raise Invalid(
            f"'{name}' cannot be a name.",
            hint="Use 1 to 64 of a-z, 0-9, dot, dash, underscore; begin and end with a letter or digit.",
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable version of an Asset; its digest is part of its identity."""

    kind: Kind
    name: str
    version: int
    digest: str
    """`sha256:` over the canonical manifest (`members` and `meta`)."""
    created_at: int
    created_by: str
    team: str
    meta: Mapping[str, object] = field(default_factory=dict)
    """What the kind says about itself: schema, signature, template, metrics…; JSON only."""
    members: Mapping[str, str] = field(default_factory=dict)
    """File name → blob digest (`sha256:…`)."""
    parents: tuple[str, ...] = ()
    """Lineage: the versions this one was made from, as `kind/name@version`."""
    run: str | None = None
    """The Run that made it."""

    @property
    def ref(self) -> Ref:
        return Ref(kind=self.kind, name=self.name, version=self.version)
