"""On-policy rollouts by sampler actors: the same rows as in one process, even if a sampler dies; DyDiff end to end."""

import os
import signal
from pathlib import Path

import pytest
import ray
import torch
from local_runs import CPU, world_model
from stream_site import stop
from test_sweep_pipeline import finish, read, start
from tiny_task import ONE_STEP, tiny_config

from dwm_ray.agents.base import new_agent
from dwm_ray.data.task_data import load_task_data
from dwm_ray.distributed.cluster.resources import place
from dwm_ray.distributed.services import ClusterServices
from dwm_ray.distributed.workers.rollouts import ActorRollouts
from dwm_ray.filters.keep_all import KeepAll, KeepAllConfig
from dwm_ray.replay.on_policy import LocalRollouts, RolloutContext
from dwm_ray.replay.selection import Selection
from dwm_ray.replay.sources import start_rtg
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.row_log import read_rows
from dwm_ray.world_models.parts.build import model_fingerprint

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

DYDIFF = """
    --profile laptop --world-model dydiff --world-model.sequence-length 8 --world-model.dim 8
    --world-model.multipliers 1 2 --world-model.num-updates 40 --world-model.ensemble-width 16
    --world-model.solver-steps 2 --synthesis.horizon 7 --synthesis.refresh-every 50
    --training.num-updates 300 --training.log-every 100 --training.checkpoint-every 100
    --evaluation.every 1000 --evaluation.num-episodes 1 --evaluation.curve-episodes 1
"""
TRAIN = Path(__file__).parents[2] / "pipelines" / "train.py"


def test_samplers_generate_the_rows_of_one_process_even_when_they_die(cluster: str, file: Path, tmp_path: Path) -> None:
    options = {"synthesis.refresh_every": 20, "synthesis.rollout_shards": 2, "cluster.num_samplers": 2}
    config, run = tiny_config(file, ONE_STEP, **options), RunFolder(tmp_path)
    task_data = load_task_data(config)
    model, agent = world_model(config, task_data, run), new_agent(config, task_data, CPU)
    starts = task_data.start_pairs(config.training.discount, CPU)
    admit = Selection(KeepAll(KeepAllConfig()), config.synthesis.horizon, False)
    rtg = start_rtg(config, task_data, CPU)
    local = LocalRollouts(config, RolloutContext(model, starts, task_data.task.termination, admit, rtg))
    services = ClusterServices.start(config, run, task_data.identity, place(config.cluster))
    remote = ActorRollouts(config, model_fingerprint(config, task_data.identity), list(services.sampler_names))
    victim = ray.get(services.samplers[0].__ray_call__.remote(lambda self: os.getpid()))
    for version in (0, 1):
        remote.submit(version, agent)
        local.submit(version, agent)
        os.kill(victim, signal.SIGKILL) if version == 0 else None
    received = sorted(remote.collect(1), key=lambda part: (part.version, part.rows.sum()))
    expected = sorted(local.collect(1), key=lambda part: (part.version, part.rows.sum()))
    assert [part.version for part in received] == [0, 0, 1, 1]
    for mine, theirs in zip(received, expected, strict=True):
        torch.testing.assert_close(mine.rows, theirs.rows, rtol=1e-5, atol=1e-5)
    assert remote.collect(1) == []
    stop(services)


def test_dydiff_learns_from_refreshed_rollouts_and_records_their_age(file: Path, cluster: str, tmp_path: Path) -> None:
    data = ["--task", "pendulum", "--data", file, "--output", tmp_path / "runs"]
    run = finish(start(tmp_path, *DYDIFF.split(), *data, address=cluster, program=TRAIN))
    [trial] = (run / "trials").iterdir()
    assert read(trial / "status.json")["status"] == "done"
    rows = read_rows(trial / "metrics.jsonl")
    assert [row["update"] for row in rows] == [100, 200, 300]
    assert max(row["staleness"] for row in rows) <= 1
    assert rows[-1]["policy_version"] == 5
    assert rows[-1]["consumed_fraction"] > 0.8
    assert rows[-1]["segments_imagined"] > 0
