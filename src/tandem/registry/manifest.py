"""The identity of a version: one digest over its files and what its kind counts of its meta. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tandem.core.asset import Kind
from tandem.registry.kinds.base import rules_of
from tandem.store.blobs import digest_of
from tandem.store.canonical import canonical


def manifest(kind: Kind, members: Mapping[str, str], meta: Mapping[str, object]) -> str:
    """The canonical text that is digested: kind, file name → blob digest, and the meta without what the kind sets aside."""
    aside = rules_of(kind).aside
    counted = {key: value for key, value in meta.items() if key not in aside}
    return canonical({"kind": kind, "members": members, "meta": counted})


def digest(kind: Kind, members: Mapping[str, str], meta: Mapping[str, object]) -> str:
    """`sha256:` of the manifest.

    >>> one = digest("prompt", {}, {"template": "Hi", "created_at": 1})
    >>> one == digest("prompt", {}, {"created_at": 2, "template": "Hi"})
    True
    """
    return digest_of(manifest(kind, members, meta).encode())
