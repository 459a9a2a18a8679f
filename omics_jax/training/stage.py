"""The values a training is made of: `Term`, `Stage`, `Replicate`.

A system describes its training with these; the trainer (`step`, `block`, `loop`) runs them and
knows nothing of
what is being trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from omics_jax.errors import UserError
from omics_jax.training.plateau import Plateau

Variables = Mapping[str, Any]  # "params", "batch_stats", "constants": pytrees of arrays
# slot -> field -> (width, ...), with "row" and "live" (width,)
Batch = Mapping[str, Mapping[str, jax.Array | np.ndarray]]


class Term(NamedTuple):
    """One term of a loss as a sum and the weight it was summed with; both are added over devices.

    Scalars, or arrays of one shape (per latent dimension, per task). Rows that are padding or carry
    no label
    are masked with `where` before the sum and count nothing in the weight. What may hold NaN there
    (a missing label)
    is masked before it meets a parameter as well, because the gradient of a later `where` is 0
    times NaN.
    """

    sum: jax.Array
    weight: jax.Array

    @property
    def mean(self) -> jax.Array:
        """sum / weight, and 0 (with zero gradient) where nothing was weighed."""
        empty = self.weight == 0  # and not `> 0`, which would take a NaN for no weight at all
        return jnp.where(empty, 0, self.sum / jnp.where(empty, 1, self.weight))


Terms = Mapping[str, Term]


class Balance(NamedTuple):
    """How the gradients of several tasks become one.

    tasks: terms -> (T,) losses, each pulled back by itself and added over devices before `combine`.
    init: list of the trainable parameters -> state (a pytree, kept in the TrainState).
    combine: (their gradients, each (T, ...), losses (T,), state) -> (list of gradients, state).
    """

    tasks: Callable[[Terms], jax.Array]
    init: Callable[[Any], Any]
    combine: Callable[[Any, jax.Array, Any], tuple[Any, Any]]


@dataclass(frozen=True)
class Stage:
    """One phase of training, as data.

    Attributes:
      name: names the stage in the history and among the kept variables.
      loss: (variables, batch, key) -> (terms, new batch_stats). Local sums only: no mean over rows,
        no
        collective but those of `nn.collective`. Noise is keyed by `batch[slot]["row"]`. Dropout of
        modules that `trainable` freezes must be off: the loss is written for its stage.
      objective: terms (added over devices) -> scalar to minimise.
      optimizer: acts on the trainable parameters alone; clipping belongs inside it.
      epochs: at most so many passes over the rows.
      batch_size: slot -> the most rows of that slot in one step. The rows of an epoch are shared
        out evenly
        over its steps, of which there are max over slots of ceil(rows / batch_size).
      trainable: regexes, each matching whole paths such as "encoder/dense_0/bias"; everything else
        is frozen.
      monitor: (variables, validation batch) -> scalar, lower is better; jit-able. With it the
        variables of the
        best epoch are what the stage hands on, or those it began with if another stage handed them
        on and no epoch was better; without it, the last. Or name -> scalar, of which "monitor" is
        the
        one that decides and the others stand beside it in the history.
      patience: stop after so many monitored epochs without improvement; None trains all epochs.
      monitor_every: epochs between two looks at the monitor.
      features: (variables, batch of one slot) -> field -> (width, ...): what the frozen part of the
        network makes
        of every row, computed once at the start of the stage and found in the batch under these
        names.
      reads: regexes, each matching whole names of the fields of a row that `loss` and `monitor`
        read. Of a table that stays on the host only these are gathered.
      balance: task balancing instead of the gradient of `objective`.
      rate: constants -> scalar that multiplies every update of the replicate: a learning rate that
        is its hyper-parameter (the optimizer then has learning rate 1).
      plateau: lowers that rate (1 where `rate` is None) when one of the monitored values stops
        falling.

    Raises:
      UserError: epochs, a batch size, monitor_every or patience below 1.
      ValueError: a plateau without a monitor.
    """

    name: str
    loss: Callable[[Variables, Batch, jax.Array], tuple[Terms, Any]]
    objective: Callable[[Terms], jax.Array]
    optimizer: optax.GradientTransformation
    epochs: int
    batch_size: Mapping[str, int]
    trainable: tuple[str, ...] = (".*",)
    monitor: Callable[[Variables, Batch], jax.Array | Mapping[str, jax.Array]] | None = None
    patience: int | None = None
    monitor_every: int = 1
    features: Callable[[Variables, Mapping[str, jax.Array]], Mapping[str, jax.Array]] | None = None
    reads: tuple[str, ...] = (".*",)
    balance: Balance | None = None
    rate: Callable[[Mapping[str, jax.Array]], jax.Array] | None = None
    plateau: Plateau | None = None

    def __post_init__(self):
        least = {"epochs": self.epochs, "monitor_every": self.monitor_every}
        least |= {f"batch_size of {slot!r}": size for slot, size in self.batch_size.items()}
        least |= {} if self.patience is None else {"patience": self.patience}
        for name, value in least.items():
            if value < 1:
                raise UserError(f"stage {self.name!r}: {name} is {value}; give 1 or more")
        if self.plateau is not None and self.monitor is None:
            raise ValueError(f"stage {self.name!r} has a plateau and no monitor for it to watch")

    @property
    def adapts(self) -> bool:
        """Whether the rate of its updates is anything but 1."""
        return self.rate is not None or self.plateau is not None


def monitored_values(stage: Stage, variables: Variables, batch: Batch) -> Mapping[str, jax.Array]:
    """What the stage's monitor gives, by name; a scalar's name is "monitor"."""
    found = stage.monitor(variables, batch)
    return found if isinstance(found, Mapping) else {"monitor": found}


@dataclass(frozen=True)
class Replicate:
    """One training among many of the same shape: a fold, a repeat, a drug, a seed.

    Attributes:
      rows: slot -> (n,) indices of the rows to train on.
      validation: slot -> (n,) indices of the rows the monitor sees.
      test: (n,) indices of the rows to predict and score.
      seed: of everything random in this training; never its position among the others.
      constants: name -> array fitted on this replicate's training rows (scalers, medians, masks).
      labels: what tells it apart, for tables: {"group": "vorinostat", "fold": 0, "repeat": 3}.
      sampling: slot -> (n,) weights; rows of that slot are then drawn with replacement in
        proportion to them.
    """

    rows: Mapping[str, np.ndarray]
    validation: Mapping[str, np.ndarray]
    test: np.ndarray
    seed: int
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The labels in words, e.g. "vorinostat fold 0 repeat 3"."""
        return (
            " ".join(str(v) if k == "group" else f"{k} {v}" for k, v in self.labels.items())
            or "all rows"
        )
