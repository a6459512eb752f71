"""Alerts: what the audit writes down, told to the outside. It follows the audit, so whoever does a deed knows nothing of it."""
