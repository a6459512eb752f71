"""Pure judgements: labels and predictions in, an Estimate with its interval out. No I/O; numpy only when one is loaded."""
