"""Models of other frameworks: found in a folder (`find.py`), examined in a process of their own (`examine.py`), published."""
