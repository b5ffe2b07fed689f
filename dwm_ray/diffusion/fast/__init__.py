"""Inference forms of networks for CPUs."""
