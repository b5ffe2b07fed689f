"""Filter of imagined segments: all, the best, or a sample that prefers the best."""

from dwm_ray.experiment.dimension import Dimension

FILTERS = ("keep_all", "hardmax", "softmax")
DIMENSION = Dimension("filter_type", "filter", values=FILTERS, laptop=FILTERS[:2])
