"""The files of a project by kind, each as the command of its kind reads it. It publishes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tandem_sdk.calls import Message
from tandem_sdk.decisions import entry_of
from tandem_sdk.errors import Invalid
from tandem_sdk.policies import Guard
from tandem_sdk.project.nouns import Thing
from tandem_sdk.project.reading import NAME, at, check_keys, decoded, formed, short, table, text_of
from tandem_sdk.shape import Mismatch, plain, read_list
from tandem_sdk.suites import Scoring


def files_of(folder: Path, told: Mapping[str, object], text: str) -> Iterator[Thing]:
    for path in _in(folder, "contracts", (".toml", ".json")):
        yield Thing(kind="contract", name=path.stem, content=decoded(path, folder), file=short(path, folder))
    for path in _in(folder, "features", (".toml", ".json")):
        found = decoded(path, folder)
        check_keys(found, ("views", "services"), text_of(path), (), short(path, folder))
        for kind in ("view", "service"):
            for name, body in table(found.get(f"{kind}s", {}), "", (f"{kind}s",)).items():
                yield Thing(kind=kind, name=name, content={"definition": body}, file=short(path, folder))
    options = {kind: table(told.get(kind, {}), text, (kind,)) for kind in ("prompts", "decisions")}
    for path in _in(folder, "prompts", (".txt", ".md", ".json")):
        yield _prompt(path, folder, options["prompts"].pop(path.stem, {}), text)
    for path in _in(folder, "policies", (".toml", ".json")):
        yield _whole("policy", _Policy, path, folder)
    for path in _in(folder, "decisions", (".py",)):
        yield _decision(path, folder, options["decisions"].pop(path.stem, {}), text)
    for path in _in(folder, "suites", (".toml", ".json")):
        yield _whole("suite", _Suite, path, folder)
    for kind, left in options.items():
        for name in left:
            raise Invalid(
                f"{at(text, (kind, name))}: there is no file for '{name}' in {kind}/.", hint="Add it, or drop the table."
            )


def _in(folder: Path, kind: str, suffixes: Sequence[str]) -> Iterator[Path]:
    """The files of a kind, by name; what begins with a dot or an underscore is nobody's."""
    place = folder / kind
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if path.name.startswith((".", "_")):
            continue
        if not path.is_file() or path.suffix not in suffixes:
            raise Invalid(f"{kind}/{path.name} is nothing that {kind}/ holds.", hint=f"Files there end in {', '.join(suffixes)}.")
        if not NAME.fullmatch(path.stem):
            raise Invalid(f"{kind}/{path.name}: '{path.stem}' cannot be a name.", hint="Use 1 to 64 of a-z 0-9 . - _.")
        yield path


def _prompt(path: Path, folder: Path, options: object, text: str) -> Thing:
    where = ("prompts", path.stem)
    told = table(options, text, where)
    check_keys(told, ("variables", "model"), text, where)
    template: object = text_of(path)
    if path.suffix == ".json":
        try:
            template = plain(read_list(Message, json.loads(str(template)), "the file"))
        except (Mismatch, ValueError) as error:
            raise Invalid(f"{short(path, folder)} holds no messages: {error}.") from None
    content = {"template": template, "variables": table(told.get("variables", {}), text, (*where, "variables"))}
    return Thing(
        kind="prompt", name=path.stem, content={**content, "model": told.get("model")}, file=short(path, folder)
    )  # fmt: skip


def _decision(path: Path, folder: Path, options: object, text: str) -> Thing:
    where = ("decisions", path.stem)
    told = table(options, text, where)
    check_keys(told, ("entry",), text, where)
    source, file = text_of(path), short(path, folder)
    try:
        entry = str(told.get("entry") or entry_of(source, path.stem, file))
    except Invalid as error:
        raise Invalid(error.message.replace("--entry", f"[decisions.{path.stem}] entry")) from None
    return Thing(kind="decision", name=path.stem, content={"source": source, "entry": entry}, file=file)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    guards: tuple[Guard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suite:
    data: str
    endpoint: str
    scorers: tuple[Scoring, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    expected: str | None = None
    sources: tuple[str, ...] = ()
    metric: str = ""
    rows: int | None = None
    repeats: int = 1
    seed: int = 7
    temperature: float = 0.0
    max_tokens: int = 512


def _whole(kind: str, form: type[object], path: Path, folder: Path) -> Thing:
    file = short(path, folder)
    return Thing(kind=kind, name=path.stem, content=formed(form, decoded(path, folder), file, text_of(path)), file=file)
