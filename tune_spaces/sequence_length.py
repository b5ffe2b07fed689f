"""T, the length of a world model's window (DWM compares 8 and 32)."""

from dwm_ray.experiment.dimension import Dimension

DIMENSION = Dimension("sequence_length", "world_model.sequence_length", values=(8, 16, 32), laptop=(16, 32))
