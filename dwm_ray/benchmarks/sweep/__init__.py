"""Benchmark of a whole sweep: CPU time by kind of process, cost relative to the learners, memory."""
