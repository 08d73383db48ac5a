"""Searching runs and experiments: filter text -> syntax tree -> SQL."""
