"""Option groups of a run, and the base classes of plug-ins and their options.

Each group is a frozen pydantic model that rejects unknown keys. The string below a field is its help on the command
line. Plug-ins import this package, which imports none of them. `dwm_ray.config` resolves plug-in names.
"""

from dwm_ray.options.frozen import Fraction, Frozen, PositiveFraction, PositiveInt, fingerprint
from dwm_ray.options.groups import (
    ClusterConfig,
    DataConfig,
    EvaluationConfig,
    ExecutionConfig,
    ReplayConfig,
    SynthesisConfig,
    TargetKind,
    TrainingConfig,
    parse_target,
)
from dwm_ray.options.run import PLACEMENT, Plugin, PluginConfig, Profile, RunOptions

__all__ = [
    "PLACEMENT",
    "ClusterConfig",
    "DataConfig",
    "EvaluationConfig",
    "ExecutionConfig",
    "Fraction",
    "Frozen",
    "Plugin",
    "PluginConfig",
    "PositiveFraction",
    "PositiveInt",
    "Profile",
    "ReplayConfig",
    "RunOptions",
    "SynthesisConfig",
    "TargetKind",
    "TrainingConfig",
    "fingerprint",
    "parse_target",
]
