"""A model: files that predict, the signature they answer to, and the dataset they were fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.registry.kinds.base import ALWAYS_ASIDE, need_object

IMPORTED = "imported"


class Model:
    """A model.

    Meta: `signature` (inputs and outputs), `metrics` (name → number or estimate), `latency` where it was measured, `origin`
    when it was not fitted here.
    """

    aside = ALWAYS_ASIDE | {"metrics", "environment", "latency"}

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        need_object(meta, "signature", "the inputs and outputs of the model")
        if not isinstance(meta.get("metrics", {}), Mapping):
            raise Invalid("The model's metrics are no object.", hint="Give them as name → value.", field="meta.metrics")
        if not members:
            raise Invalid("The model has no files.", hint="Give at least the file that predicts.", field="members")

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        if meta.get("origin") != IMPORTED and not any(parent.kind == "dataset" for parent in parents):
            raise Invalid(
                "The model does not say which dataset it was fitted on.",
                hint=f"Name dataset/NAME@VERSION among the parents, or say origin '{IMPORTED}' in the meta.",
                field="parents",
            )
