"""Batches: files of requests, asked in their own time, in the name and on the budget of whoever sent them."""
