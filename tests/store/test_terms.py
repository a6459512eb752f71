"""Terms: stems without accents, and how often each stands in which text."""

from __future__ import annotations

from tandem.store.terms import TERMS, Terms


def test_terms_are_stems_without_accents() -> None:
    terms = Terms()
    assert set(terms.asked("Connections, ÜBER größere Häuser")) == {"connect", "uber", "großer", "hauser"}
    assert terms.asked("") == terms.asked("\0 -- !") == []
    terms.close()


def test_words_that_say_little_are_left_out_unless_there_are_no_others() -> None:
    terms = Terms()
    assert terms.asked("the vault of the bank") == ["vault", "bank"]
    assert terms.asked("of the") == ["the", "of"]
    assert len(terms.asked(" ".join(f"word{n}" for n in range(200)))) == TERMS
    terms.close()


def test_heading_and_text_count_together_and_texts_apart() -> None:
    terms = Terms()
    for _ in range(2):  # nothing stays of the first time
        found = terms.counted([("Leave", "leaves and\0days"), ("", ""), ("", "days days")])
        assert sorted(found) == [("and", 0, 1), ("dai", 0, 1), ("dai", 2, 2), ("leav", 0, 2)]
    terms.close()
