"""The forms in which rows are sent: the protocol's tensors, in JSON or behind it, and simple JSON rows. Knows no transport.

    {"rows": [{"x": 1, "y": 2}, …]}                               one object per row
    {"instances": [{"x": 1, "y": 2}, …]} or [[1, 2], …]           the same, or values in the order of the model's columns
    {"dataframe_split": {"columns": ["x", "y"], "data": [[1, 2]]}}    as pandas writes a frame
    {"dataframe_records": [{"x": 1, "y": 2}, …]}                  the same as rows

The last three are what MLflow's `/invocations` takes. `id`, `parameters` and `outputs` may stand beside each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from tandem.core.errors import Invalid
from tandem.serving import oip, pixelled, tensors
from tandem.serving.oip import Request, Wanted
from tandem.serving.signature import Signature
from tandem.serving.target import ROWS
from tandem.serving.values import VALUES


class _Split(msgspec.Struct, frozen=True, kw_only=True):
    """A frame as pandas writes it with `orient="split"`."""

    data: list[list[Any]]
    columns: list[str] | None = None


class _Rows(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has one of these, and no inputs."""

    rows: list[dict[str, Any]] | None = None
    instances: list[dict[str, Any] | list[Any]] | None = None
    dataframe_split: _Split | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    inputs: msgspec.Raw | None = None
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[Wanted] | None = None

    @property
    def given(self) -> list[str]:
        """The forms that the request has."""
        return [name for name in NAMES if getattr(self, name) is not None]


NAMES = ("rows", "instances", "dataframe_split", "dataframe_records")
_WORDS = tuple(f'"{name}"'.encode() for name in NAMES)
_decode = msgspec.json.Decoder(_Rows).decode


def parse(body: bytes, signature: Signature, header: int | None = None) -> Request:
    """Reads a request for a model of that signature, whatever its form.

    Args:
        header: bytes of its JSON, where tensors stand behind it.

    Raises:
        Invalid: it has no form that is known, or not what the model takes; `field` names where.
    """
    if header is not None:
        most = VALUES if signature.sampled else ROWS * max(1, len(signature.fields))
        asked = tensors.unpack(body, header, most=most, files=signature.pictured)
        return replace(_understood(asked, signature), plain=msgspec.json.encode(asked))
    simple = _simple(body) if any(word in body for word in _WORDS) else None
    if simple is None:
        return _understood(oip.decode(body), signature)
    return _wanted(_request(simple, signature), simple.parameters, simple.outputs)


def _understood(asked: oip.Infer, signature: Signature) -> Request:
    if signature.pictured:
        asked = pixelled.filed(asked)
    return _wanted(oip.understood(asked, signature), asked.parameters, asked.outputs)


def _wanted(request: Request, parameters: Mapping[str, Any], outputs: Sequence[Wanted] | None) -> Request:
    if not parameters and not outputs:
        return request
    return replace(request, binary=tensors.wanted(parameters, outputs))


def _simple(body: bytes) -> _Rows | None:
    """A request of simple rows; None where it is one of the protocol's that happens to hold the word.

    Raises:
        Invalid: it names rows, and they are none.
    """
    try:
        found = _decode(body)
    except msgspec.ValidationError as error:
        if b'"inputs"' in body:
            return None  # whoever reads the protocol says what is wrong
        message, _, path = str(error).partition(" - at `$")
        where = path.rstrip("`").lstrip(".") or "body"
        raise Invalid("The rows do not have their form.", words=f"{message}.", field=where, hint=_FORM) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if found.inputs is not None or not found.given else found


_FORM = 'Send {"rows": [{"COLUMN": VALUE, …}, …]}.'


def _request(found: _Rows, signature: Signature) -> Request:
    if len(found.given) > 1:
        raise Invalid(f"The request has {' and '.join(found.given)}.", field=found.given[1], hint="Send the rows once.")
    (form,) = found.given
    rows = _rows(found, form, signature)
    if not 0 < len(rows) <= ROWS:
        raise Invalid(f"1 to {ROWS:,} rows are answered.", words=f"There are {len(rows)}.", field=form, hint="Split the batch.")
    values = signature.values(rows)
    values = signature.filled(values, found.parameters)
    return Request(rows=values, id=found.id, outputs=oip.outputs(found.parameters, found.outputs, signature))


def _rows(found: _Rows, form: str, signature: Signature) -> Sequence[Mapping[str, object]]:
    """The rows as objects."""
    if found.dataframe_split is not None:
        split = found.dataframe_split
        names = signature.names if split.columns is None else tuple(split.columns)
        if len(set(names)) < len(names):
            raise Invalid("The frame names a column twice.", field=f"{form}.columns", hint="Name each column once.")
        return _named(split.data, names, f"{form}.data")
    named = found.rows or found.dataframe_records or [row for row in found.instances or () if isinstance(row, dict)]
    unnamed = [row for row in found.instances or () if isinstance(row, list)]
    if named and unnamed:
        raise Invalid("Some instances are objects and some are lists.", field=form, hint=_FORM)
    return named or _named(unnamed, signature.names, form)


def _named(rows: Sequence[Sequence[object]], names: Sequence[str], where: str) -> list[dict[str, object]]:
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise Invalid(
                f"{where}[{number}] has {len(row)} values for {len(names)} columns.", field=f"{where}[{number}]", hint=_FORM
            )
    return [dict(zip(names, row, strict=True)) for row in rows]
