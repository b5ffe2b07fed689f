"""Streams of imagined segments in a run's folder or storage: blocks, accounts, and their use in one process."""
