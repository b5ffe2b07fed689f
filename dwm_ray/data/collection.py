"""Recipes for recordings, after D4RL (arXiv 2004.07219, section 5).

    random          actions drawn uniformly
    waypoints       a scripted controller on its way to the goals of a PointMaze (`data.waypoints`)
    medium-replay   the replay buffer of an online SAC run, from its first step
    medium, expert  episodes of the policy of such a run, stopped at a score (medium) or trained to its end (expert)

Progress lies in a folder and is taken up again from the last finished episode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np

from dwm_ray.data.recorder import Recorder
from dwm_ray.data.sac import SacRun
from dwm_ray.data.waypoints import WaypointPolicy
from dwm_ray.runs import tensor_files
from dwm_ray.runs.tensor_files import prefixed, unprefixed
from dwm_ray.tasks.environments import make_environment
from dwm_ray.tasks.spaces import spaces_of
from dwm_ray.tasks.table import task_for
from dwm_ray.types import DataCard, Episodes

Recipe = Literal["medium-replay", "medium", "expert", "random", "waypoints"]
Report = Callable[[str, int, int], None]
"""(stage, steps done, steps in all) -> None; called at every step."""

UNTRAINED = ("random", "waypoints")
"""Recipes whose policy is there from the start."""
MEDIUM_SCORE = 100 / 3
RECENT_EPISODES = 10


@dataclass(frozen=True)
class Plan:
    """What to record."""

    env_id: str
    recipe: Recipe
    num_steps: int
    """Transitions in the recording."""
    seed: int
    train_steps: int
    """Most steps that the policy of 'medium' and 'expert' is trained for."""
    stop_score: float | None
    """Score (raw return where the environment has no reference) at which that training stops."""
    checkpoint_every: int


class Collection:
    """One recording under way. Its folder holds `sac` (training) and `rollouts`, in the project's own format."""

    def __init__(self, plan: Plan, folder: Path, report: Report) -> None:
        self.plan, self.folder, self.report = plan, folder, report
        self.stop_score = _stop_score(plan)
        self.trained_steps = 0
        """Environment steps of the SAC run, once `run` is done."""

    def run(self) -> Episodes:
        """Record, or go on recording. ValueError where the folder belongs to another plan, or the policy did not
        reach the score in time (what was trained is kept)."""
        if self.plan.recipe in UNTRAINED:
            return self._roll_out(None)
        recorder, sac = self._train()
        self.trained_steps = recorder.num_rows
        return self._finish(recorder) if self.plan.recipe == "medium-replay" else self._roll_out(sac)

    def _train(self) -> tuple[Recorder, SacRun]:
        total = self.plan.num_steps if self.plan.recipe == "medium-replay" else self.plan.train_steps
        recorder = Recorder(spaces_of(self.plan.env_id), total)
        saved = self._resume("sac", recorder)
        sac = SacRun(self.plan.env_id, self.plan.seed, recorder)
        if saved:
            sac.load(unprefixed("sac", saved))
        saver = _Saver(recorder.num_rows, self.plan.checkpoint_every)

        def on_step(episode_ended: bool) -> bool:
            self.report("training SAC", recorder.num_rows, total)
            if episode_ended and saver.due(recorder.num_rows):
                self._save("sac", recorder, prefixed("sac", sac.tensors()))
            return not (episode_ended and self._reached(recorder))

        if not self._reached(recorder):
            sac.train(on_step)
            self._save("sac", recorder, prefixed("sac", sac.tensors()))
        if self.stop_score is not None and not self._reached(recorder):
            raise ValueError(
                f"--train-steps {total}: SAC reached {self._recent_score(recorder):.1f}, below {self.stop_score:.1f}, "
                f"the --stop-score of recipe {self.plan.recipe}; more --train-steps go on from here, or lower the score"
            )
        return recorder, sac

    def _reached(self, recorder: Recorder) -> bool:
        return self.stop_score is not None and self._recent_score(recorder) >= self.stop_score

    def _recent_score(self, recorder: Recorder) -> float:
        if not recorder.returns:
            return float("-inf")
        task = task_for("", self.plan.env_id, 0.0)
        return float(np.mean([task.score(value) for value in recorder.returns[-RECENT_EPISODES:]]))

    def _roll_out(self, sac: SacRun | None) -> Episodes:
        """Episodes of a trained policy, or of the recipe's own without one."""
        recorder = Recorder(spaces_of(self.plan.env_id), self.plan.num_steps)
        self._resume("rollouts", recorder)
        env = make_environment(self.plan.env_id)
        seed = self.plan.seed + recorder.num_rows  # a resumed recording does not repeat its first episodes
        act_in = self._policy(env, sac, seed)
        obs, _ = env.reset(seed=seed)
        saver = _Saver(recorder.num_rows, self.plan.checkpoint_every)
        while recorder.num_rows < recorder.capacity:
            act = act_in(obs)
            next_obs, rew, terminated, truncated, _ = env.step(act)
            recorder.add(obs, act, float(rew), next_obs, terminated, truncated)
            self.report("recording", recorder.num_rows, recorder.capacity)
            ended = terminated or truncated
            if ended and saver.due(recorder.num_rows):
                self._save("rollouts", recorder, {})
            obs = env.reset()[0] if ended else next_obs
        env.close()
        return self._finish(recorder)

    def _policy(self, env: gymnasium.Env, sac: SacRun | None, seed: int) -> Callable[[np.ndarray], np.ndarray]:
        """Observation [O] -> action [A]."""
        if sac is not None:
            return sac.act
        if self.plan.recipe == "waypoints":
            return WaypointPolicy(env, seed).act
        env.action_space.seed(seed)
        return lambda obs: env.action_space.sample()

    def _finish(self, recorder: Recorder) -> Episodes:
        name = f"{self.plan.env_id}-{self.plan.recipe}"
        return recorder.episodes(DataCard(name, "recorded here", str(self.folder), self.plan.env_id, ""))

    def _identity(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self.plan).items() if key in ("env_id", "recipe", "seed")}

    def _save(self, name: str, recorder: Recorder, more: dict[str, Any]) -> None:
        tensor_files.save(self.folder, name, prefixed("rows", recorder.tensors()) | more, self._identity())

    def _resume(self, name: str, recorder: Recorder) -> dict[str, Any] | None:
        """Fill the recorder from the folder; all saved tensors, or None where there are none."""
        if not (self.folder / f"{name}.json").exists():
            return None
        tensors, identity = tensor_files.load(self.folder, name)
        if identity != self._identity():
            raise ValueError(f"{self.folder}: holds another recording ({identity}); remove it or choose another --out")
        recorder.load(unprefixed("rows", tensors))
        return tensors


class _Saver:
    """When the next checkpoint is due."""

    def __init__(self, num_rows: int, every: int) -> None:
        self._next, self._every = num_rows + every, every

    def due(self, num_rows: int) -> bool:
        if num_rows < self._next:
            return False
        self._next = num_rows + self._every
        return True


def _stop_score(plan: Plan) -> float | None:
    if plan.recipe in ("medium-replay", *UNTRAINED):
        if plan.stop_score is not None:
            raise ValueError(f"--stop-score: recipe {plan.recipe} ends after --steps, it has no use for a score")
        return None
    if plan.recipe == "medium" and plan.stop_score is None:
        if task_for("", plan.env_id, 0.0).score_unit == "raw return":
            raise ValueError(f"--stop-score: needed for recipe medium, no reference scores are known of {plan.env_id}")
        return MEDIUM_SCORE
    return plan.stop_score
