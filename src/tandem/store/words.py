"""Words that say little: they are looked for only where a query has no others. English, as stemmed by Porter's rules."""

from __future__ import annotations

_WORDS = """
a about after all also am an and ani are as at be becaus been befor but by can could did do doe for from had has have he
her him his how i if in into is it me mani more most much my no not of on or our out over she should so some such than
that the their them then there these thei they thi this those through to under up us was we were what when where which
while who whom whose why will with would you your
"""
STOP = frozenset(_WORDS.split())
"""Both the word and its stem, where they differ."""
