"""H, the imagined steps that enter a target (DWM sweeps 1, 3, 5, 7)."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension("horizon", "synthesis.horizon", values=(1, 3, 5, 7), laptop=(5, 10))
