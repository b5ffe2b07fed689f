"""Filters over imagined segments: one file each, found by name (see `registry`)."""
