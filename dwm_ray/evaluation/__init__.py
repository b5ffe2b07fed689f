"""Evaluate policies and world models: rollouts, scores, statistics, prediction errors and distances."""
