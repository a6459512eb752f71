"""What steps take and return, as JSON and files: plain values, frames as Parquet, bytes, files, and assets.

A value comes back as it is kept, whether it was computed now or long ago: tuples are lists. Two equal values have one digest.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from tandem.core.errors import Invalid
from tandem.data.digest import content_digest
from tandem.store.canonical import DEPTH, canonical
from tandem_sdk.pipeline import Asset, Context, Dataset

TAG = "$"
"""The key of an object that stands for something else."""
LIMIT = 1 << 20
"""Bytes of JSON that a step may return beside its files."""


def digest(value: object) -> str:
    """`sha256:…` of a value's content.

    Raises:
        Invalid: it is of a kind that steps do not take.
    """
    return _hash(b"json", canonical(_digested(value, 0)).encode())


def _digested(value: object, depth: int) -> object:
    """The value with a digest in the place of everything that is not JSON."""
    _check_depth(depth)
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Asset():
            return {TAG: [value.ref.partition("@")[0], value.digest or value.ref]}
        case Context():
            return {TAG: "context"}
        case bytes():
            return {TAG: _hash(b"bytes", value)}
        case Path():
            return {TAG: [value.suffix, _file(value)]}
        case Mapping():
            return {_key(key): _digested(inner, depth + 1) for key, inner in value.items()}
        case list() | tuple():
            return [_digested(inner, depth + 1) for inner in value]
    return {TAG: _frame_digest(_frame(value))}


def pack(value: object, folder: Path) -> tuple[bytes, tuple[str, ...], object]:
    """Writes a value down.

    Args:
        folder: where its files are put; empty.

    Returns:
        JSON, the names of the files, and the value as it will come back.

    Raises:
        Invalid: it is of a kind that steps do not return, or too large.
    """
    files: list[str] = []

    def place(ending: str) -> Path:
        files.append(f"{len(files)}{ending}")
        return folder / files[-1]

    def down(value: object, depth: int) -> tuple[object, object]:
        _check_depth(depth)
        match value:
            case None | bool() | int() | float() | str():
                return value, value
            case Asset():
                kind = "dataset" if isinstance(value, Dataset) else "asset"
                return {TAG: kind, "ref": value.ref, "digest": value.digest, "metrics": dict(value.metrics)}, value
            case bytes():
                kept = place(".bin")
                kept.write_bytes(value)
                return {TAG: "bytes", "file": kept.name}, value
            case Path():
                kept = place(value.suffix)
                _copy(value, kept)
                return {TAG: "path", "file": kept.name}, value
            case Mapping():
                pairs = {_key(key): down(inner, depth + 1) for key, inner in value.items()}
                return {key: pair[0] for key, pair in pairs.items()}, {key: pair[1] for key, pair in pairs.items()}
            case list() | tuple():
                items = [down(inner, depth + 1) for inner in value]
                return [item[0] for item in items], [item[1] for item in items]
        frame = _frame(value)
        kept = place(".parquet")
        frame.write_parquet(kept)
        return {TAG: "frame", "file": kept.name, "arrow": _is_arrow(value)}, value if _is_arrow(value) else frame

    told, back = down(value, 0)
    text = canonical(told).encode()
    if len(text) > LIMIT:
        raise Invalid(
            f"A step returned {len(text)} bytes of JSON; {LIMIT} are kept.", hint="Return a frame, bytes, or the path of a file."
        )
    return text, tuple(files), back


def unpack(text: bytes, folder: Path) -> Any:
    """A value that `pack` wrote down; paths lead into the folder."""
    return _up(msgspec.json.decode(text), folder)


def _up(told: Any, folder: Path) -> Any:
    if isinstance(told, list):
        return [_up(inner, folder) for inner in told]
    if not isinstance(told, dict):
        return told
    match told:
        case {"$": "asset" | "dataset" as kind, "ref": ref, "digest": known, "metrics": metrics}:
            return (Dataset if kind == "dataset" else Asset)(ref=ref, digest=known, metrics=metrics)
        case {"$": "bytes", "file": name}:
            return (folder / name).read_bytes()
        case {"$": "path", "file": name}:
            return folder / name
        case {"$": "frame", "file": name, "arrow": arrow}:
            frame = pl.read_parquet(folder / name)
            return frame.to_arrow() if arrow else frame
    return {key: _up(inner, folder) for key, inner in told.items()}


def _frame(value: object) -> pl.DataFrame:
    if isinstance(value, pl.LazyFrame):
        return value.collect()
    if isinstance(value, pl.DataFrame):
        return value
    if _is_arrow(value):
        return pl.DataFrame(pl.from_arrow(value))
    raise Invalid(
        f"A {type(value).__name__} cannot go from step to step.",
        hint="Steps take and return JSON, polars frames, Arrow tables, bytes, paths of files, and assets.",
    )


def _is_arrow(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "pyarrow" and hasattr(value, "__arrow_c_stream__")


def _frame_digest(frame: pl.DataFrame) -> str:
    try:
        return content_digest(frame)
    except Invalid:  # a type that datasets do not have, such as a list
        buffer = io.BytesIO()
        frame.rechunk().write_ipc(buffer, compression="uncompressed")
        return _hash(b"ipc", buffer.getvalue())


def _file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Invalid(f"{path.name} cannot be read: {error.strerror}.") from None


def _copy(path: Path, kept: Path) -> None:
    try:
        shutil.copyfile(path, kept)
    except OSError as error:
        raise Invalid(f"{path.name} cannot be read: {error.strerror}.") from None


def _key(key: object) -> str:
    if not isinstance(key, str) or key == TAG:
        raise Invalid(f"{key!r} cannot be the key of an object that is kept.", hint="Keys are texts, and not '$'.")
    return key


def _check_depth(depth: int) -> None:
    if depth > DEPTH - 4:
        raise Invalid("A value is nested too deep to be kept.", hint="Return it flatter.")


def _hash(kind: bytes, data: bytes) -> str:
    return f"sha256:{hashlib.sha256(kind + b':' + data).hexdigest()}"
