"""Suites of workloads that are timed without Ray, one per file."""
