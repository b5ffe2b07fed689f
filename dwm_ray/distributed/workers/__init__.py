"""Processes of a run on Ray: samplers, learners, world-model workers."""
