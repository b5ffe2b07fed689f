"""Replay rings, mixtures and batch sources."""
