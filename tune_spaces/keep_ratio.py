"""eta, the fraction of imagined segments that the filter selects (DyDiff: 0.6)."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension(
    "keep_ratio",
    "filter.keep_ratio",
    values=(0.2, 0.4, 0.6, 0.8, 1.0),
    laptop=(0.5, 1.0),
    requires=("filter", "hardmax"),
)
