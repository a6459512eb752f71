"""One model under two names: bills write `gpt-4o-mini-2024-07-18` or `Claude Haiku 4.5`, and routes do not. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

_DATED = re.compile(r"[-@:](?:\d{4}-\d{2}-\d{2}|20\d{6}|latest)$")


def plain(name: str) -> str:
    """A model's name without date, case and kind of hyphen.

    >>> plain("gpt-4o-mini-2024-07-18"), plain("Claude Haiku 4.5"), plain("claude-haiku-4-5-20251001")
    ('gpt-4o-mini', 'claude-haiku-4-5', 'claude-haiku-4-5')
    """
    return _DATED.sub("", re.sub(r"[\s._]+", "-", name.strip().lower()))


def same(name: str, known: Collection[str]) -> str:
    """The known model that a bill's name means: that very one, else the only one of the same plain name; else the bill's name.

    >>> same("gpt-4o-2024-08-06", ["gpt-4o", "gpt-4o-mini"]), same("o9", ["gpt-4o"])
    ('gpt-4o', 'o9')
    """
    if name in known:
        return name
    meant = [each for each in sorted(known) if plain(each) == plain(name)]
    return meant[0] if len(meant) == 1 else name
