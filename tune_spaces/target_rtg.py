"""The return-to-go asked for, in units of the task's scale; optimistic at or above the data's maximum."""

from dwm_ray.experiment.search_space import Dimension

DIMENSION = Dimension(
    name="target_rtg",
    path="synthesis.target_rtg",
    values=(0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    small=(0.3, 0.5),
    help="return-to-go asked for, in units of the task's scale",
)
