"""The servers that are measured: one module each, started on a new directory, stopped at the end."""
