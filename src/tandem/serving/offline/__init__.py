"""Whole datasets scored by a model: the Run (`tasks.py`), the process that does it (`child.py`), its files (`parts.py`)."""
