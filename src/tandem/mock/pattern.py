"""Makes a text that matches a regular expression, for the `pattern` of a JSON schema. It knows no schema.

The common part of ECMA-262 and Python: literals, classes, escapes, groups, alternatives, repetitions and
anchors. Look-around and back references are not made; whoever asks for them is told.
"""

from __future__ import annotations

import re

from tandem.core.errors import Invalid

_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a"}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_CANDIDATES = "a0A -_.:/@x1Z+#"
_TRIES = 64
_LONGEST = 20_000
_DEEPEST = 50


def example(pattern: str, shortest: int = 0, longest: int | None = None) -> str:
    """A text of `shortest` to `longest` characters in which `pattern` is found.

    Raises:
        Invalid: where none could be made.

    >>> example("^[A-Z]{2}-[0-9]{4}$")
    'AA-0000'
    """
    try:
        known = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise Invalid(f"The pattern '{pattern}' cannot be read: {error}.", hint="Mend the schema.", field="pattern") from None
    for more in range(_TRIES):
        text = _Sampler(pattern, more).sample()
        for padded in dict.fromkeys((text, text.ljust(shortest, "a"), text.rjust(shortest, "a"))):
            if len(padded) >= shortest and (longest is None or len(padded) <= longest) and known.search(padded):
                return padded
    raise _beyond(pattern)


def _beyond(pattern: str) -> Invalid:
    return Invalid(
        f"The mock found no text for the pattern '{pattern}'.",
        hint="Use a simpler pattern, without look-around.",
        field="pattern",
    )


class _Sampler:
    """Walks over a pattern once; every repetition is taken `more` times more often than it must be."""

    def __init__(self, pattern: str, more: int) -> None:
        self.pattern = pattern
        self.more = more
        self.at = 0
        self.depth = 0

    def sample(self) -> str:
        text = self._alternatives()
        if self.at < len(self.pattern):
            raise _beyond(self.pattern)
        return text

    def _peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise _beyond(self.pattern)
        self.at += 1
        return char

    def _alternatives(self) -> str:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _beyond(self.pattern)
        first = self._sequence()
        while self._peek() == "|":
            self.at += 1
            self._sequence()
        self.depth -= 1
        return first

    def _sequence(self) -> str:
        parts: list[str] = []
        while self._peek() not in ("", "|", ")"):
            atom = self._atom()
            times = self._times()
            if times > _LONGEST or sum(map(len, parts)) + len(atom) * times > _LONGEST:
                raise _beyond(self.pattern)
            parts.append(atom * times)
        return "".join(parts)

    def _atom(self) -> str:
        char = self._next()
        if char in "^$":
            return ""
        if char == ".":
            return "a"
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        if char != "(":
            return char
        if self._peek() == "?":
            self._group_head()
        text = self._alternatives()
        self._expect(")")
        return text

    def _group_head(self) -> None:
        """Skips `?:` or `?<name>`; anything else that begins with `?` is beyond this."""
        head = re.compile(r"\?(?::|P?<\w+>)").match(self.pattern, self.at)
        if head is None:
            raise _beyond(self.pattern)
        self.at = head.end()

    def _expect(self, char: str) -> None:
        if self._next() != char:
            raise _beyond(self.pattern)

    def _escape(self) -> str:
        char = self._next()
        if char in _CLASSES:
            return _CLASSES[char]
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char in "bB":
            return ""
        if char in "xu":
            digits = self.pattern[self.at : self.at + (2 if char == "x" else 4)]
            self.at += len(digits)
            return chr(int(digits, 16))
        if char.isalnum():
            raise _beyond(self.pattern)
        return char

    def _class(self) -> str:
        """One character of `[…]`: the first one listed, or for a negated class the first that fits."""
        start = self.at - 1
        negated = self._peek() == "^"
        if negated:
            self.at += 1
        first = ""
        empty = True
        while self._peek() != "]" or (empty and not negated):
            char = self._next()
            item = self._escape() if char == "\\" else char
            first = first or item
            empty = False
        self.at += 1
        if not negated:
            return first
        fits = re.compile(self.pattern[start : self.at])
        return next((char for char in _CANDIDATES if fits.match(char)), "é")

    def _times(self) -> int:
        form = re.compile(r"(?:[*+?]|\{(\d+)(,(\d*))?\})[?+]?").match(self.pattern, self.at)
        if form is None:
            return 1
        self.at = form.end()
        sign = form[0][0]
        if sign == "?":
            return min(self.more, 1)
        if sign in "*+":
            return (sign == "+") + self.more
        least = int(form[1])
        if not form[2]:
            return least
        return least + self.more if not form[3] else min(least + self.more, int(form[3]))
