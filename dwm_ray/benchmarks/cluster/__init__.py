"""Benchmarks that start a Ray cluster: buffer load, sampler scaling, faults."""
