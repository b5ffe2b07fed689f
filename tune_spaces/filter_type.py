"""Which imagined segments are kept: all, the best, or a draw that prefers the best."""

from dwm_ray.experiment.search_space import Dimension

DIMENSION = Dimension(
    name="filter_type",
    path="filter",
    values=("keep_all", "hardmax", "softmax"),
    small=("keep_all", "hardmax"),
    help="which imagined segments are kept",
)
