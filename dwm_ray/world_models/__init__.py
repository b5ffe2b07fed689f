"""World models: one plug-in per file; what they share lies in `parts`."""
