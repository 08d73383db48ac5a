"""Appends what arrives on the bus to the event log: numbers, chains, dedupes, commits."""
