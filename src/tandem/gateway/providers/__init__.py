"""Wires out: one file per protocol, without I/O. Hosts of a known protocol are rows in the settings."""
