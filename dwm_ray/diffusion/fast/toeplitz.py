"""Convolutions over 2, 4 or 8 positions with fewer products than entries: Karatsuba's scheme on the block matrix.

Over T positions a convolution is y_j = sum_i t[i - j] x_i, a Toeplitz matrix of [C, C'] blocks. In halves,

    y_0 = D (x_0 + x_1) + (U - D) x_1        y_1 = D (x_0 + x_1) + (L - D) x_0

with D on the diagonal, U above, L below: three products of half the length instead of four, recursively down to one
position. T = 2, 4, 8 take 3, 9, 27 products of [B, C] by [C, C'], while a kernel of 5 has 4, 14, 34 entries.
Differences of weights are computed once; sums of inputs and outputs are matrices of 0 and 1, exact in bfloat16.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

Blocks = Mapping[int, Tensor]
"""Offset i - j of input and output position -> [C, C']; offsets that are missing are zero."""

IN = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
OUT = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])


def sums(length: int) -> tuple[Tensor, Tensor]:
    """Return the inputs of each product [P, T] and the products of each output [T, P], as matrices of 0 and 1."""
    into, out = torch.ones(1, 1), torch.ones(1, 1)
    for _ in range(length.bit_length() - 1):
        into, out = torch.kron(IN, into), torch.kron(OUT, out)
    return into, out


def factors(blocks: Blocks, length: int) -> Tensor:
    """Return the matrices [P, C, C'] of the products; `length` is a power of two."""
    zero = torch.zeros_like(blocks[0])
    if length == 1:
        return blocks.get(0, zero)[None]
    half = length // 2
    near, above, below = ({o: blocks.get(o + at, zero) for o in range(1 - half, half)} for at in (0, half, -half))
    upper, lower = ({o: other[o] - near[o] for o in near} for other in (above, below))
    return torch.cat([factors(near, half), factors(upper, half), factors(lower, half)])
