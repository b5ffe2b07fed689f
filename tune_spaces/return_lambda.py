"""lambda of the lambda-return (DWM-IQL: 0.95; 1 is value expansion)."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension("return_lambda", "agent.return_lambda", values=(0.0, 0.5, 0.95, 1.0), laptop=(0.95, 1.0))
