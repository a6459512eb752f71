"""Finds all matches of many rules in text that arrives piece by piece, and lets go of what can no longer become one.

Every place at which a rule may begin starts a candidate; a candidate is one state of a deterministic automaton that is
built as it is used. The text before the earliest living candidate is decided. What is found does not depend on how the text
was cut: from left to right the earliest start that leads to a valid match wins, then its longest valid end, then the
rule that stands first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tandem.scorers.guards.pattern import EVERY, Class, Nodes
from tandem.scorers.guards.symbols import COUNT, plain

STATES = 20_000
"""Deterministic states kept; beyond them all are forgotten and built again as they are needed."""
BORDER = COUNT
"""The symbol before the first and after the last character."""


Check = Callable[[str], bool]


def always(text: str) -> bool:
    """Accepts whatever the pattern has found."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one kind of secret looks like."""

    name: str
    """`credential/github`: the detector, and which of its forms."""
    pattern: str
    before: Class = EVERY
    """Symbols that may stand before a match, beside the border of the text."""
    after: Class = EVERY
    check: Check = always
    """Asked with the match in plain characters: checksums, dates."""
    needs: tuple[str, ...] = ()
    """Every match holds one of these, in lower case and with a space for every blank: elsewhere there is nothing to look at."""
    trigger: str = r"\d(?:[ .:+-]?\d){5}"
    """The same as a regular expression over plain characters, where there are no `needs`: here, six digits in a row."""
    any_case: bool = False
    longest: int = 512
    """Characters after which a candidate is judged by what it has."""

    @property
    def detector(self) -> str:
        return self.name.partition("/")[0]


class _State:
    __slots__ = ("accepts", "longest", "nodes", "steps")

    def __init__(self, nodes: frozenset[int], accepts: tuple[int, ...], longest: int) -> None:
        self.nodes = nodes
        self.accepts = accepts
        """Rules that may end here."""
        self.longest = longest
        """Of the rules that are still possible, the longest match."""
        self.steps: dict[int, _State | None] = {}


class Automaton:
    """Many rules as one automaton. Shared by any number of scans in one thread."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._nodes = Nodes()
        self._begins = [self._nodes.add(rule.pattern, number, any_case=rule.any_case) for number, rule in enumerate(self.rules)]
        self._known: dict[frozenset[int], _State] = {}
        self.starts = [self._start(before) for before in range(BORDER + 1)]
        """By the symbol before it, the state of a candidate that begins; None where no rule may begin."""

    def _start(self, before: int) -> _State | None:
        allowed = {
            begin for begin, rule in zip(self._begins, self.rules, strict=True) if before == BORDER or before in rule.before
        }
        return self._state(self._nodes.closure(allowed)) if allowed else None

    def step(self, state: _State, over: int) -> _State | None:
        """The state after one more symbol; None when no rule can go on."""
        nodes = self._nodes.list
        reached = {nodes[number].to for number in state.nodes if (reads := nodes[number].over) is not None and over in reads}
        found = state.steps[over] = self._state(self._nodes.closure(reached)) if reached else None
        return found

    def _state(self, nodes: frozenset[int]) -> _State:
        known = self._known.get(nodes)
        if known is None:
            if len(self._known) >= STATES:
                self._known.clear()
                for start in self.starts:  # they hold all others
                    if start is not None:
                        start.steps.clear()
            ends = {self._nodes.list[number].rule for number in nodes} - {-1}
            longest = max(self.rules[self._nodes.list[number].owner].longest for number in nodes)
            known = self._known[nodes] = _State(nodes, tuple(sorted(ends)), longest)
        return known


@dataclass(slots=True)
class _Candidate:
    start: int
    state: _State | None
    end: int = -1
    rule: int = -1


@dataclass(frozen=True, slots=True)
class Found:
    """A match: characters `start` to `end` (exclusive) of the text, counted from its beginning."""

    start: int
    end: int
    rule: Rule


class Scan:
    """One text on its way through an automaton. Invisible characters are not to be fed; see `symbols`."""

    __slots__ = ("_automaton", "_base", "_before", "_candidates", "_position", "_text", "decided", "found")

    def __init__(self, automaton: Automaton, before: int = BORDER) -> None:
        self._automaton = automaton
        self._text = ""
        """Characters from `_base` on, plain."""
        self._base = 0
        self._position = 0
        self._before = before
        self._candidates: list[_Candidate] = []
        self.decided = 0
        """Everything before this place is decided."""
        self.found: list[Found] = []
        """Matches so far that nobody has taken."""

    def feed(self, text: str) -> None:
        """Reads more text."""
        text = plain(text)
        self._text += text
        automaton, before, position = self._automaton, self._before, self._position
        starts = automaton.starts
        for char in text:
            over = ord(char)
            if self._candidates:
                self._advance(over, position)
            start = starts[before]
            if start is not None:
                try:
                    state = start.steps[over]
                except KeyError:
                    state = automaton.step(start, over)
                if state is not None:
                    self._candidates.append(_Candidate(position, state))
            before = over
            position += 1
        self._before, self._position = before, position
        self._settle()

    def end(self) -> None:
        """Decides everything: no more text will come."""
        for candidate in self._candidates:
            self._judge(candidate, BORDER, self._position)
            candidate.state = None
        self._settle()

    def _advance(self, over: int, position: int) -> None:
        ended = False
        for candidate in self._candidates:
            state = candidate.state
            if state is None:
                continue
            if state.accepts:
                self._judge(candidate, over, position)
            try:
                after = state.steps[over]
            except KeyError:
                after = self._automaton.step(state, over)
            if after is None or position - candidate.start >= after.longest:
                after = None
                ended = True
            candidate.state = after
        if ended:
            self._resolve()

    def _judge(self, candidate: _Candidate, following: int, position: int) -> None:
        """Whether what the candidate has read so far is a match, now that it is known what follows."""
        if candidate.state is None:
            return
        for number in candidate.state.accepts:
            rule = self._automaton.rules[number]
            if following != BORDER and following not in rule.after:
                continue
            if position - candidate.start > rule.longest:
                continue
            if rule.check is always or rule.check(self._text[candidate.start - self._base : position - self._base]):
                candidate.end, candidate.rule = position, number
                return

    def _resolve(self) -> None:
        """Takes the matches that are certain: no earlier candidate lives."""
        left = [each for each in self._candidates if each.state is not None or each.end >= 0]
        while left and left[0].state is None:
            first = left[0]
            self.found.append(Found(first.start, first.end, self._automaton.rules[first.rule]))
            left = [each for each in left if each.start >= first.end]
        self._candidates = left

    def _settle(self) -> None:
        if self._candidates:
            self._resolve()
        self.decided = self._candidates[0].start if self._candidates else self._position
        keep = self.decided - self._base
        if keep > 0:
            self._text = self._text[keep:]
            self._base = self.decided
