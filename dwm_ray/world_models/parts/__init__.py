"""Building blocks of world models: networks, layouts, options, storage."""
