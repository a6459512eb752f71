"""What people said, as rows of a dataset: to train on, or to ask as a suite's questions.

A prediction gives its features and what is true of them; a chat its question, its answer and the answer that was
wanted; a decision its case and outcome. Rows leave the keys of their subjects: a dataset is not kept by subject.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.clock import MICROS, iso
from tandem.core.errors import Invalid, NotFound
from tandem.core.principal import Principal
from tandem.core.review import Review, Said
from tandem.core.trace import Trace
from tandem.data.tasks import Datasets, How
from tandem.evaluation.reviews.queue import Queue
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.observability import dialogue
from tandem.observability.explain import Text
from tandem.registry.registry import Registry
from tandem.serving import forms
from tandem.serving.signature import Signature

ID, TIME = "review", "reviewed_at"
"""The columns that say which review a row comes from, and when it was decided."""
DEPTH = 4
"""How deep the fields of a decision's case are laid out; what lies deeper stands there as JSON."""
Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A dataset of what people said."""

    version: Version
    rows: int
    left_out: Mapping[str, int]
    """Why a decided review gave no row → how many: `unsure`, `gone` (its trace is), `erased`, `unrecorded`, `cut`,
    `unread`, `no-truth` (wrong, and nobody said what would have been right)."""


class _Left(Exception):
    """This review gives no row."""


class Exports:
    """Makes datasets of decided reviews."""

    def __init__(self, queue: Queue, registry: Registry, datasets: Datasets, work: Path) -> None:
        """
        Args:
            work: where a file may lie while it is read.
        """
        self._queue, self._registry, self._datasets, self._work = queue, registry, datasets, work

    def export(self, endpoint: str, name: str, by: Principal) -> Exported:
        """Makes what people said of an endpoint's calls the next version of `dataset/NAME`.

        Raises:
            Forbidden: `by` may not write.
            Invalid: there is no row, or the rows break the dataset's contract.
        """
        authorise(by, "write")
        rows: list[dict[str, Cell]] = []
        left: Counter[str] = Counter()
        for review, sealed in self._queue.reviews.decided(endpoint, scope_of(by)):
            try:
                rows += self._rows(review, self._queue.read(sealed), by)
            except _Left as why:
                left[str(why)] += 1
        if not rows:
            raise Invalid(
                f"No review of '{endpoint}' gives a row{_told(left)}.",
                field="endpoint",
                hint="`tandem review next` gives the next call to judge.",
            )
        names = list(dict.fromkeys(name for row in rows for name in row))
        self._work.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self._work) as folder:
            path = Path(folder) / f"{name}.jsonl"
            path.write_bytes(b"\n".join(msgspec.json.encode({name: row.get(name) for name in names}) for row in rows))
            version = self._datasets.ingest(path, name, How(id_column=ID, time_column=TIME), by=by)
        return Exported(version=version, rows=len(rows), left_out=dict(left))

    def _rows(self, review: Review, said: Said | None, by: Principal) -> Iterator[dict[str, Cell]]:
        if review.opinion == "unsure":
            raise _Left("unsure")
        try:
            opened = self._queue.open(review.id, by)
        except NotFound:
            raise _Left("gone") from None
        text = (opened.trace.content or {}).get(review.call)
        if text is None:
            raise _Left("unrecorded")
        if text.erased:
            raise _Left("erased")
        if text.cut:
            raise _Left("cut")
        assert review.decided_at is not None
        correction = "" if said is None else said.correction
        read = {"predict": self._predicted, "chat": _chatted, "decide": _decided}[review.kind]
        for place, row in enumerate(read(opened.at, text, review.opinion == "right", correction)):
            yield {ID: review.id if not place else f"{review.id}.{place}", TIME: iso(review.decided_at), **row}

    def _predicted(self, call: Trace, text: Text, right: bool, correction: str) -> Iterator[dict[str, Cell]]:
        """The rows a model was asked about, each with its target as people know it."""
        version = self._model(call)
        signature = msgspec.convert(version.meta["signature"], Signature)
        classes = [str(each) for each in _list(version.meta.get("classes"))]
        try:
            values = forms.parse(text.request.encode(), signature).rows
        except Invalid:
            raise _Left("unread") from None
        labels = _labels(text.answer)
        if len(labels) != len(values):
            raise _Left("unread")
        wanted = _truths(labels, right, correction, classes)
        target = str(version.meta.get("target") or "label")
        for row, truth in zip(values, wanted, strict=True):
            cells: dict[str, Cell] = {
                field.name: None if value != value else _typed(value, field.dtype)
                for field, value in zip(signature.fields, row, strict=True)
            }
            yield {**cells, target: truth}

    def _model(self, call: Trace) -> Version:
        versions = call.attributes.get("versions")
        ref = next((name for name in versions if name.startswith("model/")), None) if isinstance(versions, Mapping) else None
        if ref is None:
            raise _Left("unread")
        return self._registry.find(Ref.parse(ref), ALL)


def _truths(labels: Sequence[str], right: bool, correction: str, classes: Sequence[str]) -> Sequence[str]:
    """What is true of each row: as the model said, as a person said, or the other one of two classes."""
    if right:
        return labels
    if correction:
        told = _json(correction)
        each = [str(one) for one in told] if isinstance(told, list) else [correction.strip()] * len(labels)
        if len(each) != len(labels) or (classes and not set(each) <= set(classes)):
            raise _Left("no-truth")
        return each
    if len(labels) == 1 and len(classes) == 2 and labels[0] in classes:
        return [classes[1 - classes.index(labels[0])]]
    raise _Left("no-truth")


def _labels(answer: str) -> Sequence[str]:
    found = _json(answer)
    outputs = found.get("outputs") if isinstance(found, dict) else None
    for output in _list(outputs):
        if isinstance(output, dict) and output.get("name") == "label":
            return [str(each) for each in _list(output.get("data"))]
    return ()


def _typed(value: float | str, dtype: str) -> Cell:
    if isinstance(value, str):
        return value
    if dtype == "datetime":
        return iso(int(value) * MICROS)
    return bool(value) if dtype == "bool" else int(value) if dtype == "int" else value


def _chatted(call: Trace, text: Text, right: bool, correction: str) -> Iterator[dict[str, Cell]]:
    """The last question, the answer, and the answer that was wanted."""
    answer = dialogue.said(text.answer)
    yield {"question": dialogue.question(text.request), "answer": answer, **_wanted(answer, right, correction)}


def _decided(call: Trace, text: Text, right: bool, correction: str) -> Iterator[dict[str, Cell]]:
    """The fields of the case, and the outcome as JSON."""
    case = _json(text.request)
    yield {**_flat(case, "case", DEPTH), "answer": text.answer, **_wanted(text.answer, right, correction)}


def _wanted(answer: str, right: bool, correction: str) -> dict[str, Cell]:
    return {"verdict": "right" if right else "wrong", "expected": answer if right else correction or None}


def _flat(value: object, name: str, depth: int) -> dict[str, Cell]:
    if isinstance(value, dict) and value and depth:
        return {key: cell for part, each in value.items() for key, cell in _flat(each, f"{name}.{part}", depth - 1).items()}
    if value is None or isinstance(value, str | int | float | bool):
        return {name: value}
    return {name: json.dumps(value, ensure_ascii=False)}


def _json(text: str) -> object:
    try:
        found: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _told(left: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{count} {why}' for why, count in sorted(left.items()))})" if left else ""
