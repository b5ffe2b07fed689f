"""Return-to-go that conditions segments: a number in units of the task's scale, own, q0.9 or x1.2."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension(
    "target_rtg", "synthesis.target_rtg", values=(0.4, 0.5, 0.6, 0.7, 0.8, 0.9), laptop=("own", "x1.1")
)
