"""Corpora: documents read, cut into chunks, given vectors, and made versions of an index."""
