"""Decisions: plain typed functions that combine predictions, rules, prompts and people in one traced call.

A decision is written against `Calls` and nothing else:

    def second_opinion(case: Case, calls: Calls) -> Opinion: ...
"""

from tandem.decisions.calls import Calls, Chatted, Predicted

__all__ = ["Calls", "Chatted", "Predicted"]
