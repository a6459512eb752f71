"""Calls to endpoints: predict, decide, chat. Rows into tensors of the Open Inference Protocol v2, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tandem_sdk.errors import Broken, Invalid, TandemError, read_error
from tandem_sdk.shape import Mismatch, plain, read
from tandem_sdk.wire import Reply, Wire, read_reply, segment

Value = str | int | float | bool | None | Sequence[str] | Sequence[float | None]
Row = Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model says about some rows."""

    model: str
    version: str | None = None
    """The version that answered."""
    outputs: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    """Output name → one value (or one tuple of values) per row."""
    contributions: tuple[Mapping[str, float], ...] = ()
    """Per row, when it was asked for: how much each column added, in the model's own unit (log-odds)."""
    base: tuple[float, ...] = ()
    """Per row, when it was asked for: what the model says of nothing; base and contributions sum to its margin."""
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a decision says."""

    output: Mapping[str, object]
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a chat or of a prompt."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of a chat call, as the provider counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """Where a claim of an answer from documents stands, word for word."""

    number: int
    """Its mark in the text, `[1]`."""
    document: str
    title: str = ""
    heading: str = ""
    page: int | None = None
    start: int = 0
    """Characters from the beginning of the document's text."""
    end: int = 0
    quote: str = ""
    chunk: str = ""
    verified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """An answer of a language model."""

    text: str
    model: str = ""
    """What the provider says answered."""
    finish: str | None = None
    """Why it ended: `stop`, `length`…"""
    tokens: Tokens | None = None
    citations: tuple[Citation, ...] = ()
    """Of an endpoint that answers from documents."""
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of a streamed answer."""

    text: str = ""
    model: str = ""
    finish: str | None = None
    tokens: Tokens | None = None
    """Only on the last piece, and only when the provider counts."""
    citations: tuple[Citation, ...] = ()
    """Only on the piece that ends an answer from documents."""
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    name: str
    data: tuple[object, ...] = ()
    shape: tuple[int, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inferred:
    model_name: str
    model_version: str | None = None
    outputs: tuple[_Tensor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    content: str | None = None
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    message: _Said = _Said()
    delta: _Said = _Said()
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Completion:
    model: str = ""
    choices: tuple[_Choice, ...] = ()
    usage: Tokens | None = None
    error: Mapping[str, object] | None = None


def predict(wire: Wire, model: str, rows: Sequence[Row], *, explain: bool) -> Prediction:
    """See `Client.predict`."""
    name, at, version = model.partition("@")
    path = f"/v2/models/{segment(name)}" + (f"/versions/{segment(version)}" if at else "") + "/infer"
    body: dict[str, object] = {"inputs": tensors(rows)}
    if explain:
        body["parameters"] = {"explain": True}
    reply = wire.send("POST", path, body, patient=True)
    told = read_reply(_Inferred, reply)
    outputs = {tensor.name: _rows(tensor) for tensor in told.outputs}
    base = outputs.pop("base", ())
    columns = next((tensor.parameters.get("columns") for tensor in told.outputs if tensor.name == "contributions"), None)
    return Prediction(
        model=told.model_name,
        version=told.model_version,
        contributions=_contributions(outputs.pop("contributions", ()), columns),
        base=tuple([value for value in base if isinstance(value, float | int)]),
        outputs=outputs,
        trace=reply.trace,
    )


def _contributions(added: tuple[object, ...], columns: object) -> tuple[Mapping[str, float], ...]:
    """Values per row under the names of their columns, which the protocol carries as a JSON text."""
    names = json.loads(columns) if isinstance(columns, str) else columns
    if not added or not isinstance(names, list):
        return ()
    rows = [row if isinstance(row, tuple) else (row,) for row in added]
    if any(len(row) != len(names) for row in rows):
        raise Broken("The explanation has another number of values than of columns.")
    return tuple([dict(zip([str(name) for name in names], row, strict=True)) for row in rows])


def decide(wire: Wire, name: str, given: Mapping[str, object]) -> Decision:
    """See `Client.decide`."""
    reply = wire.send("POST", f"/v1/decide/{segment(name)}", dict(given), patient=True)
    output = reply.json()
    if not isinstance(output, dict):
        raise Broken(f"The decision '{name}' answered no JSON object.", trace=reply.trace)
    return Decision(output=output, trace=reply.trace)


def chat(wire: Wire, body: Mapping[str, object]) -> Chat:
    """See `Client.chat`."""
    reply = wire.send("POST", "/v1/chat/completions", body, patient=True)
    return _chat(reply)


def stream(wire: Wire, body: Mapping[str, object]) -> Iterator[Piece]:
    """See `Client.stream`."""
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
    with wire.events("/v1/chat/completions", streamed) as (events, trace):
        for data in events:
            if data == "[DONE]":
                return
            told = _event(data, trace)
            choice = told.choices[0] if told.choices else _Choice()
            yield Piece(
                text=choice.delta.content or "", model=told.model, finish=choice.finish_reason, tokens=told.usage,
                citations=choice.delta.citations, trace=trace,
            )  # fmt: skip
    raise Broken("The stream ended without its last event.", hint="The answer may not be whole.", trace=trace)


def chat_body(
    endpoint: str,
    messages: str | Sequence[Message],
    *,
    temperature: float | None,
    top_p: float | None,
    max_tokens: int | None,
    stop: Sequence[str] | None,
    seed: int | None,
    response_format: Mapping[str, object] | None,
    user: str | None,
) -> dict[str, object]:
    """A chat request in OpenAI's words; what is None is left out."""
    told = [Message(role="user", content=messages)] if isinstance(messages, str) else messages
    body = {
        "model": endpoint, "messages": [plain(message) for message in told], "temperature": temperature, "top_p": top_p,
        "max_tokens": max_tokens, "stop": None if stop is None else list(stop), "seed": seed,
        "response_format": None if response_format is None else dict(response_format), "user": user,
    }  # fmt: skip
    return {field: value for field, value in body.items() if value is not None}


