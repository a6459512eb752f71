"""Conditions of a target: what a call must be like to come here. Pure; every part is looked at, none ends the look early.

    when = { "principal.team" = "research", "request.tokens" = { over = 8000 } }     all of them
    when = { any = [{ "metadata.tier" = ["gold", "silver"] }, { "request.images" = true }] }
    when = { not = { "request.stream" = true } }

Names: `request.tokens` (estimated), `request.stream`, `request.tools`, `request.images`, `request.json`, `request.kind`;
`principal.name`, `principal.team`, `principal.org`, `principal.kind`, `principal.role`; `metadata.KEY` of the caller's own
`metadata`. A value is what must be there, a list of what may, or a table of comparisons: `over`, `under` (numbers), `is`,
`not`, `starts`, `ends`, `has` (texts). What a call does not have fulfils nothing but `not`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tandem.core.errors import Invalid

REQUEST = frozenset({"tokens", "stream", "tools", "images", "json", "kind"})
PRINCIPAL = frozenset({"name", "team", "org", "kind", "role"})
DEEPEST = 8
"""How deep `any` and `not` may nest."""
MOST = 64
"""Parts that a condition may have."""
Find = Callable[[str], object]
"""Name → what the call has there; None: nothing."""


def _text(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return lambda have, want: isinstance(have, str) and isinstance(want, str) and test(have, want)


def _number(test: Callable[[float, float], bool]) -> Callable[[Any, Any], bool]:
    return lambda have, want: _numeric(have) and test(have, want)


def _numeric(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "is": lambda have, want: _same(have, want),
    "not": lambda have, want: not _same(have, want),
    "over": _number(lambda have, want: have > want),
    "under": _number(lambda have, want: have < want),
    "starts": _text(str.startswith),
    "ends": _text(str.endswith),
    "has": _text(str.__contains__),
}


def _same(have: object, want: object) -> bool:
    """Equality without Python's `True == 1`; a list of wants is a choice."""
    if isinstance(want, list | tuple):
        return any(_same(have, each) for each in want)
    return have == want and isinstance(have, bool) == isinstance(want, bool)


def holds(when: Mapping[str, object], find: Find) -> bool:
    """Whether a call fulfils a condition that was checked before."""
    return unmet(when, find) is None


def unmet(when: Mapping[str, object], find: Find) -> str | None:
    """The name of the first part that a call does not fulfil; None where it fulfils all."""
    for name, want in when.items():
        if name == "any":
            assert isinstance(want, list | tuple)
            if not any(holds(each, find) for each in want):
                return "any"
        elif name == "not":
            assert isinstance(want, Mapping)
            if holds(want, find):
                return "not"
        else:
            have = find(name)
            tests = want.items() if isinstance(want, Mapping) else (("is", want),)
            if not all(COMPARE[how](have, value) for how, value in tests):
                return name
    return None


def names(when: Mapping[str, object]) -> set[str]:
    """Every name that a condition asks about."""
    found: set[str] = set()
    for name, want in when.items():
        if name == "any" and isinstance(want, list | tuple):
            found.update(*(names(each) for each in want))
        elif name == "not" and isinstance(want, Mapping):
            found |= names(want)
        else:
            found.add(name)
    return found


def check(when: Mapping[str, object], field: str) -> None:
    """Looks at a condition before it is kept.

    Raises:
        Invalid: a name, a comparison or a value makes no sense; `field` tells where.
    """
    if _check(when, field, DEEPEST) > MOST:
        raise Invalid(f"A condition may have {MOST} parts.", field=field)


def _check(when: Mapping[str, object], field: str, depth: int) -> int:
    if not depth:
        raise Invalid(f"Conditions may nest {DEEPEST} deep.", field=field)
    parts = 0
    for name, want in when.items():
        place = f"{field}.{name}"
        if name == "any":
            if not isinstance(want, list | tuple) or not want or not all(isinstance(each, Mapping) for each in want):
                raise Invalid("'any' takes a list of conditions.", field=place)
            parts += sum(_check(each, place, depth - 1) for each in want)
        elif name == "not":
            if not isinstance(want, Mapping):
                raise Invalid("'not' takes a condition.", field=place)
            parts += _check(want, place, depth - 1)
        else:
            _check_name(name, place)
            _check_value(want, place)
            parts += 1
    return parts


def _check_name(name: str, place: str) -> None:
    of, _, key = name.partition(".")
    if (of == "request" and key in REQUEST) or (of == "principal" and key in PRINCIPAL) or (of == "metadata" and key):
        return
    known = [*(f"request.{each}" for each in sorted(REQUEST)), *(f"principal.{each}" for each in sorted(PRINCIPAL))]
    raise Invalid(f"No call has '{name}'.", field=place, hint=f"Ask about {', '.join(known)} or metadata.KEY.")


def _check_value(want: object, place: str) -> None:
    tests = want.items() if isinstance(want, Mapping) else (("is", want),)
    if not tests:
        raise Invalid("An empty comparison says nothing.", field=place)
    for how, value in tests:
        if how not in COMPARE:
            raise Invalid(f"'{how}' is no comparison.", field=place, hint=f"Use {', '.join(COMPARE)}.")
        if how in ("over", "under") and not _numeric(value):
            raise Invalid(f"'{how}' takes a number.", field=place)
        if how in ("starts", "ends", "has") and not isinstance(value, str):
            raise Invalid(f"'{how}' takes a text.", field=place)
        values = value if isinstance(value, list | tuple) else (value,)
        if not values or not all(isinstance(each, str | int | float) for each in values):
            raise Invalid("A value is a text, a number, true or false, or a list of such.", field=place)
