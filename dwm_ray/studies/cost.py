"""Full cost of a method: training the world model, generating segments and learning, for one trial and for many.

Papers report the time of the learner. Here, training of the world model and generation count too. Trials that differ in
horizon, agent or seed share both (`shared`), and each learns separately (`own`). Costs are measured in short bursts and
multiplied by the numbers of updates and segments of the run. The report of a run shows the time that the run took.
"""

from dataclasses import asdict
from typing import Annotated

from pydantic import Field

from dwm_ray.experiment import profiles
from dwm_ray.experiment.names import method_name
from dwm_ray.options import PositiveInt
from dwm_ray.report.findings import Findings
from dwm_ray.report.table import Cell, Table, format_count, format_seconds
from dwm_ray.studies.base import Study, StudyContext, StudyOptions, configs_of
from dwm_ray.studies.bursts import Bursts, PartCost
from dwm_ray.types import Json

CLOCKS = {"cpu": "Seconds are CPU seconds.", "cuda": "Seconds are wall-clock seconds."}


class CostOptions(StudyOptions):
    """Options of the study."""

    burst_updates: PositiveInt = 20
    """Gradient steps of a burst."""
    burst_segments: PositiveInt = 2048
    """Segments of a burst."""
    repeats: PositiveInt = 5
    """Bursts whose median is taken."""
    trials: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 10, 50)
    """Numbers of trials that share a world model and its stream."""


def measure(context: StudyContext, options: CostOptions) -> Findings:
    """Measure the costs of all methods."""
    costs = _costs(context, options)
    return Findings(
        title=f"Cost: {context.config.task}",
        summary=[_summary(context, options)],
        tables=[_parts_table(costs), _totals_table(costs, options)],
        figures=[],
        numbers={"costs": costs},
    )


def _summary(context: StudyContext, options: CostOptions) -> str:
    updates = context.config.training.num_updates
    return (
        f"Extrapolated from {options.repeats} bursts of {options.burst_updates} updates or {options.burst_segments} "
        f"segments in one process (profile {context.profile}, {updates} updates of the agent, no evaluations). "
        f"{CLOCKS[context.device.type]} Operations are those of matrix products; memory is the process's peak."
    )


def _costs(context: StudyContext, options: CostOptions) -> list[Json]:
    agent = profiles.name_of(context.config.agent)
    sizes = options.burst_updates, options.burst_segments, options.repeats
    bursts = Bursts(context.task_data, context.device, *sizes)
    model_free = profiles.with_method(context.config, context.profile, "none", agent)
    costs = []
    for config in [model_free, *configs_of(context, options)]:
        name = method_name(config.model_dump(mode="json"))
        context.log(f"{name}: bursts")
        shared, per_trial = map(_json, bursts.parts_of(config))
        costs.append({"method": name, "shared": shared, "own": per_trial})
    return costs


def _json(parts: list[PartCost]) -> list[Json]:
    return [{**asdict(part), "seconds": part.seconds, "flops": part.flops} for part in parts]


def _parts_table(costs: list[Json]) -> Table:
    rows: list[list[Cell]] = [
        [
            cost["method"],
            part["name"],
            f"{format_count(part['count'])} {part['unit']}s",
            1000 * part["seconds_each"],
            format_seconds(part["seconds"]),
            part["flops"] / 1e12,
            None if part["peak_bytes"] is None else part["peak_bytes"] / 2**20,
        ]
        for cost in costs
        for part in [*cost["shared"], *cost["own"]]
    ]
    headers = ["method", "part", "count", "ms each", "time", "TFLOP", "peak MiB"]
    return Table("Parts", headers, rows, "Each trial learns separately; all trials share the other parts.")


def _totals_table(costs: list[Json], options: CostOptions) -> Table:
    """Return the time of all work for several numbers of trials, one after another, and the operations of one."""
    counts = [f"{n} trial{'s' if n > 1 else ''}" for n in options.trials]
    headers = ["method", *counts, "TFLOP (1 trial)", "each additional trial"]
    rows: list[list[Cell]] = []
    for cost in costs:
        shared_s, own_s = (sum(part["seconds"] for part in cost[kind]) for kind in ("shared", "own"))
        seconds = [format_seconds(shared_s + n * own_s) for n in options.trials]
        flops = sum(part["flops"] for part in [*cost["shared"], *cost["own"]])
        rows.append([cost["method"], *seconds, flops / 1e12, format_seconds(own_s)])
    return Table("All work on one machine, sequentially", headers, rows)


STUDY = Study(CostOptions, measure)
