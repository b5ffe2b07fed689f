"""N, the steps in sampling out of the K in training (DWM: N below K / 2 hurts)."""

from dwm_ray.experiment.search_space import Dimension

DIMENSION = Dimension(
    name="solver_steps",
    path="world_model.solver_steps",
    values=(2, 3, 5),
    small=(2, 3, 5),
    help="N: diffusion steps in sampling",
)
