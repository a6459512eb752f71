"""How the mock counts tokens: a rule that can be checked with a pencil. It knows no model and no price.

A text is read from the left. Characters are of three kinds: those of words (letters, digits, `_`), white
space, and all others. **A token is a run of one to four characters of one kind**, as long as possible:

    hello world!     hell|o| |worl|d|!     6 tokens

A character is at least one byte of UTF-8, so a text never has more tokens than bytes. The first k tokens
of a text are also the tokens of the text they form, so cutting an answer after k tokens is exact.
"""

from __future__ import annotations

import re

split = re.compile(r"\w{1,4}|\s{1,4}|[^\w\s]{1,4}").findall
"""The tokens of a text, in order; joined they are the text.

>>> split("hello world!")
['hell', 'o', ' ', 'worl', 'd', '!']
"""

PER_REQUEST = 3
"""Tokens every chat request costs, for the start of the reply; `{"messages":[]}` has 15 bytes."""
PER_MESSAGE = 4
"""Tokens every message costs, for its role and its borders; `{"role":"user"}` has 15 bytes."""
PER_TOOL_CALL = 1
"""Tokens that opening a tool call costs, its id and its name included; its arguments count as text."""
IMAGE_LOW = 85
"""Tokens of an image sent with `detail: low`."""
IMAGE = 765
"""Tokens of any other image: OpenAI's figure for 1024 by 1024 pixels in high detail."""


def count(text: str) -> int:
    """Tokens of a text.

    >>> count(""), count("hello world!"), count("naïve"), count("日本語テキスト")
    (0, 6, 2, 2)
    """
    return len(split(text))
