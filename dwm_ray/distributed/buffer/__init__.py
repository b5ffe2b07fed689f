"""Shared replay buffer: actors that request blocks from samplers and hand them to learners."""
