"""Wires in: one file per protocol that callers speak to the door."""
