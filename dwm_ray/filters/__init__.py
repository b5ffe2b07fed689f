"""Filters of imagined segments: one plug-in per file."""
