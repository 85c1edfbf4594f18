"""Frozen records and pure rules: no I/O, no clock, no randomness. May import `errors` only."""
