"""A value is found as long as the count stands; the ones used longest ago go."""

from __future__ import annotations

from tandem.store.latest import Latest


def test_a_value_is_good_for_one_count() -> None:
    held: Latest[str] = Latest(2)
    held.keep("a", 1, "old")
    assert held.find("a", 1) == "old"
    assert held.find("a", 2) is None
    assert held.find("b", 1) is None
    held.keep("a", 2, "new")
    assert held.values() == ["new"]


def test_what_was_used_longest_ago_goes() -> None:
    held: Latest[str] = Latest(2)
    held.keep("a", 1, "first")
    held.keep("b", 1, "second")
    held.find("a", 1)
    held.keep("c", 1, "third")
    assert held.values() == ["first", "third"]
    held.clear()
    assert held.values() == []
