"""Search axes: one file each, found by `dwm_ray.search.dimensions`."""
