"""The shared synthetic replay buffer."""
