"""Write trained policies and generated data for programs without dwm_ray."""
