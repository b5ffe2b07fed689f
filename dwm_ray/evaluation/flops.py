"""Count floating-point operations of matrix products and convolutions (multiply and add count as two)."""

from collections.abc import Callable

from torch.utils.flop_counter import FlopCounterMode


def count_flops(work: Callable[[], object]) -> int:
    """Return the operations of one call, including its backward passes and excluding element-wise operations."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())
