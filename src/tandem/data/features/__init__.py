"""Features: written once, computed alike for training (a point-in-time join) and for serving (one read)."""
