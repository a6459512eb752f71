"""Datasets: files read under a contract (`ingest.py`), profiled and digested. Knows no model and no registry."""
