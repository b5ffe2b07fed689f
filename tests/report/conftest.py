"""A run folder as a sweep leaves it: TD3+BC alone, and on DWM with 2 horizons x 2 targets; one trial has failed.

The fixture `run` is a folder of its own per test, `results` are collected once and copied.
"""

import copy
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rows import write_rows

from dwm_ray.evaluation.calibration import compared
from dwm_ray.report.collect import collect_results
from dwm_ray.runs.tensor_files import write_json

UPDATES = [5000, 10000, 15000, 20000]


def make_run(root: Path, num_seeds: int = 2) -> Path:
    """Write the folder and return it."""
    run_config = config("dwm", "td3_bc", 3, 0.3, 0)
    sweep = {"dimensions": ["horizon", "target_rtg"], "agents": ["td3_bc"], "seeds": 2}
    write_json(root / "config.json", {"profile": "laptop", "sweep": {**sweep, "search": "grid"}, "run": run_config})
    write_json(root / "environment.json", {"python": "3.11.7", "ray": "2.60.0", "cpus": 2, "gpus": []})
    write_json(root / "data.json", data_card())
    write_json(root / "sweep.json", {"wall_s": 1834.2, "dropped": {"horizon 9 is not below sequence_length 8": 4}})
    counters = {"world_models_trained": 1, "streams_generated": 2, "segments_sampled": 100_000}
    write_json(root / "counters.json", {**counters, "segments_consumed": 700_000})
    _write_shared(root)
    settings = [(None, 0, 0.0), *(("dwm", h, g) for h in (3, 5) for g in (0.3, 0.5))]
    for seed in range(num_seeds):
        for model, horizon, rtg in settings:
            _write_trial(root / "trials", model, horizon, rtg, seed)
    return root


def config(model: str | None, agent: str, horizon: int, rtg: float, seed: int) -> dict[str, Any]:
    return {
        "task": "halfcheetah-medium-replay",
        "seed": seed,
        "world_model": None if model is None else {"name": model, "sequence_length": 8},
        "agent": {"name": agent, "return_lambda": 1.0},
        "filter": {"name": "keep_all"},
        "synthesis": {"horizon": max(horizon, 1), "target_rtg": rtg, "num_segments": 50_000},
        "training": {"num_updates": UPDATES[-1]},
    }


def data_card() -> dict[str, Any]:
    return {
        "source": "bundled SAC recording",
        "name": "halfcheetah-medium-replay",
        "path": "dwm_ray/data/bundled/halfcheetah.hdf5",
        "env_id": "HalfCheetah-v5",
        "transitions": 200_000,
        "episodes": 200,
        "fingerprint": "0123456789abcdef",
        "return_min": -560.2,
        "return_mean": 2103.4,
        "return_max": 5012.0,
        "score_mean": 19.2,
        "score_max": 42.6,
    }


def _write_shared(root: Path) -> None:
    for name, start, seconds in (("dwm", 0.06, 360.0), ("one_step", 0.003, 120.0)):
        folder = root / "world_models" / f"{name}0011223344"
        write_json(folder / "model.json", {"name": name})
        write_json(
            folder / "status.json",
            {"seconds": seconds, "updates": 8000, "trained": True, "returns_corrected": name == "dwm"},
        )
        steps = np.arange(1, 8)
        error = {
            "model": name,
            "driven_by": "logged actions" if name == "one_step" else "first action and return-to-go",
            "unit": "standard deviations of the data",
            "num_windows": 2048,
            "steps": steps.tolist(),
            "obs_mse": (start * steps**1.2).tolist(),
            "rew_mse": (start * steps).tolist(),
            "no_change_obs_mse": (0.5 + 0.06 * steps).tolist(),
            "calibration": _calibration(steps, drift=start),
        }
        write_json(folder / "error.json", error)
        if name == "dwm":
            write_json(folder / "futures.json", _futures())
        losses = [(u, start * 5 * (1 + 20 * np.exp(-u / 900))) for u in range(200, 8001, 200)]
        rows = [{"update": u, "loss": x, "holdout_loss": x * 1.1 if u % 1000 == 0 else None} for u, x in losses]
        write_rows(folder / "metrics.jsonl", *rows)
    for i, rtg in enumerate((0.3, 0.5)):
        stream = {"rows": 50_000, "blocks": 13, "seconds": 18.0, "target_rtg": rtg, "world_model": "dwm0011223344"}
        write_json(root / "streams" / f"stream{i}" / "stream.json", stream)


