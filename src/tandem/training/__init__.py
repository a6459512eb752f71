"""Models from datasets: `fit.py` trains one, `run.py` does so in a child process that can be cancelled."""
