"""Writes the decision that asks several models about one case: Python that a person can read, and edit and publish again."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Sequence
from pprint import pformat
from typing import Protocol

from tandem.core.asset import Ref, Version
from tandem.core.errors import Invalid
from tandem.core.principal import Principal
from tandem.decisions.describe import describe
from tandem.decisions.worker import SOURCE
from tandem.registry.registry import Registry
from tandem.serving.signature import Field, Signature
from tandem.store.blobs import digest_of

ENTRY = "decide"
KINDS = {"float": "float", "int": "int", "bool": "bool"}
WIDTH = 110


class Part(Protocol):
    """A model of the decision."""

    @property
    def ref(self) -> str:
        """`model/fraud@3`; its endpoint has the model's name."""
        ...

    @property
    def signature(self) -> Signature: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def weight(self) -> float:
        """In the mean of classifiers of one positive class."""
        ...


def composer(registry: Registry) -> Callable[[str, Sequence[Part], Principal], Version]:
    """What publishes the decision of that name over some models; its lineage leads to them."""

    def compose(name: str, parts: Sequence[Part], by: Principal) -> Version:
        written = source(name, parts).encode()
        meta = {"source": digest_of(written), "entry": ENTRY, **describe(written, ENTRY)}
        parents = tuple(part.ref for part in parts)
        return registry.publish("decision", name, members={SOURCE: written}, meta=meta, parents=parents, by=by)

    return compose


def source(name: str, parts: Sequence[Part]) -> str:
    """The program of a decision over some models.

    Raises:
        Invalid: two models take a column of one name and of two types.
    """
    fields = _union(parts)
    renamed = {told: real for real, told in zip(fields, _identifiers(list(fields)), strict=True)}
    lines = [f"    {told}: {_type(fields[real])}" for told, real in renamed.items()]
    models = {Ref.parse(part.ref).name: part.signature.names for part in parts}
    weights = {Ref.parse(part.ref).name: part.weight for part in _averaged(parts)}
    strange = {told: real for told, real in renamed.items() if told != real}
    return TEMPLATE.format(
        name=name,
        refs=", ".join(part.ref for part in parts),
        models=pformat(models, width=WIDTH, sort_dicts=False),
        weights=pformat(weights, width=WIDTH, sort_dicts=False),
        renamed=pformat(strange, width=WIDTH, sort_dicts=False),
        fields="\n".join(lines),
    )


TEMPLATE = '''"""The decision {name}: one case, asked of {refs}.

Written by an import. Edit it and publish it again: tandem decision add {name} FILE --entry decide
"""

from __future__ import annotations

import msgspec

from tandem.decisions import Calls

MODELS = {models}
"""Endpoint → the columns that it takes."""
WEIGHTS: dict[str, float] = {weights}
"""Of the classifiers whose probabilities are of the same class, in their mean."""
RENAMED: dict[str, str] = {renamed}
"""Name in this program → name of a column that cannot be one."""


class Case(msgspec.Struct, kw_only=True, rename=RENAMED):
    """All that the models take together."""

{fields}


class Said(msgspec.Struct, kw_only=True):
    """What one model says."""

    model: str
    label: str
    probability: float | None
    prediction: float | None


class Answer(msgspec.Struct, kw_only=True):
    """What all models say, and the mean of those that speak of the same class."""

    answers: dict[str, Said]
    mean: float | None


def decide(case: Case, calls: Calls) -> Answer:
    known = {{name: value for name, value in msgspec.to_builtins(case).items() if value is not None}}
    rows = {{model: {{name: known[name] for name in names if name in known}} for model, names in MODELS.items()}}
    told = calls.predict_together(rows)
    answers = {{
        model: Said(
            model=one.model,
            label=one.label,
            probability=one.probability if one.label else None,
            prediction=one.prediction,
        )
        for model, one in told.items()
    }}
    total = sum(WEIGHTS.values())
    mean = sum(told[model].probability * weight for model, weight in WEIGHTS.items()) / total if total else None
    return Answer(answers=answers, mean=mean)
'''


def _union(parts: Sequence[Part]) -> dict[str, Field]:
    """Column → field, over all models; of one that a model cannot do without, that model's."""
    found: dict[str, Field] = {}
    for part in parts:
        for field in part.signature.fields:
            known = found.get(field.name, field)
            if _kind(known) != _kind(field):
                raise Invalid(
                    f"{part.ref} takes '{field.name}' as {_kind(field)}, and another model as {_kind(known)}.",
                    hint="Name the columns apart in models.toml, or import the models without --decision.",
                )
            found[field.name] = known if field.nullable else field
    return dict(sorted(found.items(), key=lambda item: item[1].nullable))


def _kind(field: Field) -> str:
    return KINDS.get(field.dtype, "str")


def _type(field: Field) -> str:
    return f"{_kind(field)} | None = None" if field.nullable else _kind(field)


def _identifiers(names: Sequence[str]) -> list[str]:
    """A name in Python for each column: itself where it can be one."""
    found: list[str] = []
    for name in names:
        told = name if name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_") else ""
        told = told or "c_" + re.sub(r"\W", "_", name, flags=re.ASCII)
        while told in found or (told != name and told in names):
            told += "_"
        found.append(told)
    return found


def _averaged(parts: Sequence[Part]) -> list[Part]:
    """The classifiers of two classes that speak of the positive class which most of them have; none if fewer than two."""
    positives = [part.classes[1] for part in parts if len(part.classes) == 2]
    common = max(positives, key=positives.count, default="")
    found = [part for part in parts if len(part.classes) == 2 and part.classes[1] == common]
    return found if len(found) > 1 else []
