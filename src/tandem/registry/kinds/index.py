"""An index: a set of documents, cut and embedded in one way. Its text lies in the search store, where deletion reaches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.registry.kinds.base import ALWAYS_ASIDE
from tandem.store.blobs import DIGEST


class Index:
    """Meta: `content` (digest of all documents with their readers), `chunker`, `embedder`, counts, `store` (where they lie).

    It names no document: a name would outlive its document's deletion, and be seen by those who may not read it.
    """

    aside = ALWAYS_ASIDE | {"store"}

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        content = meta.get("content")
        if not isinstance(content, str) or not DIGEST.fullmatch(content):
            raise Invalid(
                "The index does not say which documents it holds.",
                hint="Give the digest of its documents as meta.content; `tandem docs add` does.",
                field="meta.content",
            )
        for key in ("chunker", "embedder", "store"):
            found = meta.get(key)
            if not isinstance(found, str) or not found:
                raise Invalid(f"The index does not name its {key}.", hint=f"Give meta.{key}.", field=f"meta.{key}")
        if members:
            raise Invalid("An index has no files.", hint="Its documents lie in the search store.", field="members")

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        """An index may come from anywhere."""
