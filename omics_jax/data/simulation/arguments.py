"""What every simulator asks of its arguments: sizes, levels and shares that make sense.

Each check answers a mistake with one `UserError`, so that all simulators word it alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from omics_jax.errors import UserError


def check_sizes(minimum: int, sizes: Mapping[str, int]):
    """Refuses a size below the minimum; `sizes`: argument -> value."""
    for name, value in sizes.items():
        if value < minimum:
            raise argument_error(name, value, f"give {minimum} or more")


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
