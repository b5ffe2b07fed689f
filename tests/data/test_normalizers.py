import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dwm_ray.data.normalizers import CDFNormalizer, MinMaxNormalizer, ZScore

NORMALIZERS = [CDFNormalizer, MinMaxNormalizer, ZScore]
tables = arrays(np.float32, (40, 3), elements=st.floats(-100, 100, width=16))  # coarse values: many ties


@given(tables)
@settings(max_examples=40, deadline=None)
def test_cdf_gives_every_data_value_back_and_stays_in_range(data: np.ndarray) -> None:
    normalizer = CDFNormalizer(3, num_knots=40).fit(data)  # one knot per row: every value is a knot
    value = normalizer(torch.from_numpy(data))
    assert value.abs().max() <= 1
    torch.testing.assert_close(normalizer.inverse(value), torch.from_numpy(data), rtol=1e-4, atol=1e-2)


@given(tables, st.lists(st.floats(-200, 200, width=32, allow_subnormal=False), min_size=2, max_size=20))
@settings(max_examples=40, deadline=None)  # processors may treat subnormal numbers as 0, but not in every instruction
def test_cdf_and_its_inverse_are_monotone(data: np.ndarray, points: list[float]) -> None:
    normalizer = CDFNormalizer(3, num_knots=16).fit(data)
    raw = torch.tensor(sorted(points)).unsqueeze(1).expand(-1, 3)
    assert (normalizer(raw).diff(dim=0) >= 0).all()
    assert (normalizer.inverse(raw / 200).diff(dim=0) >= 0).all()


def test_cdf_makes_any_distribution_uniform() -> None:
    data = np.random.default_rng(0).lognormal(size=(20_000, 2)).astype(np.float32)
    value = CDFNormalizer(2).fit(data)(torch.from_numpy(data))
    levels = torch.linspace(0.1, 0.9, 9)
    torch.testing.assert_close(
        value.quantile(levels, dim=0), (2 * levels - 1)[:, None].expand(-1, 2), atol=5e-3, rtol=0
    )


def test_cdf_interpolates_between_quantiles() -> None:
    normalizer = CDFNormalizer(1, num_knots=3).fit(np.array([[0.0], [1.0], [5.0]]))
    raw = torch.tensor([[-9.0], [0.0], [0.5], [1.0], [3.0], [5.0], [9.0]])
    torch.testing.assert_close(normalizer(raw), torch.tensor([[-1.0], [-1], [-0.5], [0], [0.5], [1], [1]]))
    torch.testing.assert_close(normalizer.inverse(normalizer(raw)), raw.clamp(0, 5))


def test_constants_are_centred_and_come_back() -> None:
    data = np.full((10, 1), 3.3, np.float32)
    raw = torch.from_numpy(data)
    for cls in NORMALIZERS:
        normalizer = cls(1).fit(data)
        torch.testing.assert_close(normalizer(raw), torch.zeros(10, 1), atol=1e-4, rtol=0)
        torch.testing.assert_close(normalizer.inverse(normalizer(raw)), raw)


def test_min_max_and_z_score_golden() -> None:
    data = np.array([[0.0], [10.0]])
    raw = torch.tensor([[0.0], [7.5]])
    torch.testing.assert_close(MinMaxNormalizer(1).fit(data)(raw), torch.tensor([[-1.0], [0.5]]))
    torch.testing.assert_close(ZScore(1, eps=0.0).fit(data)(raw), torch.tensor([[-1.0], [0.5]]))


@pytest.mark.parametrize("cls", NORMALIZERS)
def test_an_unfitted_module_loads_a_fitted_state_and_any_leading_shape(cls: type) -> None:
    data = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32)
    fitted, fresh = cls(4).fit(data), cls(4)
    fresh.load_state_dict(fitted.state_dict())
    raw = torch.from_numpy(data[:24])
    torch.testing.assert_close(fresh(raw.view(2, 3, 4, 4)).view(24, 4), fitted(raw))
    assert not torch.equal(fitted(raw), cls(4)(raw))
