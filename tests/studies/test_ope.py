"""The study of off-policy estimates: correlation, regret, and which policies it takes."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from local_runs import train
from tiny_task import tiny_config

from dwm_ray.data.summary import data_summary
from dwm_ray.data.task_data import load_task_data
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.studies.base import StudyContext
from dwm_ray.studies.ope import OpeOptions, _quality_table, measure, rank_correlation


def test_rank_correlation_ignores_the_scale_and_averages_ties() -> None:
    assert rank_correlation(pd.Series([1, 2, 30]), pd.Series([-5, 0, 1])) == pytest.approx(1)
    assert rank_correlation(pd.Series([1, 2, 2, 3]), pd.Series([4, 2, 3, 1])) == pytest.approx(-0.9487, abs=1e-4)


def test_regret_is_the_score_that_the_choice_by_an_estimate_loses() -> None:
    names = ("score", "estimate_fqe", "estimate_model", "estimate_distance")
    values = [(90.0, 1.0, 3.0, 0.1), (50.0, 2.0, 2.0, 0.2), (10.0, 0.0, 1.0, 0.3)]
    rows = pd.DataFrame(values, columns=names).assign(estimate_fqe_spread=0.0, estimate_model_spread=0.0)
    cells = {name: rest for name, *rest in _quality_table(rows).rows}
    assert cells["FQE"] == [pytest.approx(0.5), "50.0", "40.0", "50%"]
    assert (
        cells["imagined return"]
        == cells["closeness to the data (minus distance)"]
        == [pytest.approx(1), "90.0", "0.0", "0%"]
    )


def test_policies_of_several_runs_are_ranked_and_those_of_other_data_refused(
    context: StudyContext, file: Path, tmp_path: Path
) -> None:
    options = {"training.num_updates": 10, "evaluation.num_episodes": 1}
    for name, seeds in (("one", (0, 1)), ("two", (2,))):
        run = RunFolder(tmp_path / name)
        for seed in seeds:
            config = tiny_config(file, None, **options, seed=seed)
            train(config, run)
            write_json(run.trial(config.trial_id) / "config.json", config.model_dump(mode="json"))
        write_json(run.config, {"run": config.model_dump(mode="json")})
        write_json(run.root / "data.json", data_summary(context.task_data.episodes, context.task_data.task))
    chosen = OpeOptions(
        run=str(tmp_path / "one"), others=(str(tmp_path / "two"),), estimate_updates=5, estimate_model_updates=5
    )
    findings = measure(context, chosen)
    result = [policy["score"] for policy in findings.numbers["policies"]]
    assert len(result) == 3
    assert result == sorted(result, reverse=True)
    assert len(findings.tables[1].rows) == 3
    other = load_task_data(context.config.with_values({"data.env": "none"}))
    with pytest.raises(ValueError, match="one: learned from other data"):
        measure(replace(context, task_data=other), chosen)
