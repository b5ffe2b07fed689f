"""Building blocks of world models: networks, layouts, units, losses, shared options."""
