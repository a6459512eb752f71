"""The command line: one group per noun, a client of the running platform. First file to read: `main.py`."""