def _futures() -> dict[str, Any]:
    """Return two starts, each with three imagined futures of two steps."""
    recorded = {"state 8": [0.0, 1.0, 2.0], "state 9": [0.0, 0.5, None], "reward": [1.0, 2.0]}
    imagined = {name: [values] * 3 for name, values in recorded.items()}
    starts = [{"return": label, "recorded": recorded, "imagined": imagined} for label in ("low", "high")]
    return {"names": list(recorded), "steps": {"state 8": [0, 1, 2], "state 9": [0, 1, 2], "reward": [1, 2]}} | {
        "starts": starts
    }


def _calibration(steps: np.ndarray, drift: float) -> dict[str, Any]:
    """Return a calibration whose imagined shares and rewards are `drift` too high at step 1 and grow from there."""
    ended, reward, grow = 0.02 * steps, np.full(len(steps), 3.0), 1 + drift * steps
    num_ends = (2048 * ended).astype(int).tolist()
    imagined, recorded = (
        {"ended": (ended * factor).tolist(), "reward": (reward * factor).tolist(), "num_ends": num_ends}
        for factor in (grow, 1.0)
    )
    return compared(2048, imagined, recorded, 3.0)


def _write_trial(trials: Path, model: str | None, horizon: int, rtg: float, seed: int) -> None:
    folder = trials / f"{model or 'free'}-h{horizon}-g{rtg}-s{seed}"
    rng = np.random.default_rng([horizon, int(rtg * 10), seed])
    failed = (model, horizon, rtg, seed) == ("dwm", 3, 0.5, 1)
    write_json(folder / "config.json", config(model, "td3_bc", horizon, rtg, seed))
    searched = {} if model is None else {"horizon": horizon, "target_rtg": rtg}
    write_json(folder / "values.json", {**searched, "seed": seed})
    error = {"error": "the policy gave actions that are not finite: the agent has diverged"} if failed else {}
    reached = UPDATES[:2] if failed else UPDATES
    status = {"status": "failed" if failed else "done", "seconds": 140.0 + seed, "updates": reached[-1], **error}
    write_json(folder / "status.json", status)
    level = 30 if model is None else 26 + 2 * horizon
    scores = [level * (1 - np.exp(-u / 4000)) + rng.normal(0, 2) for u in reached]
    rows = [
        {"update": u, "score_mean": s, "score_std": 2.0, "episodes": 3, "returns": [1.0] * 3, "final": False}
        for u, s in zip(reached, scores, strict=True)
    ]
    if not failed:
        final = {"update": UPDATES[-1], "score_mean": scores[-1] + 0.5, "score_std": 1.5, "episodes": 10, "final": True}
        rows.append(final)
    write_rows(folder / "evaluations.jsonl", *rows)
    grow = 3.0 if failed else 0.0
    learning = [
        {"update": u, "seconds": u / 140, "q_mean": 200 * (1 - np.exp(-u / 3000)) * np.exp(grow * u / 5000)}
        for u in range(1000, reached[-1] + 1, 1000)
    ]
    write_rows(folder / "metrics.jsonl", *learning)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture(scope="session")
def _collected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return collect_results(make_run(tmp_path_factory.mktemp("results") / "run"))


@pytest.fixture
def results(_collected: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(_collected)


class _Balanced(HTMLParser):
    """Raise if an element is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def check_page() -> Callable[[str], None]:
    """Return a function that asserts that a page is well-formed and loads nothing from elsewhere."""

    def check(page: str) -> None:
        parser = _Balanced()
        parser.feed(page)
        assert parser.open == []
        without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
        without_frames = re.sub(r'<img src="data:image/png;base64,[^"]*"', "", without_namespaces)
        assert not re.search(r"(https?:)?//[a-z]|<script|<link|<img|@import", without_frames)

    return check
