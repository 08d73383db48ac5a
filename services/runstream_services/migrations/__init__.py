"""Numbered SQL files; see ``adapters/postgres_schema.py``."""
