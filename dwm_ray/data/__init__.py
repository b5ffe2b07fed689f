"""Read, check and normalise logged data, and cut windows from them; `recording` records new data."""
