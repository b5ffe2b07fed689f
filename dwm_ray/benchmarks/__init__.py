"""Throughput suites, load generator and fault injection; `pipelines/benchmark.py` runs them."""
