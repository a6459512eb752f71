"""A feature view, and a service that puts features of views into one vector. What their words mean is not known here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.registry.kinds.base import ALWAYS_ASIDE, need_object


class View:
    """Meta: `definition` as it was written, `columns` of its source, `features`, `entity`. Its parent is a dataset, or none."""

    aside = ALWAYS_ASIDE

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        need_object(meta, "definition", "the view as it is written")
        need_object(meta, "columns", "the columns of its source")
        _need_features(meta)
        _no_files("view", members)

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        if any(parent.kind != "dataset" for parent in parents) or len(parents) > 1:
            raise Invalid("A view is made of one dataset, or of what is pushed.", hint="Name one source.", field="parents")


class Service:
    """Meta: `definition` as it was written, `features` in their order, `entity`. Its parents are the views."""

    aside = ALWAYS_ASIDE

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        need_object(meta, "definition", "the service as it is written")
        _need_features(meta)
        _no_files("service", members)

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        if not parents or any(parent.kind != "view" or parent.version is None for parent in parents):
            raise Invalid("A service is made of versions of views.", hint="`tandem features define` names them.", field="parents")


def _need_features(meta: Mapping[str, object]) -> None:
    features = meta.get("features")
    if not isinstance(features, list) or not features:
        raise Invalid("It does not say which features it has.", hint="Give them as meta.features.", field="meta.features")


def _no_files(what: str, members: Mapping[str, str]) -> None:
    if members:
        raise Invalid(f"A {what} has no files.", hint="Its definition is its meta.", field="members")
