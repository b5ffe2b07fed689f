"""Shared replay buffer: actors that request blocks from samplers and deliver them to learners."""
