"""The tables of `project.toml` as one stage has them: gates, budgets, limits, monitors, endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from tandem_sdk.endpoints import Endpoint
from tandem_sdk.errors import Invalid
from tandem_sdk.gates import Gate
from tandem_sdk.monitors import Monitor
from tandem_sdk.project.nouns import PRODUCTION, Stage, Thing
from tandem_sdk.project.reading import at, filled, formed, table
from tandem_sdk.spans import seconds

SPANS = ("every", "span", "wait", "cooldown", "canary_seconds")
"""Keys of a monitor that may be written as `12h`."""
OF_MONITORS = frozenset({"name", "team", "created_at", "created_by", "alarmed", "newest"})
"""Fields of a monitor that nobody declares; `name` is the table's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Budget:
    scope: str
    cap: str
    window: str = "day"
    mode: str = "hard"
    fair: bool = False
    alerts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    scope: str
    unit: str
    cap: int
    window: str = "minute"
    mode: str = "hard"
    fair: bool = False
    alerts: tuple[int, ...] = ()


def tables_of(told: Mapping[str, object], text: str, stage: Stage, stages: Sequence[Stage]) -> Iterator[Thing]:
    """Gates, budgets, limits, monitors and endpoints as one stage has them."""
    names = [each.name for each in stages]
    for word, make in _LISTS.items():
        rows = told.get(word, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Invalid(f"{at(text, (word,))}: write [[{word}]].")
        for place, row in enumerate(rows):
            line = at(text, (f"{word}[{place}]",))
            guarded = row.get("alias", PRODUCTION) if word == "gates" else None  # a gate is set at the stage that it guards
            body = _here(row, stage, names, [guarded] if guarded in names else names, line)
            if body is not None:
                yield make(body, line, text)
    for word, build in _NAMED.items():
        for name, row in table(told.get(word, {}), text, (word,)).items():
            line = at(text, (word, name))
            body = _here(table(row, text, (word, name)), stage, names, names, line)
            if body is not None:
                yield build(str(filled(name, stage.values, line)), body, line, text)


def _here(
    row: Mapping[str, object], stage: Stage, names: Sequence[str], usual: Sequence[str], line: str
) -> dict[str, object] | None:
    """A table with its variables put in; None where it is of other stages.

    Args:
        usual: the stages that it is of, unless it says so itself.
    """
    own = dict(row)
    wanted = own.pop("stages", list(usual))
    if not isinstance(wanted, list) or not all(each in names for each in wanted):
        raise Invalid(f"{line}: stages is a list of some of {', '.join(names) or 'none, for there are no stages'}.")
    if names and stage.name not in wanted:
        return None
    return {str(filled(key, stage.values, line)): filled(value, stage.values, line) for key, value in own.items()}


def _gate(told: dict[str, object], where: str, text: str) -> Thing:
    content = formed(Gate, told, where, text)
    if "metric" not in told:  # of a suite only the platform knows it
        content["metric"] = "roc_auc"
    if "margin" not in told:
        content["margin"] = 0.02
    if told.get("suite") is not None:
        content = {key: value for key, value in content.items() if key not in ("metric", "margin") or key in told}
    return Thing(kind="gate", name=f"{content['asset']}@{content['alias']}", content=content, file=where)


def _budget(told: dict[str, object], where: str, text: str) -> Thing:
    content = formed(_Budget, {**told, "cap": str(told["cap"])} if "cap" in told else told, where, text)
    try:
        content["cap"] = dollars(Decimal(str(content["cap"])))
    except InvalidOperation:
        raise Invalid(f"{where}: '{content['cap']}' is not an amount of money.", hint='Write dollars: cap = "0.50".') from None
    return Thing(kind="budget", name=f"{content['scope']}@{content['window']}", content=_capped(content, told), file=where)


def _limit(told: dict[str, object], where: str, text: str) -> Thing:
    cap = told.get("cap")
    content = formed(_Limit, {**told, "cap": int(cap)} if isinstance(cap, str) and cap.isdigit() else told, where, text)
    if content["unit"] == "calls":
        content["window"] = "total"  # at once, whatever the window
    return Thing(
        kind="limit", name=f"{content['scope']}@{content['unit']}/{content['window']}", content=_capped(content, told), file=where
    )  # fmt: skip


def _capped(content: dict[str, object], told: Mapping[str, object]) -> dict[str, object]:
    """Where no alerts are named, the platform's own hold."""
    return {key: value for key, value in content.items() if key != "alerts" or key in told}


def _monitor(name: str, told: dict[str, object], where: str, text: str) -> Thing:
    named = sorted(OF_MONITORS & set(told))
    if named:
        raise Invalid(f"{where}: nobody declares '{named[0]}' of a monitor.")
    spans = {key: seconds(value) or value for key, value in told.items() if key in SPANS and isinstance(value, str)}
    content = formed(Monitor, {**told, **spans, "name": name}, where, text)
    left = OF_MONITORS - {"name"} | ({"threshold", "span"} - set(told))  # what the question decides
    return Thing(kind="monitor", name=name, content={key: value for key, value in content.items() if key not in left}, file=where)


def _endpoint(name: str, told: dict[str, object], where: str, text: str) -> Thing:
    named = sorted({"name", "managed"} & set(told))
    if named:
        raise Invalid(f"{where}: nobody declares '{named[0]}' of an endpoint.")
    return Thing(kind="endpoint", name=name, content=endpoint(name, told, where, text), file=where)


def endpoint(name: str, told: Mapping[str, object], where: str, text: str = "") -> dict[str, object]:
    """An endpoint with every default, as it is compared and sent.

    Raises:
        Invalid: a key means nothing.
    """
    content = formed(Endpoint, {**told, "name": name}, where, text)
    return {key: value for key, value in content.items() if key not in ("name", "managed")}


_LISTS: Mapping[str, Callable[[dict[str, object], str, str], Thing]] = {"gates": _gate, "budgets": _budget, "limits": _limit}
_NAMED: Mapping[str, Callable[[str, dict[str, object], str, str], Thing]] = {"monitors": _monitor, "endpoints": _endpoint}


def dollars(amount: Decimal) -> str:
    """Dollars without needless zeros.

    >>> dollars(Decimal("5.50")), dollars(Decimal("100"))
    ('5.5', '100')
    """
    return f"{amount.normalize():f}"
