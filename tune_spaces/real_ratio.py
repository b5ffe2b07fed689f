"""Fraction of recorded transitions in each batch (DyDiff: 0.6)."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension("real_ratio", "replay.real_ratio", values=(0.0, 0.25, 0.5, 0.75), laptop=(0.0, 0.5))