def tensors(rows: Sequence[Row]) -> list[dict[str, object]]:
    """One input tensor of shape [rows] per column, of windows of a signal [rows, samples]; a value that is missing is null.

    Raises:
        Invalid: there are no rows, or a column mixes texts with numbers or windows of other lengths.

    >>> tensors([{"age": 41, "city": "Oslo"}, {"age": None, "city": "Bergen"}])[0]
    {'name': 'age', 'shape': [2], 'datatype': 'FP64', 'data': [41, None]}
    """
    if not rows:
        raise Invalid("There are no rows to predict.", hint='Hand in at least one, such as {"age": 41}.', field="rows")
    names: dict[str, None] = {}
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise Invalid(f"Row {index} is no object of column and value.", field=f"rows[{index}]")
        names.update(dict.fromkeys(row))
    return [_tensor(name, [row.get(name) for row in rows]) for name in names]


def _tensor(name: str, given: list[Value]) -> dict[str, object]:
    windows = [list(value) for value in given if isinstance(value, list | tuple) and value and all(map(_sample, value))]
    if windows and len(windows) == len(given):
        length = len(windows[0])
        if any(len(window) != length for window in windows):
            raise Invalid(f"Column '{name}' has windows of different lengths.", hint="Send whole windows.", field=name)
        samples = [sample for window in windows for sample in window]
        return {"name": name, "shape": [len(given), length], "datatype": "FP64", "data": samples}
    values = [json.dumps(value) if isinstance(value, list | tuple) else value for value in given]
    return {"name": name, "shape": [len(values)], "datatype": _datatype(name, values), "data": values}


def _sample(value: object) -> bool:
    """Whether it may stand in a window: a number, or nothing."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _datatype(name: str, values: list[Value]) -> str:
    present = [value for value in values if value is not None]
    if all(isinstance(value, str) for value in present) and present:
        return "BYTES"
    if all(isinstance(value, bool) for value in present) and present:
        return "BOOL"
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in present):
        hint = "Give only texts, only numbers or only truth values."
        raise Invalid(f"Column '{name}' mixes kinds of values.", hint=hint, field=name)
    whole = all(isinstance(value, int) for value in present) and len(present) == len(values)
    return "INT64" if whole else "FP64"


def _rows(tensor: _Tensor) -> tuple[object, ...]:
    """The flat data of a tensor as one item per row."""
    width = 1
    for extent in tensor.shape[1:]:
        width *= extent
    if width <= 1 or len(tensor.data) % width:
        return tensor.data
    return tuple([tensor.data[start : start + width] for start in range(0, len(tensor.data), width)])


def _chat(reply: Reply) -> Chat:
    told = read_reply(_Completion, reply)
    if not told.choices:
        raise Broken("The model answered without a choice.", trace=reply.trace)
    choice = told.choices[0]
    return Chat(
        text=choice.message.content or "", model=told.model, finish=choice.finish_reason, tokens=told.usage,
        citations=choice.message.citations, trace=reply.trace,
    )  # fmt: skip


def _event(data: str, trace: str | None) -> _Completion:
    try:
        told = read(_Completion, json.loads(data))
    except (ValueError, Mismatch) as error:
        raise Broken(f"The stream holds what is not understood: {error}.", trace=trace) from None
    if told.error is not None:
        failure: TandemError = read_error(502, data.encode(), trace=trace)
        raise failure
    return told
