"""The run's seed; world models and streams are shared by all of them."""

from dwm_ray.experiment.search_space import Dimension

DIMENSION = Dimension(
    name="seed",
    path="seed",
    values=(0, 1, 2, 3, 4),
    small=(0, 1, 2),
    help="the run's seed",
)
