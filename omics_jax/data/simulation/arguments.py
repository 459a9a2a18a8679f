"""What every simulator asks of its arguments: sizes, levels and shares that make sense.

Each check answers a mistake with one `UserError`, so that all simulators word it alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from omics_jax.data.memory import check_memory
from omics_jax.errors import UserError

_CELL_BYTES = 40  # of a cell while it is drawn: float64, more than once


def check_sizes(minimum: int, sizes: Mapping[str, int]):
    """Refuses a size below the minimum; `sizes`: argument -> value."""
    for name, value in sizes.items():
        if value < minimum:
            raise argument_error(name, value, f"give {minimum} or more")


def check_cells(cells: int):
    """Refuses more measured cells than memory can hold while they are drawn."""
    check_memory("the simulator", f"a simulation of {cells:,} cells", cells * _CELL_BYTES)


def check_levels(levels: Mapping[str, float]):
    """Refuses a level that is negative or not finite; `levels`: argument -> value."""
    for name, value in levels.items():
        if not (math.isfinite(value) and value >= 0):
            raise argument_error(name, value, "give a finite number of 0 or more")


def check_shares(shares: Mapping[str, float]):
    """Refuses a share outside [0, 1); `shares`: argument -> value."""
    for name, value in shares.items():
        if not 0 <= value < 1:
            raise argument_error(name, value, "give a fraction from 0 to below 1")


def argument_error(name: str, value, mend: str) -> UserError:
    """The error for an argument that makes no sense, with its mend."""
    return UserError(f"the simulator was given {name} = {value}; {mend}")
