"""Offline reinforcement learning with diffusion world models, from one laptop to a Ray cluster."""

__version__ = "0.1.0"
