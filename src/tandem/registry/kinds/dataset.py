"""A dataset: rows under a contract, kept as files, or as a table that its content digest stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.registry.kinds.base import ALWAYS_ASIDE
from tandem.store.blobs import DIGEST


class Dataset:
    """Meta: `contract` (or `schema`): the columns; `digest` when the rows lie outside the members."""

    aside = ALWAYS_ASIDE | {
        "source",
        "profile",
        "correlations",
        "checks",
        "quarantined",
        "appended",
        "evolved",
        "images",
        "signals",
    }

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        if not meta.get("contract") and not meta.get("schema"):
            raise Invalid(
                "The dataset does not say which columns it has.", hint="Give them as meta.contract.", field="meta.contract"
            )
        digest = meta.get("digest")
        if digest is not None and not (isinstance(digest, str) and DIGEST.fullmatch(digest)):
            raise Invalid("The dataset's content digest is malformed.", hint="Digests look like sha256:…", field="meta.digest")
        if not members and digest is None:
            raise Invalid(
                "The dataset has neither files nor a content digest.", hint="Give members, or meta.digest.", field="members"
            )

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        """A dataset may come from anywhere."""
