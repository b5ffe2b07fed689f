"""Record new data sets with random, scripted and learned policies."""
