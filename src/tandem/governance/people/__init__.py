"""Persons and services: who they are, in which teams, how persons prove it, and for how long that holds."""
