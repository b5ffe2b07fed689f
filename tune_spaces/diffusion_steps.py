"""K, the diffusion steps in training (DWM uses 5 for T = 8, 10 for T = 32)."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension("diffusion_steps", "world_model.diffusion_steps", values=(5, 10, 20), laptop=(5, 10))
