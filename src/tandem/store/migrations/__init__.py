"""The schema's history, oldest first; `store.sql.migrate` runs it. Each file is one step and is never edited after a release."""
