"""Makes an instance that satisfies a JSON schema: structured outputs and the arguments of tools.

It takes the values it knows (the facts of the prompt, by property name) where they fit, and makes up the
rest deterministically. It knows no wire and no model. Source: JSON Schema 2020-12, as far as OpenAI's
structured outputs use it, and a little more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tandem.core.errors import Invalid
from tandem.mock.pattern import example

Schema = Mapping[str, object]

_SHALLOW = 6
"""Depth from which on only what is required is made, so that recursive schemas end."""
_DEEPEST = 48
_FORMATS = {
    "date-time": "2025-01-01T00:00:00Z",
    "date": "2025-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
}
_PROSE = {
    "answer",
    "content",
    "explanation",
    "justification",
    "message",
    "rationale",
    "reason",
    "reasoning",
    "response",
    "summary",
    "text",
}
"""Property names that take the model's own paragraph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What an instance may be filled with."""

    facts: Mapping[str, str]
    """Values by normalised property name."""
    prose: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """Where in the instance we are."""

    root: Schema
    known: Known
    name: str = "value"
    depth: int = 0
    turn: int = 0
    """Position in the array, so that items differ."""


def normal(name: str) -> str:
    """How property names and facts are compared.

    >>> normal("Risk score"), normal("riskScore"), normal("risk-score")
    ('risk_score', 'risk_score', 'risk_score')
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def instance(schema: Schema, known: Known) -> object:
    """An instance of `schema`, made of dicts, lists, texts, numbers, booleans and None.

    Raises:
        Invalid: where the schema cannot be satisfied, or not by this mock.

    >>> instance({"type": "object", "properties": {"amount": {"type": "number"}}}, Known(facts={"amount": "12.5"}))
    {'amount': 12.5}
    """
    return _make(schema, _Spot(root=schema, known=known))


def _make(schema: object, spot: _Spot) -> object:
    if spot.depth > _DEEPEST:
        raise Invalid("The schema requires itself without end.", hint="Give the recursion a way out.", field="schema")
    rules = _resolved(schema, spot)
    if "const" in rules:
        return rules["const"]
    options = rules.get("enum")
    if isinstance(options, list) and options:
        return _choice(options, spot)
    kind = _kind(rules, spot)
    match kind:
        case "object":
            return _object(rules, spot)
        case "array":
            return _array(rules, spot)
        case "integer" | "number":
            return _number(rules, spot, whole=kind == "integer")
        case "boolean":
            return _fact(spot).lower() not in ("false", "no", "0")
        case "null":
            return None
        case _:
            return _text(rules, spot)


def _resolved(schema: object, spot: _Spot, hops: int = 0) -> Schema:
    """The schema with `$ref`, `allOf`, `anyOf` and `oneOf` folded into one set of rules."""
    if not isinstance(schema, Mapping):
        return {}
    if hops > _DEEPEST:
        raise Invalid("The schema refers to itself in a circle.", hint="Mend its $ref.", field="schema")
    rules: dict[str, object] = {key: value for key, value in schema.items() if key not in ("$ref", "allOf", "anyOf", "oneOf")}
    parts: list[object] = []
    if isinstance(schema.get("$ref"), str):
        parts.append(_referred(str(schema["$ref"]), spot.root))
    every = schema.get("allOf")
    parts += every if isinstance(every, list) else []
    for word in ("anyOf", "oneOf"):
        branches = schema.get(word)
        if isinstance(branches, list) and branches:
            parts.append(_branch(branches, spot))
    for part in parts:
        rules = _merged(rules, _resolved(part, spot, hops + 1))
    return rules


def _merged(one: Schema, other: Schema) -> dict[str, object]:
    both = {**other, **one}
    for word, pair in {word: (one.get(word), other.get(word)) for word in ("properties", "required")}.items():
        match pair:
            case (dict() as mine, dict() as theirs):
                both[word] = {**theirs, **mine}
            case (list() as mine, list() as theirs):
                both[word] = [*mine, *theirs]
    return both


def _branch(branches: list[object], spot: _Spot) -> object:
    """The first alternative that is not null; deep inside, null where it may be."""
    empty = [branch for branch in branches if isinstance(branch, Mapping) and branch.get("type") == "null"]
    rest = [branch for branch in branches if branch not in empty]
    if empty and (not rest or spot.depth >= _SHALLOW):
        return empty[0]
    return rest[-1] if spot.depth >= _SHALLOW else rest[0]


def _referred(ref: str, root: Schema) -> object:
    target: object = root
    if not ref.startswith("#"):
        raise Invalid(
            f"The schema refers to '{ref}'.", hint="Only references inside the schema (#/…) are followed.", field="schema"
        )
    for step in ref[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, Mapping) or name not in target:
            raise Invalid(f"The schema refers to '{ref}', which is not in it.", hint="Mend its $ref.", field="schema")
        target = target[name]
    return target


def _kind(rules: Schema, spot: _Spot) -> str:
    kind = rules.get("type")
    if isinstance(kind, list) and kind:
        named = [str(one) for one in kind]
        solid = [one for one in named if one != "null"]
        return solid[0] if solid and (spot.depth < _SHALLOW or "null" not in named) else "null"
    if isinstance(kind, str):
        return kind
    if "properties" in rules or "required" in rules:
        return "object"
    if "items" in rules or "prefixItems" in rules:
        return "array"
    return "number" if {"minimum", "maximum", "multipleOf"} & set(rules) else "string"


def _fact(spot: _Spot) -> str:
    return spot.known.facts.get(normal(spot.name), "")


def _choice(options: list[object], spot: _Spot) -> object:
    fact = _fact(spot).lower()
    return next((one for one in options if fact and str(one).lower() == fact), options[spot.turn % len(options)])


def _object(rules: Schema, spot: _Spot) -> dict[str, object]:
    properties = rules.get("properties")
    declared: Mapping[str, object] = properties if isinstance(properties, Mapping) else {}
    required = rules.get("required")
    needed = [str(name) for name in required] if isinstance(required, list) else []
    names = list(declared) if spot.depth < _SHALLOW else [name for name in declared if name in needed]
    extra = rules.get("additionalProperties")
    names += [name for name in needed if name not in declared]
    names += [f"key_{number + 1}" for number in range(_int(rules, "minProperties", 0) - len(names))]
    return {
        name: _make(declared.get(name, extra), replace(spot, name=name, depth=spot.depth + 1, turn=0))
        for name in dict.fromkeys(names)
    }


def _array(rules: Schema, spot: _Spot) -> list[object]:
    prefix = rules.get("prefixItems")
    first = prefix if isinstance(prefix, list) else []
    least = _int(rules, "minItems", 0)
    wanted = max(least, len(first), 1 if spot.depth < _SHALLOW and rules.get("items") is not False else 0)
    amount = min(wanted, _int(rules, "maxItems", wanted))
    if least > 10_000:
        raise Invalid(f"The schema wants {least} items.", hint="The mock makes at most 10000.", field="schema")
    return [
        _make(first[turn] if turn < len(first) else rules.get("items"), replace(spot, depth=spot.depth + 1, turn=turn))
        for turn in range(amount)
    ]


def _number(rules: Schema, spot: _Spot, *, whole: bool) -> int | float:
    step = _real(rules, "multipleOf") or (1.0 if whole else 0.0)
    low, high = _real(rules, "minimum"), _real(rules, "maximum")
    above, below = _real(rules, "exclusiveMinimum"), _real(rules, "exclusiveMaximum")

    def fits(value: float) -> bool:
        return (
            (low is None or value >= low)
            and (high is None or value <= high)
            and (above is None or value > above)
            and (below is None or value < below)
            and (not step or math.isclose(value / step, round(value / step), abs_tol=1e-9))
        )

    candidates: list[float] = []
    try:
        fact = float(_fact(spot).replace(",", ""))
        candidates += [fact] if math.isfinite(fact) else []
    except ValueError:
        pass
    candidates += [float(spot.turn + 1), 0.5, 0.0]
    edge = step or 1.0
    floor = max([bound for bound in (low, above) if bound is not None], default=None)
    ceiling = min([bound for bound in (high, below) if bound is not None], default=None)
    if floor is not None:
        grid = math.ceil(floor / edge) * edge
        candidates += [floor, grid, grid + edge, grid + (spot.turn + 1) * edge]
    if ceiling is not None:
        grid = math.floor(ceiling / edge) * edge
        candidates += [ceiling, grid, grid - edge]
    if floor is not None and ceiling is not None:
        candidates.append((floor + ceiling) / 2)
    for value in candidates:
        if fits(value) and (not whole or value == int(value)):
            return int(value) if whole or (step and step == int(step)) else value
    raise Invalid(f"No number satisfies the schema of '{spot.name}'.", hint="Check its bounds and multipleOf.", field="schema")


def _text(rules: Schema, spot: _Spot) -> str:
    least = _int(rules, "minLength", 0)
    most = _int(rules, "maxLength", 1 << 30)
    if least > most or least > 100_000:
        raise Invalid(f"No text satisfies the schema of '{spot.name}'.", hint="Check minLength and maxLength.", field="schema")
    pattern = rules.get("pattern")
    fact = _fact(spot)
    if isinstance(pattern, str):
        if fact and least <= len(fact) <= most and re.search(pattern, fact):
            return fact
        return example(pattern, least, most)
    form = rules.get("format")
    if isinstance(form, str) and form in _FORMATS:
        return _FORMATS[form]
    prose = spot.known.prose if normal(spot.name) in _PROSE else ""
    text = fact or prose or f"sample {spot.name.replace('_', ' ')}{f' {spot.turn + 1}' if spot.turn else ''}"
    return text.ljust(least, ".")[:most]


def _int(rules: Schema, word: str, default: int) -> int:
    value = rules.get(word)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def _real(rules: Schema, word: str) -> float | None:
    value = rules.get(word)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
