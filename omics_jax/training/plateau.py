"""A learning rate that falls when a monitored value stops falling, inside the compiled epoch end.

The rule, its threshold and its counting of bad epochs are those of
torch.optim.lr_scheduler.ReduceLROnPlateau (mode "min", threshold mode "rel"), which
optax.contrib.reduce_on_plateau meets only at a patience one higher. Left out: cooldown and mode
"max".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from omics_jax.errors import UserError


@dataclass(frozen=True)
class Plateau:
    """When a rate is multiplied by `factor`.

    Attributes:
      watch: name of the monitored value, lower is better.
      factor: above 0 and below 1.
      patience: bad epochs in a row that change nothing; the rate falls with the one after them.
      floor: the least rate, in the units of `TrainState.rate`.
      threshold: a value counts as better where it is below best * (1 - threshold).
      epsilon: a fall of at most this much is not made, in the units of `TrainState.rate`.

    Raises:
      UserError: a factor, patience, floor or threshold out of its range.
    """

    watch: str
    factor: float
    patience: int
    floor: float = 0.0
    threshold: float = 1e-4
    epsilon: float = 1e-8

    def __post_init__(self):
        is_count = self.patience >= 0 and self.patience == int(self.patience)
        ranges = {
            "factor": (0 < self.factor < 1, "a number above 0 and below 1"),
            "patience": (is_count, "a whole number of 0 or more"),
            "floor": (self.floor >= 0, "0 or more"),
            "threshold": (0 <= self.threshold < 1, "0 or more and below 1"),
        }
        for name, (in_range, allowed) in ranges.items():
            if not in_range:
                value = getattr(self, name)
                raise UserError(f"the plateau's {name} is {value}; it must be {allowed}")


class PlateauState(NamedTuple):
    """What the rule remembers.

    Attributes:
      best: () the least value that counted as better.
      bad: () epochs since then, or since the rate last fell.
    """

    best: Array
    bad: Array


def initial_plateau() -> PlateauState:
    """Before the first epoch."""
    return PlateauState(best=jnp.float32(jnp.inf), bad=jnp.int32(0))


def update_plateau(
    plateau: Plateau, state: PlateauState, rate: Float[Array, ""], value: Float[Array, ""]
) -> tuple[PlateauState, Float[Array, ""]]:
    """(state, rate) after an epoch with this value; a value that is not a number is a bad epoch.

    bad = 0 if value < best (1 - threshold) else bad + 1; where bad > patience, bad = 0 and
    rate = max(rate factor, floor), unless the rate would fall by no more than epsilon.
    """
    better = value < state.best * (1 - plateau.threshold)
    bad = jnp.where(better, 0, state.bad + 1)
    due = bad > plateau.patience
    lower = jnp.maximum(rate * plateau.factor, plateau.floor)
    after = PlateauState(jnp.where(better, value, state.best), jnp.where(due, 0, bad))
    return after, jnp.where(due & (rate - lower > plateau.epsilon), lower, rate)
