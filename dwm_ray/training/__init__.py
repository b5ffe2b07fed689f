"""Train agents and world models: loops, checkpoints, metric writers."""
