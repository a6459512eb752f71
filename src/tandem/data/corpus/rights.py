"""Who reads a document: words for readers, and which of them a caller answers to. Default: nobody."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tandem.core.errors import Invalid
from tandem.core.principal import RIGHTS, Principal

EVERYONE = "everyone"
READERS = 200
"""Readers of one document."""
_WORD = re.compile(r"(team|person|key|role)/[^\s/,]{1,128}")


def readers_of(by: Principal) -> frozenset[str]:
    """The words that stand for this caller. An admin is no exception: to administer is not to read."""
    own = {by.owner} if by.owner.startswith("person/") else set[str]()
    if by.kind != "person":
        own.add(f"key/{by.name}")
    return frozenset({EVERYONE, f"team/{by.team}", f"role/{by.role}", *own})


def check_readers(words: Iterable[str]) -> tuple[str, ...]:
    """The words in one order, each once.

    Raises:
        Invalid: a word names no reader.
    """
    found = sorted({word.strip() for word in words})
    for word in found:
        kind, _, name = word.partition("/")
        if word != EVERYONE and (not _WORD.fullmatch(word) or (kind == "role" and name not in RIGHTS)):
            raise Invalid(
                f"'{word[:140]}' names no reader.",
                hint=f"Write {EVERYONE}, team/TEAM, person/NAME, key/NAME or role/ROLE (one of {', '.join(RIGHTS)}).",
                field="readers",
            )
    if len(found) > READERS:
        raise Invalid(f"{len(found)} readers are more than {READERS}.", hint="Name teams instead of keys.", field="readers")
    return tuple(found)
