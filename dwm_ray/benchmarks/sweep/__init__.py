"""Benchmark of a whole sweep: CPU time and memory by kind of process, cost relative to the learners."""
