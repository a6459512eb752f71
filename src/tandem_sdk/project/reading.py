"""Texts, TOML and JSON of a folder, held to forms. Whatever means nothing is refused with file and line."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from tandem_sdk.assets import split
from tandem_sdk.errors import Invalid
from tandem_sdk.project.lines import line_of
from tandem_sdk.shape import Mismatch, plain
from tandem_sdk.shape import read as shaped

FILE = "project.toml"
BYTES = 1_000_000
"""The largest file."""
NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def formed(form: type[object], told: Mapping[str, object], where: str, text: str) -> dict[str, object]:
    """A table with every default of its form, and nothing that the form does not know."""
    try:
        made = plain(shaped(form, told))
    except Mismatch as error:
        raise Invalid(f"{where}: {str(error).replace('$.', '').replace('$', 'it')}.") from None
    assert isinstance(made, dict)
    strange = _strange(told, made)
    if strange is not None:
        known = ", ".join(each.name for each in fields(form) if each.name not in ("managed", "newest"))  # type: ignore[arg-type]  # every form is a dataclass
        raise Invalid(f"{_line(where, text, strange)}: nothing is called '{strange}'.", hint=f"Known are {known}.")
    return made


def _strange(told: object, made: object) -> str | None:
    """A key that the form passed over, at any depth."""
    if isinstance(told, Mapping) and isinstance(made, Mapping):
        for key, value in told.items():
            if key not in made:
                return str(key)
            if (found := _strange(value, made[key])) is not None:
                return found
    if isinstance(told, list) and isinstance(made, list):
        for one, other in zip(told, made, strict=True):
            if (found := _strange(one, other)) is not None:
                return found
    return None


def _line(where: str, text: str, key: str) -> str:
    """The place of a key at or below the line that `where` names."""
    file, _, line = where.partition(":")
    begin = int(line) if line else 1
    for number, content in enumerate(text.splitlines()[begin - 1 :], begin):
        if re.search(rf'(^|[\s{{,"]){re.escape(key)}"?\s*[=:]', content):
            return f"{file}:{number}"
    return where


def filled(value: object, values: Mapping[str, str], where: str) -> object:
    """A value with `${…}` put in, keys too."""
    if isinstance(value, str):

        def put(found: re.Match[str]) -> str:
            if found[1] not in values:
                known = ", ".join(f"${{{each}}}" for each in values) or "none: the project has no stages"
                raise Invalid(f"{where}: nothing is called ${{{found[1]}}}.", hint=f"Known are {known}.")
            return values[found[1]]

        return _VARIABLE.sub(put, value)
    if isinstance(value, dict):
        return {str(filled(key, values, where)): filled(each, values, where) for key, each in value.items()}
    return [filled(each, values, where) for each in value] if isinstance(value, list) else value


def check_keys(told: Mapping[str, object], keys: Sequence[str], text: str, where: tuple[str, ...], file: str = FILE) -> None:
    for key in told:
        if key not in keys:
            raise Invalid(f"{at(text, (*where, key), file)}: nothing is called '{key}'.", hint=f"Known are {', '.join(keys)}.")


def table(told: object, text: str, where: tuple[str, ...]) -> dict[str, object]:
    if not isinstance(told, dict):
        raise Invalid(f"{at(text, where)}: {'.'.join(where)} is a table.", hint=f"Write [{'.'.join(where)}].")
    return dict(told)


def refs(told: object, text: str, where: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(told, list) or not all(isinstance(each, str) for each in told):
        raise Invalid(f"{at(text, where)}: {where[-1]} is a list of assets, such as model/fraud.")
    for each in told:
        if split(each)[2] is not None:
            raise Invalid(f"{at(text, where)}: '{each}' names a version, and the stages say which.", hint="Write KIND/NAME.")
    return tuple(told)


def name_of(told: Mapping[str, object], key: str, text: str, *, needed: bool = True) -> str | None:
    found = told.get(key)
    if found is None and not needed:
        return None
    if not isinstance(found, str) or not NAME.fullmatch(found):
        raise Invalid(f'{at(text, (key,))}: write {key} = "NAME", 1 to 64 of a-z 0-9 . - _.', field=key)
    return found


def decoded(path: Path, folder: Path) -> dict[str, object]:
    text, file = text_of(path), short(path, folder)
    if path.suffix == ".toml":
        return toml(text, file)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Invalid(f"{file} is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise Invalid(f"{file} holds no JSON object.")
    return found


def toml(text: str, file: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{file} is no TOML: {error}.", hint="https://toml.io describes the format.") from None


def text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > BYTES:
        raise Invalid(f"{path} has {len(data)} bytes, and {BYTES} are the most.")
    try:
        return data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise Invalid(f"{path} is no UTF-8 text.") from None


def short(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def at(text: str, where: tuple[str, ...], file: str = FILE) -> str:
    line = line_of(text, where) or (line_of(text, (where[0].partition("[")[0],)) if where else None)
    return f"{file}:{line}" if line else file
