"""eta, the share of imagined segments that the filter keeps (DyDiff: 0.6)."""

from dwm_ray.experiment.search_space import Dimension

DIMENSION = Dimension(
    name="keep_ratio",
    path="filter.keep_ratio",
    values=(0.2, 0.4, 0.6, 0.8, 1.0),
    small=(0.5, 1.0),
    requires=("filter", "hardmax"),
    help="share of segments that the filter keeps",
)
