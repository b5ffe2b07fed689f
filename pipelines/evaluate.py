"""Evaluate the trained policies of a run again: in its simulator, or from its data alone (--offline).

RUN is the folder of a run, its address in remote storage (all its finished trials), or the folder of one trial. Scores
are printed and written, with the return of every episode, to reevaluation.json in each trial's folder, and to the
storage if there is one. --offline prints off-policy estimates instead and writes them to estimates.json.
"""

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console

from dwm_ray.agents.base import Agent
from dwm_ray.cli.command_line import OPTIONAL, main_guard
from dwm_ray.env_options import EnvOptions
from dwm_ray.evaluation.evaluators import summarize
from dwm_ray.evaluation.rollout import evaluate
from dwm_ray.local.estimates import Estimator
from dwm_ray.report.run_tables import format_interval
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.tasks.table import task_for
from dwm_ray.training.stores import has_policy, load_agent


def reevaluate_run(
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    num_episodes: int = 100,
    seed: int = 1_000_000,
    task: Annotated[str | None, OPTIONAL] = None,
    offline: bool = False,
) -> int:
    """Evaluate the policies of RUN.

    Args:
        folder: Folder of a run, its address in remote storage, or the folder of one trial.
        num_episodes: Episodes per policy.
        seed: Seed of the first episode; later episodes use the following seeds.
        task: Reject checkpoints of any other task.
        offline: Compute off-policy estimates from the run's data, without a simulator. The required one-step models are
            trained once and stored in RUN/estimates.
    """
    if num_episodes < 1:
        raise ValueError(f"--num-episodes: is {num_episodes}; expected at least 1")
    torch.set_num_threads(1)  # small networks are faster on one thread
    console = Console(highlight=False)
    run, trials = trial_folders(folder)
    estimator = Estimator(run.root if run else trials[0]) if offline else None
    for trial in trials:
        if estimator is None:
            name, (row, text) = "reevaluation.json", reevaluate(trial, num_episodes, seed, task)
        else:
            name, (row, text) = "estimates.json", estimate(trial, estimator, task)
        write_json(trial / name, row)
        if run:
            run.push(trial / name)
        console.print(f"{trial.name}: {text}", soft_wrap=True)
    return 0


def trial_folders(address: str) -> tuple[RunFolder | None, list[Path]]:
    """Return (None, [folder]) for a trial with a checkpoint, otherwise the run and its trials with checkpoints."""
    if has_policy(Path(address)):
        return None, [Path(address)]
    run = RunFolder.open(address)
    run.pull(run.root / "trials", weights=True)
    trials = [trial for trial in run.trials() if has_policy(trial)]
    if not trials:
        raise ValueError(f"{address}: no trial of this run has a checkpoint yet; expected at least one")
    return run, trials


def reevaluate(trial: Path, num_episodes: int, seed: int, task_name: str | None) -> tuple[dict[str, Any], str]:
    """Return the scores of a trial's last checkpoint, as a dictionary and as text."""
    agent, meta = loaded(trial, task_name)
    if meta["env_id"] is None:
        raise ValueError(f"{trial}: was trained without an environment; expected --offline")
    options = EnvOptions.from_json(meta.get("env_options", {}))
    task = task_for(meta["config"]["task"], meta["env_id"], meta["return_max"], options)
    result = evaluate(agent.act, meta["env_id"], num_episodes, seed, env_options=options)
    row = {
        **summarize(result.returns, task),
        "score_unit": task.score_unit,
        "seed": seed,
        "update": meta["update"],
        "policy_ms": result.policy_ms,
        "returns": result.returns.tolist(),
    }
    return row, (
        f"{row['score_mean']:.2f} ± {row['score_std']:.2f} ({task.score_unit}, {num_episodes} episodes from seed "
        f"{seed}, checkpoint after {meta['update']} updates)"
    )


def estimate(trial: Path, estimator: Estimator, task_name: str | None) -> tuple[dict[str, Any], str]:
    """Return the off-policy estimates of a trial's last checkpoint, as a dictionary and as text."""
    agent, meta = loaded(trial, task_name)
    row = {**estimator.estimate(agent, meta), "update": meta["update"]}
    interval = format_interval(row["estimate_fqe_low"], row["estimate_fqe_high"])
    return row, (
        f"estimates: FQE {row['estimate_fqe']:.1f} {interval} ± {row['estimate_fqe_spread']:.1f} between critics, "
        f"imagined {row['estimate_model']:.1f} ± {row['estimate_model_spread']:.1f}, distance "
        f"{row['estimate_distance']:.2f} ({row['estimate_episodes']} held-out episodes, {row['estimate_s']:.0f} s, "
        f"checkpoint after {meta['update']} updates)"
    )


def loaded(trial: Path, task_name: str | None) -> tuple[Agent, dict[str, Any]]:
    """Return the agent and the description of a trial's checkpoint; raise ValueError if its task is another one."""
    agent, meta = load_agent(trial / "checkpoint", torch.device("cpu"))
    name = meta["config"]["task"]
    if task_name is not None and name != task_name:
        raise ValueError(
            f"{trial}: this checkpoint is of task {name!r}, not of --task {task_name!r}; expected --task {name}"
        )
    return agent, meta


@main_guard
def main(argv: list[str] | None = None) -> int:
    return tyro.cli(reevaluate_run, args=argv, description=__doc__)


if __name__ == "__main__":
    raise SystemExit(main())
