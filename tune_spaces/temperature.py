"""Scale of the noise in sampling (DWM: 0.5)."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension("temperature", "world_model.temperature", values=(0.25, 0.5, 1.0), laptop=(0.5, 1.0))
