"""The study of recorded and imagined parts: composition of segments, and a whole run on data of a second."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dwm_ray.blocks.futures import complete_windows, recorded_segments
from dwm_ray.data.windows import WindowSet
from dwm_ray.studies.base import StudyContext
from dwm_ray.studies.swap import SwapOptions, measure
from dwm_ray.studies.swap_parts import (
    CONTINUED,
    IMAGINED,
    MIXES,
    RECORDED,
    REPEATED,
    SECOND_SAMPLE,
    SHUFFLED,
    advantages,
    correlation,
    futures_of,
)
from dwm_ray.types import DataCard, Episodes, Segments, Spaces, Termination, Windows
from dwm_ray.world_models.base import FirstStepConfig, SegmentRequest, WorldModel, generated

GAMMA = 0.5


def episodes() -> Episodes:
    """An episode of 3 steps that terminates and one of 4 that is truncated; rewards are 1, 2, ..., states 0, 1, ..."""
    position = np.array([0, 1, 2, 10, 11, 12, 13], np.float32)
    last = np.array([0, 0, 1, 0, 0, 0, 1], bool)
    return Episodes(
        obs=position[:, None],
        act=position[:, None] / 100,
        rew=position + 1,
        next_obs=position[:, None] + 1,
        terminated=last & (position < 10),
        truncated=last & (position >= 10),
        known_next=np.ones(7, bool),
        card=DataCard("count", "test", "", "Count-v0", "0" * 16),
        spaces=Spaces(1, 1, (-1.0,), (1.0,)),
    )


def windows() -> Windows:
    result = complete_windows(WindowSet(episodes(), 3, GAMMA, 1.0), 100, torch.Generator().manual_seed(0))
    return result[result.obs[:, 0, 0].argsort()]


def test_start_pairs_have_a_known_future() -> None:
    """The last pair of the truncated episode has one step of two; the terminated episode is known to its end."""
    assert windows().obs[:, 0, 0].tolist() == [0, 1, 2, 10, 11, 12]


def test_recorded_futures_end_with_their_episode() -> None:
    segments = recorded_segments(windows(), GAMMA)
    assert segments.rew.tolist() == [[1, 2], [2, 3], [3, 0], [11, 12], [12, 13], [13, 14]]
    assert segments.discount.tolist() == [[0.5, 0.5], [0.5, 0], [0, 0], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
    assert segments.obs[0].flatten().tolist() == [0, 1, 2]
    assert segments.reward_sum().tolist() == [2, 3.5, 3, 17, 18.5, 20]


class Far(WorldModel):
    """Stands at 1000 + the return-to-go with rewards of -1, without an end."""

    Config = FirstStepConfig
    follows_policy = False
    sequence_length = 3

    def fit_normalizers(self, episodes: Episodes) -> None: ...

    def loss(self, windows: Windows, generator: torch.Generator) -> None: ...

    def generate(self, request: SegmentRequest) -> Segments:
        later = (1000 + request.rtg)[:, None, None].expand(-1, request.horizon, 1)
        ones = torch.ones(len(later), request.horizon)
        return generated(torch.cat([request.obs[:, None], later], 1), request.act[:, None], -ones, ones)


def never(obs: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(obs[..., 0], dtype=torch.bool)


def futures(rule: Termination = never) -> dict[str, Segments]:
    model = Far(FirstStepConfig(), Spaces(1, 1, (-1.0,), (1.0,)))
    return futures_of(model, windows(), rule, GAMMA, torch.Generator().manual_seed(1))


def test_imagined_futures_have_the_own_or_a_shuffled_label() -> None:
    result, labels = futures(), windows().rtg + 1000
    assert torch.equal(result[IMAGINED].obs[:, 2, 0], labels)
    shuffled = result[SHUFFLED].obs[:, 2, 0]
    assert not torch.equal(shuffled, labels)
    assert torch.equal(shuffled.sort().values, labels.sort().values)


def test_a_recorded_first_step_ends_what_it_ends() -> None:
    result = futures()[CONTINUED]
    assert result.rew[:, 0].tolist() == [1, 2, 3, 11, 12, 13]
    assert result.rew[:, 1].tolist() == [-1] * 6
    assert result.discount.tolist() == [[0.5, 0.5], [0.5, 0.5], [0, 0], *[[0.5, 0.5]] * 3]
    assert result.obs[1].flatten().tolist()[:2] == [1, 2]


def test_ends_of_imagined_states_follow_the_rule() -> None:
    result = futures(lambda obs: obs[..., 0] > 100)
    assert (result[IMAGINED].discount == 0).all()
    assert torch.equal(result[RECORDED].discount, recorded_segments(windows(), GAMMA).discount)
    assert result[CONTINUED].discount[3].tolist() == [0.5, 0]  # the recorded first step does not end


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_compositions_take_each_part_from_its_future(mix) -> None:
    result = futures(lambda obs: obs[..., 0] > 100)
    segments = mix.of(result)
    assert torch.equal(segments.rew, result[mix.rewards].rew)
    assert torch.equal(segments.discount, result[mix.ends].discount)
    assert torch.equal(segments.obs, result[mix.states].obs)


def test_correlation_is_that_of_numpy() -> None:
    first, second = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    assert correlation(first, second) == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert correlation(first, torch.ones(50)) == 0.0


class Half:
    """Values a state at half of it and an action by another .25, in rewards that are scaled by 10."""

    scaling = SimpleNamespace(obs=lambda obs: obs)
    rule = SimpleNamespace(reward_scale=10.0)

    def value(self, states: torch.Tensor) -> torch.Tensor:
        return 5 * states[:, 0]

    def start_pairs(self, segments: Segments) -> tuple[torch.Tensor, torch.Tensor]:
        return segments.obs[:, 0], segments.act[:, 0]

    def critic(self, states: torch.Tensor, act: torch.Tensor) -> torch.Tensor:
        return (5 * states[:, 0] + 2.5 * act[:, 0]).expand(2, -1)


def test_golden_advantages() -> None:
    result = advantages(Half(), futures())
    # sums of rewards 2, 3.5, 3, 17, 18.5, 20; last states 2 (alive), end, end, 12, 13, 14; states / 2 at the start
    recorded = np.array([2 + 0.25 * 1, 3.5, 3, 17 + 0.25 * 6, 18.5 + 0.25 * 6.5, 20 + 0.25 * 7])
    gain = recorded - np.array([0, 1, 2, 10, 11, 12]) / 2
    effect = 0.25 * np.array([0, 1, 2, 10, 11, 12]) / 100
    row = result["all recorded"]
    assert row["std"] == pytest.approx(gain.std(ddof=1), rel=1e-5)
    assert row["correlation"] == pytest.approx(1.0)
    assert row["slope"] == pytest.approx(np.polyfit(effect, gain, 1)[0], rel=1e-4)
    assert row["ending"] == pytest.approx((3 + 2) / 2)
    labels = 1000 + windows().rtg.double().numpy()
    imagined = -1.5 + 0.25 * labels / 2 - np.array([0, 1, 2, 10, 11, 12]) / 2
    assert result["all imagined"]["ending"] == pytest.approx(imagined[1:3].mean(), rel=1e-5)


def test_samples_are_compared_with_the_first_continued_one() -> None:
    result = advantages(Half(), futures())  # this model is deterministic, so that its samples agree
    assert result["second sample"]["sample_correlation"] == pytest.approx(1.0)
    assert result["second sample"]["correlation"] == result["first step recorded"]["correlation"] < 1
    noisy = {**futures(), REPEATED: futures()[RECORDED]}
    assert (
        advantages(Half(), noisy)["second sample"]["sample_correlation"] == result["all recorded"]["sample_correlation"]
    )


def test_without_a_continued_future_samples_are_compared_with_the_imagined_one() -> None:
    result = futures()
    del result[CONTINUED]
    result[REPEATED] = result[IMAGINED]
    assert advantages(Half(), result)["second sample"]["sample_correlation"] == pytest.approx(1.0)


@pytest.mark.usefixtures("tiny_models")
def test_the_study_scores_every_composition(context: StudyContext) -> None:
    options = SwapOptions(horizon=3, agent_updates=4, num_seeds=2, num_pairs=300, agents=("iql", "td3_bc"))
    findings = measure(context, options)
    assert all(len(row) == len(table.headers) for table in findings.tables for row in table.rows)
    compared = json.loads(json.dumps(findings.numbers))["comparisons"]
    assert [one["method"] for one in compared] == ["DWM-IQL", "DWM-TD3+BC"]
    for one in compared:
        assert [outcome["mix"]["name"] for outcome in one["outcomes"]] == [mix.name for mix in MIXES]
        assert all(len(outcome["scores"]) == 2 for outcome in one["outcomes"])
        assert one["futures"][0]["reward_sum_correlation"] == pytest.approx(1.0)
        assert one["num_pairs"] == 300
        assert list(one["outcomes"][0]["advantages"]) == [mix.name for mix in (*MIXES, SECOND_SAMPLE)]
    stored = list(context.store.root.glob("swap/*.json"))
    before = [path.stat().st_mtime_ns for path in stored]
    assert len(before) == 2 * len(MIXES)
    assert json.loads(json.dumps(measure(context, options).numbers))["comparisons"] == compared
    assert [path.stat().st_mtime_ns for path in stored] == before  # nothing was trained again


@pytest.mark.usefixtures("tiny_models")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"horizon": 4},
            "--horizon: 4 is too long for dwm; expected at most 3, or a longer --world-model.sequence-length",
        ),
        ({"world_models": ("one_step",), "horizon": 2}, "--world-models: one_step follows the policy"),
        ({"agents": ("bc",)}, "--agents: bc has no critic"),
    ],
)
def test_what_cannot_take_part_is_refused(context: StudyContext, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(context, SwapOptions(**change))
