"""The share of each batch that is real transitions (DyDiff: 0.6)."""

from dwm_ray.experiment.search_space import Dimension

DIMENSION = Dimension(
    name="real_ratio",
    path="replay.real_ratio",
    values=(0.0, 0.25, 0.5, 0.75),
    small=(0.0, 0.5),
    help="share of a batch that is real",
)
