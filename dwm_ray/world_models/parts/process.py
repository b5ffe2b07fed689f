"""Diffusion process of models of whole windows."""

from torch import Tensor

from dwm_ray.diffusion.ddpm import DDPM, DDPMStride, strided_jumps
from dwm_ray.diffusion.edm import EDM, Multistep, Preconditioning, karras_levels
from dwm_ray.diffusion.flow import Flow
from dwm_ray.diffusion.process import Process
from dwm_ray.world_models.parts.options import WindowModelConfig
from dwm_ray.world_models.parts.window_units import WindowUnits

SIGMA_MIN, SIGMA_MAX = 0.02, 20.0
"""Noise levels of EDM's solver. Three network calls cannot use a wider range."""
LOG_MEAN, LOG_STD = -0.6, 1.4
"""Mean and standard deviation of the logarithm of EDM's noise levels in training, for entries of unit scale."""


def process_of(config: WindowModelConfig, units: WindowUnits, signal: Tensor) -> Process:
    """Return the process with its solver for windows in `units`; `signal` holds DDPM's alpha_bar [K + 1]."""
    if config.process == "flow":
        return Flow(config.solver_steps, temperature=config.temperature)
    if config.process == "edm":
        levels = karras_levels(config.solver_steps, SIGMA_MAX, SIGMA_MIN)
        solver = Multistep(levels, config.temperature, second_order=not config.first_order)
        return EDM(Preconditioning(sigma_data=units.std), solver, LOG_MEAN, LOG_STD)
    jumps = strided_jumps(config.schedule, config.diffusion_steps, config.solver_steps)
    return DDPM(signal, DDPMStride(jumps, config.temperature, units.bound), config.prediction)
