"""The door: every call from the socket to the ledger. Knows no SQL and no framework."""
