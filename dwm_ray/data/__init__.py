"""Read, check and normalise logged data; cut windows; record new data."""
