"""Filter of imagined segments: all, the best, or a sample that prefers the best."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension(
    "filter_type", "filter", values=("keep_all", "hardmax", "softmax"), laptop=("keep_all", "hardmax")
)
