"""A small language of patterns, compiled to states of a nondeterministic automaton.

Literals, `[classes]`, `(a|b)`, `?`, `*`, `+`, `{m}`, `{m,n}`, `{m,}`; `\\d`, `\\s`, `\\w` and escaped marks. `\\a` is any
letter, of any script. No anchors, no groups, no look-around: what must stand around a match is said beside the pattern, so
that an automaton can decide it one character at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tandem.scorers.guards.symbols import COUNT, LETTER, symbol

Class = frozenset[int]
DIGITS: Class = frozenset(range(48, 58))
SPACES: Class = frozenset(map(ord, " \t\n\r\f\v"))
LETTERS: Class = frozenset([*range(65, 91), *range(97, 123), LETTER])
WORD: Class = DIGITS | LETTERS | {95}
EVERY: Class = frozenset(range(COUNT))
_NAMED = {"d": DIGITS, "s": SPACES, "w": WORD, "a": LETTERS}
_BLANKS: dict[str, Class] = {"n": frozenset({10}), "r": frozenset({13}), "t": frozenset({9})}
_MARKS = frozenset("()[]{}|?*+.\\")


@dataclass(slots=True)
class Node:
    """One state: either an edge over a class of symbols to `to`, or free edges, or the end of a rule."""

    over: Class | None = None
    to: int = -1
    free: list[int] = field(default_factory=list)
    rule: int = -1
    owner: int = -1
    """The rule whose pattern this is a part of."""


class Nodes:
    """States of any number of patterns, in one list."""

    def __init__(self) -> None:
        self.list: list[Node] = []
        self._owner = -1

    def add(self, pattern: str, rule: int, *, any_case: bool = False) -> int:
        """Adds a pattern whose end means `rule`; returns its first state.

        Raises:
            ValueError: the pattern cannot be read.
        """
        self._owner = rule
        end = self._new()
        self.list[end].rule = rule
        tree, at = _alternatives(pattern, 0)
        if at != len(pattern):
            raise ValueError(f"{pattern!r} ends at {at}")
        return self._build(tree, end, any_case)

    def closure(self, start: set[int]) -> frozenset[int]:
        """The states reached without reading anything."""
        found, todo = set(start), list(start)
        while todo:
            for other in self.list[todo.pop()].free:
                if other not in found:
                    found.add(other)
                    todo.append(other)
        return frozenset(found)

    def _new(self) -> int:
        self.list.append(Node(owner=self._owner))
        return len(self.list) - 1

    def _build(self, tree: object, to: int, any_case: bool) -> int:
        """Builds a tree backwards from the state that follows it; returns the state before it."""
        match tree:
            case frozenset():
                here = self._new()
                self.list[here].over = _both_cases(tree) if any_case else tree
                self.list[here].to = to
                return here
            case ("all", list() as parts):
                for part in reversed(parts):
                    to = self._build(part, to, any_case)
                return to
            case ("any", list() as parts):
                here = self._new()
                self.list[here].free = [self._build(part, to, any_case) for part in parts]
                return here
            case ("times", part, int(low), int() | None as high):
                return self._times(part, low, high, to, any_case)
            case _:
                raise AssertionError(tree)

    def _times(self, part: object, low: int, high: int | None, to: int, any_case: bool) -> int:
        if high is None:
            loop = self._new()
            self.list[loop].free = [to, self._build(part, loop, any_case)]
            to = loop
        else:
            last = to
            for _ in range(high - low):
                here = self._new()
                self.list[here].free = [last, self._build(part, to, any_case)]
                to = here
        for _ in range(low):
            to = self._build(part, to, any_case)
        return to


def _both_cases(over: frozenset[int]) -> Class:
    letters = {code ^ 32 for code in over if 65 <= code <= 90 or 97 <= code <= 122}
    return over | letters


def _alternatives(text: str, at: int) -> tuple[object, int]:
    parts = []
    while True:
        part, at = _sequence(text, at)
        parts.append(part)
        if at >= len(text) or text[at] != "|":
            return (parts[0] if len(parts) == 1 else ("any", parts)), at
        at += 1


def _sequence(text: str, at: int) -> tuple[object, int]:
    parts: list[object] = []
    while at < len(text) and text[at] not in "|)":
        part, at = _atom(text, at)
        if at < len(text) and text[at] in "?*+{":
            low, high, at = _count(text, at)
            part = ("times", part, low, high)
        parts.append(part)
    return ("all", parts), at


def _atom(text: str, at: int) -> tuple[object, int]:
    char = text[at]
    if char == "(":
        part, at = _alternatives(text, at + 1)
        if at >= len(text):
            raise ValueError(f"{text!r} does not close its bracket")
        return part, at + 1
    if char == "[":
        return _class(text, at + 1)
    if char == "\\":
        return _escaped(text[at + 1]), at + 2
    if char in _MARKS:
        raise ValueError(f"{text!r} has a bare {char!r} at {at}")
    return frozenset({symbol(char)}), at + 1


def _escaped(char: str) -> Class:
    if char in _NAMED:
        return _NAMED[char]
    if char in _BLANKS:
        return _BLANKS[char]
    if char.isalnum():
        raise ValueError(f"there is no \\{char}")
    return frozenset({ord(char)})


def _class(text: str, at: int) -> tuple[Class, int]:
    negated = text[at] == "^"
    at += negated
    found: set[int] = set()
    while text[at] != "]":
        if text[at] == "\\":
            found |= _escaped(text[at + 1])
            at += 2
        elif text[at + 1] == "-" and text[at + 2] != "]":
            found |= set(range(ord(text[at]), ord(text[at + 2]) + 1))
            at += 3
        else:
            found.add(ord(text[at]))
            at += 1
    return (EVERY - found if negated else frozenset(found)), at + 1


def _count(text: str, at: int) -> tuple[int, int | None, int]:
    if text[at] != "{":
        return {"?": (0, 1), "*": (0, None), "+": (1, None)}[text[at]] + (at + 1,)
    end = text.index("}", at)
    low, comma, high = text[at + 1 : end].partition(",")
    return int(low), (int(high) if high else None) if comma else int(low), end + 1
