"""The ground floor: nouns, ids, errors, clock, money. No I/O, no dependency but the standard library."""
