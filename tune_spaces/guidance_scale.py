"""w, the weight of classifier-free guidance (1 is no guidance beyond the condition)."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension(
    "guidance_scale", "world_model.guidance_scale", values=(1.0, 1.2, 1.5, 2.0), laptop=(1.0, 1.2, 1.5)
)
