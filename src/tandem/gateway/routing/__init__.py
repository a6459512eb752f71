"""Where a call goes: who of its route may answer it, in which order, and what is tried after a failure."""
