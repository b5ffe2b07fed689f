"""Recorded futures equal a step-by-step construction, and those of length 1 are the recorded transitions."""

from typing import Any

import numpy as np
import pytest
import torch

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.data.transitions import last_steps, real_segments
from dwm_ray.replay.recorded import RecordedSource, recorded_sources
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.sources import mixture, recorded_ring, recorded_rows, row_horizon
from dwm_ray.types import DataCard, Episodes, Segments, Spaces

CPU, GAMMA = torch.device("cpu"), 0.9
LENGTHS = [1, 4, 7, 2, 5, 1]
SPACES = Spaces(obs_size=2, act_size=1, act_low=(-1.0,), act_high=(1.0,))
CARD = DataCard("made-up", "made by a test", "", "Pendulum-v1", "0" * 16)


def recording() -> Episodes:
    """Episodes that terminate, that are truncated with and without a known next state, and a gap within one."""
    rng, num = np.random.default_rng(0), sum(LENGTHS)
    ends = np.zeros(num, dtype=bool)
    ends[np.cumsum(LENGTHS) - 1] = True
    terminated = ends & (np.repeat(range(len(LENGTHS)), LENGTHS) % 2 == 1)
    known = np.ones(num, dtype=bool)
    known[[0, 4, 8, 13]] = False  # truncated alone, terminated, within an episode, terminated
    obs = rng.normal(size=(num, 2)).astype(np.float32)
    return Episodes(
        obs=obs,
        act=rng.uniform(-1, 1, (num, 1)).astype(np.float32),
        rew=rng.normal(size=num).astype(np.float32),
        next_obs=np.where(ends[:, None], obs + 1, np.roll(obs, -1, 0)),
        terminated=terminated,
        truncated=ends & ~terminated,
        known_next=known,
        card=CARD,
        spaces=SPACES,
    )


def config_of(horizon: int, **options: Any) -> RunConfig:
    base = RunConfig.model_validate({"world_model": "recorded", "agent": "td3_bc", "filter": "keep_all"})
    values = {"training.discount": GAMMA, "training.batch_size": 64, "synthesis.horizon": horizon}
    return base.with_values({**values, **options})


def data() -> TaskData:
    return TaskData.of(config_of(1), recording())


def future(episodes: Episodes, row: int, horizon: int) -> Segments:
    """Return the segment that starts at a row, built step by step, without padding."""
    steps = [row]
    while len(steps) < horizon:
        last, following = steps[-1], steps[-1] + 1
        if episodes.terminated[last] or episodes.truncated[last]:
            break
        if not (episodes.known_next[following] or episodes.terminated[following]):
            break
        steps.append(following)
    discount = [0.0 if episodes.terminated[step] else GAMMA for step in steps]
    states = np.concatenate([episodes.obs[[row]], episodes.next_obs[steps]])
    parts = (states, episodes.act[[row]], episodes.rew[steps], discount, [0.0] * len(steps), 0.0)
    return Segments(*(torch.tensor(np.asarray(part, np.float32))[None] for part in parts))


def batch_of(source: RecordedSource, seed: int = 0) -> Segments:
    return source.next_batch(torch.Generator().manual_seed(seed))


def starts_of(segments: Segments, episodes: Episodes) -> list[int]:
    """Return the row of each segment's start pair."""
    equal = (segments.obs[:, 0].numpy()[:, None] == episodes.obs[None]).all(-1)
    assert (equal.sum(1) == 1).all()
    return equal.argmax(1).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("horizon", "ratio", "num_recorded"), [(1, 0.0, 0), (3, 0.0, 0), (5, 0.25, 16), (5, 1.0, 64)])
def test_segments_are_those_of_a_loop_over_the_recording(horizon: int, ratio: float, num_recorded: int) -> None:
    episodes = recording()
    batch = batch_of(RecordedSource(config_of(horizon, **{"replay.real_ratio": ratio}), data(), CPU))
    starts = starts_of(batch, episodes)
    assert len(set(starts)) > 10
    assert {0, 8}.isdisjoint(starts)  # neither row is a transition
    for number, row in enumerate(starts):
        expected = future(episodes, row, 1 if number < num_recorded else horizon).padded(horizon)
        for name, value in batch[number : number + 1].tensors().items():
            assert torch.equal(value, getattr(expected, name)), (row, name)


