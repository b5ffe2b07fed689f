"""Record new datasets with random, scripted and learned policies."""
