"""Models that answer: runtimes (`base.py`), the Open Inference Protocol (`oip.py`), and the door's client (`target.py`)."""
