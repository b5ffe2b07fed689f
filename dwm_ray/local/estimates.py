"""Off-policy estimates of stored policies, with or without a simulator."""

from pathlib import Path
from typing import Any

from dwm_ray.agents.base import Agent
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import load_task_data
from dwm_ray.devices import default_device
from dwm_ray.evaluation.logged_data import LoggedData
from dwm_ray.evaluation.off_policy import OffPolicyEvaluator, estimation_config
from dwm_ray.local.services import LocalServices
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.world_models.base import WorldModel


class Estimator:
    """Estimator of policies that learned from the same data.

    Args:
        root: Folder of a run or of a trial; one-step models are stored in its sub-folder `estimates`.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._shared = root, dict[str, tuple[LoggedData, WorldModel]]()

    def estimate(self, agent: Agent, meta: dict[str, Any]) -> dict[str, Any]:
        """Return the estimates of an agent by name; `meta` describes its checkpoint (`stores.load_agent`)."""
        config = RunConfig.stored(meta["config"], self._root)
        model_config = estimation_config(config)
        key = f"{model_config.trial_id}-{agent.plans}"  # agents that plan are estimated from fewer rows
        if key not in self._shared:
            self._shared[key] = self._load(config, model_config)
        return OffPolicyEvaluator(config, *self._shared[key]).evaluate(agent, final=True)

    def _load(self, config: RunConfig, model_config: RunConfig) -> tuple[LoggedData, WorldModel]:
        task_data = load_task_data(config, (read_json(self._root / "data.json") or {}).get("fingerprint"))
        model = LocalServices(task_data, RunFolder(self._root / "estimates")).world_model(model_config)
        return LoggedData.of(config, task_data, default_device()), model
