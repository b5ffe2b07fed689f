"""Search axes: one file each, found by `dwm_ray.experiment.search_space.dimensions`."""
