"""Score policies and world models."""
