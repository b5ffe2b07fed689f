"""Recipes for new datasets, after D4RL (arXiv 2004.07219, section 5).

    random          actions sampled uniformly
    waypoints       a scripted controller that moves to the goals of a PointMaze (`waypoints`)
    medium-replay   the replay buffer of an online SAC run, starting at its first step
    medium, expert  episodes of a policy trained by SAC up to a score (medium) or for all training steps (expert)

Progress is saved to a folder. An interrupted recording resumes after the last saved episode.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np

from dwm_ray.data.checks import episodes_from
from dwm_ray.data.recording.recorder import Recorder
from dwm_ray.data.recording.sac import SacRun
from dwm_ray.data.recording.waypoints import WaypointPolicy
from dwm_ray.runs import tensor_files
from dwm_ray.runs.tensor_files import prefixed, unprefixed
from dwm_ray.tasks.environments import make_environment, spaces_of
from dwm_ray.tasks.table import task_for
from dwm_ray.types import DataCard, Episodes

Recipe = Literal["medium-replay", "medium", "expert", "random", "waypoints"]
OnProgress = Callable[[str, int, int], None]
"""(stage, finished steps, total steps) -> None; called after every step."""
UNTRAINED = ("random", "waypoints")
"""Recipes without a trained policy."""
MEDIUM_SCORE = 100 / 3
RECENT_EPISODES = 10


@dataclass(frozen=True)
class RecordingOptions:
    """Options of one recording."""

    env: str
    """Gymnasium id with version, such as HalfCheetah-v5. Actions must be vectors; observations must be vectors or
    goal-aware dictionaries."""
    recipe: Recipe = "medium-replay"
    """Source of the actions; see above."""
    steps: int = 200_000
    """Transitions to record."""
    seed: int = 0
    """Seed of the environment, the policy and its training."""
    train_steps: int = 1_000_000
    """Maximum number of environment steps of training for medium and expert."""
    stop_score: float | None = None
    """Normalised score over 10 episodes at which this training stops; the raw return for environments without
    reference scores."""
    checkpoint_every: int = 20_000
    """Steps between two checkpoints. An interruption loses at most this many steps and one episode."""


class Collector:
    """Recorder of one dataset; `folder` contains the checkpoints `sac` (training) and `rollouts`."""

    def __init__(self, options: RecordingOptions, folder: Path, on_progress: OnProgress) -> None:
        self.options, self.folder, self.on_progress = options, folder, on_progress
        self.stop_score = _stop_score(options)
        self.trained_steps = 0
        """Environment steps of the SAC run; set by `run`."""
        self._saved_rows = 0

    def run(self) -> Episodes:
        """Record or resume; raise ValueError for the folder of another recording or if the score is not reached."""
        if self.options.recipe in UNTRAINED:
            return self._roll_out(None)
        recorder, sac = self._train()
        self.trained_steps = recorder.num_rows
        return self._finish(recorder) if self.options.recipe == "medium-replay" else self._roll_out(sac)

    def _train(self) -> tuple[Recorder, SacRun]:
        options = self.options
        total = options.steps if options.recipe == "medium-replay" else options.train_steps
        recorder = Recorder(spaces_of(options.env), total)
        saved = self._resume("sac", recorder)
        sac = SacRun(options.env, options.seed, recorder)
        if saved:
            sac.load(unprefixed("sac", saved))

        def on_step(episode_ended: bool) -> bool:
            self.on_progress("training SAC", recorder.num_rows, total)
            if episode_ended and self._is_due(recorder):
                self._save("sac", recorder, prefixed("sac", sac.tensors()))
            return not (episode_ended and self._reached(recorder))

        if not self._reached(recorder):
            sac.train(on_step)
            self._save("sac", recorder, prefixed("sac", sac.tensors()))
        if self.stop_score is not None and not self._reached(recorder):
            raise ValueError(
                f"--train-steps {total}: SAC reached {self._recent_score(recorder):.1f}, below {self.stop_score:.1f}, "
                f"the --stop-score of recipe {options.recipe}; expected more --train-steps, which continue from here, "
                "or a lower score"
            )
        return recorder, sac

    def _reached(self, recorder: Recorder) -> bool:
        return self.stop_score is not None and self._recent_score(recorder) >= self.stop_score

    def _recent_score(self, recorder: Recorder) -> float:
        if not recorder.returns:
            return float("-inf")
        task = task_for("", self.options.env, 0.0)
        return float(np.mean([task.score(value) for value in recorder.returns[-RECENT_EPISODES:]]))

    def _roll_out(self, sac: SacRun | None) -> Episodes:
        """Record episodes of a trained policy, or without `sac` of the recipe's own policy."""
        options = self.options
        recorder = Recorder(spaces_of(options.env), options.steps)
        self._resume("rollouts", recorder)
        env = make_environment(options.env)
        seed = options.seed + recorder.num_rows  # a resumed recording must not repeat its first episodes
        policy = self._policy(env, sac, seed)
        obs, _ = env.reset(seed=seed)
        while recorder.num_rows < recorder.capacity:
            act = policy(obs)
            next_obs, rew, terminated, truncated, _ = env.step(act)
            recorder.add(obs, act, float(rew), next_obs, terminated, truncated)
            self.on_progress("recording", recorder.num_rows, recorder.capacity)
            ended = terminated or truncated
            if ended and self._is_due(recorder):
                self._save("rollouts", recorder, {})
            obs = env.reset()[0] if ended else next_obs
        env.close()
        return self._finish(recorder)

    def _policy(self, env: gymnasium.Env, sac: SacRun | None, seed: int) -> Callable[[np.ndarray], np.ndarray]:
        """Return the policy, observation [O] -> action [A]."""
        if sac is not None:
            return sac.act
        if self.options.recipe == "waypoints":
            return WaypointPolicy(env, seed).act
        env.action_space.seed(seed)
        return lambda obs: env.action_space.sample()

    def _finish(self, recorder: Recorder) -> Episodes:
        name = f"{self.options.env}-{self.options.recipe}"
        return episodes_from(recorder.arrays(), DataCard(name, "recorded here", str(self.folder), self.options.env, ""))

    def _identity(self) -> dict[str, Any]:
        return {"env_id": self.options.env, "recipe": self.options.recipe, "seed": self.options.seed}

    def _is_due(self, recorder: Recorder) -> bool:
        return recorder.num_rows >= self._saved_rows + self.options.checkpoint_every

    def _save(self, name: str, recorder: Recorder, more: dict[str, Any]) -> None:
        tensor_files.save(self.folder, name, prefixed("rows", recorder.tensors()) | more, self._identity())
        self._saved_rows = recorder.num_rows

    def _resume(self, name: str, recorder: Recorder) -> dict[str, Any] | None:
        """Load the recorder from the folder; return all saved tensors, or None if nothing was saved."""
        self._saved_rows = 0
        if not (self.folder / f"{name}.json").exists():
            return None
        tensors, identity = tensor_files.load(self.folder, name)
        if identity != self._identity():
            raise ValueError(
                f"{self.folder}: holds another recording ({identity}); expected an empty folder: remove it or choose "
                "another --out"
            )
        recorder.load(unprefixed("rows", tensors))
        self._saved_rows = recorder.num_rows
        return tensors


def _stop_score(options: RecordingOptions) -> float | None:
    recipe, score = options.recipe, options.stop_score
    if recipe in ("medium-replay", *UNTRAINED):
        if score is not None:
            raise ValueError(f"--stop-score: recipe {recipe} ends after --steps; expected no score")
        return None
    if recipe != "medium" or score is not None:
        return score
    if task_for("", options.env, 0.0).score_unit == "raw return":
        raise ValueError(
            f"--stop-score: needed for recipe medium, because {options.env} has no reference scores; expected a return"
        )
    return MEDIUM_SCORE
