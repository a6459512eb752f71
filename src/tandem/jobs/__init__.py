"""Durable work: workflows that survive a crash, schedules, and the Runs that tell about them."""
