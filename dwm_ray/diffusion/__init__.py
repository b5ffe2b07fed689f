"""Diffusion processes, denoising networks, conditioning and guidance."""
