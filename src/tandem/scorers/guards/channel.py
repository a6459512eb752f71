"""One text on its way out, piece by piece: what is found in it is replaced, what may still become a match is held back.

A `Plain` channel carries text as it is. An `Argued` one carries JSON as it is written (the arguments of a tool call), and looks
at what its strings say: an escaped character is the character.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tandem.scorers.guards.automaton import Automaton, Found, Scan
from tandem.scorers.guards.symbols import plain

Replace = Callable[[Found, str], tuple[str, str] | None]
"""(match, its text) → what is kept and what the caller hears in its place; None leaves it as it is."""


class Plain:
    """A channel of text."""

    __slots__ = ("_chars", "_raws", "_replace", "_scan", "_start")

    def __init__(self, automaton: Automaton, replace: Replace) -> None:
        self._scan = Scan(automaton)
        self._replace = replace
        self._start = 0
        """Place of the first unit that is held."""
        self._chars: list[str] = []
        self._raws: list[str] = []
        """Per visible character held: itself and how it was written, with the invisible ones behind it."""

    def feed(self, text: str) -> tuple[str, str]:
        """More text; returns what may leave: as it is kept, and as the caller hears it."""
        lead = self._read(text)
        kept, said = self._leave()
        return (lead + kept, lead + said) if lead else (kept, said)

    def end(self) -> tuple[str, str]:
        """The rest."""
        self._scan.end()
        return self._leave()

    def _read(self, text: str) -> str:
        """Takes text in; returns what was invisible before anything visible was held."""
        seen = plain(text)
        if len(seen) == len(text):
            self._chars.extend(text)
            self._raws.extend(text)
            self._scan.feed(seen)
            return ""
        lead = ""
        for char in text:
            if plain(char):
                self._chars.append(char)
                self._raws.append(char)
            elif self._raws:
                self._raws[-1] += char
            else:
                lead += char
        self._scan.feed(seen)
        return lead

    def _leave(self) -> tuple[str, str]:
        scan = self._scan
        kept: list[str] = []
        said: list[str] = []
        at = self._start
        for found in scan.found:
            before = self._raws[at - self._start : found.start - self._start]
            kept += before
            said += before
            raw = self._raws[found.start - self._start : found.end - self._start]
            instead = self._replace(found, "".join(self._chars[found.start - self._start : found.end - self._start]))
            if instead is None:
                kept += raw
                said += raw
            else:
                kept.append(self._written(instead[0]))
                said.append(self._written(instead[1]))
            at = found.end
        scan.found = []
        rest = self._raws[at - self._start : scan.decided - self._start]
        del self._raws[: scan.decided - self._start], self._chars[: scan.decided - self._start]
        self._start = scan.decided
        kept += rest
        said += rest
        return "".join(kept), "".join(said)

    def _written(self, text: str) -> str:
        """A replacement as it is written here."""
        return text


_ESCAPE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[^u]", re.DOTALL)
_MAYBE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3}|u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?)?\Z")
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Argued(Plain):
    """A channel of JSON text, looked at with its escapes undone."""

    __slots__ = ("_tail",)

    def __init__(self, automaton: Automaton, replace: Replace) -> None:
        super().__init__(automaton, replace)
        self._tail = ""
        """An escape that has begun."""

    def end(self) -> tuple[str, str]:
        lead = super()._read(self._tail) if self._tail else ""
        self._tail = ""
        kept, said = super().end()
        return lead + kept, lead + said

    def _read(self, text: str) -> str:
        text = self._tail + text
        self._tail = ""
        if "\\" not in text:
            return super()._read(text)
        open_escape = _MAYBE.search(text)
        if open_escape is not None and _is_open(text, open_escape.start()):
            text, self._tail = text[: open_escape.start()], text[open_escape.start() :]
        lead, at = "", 0
        for escape in _ESCAPE.finditer(text):
            lead += super()._read(text[at : escape.start()]) if escape.start() > at else ""
            lead += self._unit(_meant(escape[0]), escape[0])
            at = escape.end()
        return lead + (super()._read(text[at:]) if at < len(text) else "")

    def _unit(self, char: str, raw: str) -> str:
        seen = plain(char)
        if not seen:
            if not self._raws:
                return raw
            self._raws[-1] += raw
            return ""
        self._chars.append(char)
        self._raws.append(raw)
        self._scan.feed(seen)
        return ""

    def _written(self, text: str) -> str:
        return "".join(_SPOKEN.get(char, char) for char in text)


_SPOKEN = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def _is_open(text: str, at: int) -> bool:
    """Whether the backslash at this place begins an escape, rather than ending one."""
    count = 0
    while at - count - 1 >= 0 and text[at - count - 1] == "\\":
        count += 1
    return count % 2 == 0


def _meant(escape: str) -> str:
    if escape[1] != "u":
        return _SHORT.get(escape[1], escape[1])
    if len(escape) == 6:
        return chr(int(escape[2:], 16))
    return (int(escape[2:6], 16).to_bytes(2, "big") + int(escape[8:], 16).to_bytes(2, "big")).decode("utf-16-be")
