"""N, the solver steps in sampling, of K in training (DWM: N below K / 2 reduces scores)."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension("solver_steps", "world_model.solver_steps", values=(2, 3, 5), laptop=(2, 3, 5))