def test_length_one_is_model_free_bit_for_bit() -> None:
    config, task_data = config_of(1), data()
    model_free = mixture(config, recorded_ring(config, task_data, CPU), None)
    first, second = (source.next_batch(torch.Generator().manual_seed(3)) for source in (model_free, source_of(1)))
    assert all(torch.equal(value, getattr(second, name)) for name, value in first.tensors().items())


def source_of(horizon: int) -> RecordedSource:
    return RecordedSource(config_of(horizon), data(), CPU)


def test_a_horizon_beyond_every_recording_takes_the_longest_future() -> None:
    far, exact = batch_of(source_of(10**9)), batch_of(source_of(5))
    assert far.horizon == 5 == last_steps(recording(), CPU)[1]
    assert all(torch.equal(value, getattr(exact, name)) for name, value in far.tensors().items())


def test_members_with_other_horizons_get_their_own_batches_padded() -> None:
    configs = [config_of(2), config_of(4, **{"replay.real_ratio": 0.5})]
    for config, source in zip(configs, recorded_sources(configs, data(), CPU), strict=True):
        assert isinstance(source, RecordedSource)
        alone = batch_of(RecordedSource(config, data(), CPU)).padded(4)
        assert all(torch.equal(value, getattr(batch_of(source), name)) for name, value in alone.tensors().items())


def test_next_action_is_the_one_recorded_in_the_last_state() -> None:
    episodes, config = recording(), config_of(3).with_values({"agent": "rebrac"})
    batch = batch_of(RecordedSource(config, data(), CPU))
    assert batch.next_act is not None
    for number, row in enumerate(starts_of(batch, episodes)):
        last = row + int((batch.discount[number] < 1).sum()) - 1
        is_end = episodes.terminated[last] or episodes.truncated[last]
        expected = [np.nan] if is_end else episodes.act[last + 1].tolist()
        assert batch.next_act[number].tolist() == pytest.approx(expected, nan_ok=True)


def test_futures_of_the_last_rows_reach_no_further_than_the_recording() -> None:
    last, longest = last_steps(recording(), CPU)
    assert len(last) == len(real_segments(recording(), GAMMA))
    assert (last >= torch.arange(len(last))).all()
    assert int(last.max()) == len(last) - 1
    assert longest == int((last - torch.arange(len(last))).max()) + 1


@pytest.mark.parametrize("longest", [3, 7])
def test_recorded_rows_of_a_mixture_may_be_futures(longest: int) -> None:
    """They are those of the same start pairs alone, padded to the imagined segments' length."""
    config, task_data = config_of(3).with_values({"world_model": "dwm"}), data()
    mixed = config.with_values({"replay.real_ratio": 0.5, "replay.real_steps": "horizon"})
    transitions = recorded_ring(config, task_data, CPU)
    rows = recorded_rows(mixed, task_data, transitions, longest)
    shape = transitions.shape.padded(longest)
    imagined = Ring(4, shape)
    imagined.add(torch.full((4, shape.width), 9.0))
    batch = mixture(mixed, rows, imagined, longest).next_batch(torch.Generator().manual_seed(0))
    assert (batch.source == torch.tensor([0.0] * 32 + [9.0] * 32)).all()
    for number, row in enumerate(starts_of(batch[:32], recording())):
        expected = future(recording(), row, 3).padded(longest)
        assert torch.equal(batch.rew[number], expected.rew[0])
        assert torch.equal(batch.discount[number], expected.discount[0])
        assert torch.equal(batch.obs[number], expected.obs[0])
    assert recorded_rows(config, task_data, transitions, longest) is transitions


def test_models_that_are_rolled_out_within_updates_take_transitions() -> None:
    with pytest.raises(ValueError, match="world model one_step is rolled out within updates"):
        config_of(1).with_values({"world_model": "one_step", "replay.real_steps": "horizon"})


def test_futures_may_be_longer_than_the_imagined_rows() -> None:
    """DAWM's imagined rows are transitions."""
    config, task_data = config_of(3).with_values({"world_model": "dawm"}), data()
    mixed = config.with_values({"replay.real_ratio": 0.5, "replay.real_steps": "horizon"})
    transitions = recorded_ring(config, task_data, CPU)
    longest = row_horizon(mixed, transitions)
    rows = recorded_rows(mixed, task_data, transitions, longest)
    batch = mixture(mixed, rows, transitions, longest).next_batch(torch.Generator().manual_seed(0))
    assert (longest, row_horizon(config, transitions), row_horizon(config, None)) == (3, 1, 1)
    assert (batch.rew[:32, 1] != 0).any()
    assert (batch.rew[32:, 1:] == 0).all()
