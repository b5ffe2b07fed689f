"""World models, one plug-in per file; shared building blocks are in `parts`."""
