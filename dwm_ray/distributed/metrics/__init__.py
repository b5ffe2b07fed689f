"""Gauges for the Ray dashboard and Prometheus."""
