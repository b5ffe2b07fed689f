"""Full cost of a method: training the world model, generating segments and learning, for one trial and for many.

Papers report the time of the learner. Here, training of the world model and generation count too. Trials that differ in
horizon, agent or seed share both (`shared`), and each learns separately (`own`). Costs are measured in short bursts and
multiplied by the counts of the run, or, with --run, read from the logs of a run.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

from pydantic import Field

from dwm_ray.experiment import profiles
from dwm_ray.experiment.names import method_name
from dwm_ray.options import PositiveInt
from dwm_ray.report.collect import collect_results
from dwm_ray.report.findings import Findings
from dwm_ray.report.panels import Figure, Line, Panel, plot_panels
from dwm_ray.report.table import Cell, Table, format_seconds
from dwm_ray.studies.base import Study, StudyContext, StudyOptions, configs_of
from dwm_ray.studies.bursts import GENERATE, LEARN, TRAIN, Bursts, PartCost, Setting, parts_of

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


@dataclass(frozen=True)
class Cost:
    """Cost of a method."""

    method: str
    shared: list[PartCost]
    own: list[PartCost]

    def seconds(self, trials: int) -> float:
        """Return the seconds of all work for a number of trials, one after another."""
        return sum(part.seconds for part in self.shared) + trials * sum(part.seconds for part in self.own)

    def flops(self, trials: int) -> float | None:
        """Return the operations of all work; None if some are unknown."""
        counts = [(part.flops, times) for parts, times in ((self.shared, 1), (self.own, trials)) for part in parts]
        return None if any(flops is None for flops, _ in counts) else sum((f or 0.0) * times for f, times in counts)


def measure(context: StudyContext, options: CostOptions) -> Findings:
    """Measure or read the costs of all methods."""
    costs = _of_bursts(context, options) if options.run is None else of_run(Path(options.run))
    return Findings(
        title=f"Cost: {context.config.task}",
        summary=[_how(context, options)],
        tables=[_parts_table(costs), _totals_table(costs, options)],
        figures=[_figure(costs, options)],
        numbers={"costs": [{"method": c.method, "shared": _json(c.shared), "own": _json(c.own)} for c in costs]},
    )


def _how(context: StudyContext, options: CostOptions) -> str:
    if options.run is not None:
        return f"Measured in {options.run}, including evaluations: means over its world models, streams and trials."
    updates = context.config.training.num_updates
    return (
        f"Extrapolated from {options.repeats} bursts of {options.burst_updates} updates or {options.burst_segments} "
        f"segments in one process (profile {context.profile}, {updates} updates of the agent, no evaluations). "
        f"{CLOCKS[context.device.type]} Operations are those of matrix products; memory is the process's peak."
    )


def _of_bursts(context: StudyContext, options: CostOptions) -> list[Cost]:
    agent = profiles.name_of(context.config.agent)
    bursts = Bursts(options.burst_updates, options.burst_segments, options.repeats)
    model_free = profiles.with_method(context.config, context.profile, "none", agent)
    costs = []
    for config in [model_free, *configs_of(context, options)]:
        name = method_name(config.model_dump(mode="json"))
        context.log(f"{name}: bursts")
        costs.append(Cost(name, *parts_of(Setting(context.task_data, context.device), config, bursts)))
    return costs


def of_run(run: Path) -> list[Cost]:
    """Read the costs of a run folder by method. Raise ValueError if no trial has finished."""
    results = collect_results(run)
    done = [trial for trial in results["trials"] if trial["status"] == "done"]
    if not done:
        raise ValueError(f"--run {run}: no trial has finished; expected at least one")
    methods = dict.fromkeys(trial["method"] for trial in done)
    return [_cost_in(results, [trial for trial in done if trial["method"] == name]) for name in methods]


def _cost_in(results: dict[str, Any], trials: list[dict[str, Any]]) -> Cost:
    name = trials[0]["world_model"]
    models = [m for m in results["world_models"] if m["name"] == name and m["seconds"] is not None]
    ids = {model["id"] for model in models}
    streams = [stream for stream in results["streams"] if stream["world_model"] in ids]
    shared = [
        *_mean_part(TRAIN, "update", models, "updates"),
        *_mean_part(GENERATE, "segment", streams, "rows"),
    ]
    return Cost(trials[0]["method"], shared, _mean_part(LEARN, "update", trials, "updates"))


def _mean_part(name: str, unit: str, items: list[dict[str, Any]], count: str) -> list[PartCost]:
    """Return the mean cost of items with `seconds` and a count of units; an empty list without items."""
    if not items:
        return []
    units = mean(item[count] for item in items)
    return [PartCost(name, unit, round(units), mean(item["seconds"] for item in items) / units)]


def _parts_table(costs: list[Cost]) -> Table:
    rows: list[list[Cell]] = [
        [
            cost.method,
            part.name,
            f"{part.count:,} {part.unit}s".replace(",", "\u202f"),
            1000 * part.seconds_each,
            format_seconds(part.seconds),
            None if part.flops is None else part.flops / 1e12,
            None if part.peak_bytes is None else part.peak_bytes / 2**20,
        ]
        for cost in costs
        for part in [*cost.shared, *cost.own]
    ]
    headers = ["method", "part", "count", "ms each", "time", "TFLOP", "peak MiB"]
    return Table("Parts", headers, rows, "Each trial learns separately; all trials share the other parts.")


def _totals_table(costs: list[Cost], options: CostOptions) -> Table:
    counts = [f"{n} trial{'s' if n > 1 else ''}" for n in options.trials]
    headers = ["method", *counts, "TFLOP of 1", "each further trial"]
    rows: list[list[Cell]] = []
    for cost in costs:
        flops = cost.flops(1)
        rows.append(
            [
                cost.method,
                *(format_seconds(cost.seconds(n)) for n in options.trials),
                None if flops is None else flops / 1e12,
                format_seconds(cost.seconds(2) - cost.seconds(1)),
            ]
        )
    return Table("All work on one machine, one part after another", headers, rows)


def _figure(costs: list[Cost], options: CostOptions) -> Figure:
    counts = sorted({1, *options.trials})
    total, each = (Panel(title, "trials", "hours", [], yscale="log") for title in ("all trials", "per trial"))
    for cost in costs:
        hours = [cost.seconds(n) / 3600 for n in counts]
        total.lines.append(Line(cost.method, counts, hours))
        each.lines.append(Line(cost.method, counts, [h / n for h, n in zip(hours, counts, strict=True)]))
    caption = "Hours on this machine; world model and stream are generated once for all trials."
    return plot_panels("cost", "Cost by number of trials", caption, [total, each])


def _json(parts: list[PartCost]) -> list[dict[str, Any]]:
    return [{**asdict(part), "seconds": part.seconds, "flops": part.flops} for part in parts]


STUDY = Study(CostOptions, measure)
