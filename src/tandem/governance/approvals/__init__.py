"""Deeds that need more than one person: the rules, the requests that wait, and how each deed is done once enough approved."""
