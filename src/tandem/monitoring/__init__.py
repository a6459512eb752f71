"""Monitors: standing questions over Traces, alarms with a budget of error, and what an alarm does."""
