"""Run experiments in this process, without Ray."""
