"""Executor on Ray: cluster, shared replay buffer, workers, Tune sweeps and gauges. No other package imports Ray."""
