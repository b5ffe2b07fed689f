"""Distances between two sets of points, such as generated and recorded states.

    MMD^2       mean k(x, x') + mean k(y, y') - 2 mean k(x, y), unbiased      Gretton et al. 2012, eq. 3
    KL(x || y)  from distances to the k-th nearest neighbours in x and y      Wang, Kulkarni & Verdu 2009, eq. 5

k is Gaussian; its width is the median distance of the pooled points. The expectation of MMD^2 is 0 if x and y have the
same distribution. In a permutation test, the labels x and y are shuffled, and the 95 % quantile of the results is the
floor below which a distance is not significant. The test assumes independent points. KL estimates from a few hundred
points in many dimensions are biased: compare them with the same estimate between two halves of the recorded data, not
with 0.
"""

import math

import torch
from torch import Tensor

from dwm_ray.types import Json

FLOOR_LEVEL = 0.95
CLOSEST = 1e-6
"""Smallest distance whose logarithm is taken, in the units of the points."""


def mmd(x: Tensor, y: Tensor, generator: torch.Generator, num_permutations: int = 100) -> Json:
    """Return the unbiased MMD^2 of x [m, D] and y [n, D] with m, n >= 2, and its permutation test.

        value    the distance
        floor    its 95 % quantile over permutations; -inf without permutations
        p_value  fraction of permutations, including the identity, with at least this distance

    The generator is on the CPU.
    """
    squared = _distances(x, y).square()
    width = _pairs(squared).median().clamp_min(CLOSEST**2)
    return _two_sample(torch.exp(-squared / (2 * width)), len(x), generator, num_permutations)


def kl_divergence(x: Tensor, y: Tensor, neighbours: int = 5) -> float:
    """Estimate KL(p_x || p_y) in nats from x [m, D] and y [n, D]; the estimate may be negative.

    It is large if x has points far from all of y, so x should be the generated points and y the recorded ones.
    """
    if not 1 <= neighbours < min(len(x), len(y) + 1):
        raise ValueError(
            f"KL of {len(x)} and {len(y)} points: too few for {neighbours} nearest neighbours; expected more points"
        )
    x, y = x.double(), y.double()
    within = torch.cdist(x, x).kthvalue(neighbours + 1, dim=1).values  # a point's nearest neighbour is itself
    across = torch.cdist(x, y).kthvalue(neighbours, dim=1).values
    ratio = across.clamp_min(CLOSEST).log() - within.clamp_min(CLOSEST).log()
    return float(x.shape[1] * ratio.mean()) + math.log(len(y) / (len(x) - 1))


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Return distances [m + n, m + n] between all points, x first."""
    if min(len(x), len(y)) < 2 or x.shape[1:] != y.shape[1:]:
        raise ValueError(f"distance of sets {list(x.shape)} and {list(y.shape)}: expected 2 points each, of one size")
    pooled = torch.cat([x, y]).double().cpu()
    return torch.cdist(pooled, pooled, compute_mode="donot_use_mm_for_euclid_dist")


def _pairs(matrix: Tensor) -> Tensor:
    """Return the entries above the diagonal."""
    rows, columns = torch.triu_indices(len(matrix), len(matrix), offset=1)
    return matrix[rows, columns]


def _two_sample(matrix: Tensor, num_x: int, generator: torch.Generator, num_permutations: int) -> Json:
    total = len(matrix)
    actual = torch.arange(total).expand(1, -1)
    shuffled = [torch.randperm(total, generator=generator) for _ in range(num_permutations)]
    ranks = torch.cat([actual, *(order.unsqueeze(0) for order in shuffled)])
    statistics = _statistics(matrix, (ranks < num_x).double(), num_x)
    value, permuted = statistics[0], statistics[1:]
    floor = float(permuted.quantile(FLOOR_LEVEL)) if len(permuted) else -math.inf
    return {"value": float(value), "floor": floor, "p_value": float((statistics >= value).double().mean())}


def _statistics(matrix: Tensor, is_x: Tensor, num_x: int) -> Tensor:
    """Return mean within x + mean within y - 2 mean across [P] for labels [P, m + n]; the diagonal is excluded."""
    num_y = len(matrix) - num_x
    across_all = matrix - torch.diag(matrix.diagonal())
    within_x = ((is_x @ across_all) * is_x).sum(1)
    from_x = is_x @ across_all.sum(1)
    across = from_x - within_x
    within_y = across_all.sum() - from_x - across
    return within_x / (num_x * (num_x - 1)) + within_y / (num_y * (num_y - 1)) - 2 * across / (num_x * num_y)
