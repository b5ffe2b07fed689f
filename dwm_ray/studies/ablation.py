"""Ablation of DWM's parametrisation: each variant changes one default option and trains for equal CPU time.

The error is that of `error.json`: held-out windows, the first action and the window's own return-to-go. Variants of
sampling options share the weights of the first row.
"""

import time
from typing import Annotated, Any

from pydantic import Field

from dwm_ray.config import RunConfig
from dwm_ray.experiment import profiles
from dwm_ray.report.findings import Findings
from dwm_ray.report.table import Cell, Table
from dwm_ray.studies.base import Study, StudyContext, StudyOptions
from dwm_ray.training.fit_world_model import measure_error, world_model_trainer
from dwm_ray.types import Json
from dwm_ray.world_models.base import WorldModel, model_options, sampling_options

BURST = 20
"""Updates that are timed to convert seconds to updates."""
PAPER = {"states": "absolute", "entry_weights": "equal", "first_model": "diffusion", "given_first": 0.0}
SMALL_UNET = {"denoiser": "unet", "dim": 32, "multipliers": (1, 2, 4)}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "first step by the diffusion": {"first_model": "diffusion", "given_first": 0.5},
    "first step given to half of the windows": {"given_first": 0.5},
    "absolute states": {"states": "absolute"},
    "equal entry weights": {"entry_weights": "equal"},
    "flow matching": {"process": "flow"},
    "DDPM, predicts the sample": {"process": "ddpm", "prediction": "sample"},
    "DDPM, predicts the noise": {"process": "ddpm", "prediction": "noise"},
    "U-Net of dim 32": SMALL_UNET,
    "attention": {"denoiser": "attention"},
    "the paper's form, MLP, predicts the sample": {**PAPER, "process": "ddpm", "prediction": "sample"},
    "the paper's form, U-Net of dim 32": {**PAPER, **SMALL_UNET, "process": "ddpm"},
}
AVERAGING = {"first_order": True, "solver_steps": 3, "temperature": 0.5}
"""Sampler of all variants in the comparison. It has the lowest squared error, which is then mostly the model's."""
SAMPLING: dict[str, dict[str, Any]] = {
    "default sampler": {"first_order": False, "solver_steps": 4, "temperature": 1.0},
    "the same, 3 network calls": {"first_order": False, "temperature": 1.0},
    "the same, 12 network calls": {"first_order": False, "solver_steps": 12, "temperature": 1.0},
    "averaging, 1 network call": {"solver_steps": 1},
    "averaging, temperature 1": {"temperature": 1.0},
    "averaging, guidance 1.2": {"guidance_scale": 1.2},
}


class AblationOptions(StudyOptions):
    """Options of the study; --world-models is not read."""

    seconds: Annotated[float, Field(gt=0)] = 90.0
    """CPU seconds of training per variant, in this process."""


def measure(context: StudyContext, options: AblationOptions) -> Findings:
    """Train and measure all variants."""
    base = profiles.with_method(context.config, context.profile, "dwm", profiles.name_of(context.config.agent))
    base = base.with_values({f"world_model.{option}": value for option, value in AVERAGING.items()})
    rows = [row for name, values in VARIANTS.items() for row in _rows(context, base, name, values, options.seconds)]
    return Findings(
        title=f"Ablation of DWM: {context.config.task}",
        summary=[
            f"{options.seconds:g} CPU seconds of training per variant; all other options are the defaults, seed "
            f"{model_options(base).seed}. Squared errors in variances of the data, by step, sampled by the first-order "
            "solver in 3 network calls at temperature 0.5 unless the row says otherwise."
        ],
        tables=[_table("States", rows, "obs_mse"), _table("Rewards", rows, "rew_mse")],
        figures=[],
        numbers={"rows": rows},
    )


def _rows(context: StudyContext, base: RunConfig, name: str, values: dict[str, Any], seconds: float) -> list[Json]:
    """Return name, updates and errors of a variant, and of its variants of sampling."""
    config = base.with_values({f"world_model.{option}": value for option, value in values.items()})
    model, updates = trained_for(context, config, seconds)
    holdout, sampling = context.holdout(config, model.sequence_length), sampling_options(config)
    rows = []
    for variant, changed in ({name: {}} if values else {name: {}, **SAMPLING}).items():
        error = measure_error(model.with_options(sampling | changed), holdout, context.task_data)
        rows.append({"name": variant, "updates": updates, **error})
        context.log(f"{variant}: {updates} updates, errors {', '.join(f'{e:.3f}' for e in error['obs_mse'])}")
    return rows


def trained_for(context: StudyContext, config: RunConfig, seconds: float) -> tuple[WorldModel, int]:
    """Return a world model that was trained for `seconds` of CPU time, and its number of updates.

    The number of updates follows from a timed burst, so that the learning rate can be scheduled in advance.
    """
    trainer = world_model_trainer(config, context.task_data, context.device)
    trainer.run(BURST)
    start = time.process_time()
    trainer.run(BURST)
    updates = max(1, round(seconds * BURST / (time.process_time() - start)))
    config = config.with_values({"world_model.num_updates": updates})
    trainer = world_model_trainer(config, context.task_data, context.device)
    trainer.run(updates)
    trainer.finish()
    return trainer.averaged, updates


def _table(title: str, rows: list[Json], key: str) -> Table:
    cells: list[list[Cell]] = [[row["name"], row["updates"], *row[key]] for row in rows]
    return Table(title, ["variant", "updates", *map(str, range(1, len(rows[0][key]) + 1))], cells)


STUDY = Study(AblationOptions, measure)
