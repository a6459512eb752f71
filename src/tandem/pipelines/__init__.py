"""Pipelines of users' own steps: carried out as Runs, kept by content, begun by triggers."""
