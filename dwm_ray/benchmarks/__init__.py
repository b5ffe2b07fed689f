"""Throughput suites, load generator and fault injection."""
