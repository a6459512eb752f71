"""Is it the answer that was wanted? Exact, contained, or by a pattern that cannot take for ever.

Patterns run in an engine whose time is linear in the text (Rust's `regex`, by way of `jsonschema-rs`), so neither
looking around nor back references are there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from jsonschema_rs import RegexOptions, ValidationError, Validator, validator_for

from tandem.core.errors import Invalid
from tandem.scorers.text.base import ANSWER_LIMIT, Case, Grade, known, option

PATTERN_LIMIT = 2_000
"""Characters of a pattern."""
PROGRAM_LIMIT = 1 << 20
"""Bytes that a compiled pattern may take."""
EDGES = " \t\r\n.,;:!?\"'`“”‘’«»()[]*_"


def normal(text: str) -> str:
    """A text as it counts for equality: NFKC, case folded, one blank between words, no marks at its edges.

    >>> normal("  The  answer: “Yes.” ")
    'the answer: “yes'
    """
    return " ".join(unicodedata.normalize("NFKC", text[:ANSWER_LIMIT]).casefold().split()).strip(EDGES)


@dataclass(frozen=True, slots=True)
class _Same:
    normalise: bool
    within: bool

    def grade(self, case: Case, answer: str) -> Grade:
        wanted, found = case.expected or "", answer[:ANSWER_LIMIT]
        if self.normalise:
            wanted, found = normal(wanted), normal(found)
        held = (wanted in found) if self.within else wanted == found
        return Grade(value=float(held), detail={} if held else {"expected": case.expected})


def exact(options: Mapping[str, object]) -> _Same:
    """1 where the answer is the expected one. Options: `normalise` (true): see `normal`."""
    known(options, "normalise")
    return _Same(normalise=bool(option(options, "normalise", bool, True)), within=False)


def contains(options: Mapping[str, object]) -> _Same:
    """1 where the expected text stands in the answer. Options: `normalise` (true): see `normal`."""
    known(options, "normalise")
    return _Same(normalise=bool(option(options, "normalise", bool, True)), within=True)


@dataclass(frozen=True, slots=True)
class _Pattern:
    pattern: str
    validator: Validator

    def grade(self, case: Case, answer: str) -> Grade:
        held = self.validator.is_valid(answer[:ANSWER_LIMIT])
        return Grade(value=float(held), detail={} if held else {"pattern": self.pattern})


def regex(options: Mapping[str, object]) -> _Pattern:
    """1 where the pattern is found in the answer. Options: `pattern`; anchor it with ^ and $ to match the whole.

    Raises:
        Invalid: there is no pattern, or it is too long or none of the engine's.
    """
    known(options, "pattern")
    pattern = option(options, "pattern", str)
    where = "scorers.options.pattern"
    if not isinstance(pattern, str) or not 0 < len(pattern) <= PATTERN_LIMIT:
        raise Invalid("The scorer 'regex' needs a pattern.", hint=f"Give at most {PATTERN_LIMIT} characters.", field=where)
    try:
        limits = RegexOptions(size_limit=PROGRAM_LIMIT)
        return _Pattern(pattern, validator_for({"pattern": pattern}, pattern_options=limits, offline=True))
    except ValidationError:
        raise Invalid(
            "The pattern is no regular expression of this engine, or grows too large.",
            hint="Its syntax is Rust's `regex`: no looking around, no back references.",
            field=where,
        ) from None
