"""Finds the facts of a prompt: `name: value` lines, JSON members, and the sentence nearest to the question."""

from __future__ import annotations

import re

_SCAN = 20_000
"""Characters of a text that are looked at, from its end."""
_LINE = re.compile(r"^[ \t]*(?:[-*•] )?([A-Za-z][\w()/%.-]*(?: [\w()/%.-]+){0,3}) ?[:=] ?([^\s/][^\n]{0,79})$", re.MULTILINE)
_MEMBER = re.compile(r'"([A-Za-z_][\w .-]{0,40})"\s*:\s*(-?\d[\d.eE+-]{0,24}|"[^"\n]{1,60}"|true|false)')
_SENTENCE = re.compile(r"[^.!?\n]{12,400}[.!?]")
_WORD = re.compile(r"\w{4,}")
_ORDER = re.compile(r"^x-mock-", re.IGNORECASE)


def facts(text: str) -> dict[str, str]:
    """Names and values, in the order they stand; the first value of a name counts.

    >>> facts('amount: 120.50\\n- Country = FR\\n{"risk_score": 0.93}')
    {'amount': '120.50', 'Country': 'FR', 'risk_score': '0.93'}
    """
    text = text[-_SCAN:]
    if ":" not in text and "=" not in text:
        return {}
    found: list[tuple[int, str, str]] = []
    for match in _LINE.finditer(text):
        name, value = match[1], match[2].strip().rstrip(",;")
        if value and not value.endswith(("?", "{", "[")) and not _ORDER.match(name):
            found.append((match.start(), name, value))
    if '"' in text:
        found += [(match.start(), match[1], match[2].strip('"')) for match in _MEMBER.finditer(text)]
    result: dict[str, str] = {}
    for _, name, value in sorted(found):
        result.setdefault(name, value)
    return result


def nearest(question: str, text: str) -> str:
    """The sentence of `text` that shares most words (of four letters or more) with `question`; empty where none does.

    >>> nearest("How long is the refund period?", "Shipping is free for you. The refund period is 30 days.")
    'The refund period is 30 days.'
    """
    wanted = {word.lower() for word in _WORD.findall(question)}
    best, most = "", 0
    for match in _SENTENCE.finditer(text[-_SCAN:]):
        shared = len(wanted & {word.lower() for word in _WORD.findall(match[0])})
        if shared > most:
            best, most = match[0].strip(), shared
    return best
