"""Evidence and what follows from it: predictions compared pairwise (`compare.py`) and gates judged (`gate.py`)."""
