"""World models: one file each, found by name (see `registry`)."""
