"""Prices beside the catalogue: rows set by hand or from a file, for all or for a team, and what own machines cost."""
