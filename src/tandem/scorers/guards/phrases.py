"""Phrases that try to overrule a model's instructions, in English and German: what published attack collections share.

They find the blunt attacks only; see `docs/guards.md` for what that is worth, measured.
"""

from __future__ import annotations

from tandem.scorers.guards.automaton import Rule
from tandem.scorers.guards.pattern import DIGITS, EVERY, LETTERS

_BORDER = EVERY - DIGITS - LETTERS - frozenset(map(ord, "_"))
_WEAK = "(the|of|my|these|those|other|and|or|to|from)"
_OLD = "(previous|prior|above|preceding|earlier|foregoing|initial|original|former|existing|given|system|your|all|any|every)"
_ORDERS = (
    "(instructions?|prompts?|directions?|directives?|rules?|guidelines?|commands?|messages?|orders?|constraints?|programming"
    "|training|context|policies|safeguards?|restrictions?)"
)


def _phrase(name: str, *needs: str, said: str, border: bool = True) -> Rule:
    """A phrase; every blank in it stands for one to three."""
    return Rule(
        name=f"injection/{name}",
        pattern=said.replace(" ", "\\s{1,3}"),
        before=_BORDER if border else EVERY,
        after=_BORDER if border else EVERY,
        needs=needs,
        any_case=True,
        longest=160,
    )


PHRASES = (
    _phrase(
        "ignore",
        *("ignore", "disregard", "forget", "overr", "bypass", "neglect", "erase"),
        said=f"(ignore|disregard|forget|override|overrule|bypass|neglect|erase)( {_WEAK})*( {_OLD})( {_WEAK}| {_OLD})* {_ORDERS}",
    ),
    _phrase(
        "ignore-everything",
        *("ignore", "disregard", "forget"),
        said="(ignore|disregard|forget)( about)? (everything|all|anything|what)( (that|you|i|we|they|was|were|has|have|had|been"
        "|told|said|the))* (above|before|previously|prior|said|told|instructed|learned)",
    ),
    _phrase(
        "ignore-de",
        *("ignorier", "verg", "missachte"),
        said="(ignoriere|ignorier|ignorieren sie|vergiss|vergesse|vergessen sie|missachte)( (nun|jetzt|bitte|alle|alles|die|deine"
        "|sämtliche|saemtliche|vorherigen|vorangegangenen|vorigen|bisherigen|obigen|früheren|vorhergehenden|davor|zuvor|was|vor"
        "|diesem|dieser|und))* (anweisung(en)?|instruktion(en)?|befehle?|aufgaben?|regeln|anforderungen|vorgaben|davor|zuvor|oben"
        "|bisher)",
    ),
    _phrase(
        "new-rules",
        *(f"new{gap}{word}" for gap in (" ", "  ", "   ") for word in ("instruction", "rule", "order", "directive")),
        said="(here are|these are|follow|obey|i have|i give you|you have|receive)( (the|my|your|some|only|these|following))* new "
        "(instructions?|rules?|orders|directives?)",
    ),
    _phrase(
        "persona",
        *(" dan", " stan", " dude", " jailbr", " unf", " unc", " unr", " amoral", " uneth", " evil", " omega", " alphab"),
        said="(you are|act as|pretend( (to be|that you are))?|behave as|respond as|answer as|play( the role of)?)"
        "( (now|going to be|to act as|as|an?|the|my|your))* (dan|stan|dude|jailbroken|unfiltered|uncensored|unrestricted|amoral"
        "|unethical|evil ai|evil assistant|evil bot|alphabreak|omega ai)",
    ),
    _phrase("anything-now", "anything", said="do anything now"),
    _phrase(
        "developer-mode",
        *(" mode ", "-mode "),
        said="(developer|god|jailbreak|dan|unrestricted|unfiltered)( |-)mode( (is|now))? (enabled|activated|on|output|response)",
    ),
    _phrase(
        "free-of-rules",
        *("restriction", "filter", "censor", "guideline", "polic", "safeguard", "confines"),
        said="(without|free (of|from)|not bound by|(do not|don't|doesn't|does not) have|has no|have no|broken free (of|from)"
        "|ignores?)( (any|all|the|of|by|typical|openai|openai's|your|its|ethical|moral|legal|usual|content|safety|ai))*"
        " (restrictions?( whatsoever)?|censorship|guidelines|content (filters?|policy|policies)|confines of ai|safeguards)",
    ),
    _phrase(
        "reveal-prompt",
        *("prompt", "instructions", "system message"),
        said="(reveal|show|print|repeat|output|display|tell|give|leak|dump|expose|return|say|spell[- ]?check)"
        "( (me|us|back|out|verbatim|exactly|the|all|of|your|full|entire|whole|exact|complete|content|text|contents))*"
        " ((system|initial|hidden|original|secret|previous|internal|starting) (prompts?|instructions|message)|prompt text"
        "|(prompt|instructions|text|words|everything) above|your (instructions|prompt|prompts))",
    ),
    _phrase(
        "chat-markup",
        *("<|", "inst]", "<<"),
        said="(<\\|(im_start|im_end|system|user|assistant|endoftext|start_header_id|eot_id)\\|>|\\[/?INST\\]|<</?SYS>>)",
        border=False,
    ),
)
