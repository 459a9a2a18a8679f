"""The number of steps of the next block."""

from __future__ import annotations

from omics_jax.training.job import Options

FASTEST_STEP = 1e-6  # seconds; a shorter time is taken for this
MOST_GROWTH = 8  # from one block to the next


class BlockSizer:
    """Chooses the number of steps of the next block from the duration of the last one.

    Each of its programs should take `Options.block_seconds`, or have `Options.block_steps` steps.

    Args:
      longest: the most steps a block may have.
    """

    def __init__(self, options: Options, longest: int):
        self._seconds = options.block_seconds
        self._longest = longest
        self._is_fixed = options.block_steps != 0
        self._next = options.block_steps or 1

    def next_size(self, remaining: int) -> int:
        """Steps of the next block, at most the remaining ones."""
        return min(max(self._next, 1), self._longest, remaining)

    def record(self, seconds: float, count: int) -> None:
        """Records how long a program of the last block, with `count` steps, took."""
        if self._is_fixed:
            return
        fitting = self._seconds / max(seconds / count, FASTEST_STEP)
        self._next = int(min(fitting, MOST_GROWTH * count))
