"""Seed of the agent; all seeds share world models and streams."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension("seed", "seed", values=(0, 1, 2, 3, 4), laptop=(0, 1, 2))
