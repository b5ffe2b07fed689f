"""Return-to-go that segments are conditioned on; optimistic at or above the maximum of the data."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension(
    name="target_rtg",
    path="synthesis.target_rtg",
    values=(0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    small=(0.3, 0.5),
    help="target return-to-go, in units of the task's scale",
)
