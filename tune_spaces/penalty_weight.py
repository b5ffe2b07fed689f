"""kappa, the weight of the model's disagreement (DWM-PQL: 0.01, 0.1, 1)."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension("penalty_weight", "agent.penalty_weight", values=(0.0, 0.01, 0.1, 1.0), laptop=(0.0, 0.1))
