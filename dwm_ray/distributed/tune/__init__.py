"""Trials and sweeps under Ray Tune."""
