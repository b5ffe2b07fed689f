"""Building blocks of agents: networks, targets, optimisers, populations."""
