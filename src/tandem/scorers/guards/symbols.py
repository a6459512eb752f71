"""Characters as detectors see them: 130 symbols, one per character, so that places in the text stay the same.

ASCII stands for itself. Digits of any script, wide letters, dashes and blanks stand for their ASCII twins, for a card
number in full-width digits is a card number. Invisible characters stand for nothing. Every other letter is one symbol,
everything else another.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

LETTER = 128
OTHER = 129
COUNT = 130
NOTHING = -1
_INVISIBLE = frozenset("\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff")
_DASHES = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d")


@lru_cache(maxsize=4096)
def symbol(char: str) -> int:
    """The symbol of one character; `NOTHING` for an invisible one.

    >>> symbol("4"), symbol("４"), symbol("é") == LETTER
    (52, 52, True)
    """
    code = ord(char)
    if code < COUNT:  # plain text stays as it is: U+0080 and U+0081, which nobody writes, are what other letters become
        return code
    if char in _INVISIBLE:
        return NOTHING
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return 48 + digit
    if char in _DASHES:
        return 45
    if char.isspace():
        return 32
    folded = unicodedata.normalize("NFKC", char)
    if len(folded) == 1 and ord(folded) < 128:
        return ord(folded)
    return LETTER if char.isalpha() else OTHER


def plain(text: str) -> str:
    """The text with every character as its ASCII twin; what has none becomes U+0080 or U+0081. Plain text stays plain."""
    if text.isascii():
        return text
    return "".join([chr(found) for char in text if (found := symbol(char)) != NOTHING])
