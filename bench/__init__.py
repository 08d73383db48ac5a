"""The benchmark against other tracking servers: ``python -m bench`` from the repository root.

One server at a time, all on PostgreSQL 18 with the same settings; the load comes from wrk, every response is checked
and every acknowledged write is read back. The method is in docs/benchmarks.md, what is wanted in :mod:`bench.targets`.
"""
