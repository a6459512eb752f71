"""Whole texts: what is in them, found without looking closely at most of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from tandem.scorers.guards.automaton import BORDER, Automaton, Found, Rule, Scan
from tandem.scorers.guards.rules import rules_for
from tandem.scorers.guards.symbols import plain

BETWEEN = "\0"
"""Stands between two texts: no needle holds it, so that a match over a border is none that hides another."""
_LOWER = bytes(range(256)).lower().translate(bytes.maketrans(b"\t\n\r\f\v", b"     "))
"""Plain characters in lower case, and every blank a space."""


@lru_cache(maxsize=64)
def automaton(rules: tuple[Rule, ...]) -> Automaton:
    """The automaton of these rules; made once."""
    return Automaton(rules)


def find(text: str, detectors: Iterable[str]) -> list[Found]:
    """What the detectors find in a text; places count its characters.

    >>> [found.rule.name for found in find("write to ann@example.org", ["email"])]
    ['email']
    """
    return look(text, rules_for(detectors))


def look(text: str, rules: tuple[Rule, ...]) -> list[Found]:
    """What the rules match in a text; places count its characters, invisible ones included."""
    seen = plain(text)
    found: list[Found] = []
    for start, end in _windows(seen, rules):
        scan = Scan(automaton(rules), ord(seen[start - 1]) if start else BORDER)
        scan.feed(seen[start : end + 1])  # what follows a match decides whether it is one
        scan.end()
        found += [Found(each.start + start, each.end + start, each.rule) for each in scan.found]
    return found if len(seen) == len(text) else _shifted(text, found)


def clear(texts: Iterable[str], rules: tuple[Rule, ...]) -> bool:
    """Whether none of these texts can hold a match: one look over all of them, which costs less than one at each.

    It errs on one side only: where it is false, they have to be looked at one by one.

    >>> clear(["write to", "ann@example.org"], rules_for(["email"])), clear(["write", "to"], rules_for(["email"]))
    (False, True)
    """
    seen = plain(BETWEEN.join(texts))
    lowered = seen.encode("latin-1").translate(_LOWER)
    if any(needle in lowered for needle, _ in _needles(rules)):
        return False
    return not any(trigger.search(seen) for trigger, _ in _triggers(rules))


def _windows(text: str, rules: tuple[Rule, ...]) -> list[tuple[int, int]]:
    """The parts of a text in which the rules can match at all: around what every match must hold."""
    lowered = text.encode("latin-1").translate(_LOWER)
    near: list[tuple[int, int]] = []
    for needle, reach in _needles(rules):
        at = lowered.find(needle)
        while at >= 0:
            near.append((at - reach, at + reach))
            at = lowered.find(needle, at + 1)
    for trigger, reach in _triggers(rules):
        near += [(each.start() - reach, each.start() + reach) for each in trigger.finditer(text)]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(near):
        if merged and start <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((max(0, start), end))
    return merged


@lru_cache(maxsize=64)
def _needles(rules: tuple[Rule, ...]) -> tuple[tuple[bytes, int], ...]:
    """Needle → how far a match that holds it may reach to either side."""
    reach: dict[bytes, int] = {}
    for rule in rules:
        for needle in map(str.encode, map(plain, rule.needs)):
            reach[needle] = max(reach.get(needle, 0), rule.longest)
    return tuple(reach.items())


@lru_cache(maxsize=64)
def _triggers(rules: tuple[Rule, ...]) -> tuple[tuple[re.Pattern[str], int], ...]:
    reach: dict[str, int] = {}
    for rule in rules:
        if not rule.needs:
            reach[rule.trigger] = max(reach.get(rule.trigger, 0), rule.longest)
    return tuple((re.compile(trigger, re.ASCII), longest) for trigger, longest in reach.items())


def _shifted(text: str, found: list[Found]) -> list[Found]:
    """Places in the plain text as places in the text: an invisible character belongs to the one before it."""
    places = [place for place, char in enumerate(text) if plain(char)]
    places.append(len(text))
    return [Found(places[each.start], places[each.end], each.rule) for each in found]
