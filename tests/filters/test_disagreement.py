import pytest
import torch

from dwm_ray.filters.disagreement import Disagreement, DisagreementConfig
from dwm_ray.types import Segments


def selected(penalty: torch.Tensor, quantile: float, discount: torch.Tensor | None = None) -> list[int]:
    """Rows that are selected from segments with penalties [B, H]."""
    size, horizon = penalty.shape
    obs, act = torch.zeros(size, horizon + 1, 2), torch.zeros(size, horizon, 1)
    discount = torch.full_like(penalty, 0.99) if discount is None else discount
    segments = Segments(obs, act, torch.zeros_like(penalty), discount, penalty, torch.ones(size))
    chosen = Disagreement(DisagreementConfig(quantile=quantile))
    return chosen.select(segments, torch.Generator().manual_seed(0)).tolist()


@pytest.mark.parametrize(
    ("quantile", "rows"),
    [(0.75, [0, 1, 3, 4]), (0.5, [0, 1, 3]), (1.0, [0, 1, 2, 3, 4]), (1e-6, [1])],
)
def test_transitions_above_the_quantile_are_dropped(quantile: float, rows: list[int]) -> None:
    assert selected(torch.tensor([[3.0], [1.0], [9.0], [2.0], [5.0]]), quantile) == rows


def test_the_default_drops_one_in_twenty() -> None:
    penalty = torch.rand(4096, 1, generator=torch.Generator().manual_seed(0))
    rows = selected(penalty, DisagreementConfig().quantile)
    assert len(rows) == 3891  # values 1..3891 of 4096 lie at or below rank .95 * 4095 = 3890.25
    assert penalty[rows].max() < penalty.quantile(0.951)


@pytest.mark.parametrize(("penalty", "quantile"), [(0.0, 0.5), (0.3, 0.01)])
def test_equal_penalties_drop_nothing(penalty: float, quantile: float) -> None:
    assert selected(torch.full((20, 1), penalty), quantile) == list(range(20))


def test_a_segment_counts_by_its_worst_step_before_the_termination() -> None:
    penalty = torch.tensor([[1.0, 2.0, 9.0], [1.0, 1.0, 1.0], [3.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    discount = torch.full((4, 3), 0.99)
    assert selected(penalty, 0.5, discount) == [1, 2]
    discount[0, 1:] = 0  # terminates at step 1, so its third step does not count
    assert selected(penalty, 0.5, discount) == [0, 1]
    assert Disagreement.per_transition
