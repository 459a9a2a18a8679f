"""The values that describe a training: `Term`, `Stage`, `Replicate`.

A system describes its training with these; the trainer (`step`, `block`, `loop`) runs them and does
not know what is being trained.
"""

from __future__ import annotations

import re
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

    Scalars, or arrays of one shape (per latent dimension, per task). Rows that are padding or have
    no label are masked with `where` before the sum and add nothing to the weight. A value that may
    be NaN there (a missing label) is also masked before it meets a parameter, because the gradient
    of a later `where` is 0 times NaN.
    """

    sum: jax.Array
    weight: jax.Array

    @property
    def mean(self) -> jax.Array:
        """sum / weight, and 0 (with zero gradient) where the weight is 0."""
        empty = self.weight == 0  # and not `> 0`, which would take a NaN for no weight at all
        return jnp.where(empty, 0, self.sum / jnp.where(empty, 1, self.weight))


Terms = Mapping[str, Term]


class Balance(NamedTuple):
    """How the gradients of several tasks become one.

    Attributes:
      tasks: terms -> (T,) losses, each pulled back by itself and added over devices before
        `combine`.
      init: list of the trainable parameters -> state (a pytree, kept in the TrainState).
      combine: (their gradients, each (T, ...), losses (T,), state, key of the step) -> (list of
        gradients, state).
      observe: (state, monitored values by name) -> state, after every look at the monitor; None
        where the rule does not depend on validation rows.
    """

    tasks: Callable[[Terms], jax.Array]
    init: Callable[[Any], Any]
    combine: Callable[[Any, jax.Array, Any, jax.Array], tuple[Any, Any]]
    observe: Callable[[Any, Mapping[str, jax.Array]], Any] | None = None


@dataclass(frozen=True)
class Stage:
    """One phase of training, as data.

    Attributes:
      name: names the stage in the history and among the saved variables.
      loss: (variables, batch, key) -> (terms, new batch_stats). Local sums only: no mean over rows,
        no collective but those of `nn.collective`. Noise is keyed by `batch[slot]["row"]`. Dropout
        of modules that `trainable` freezes must be off: the loss is written for its stage.
      objective: terms (added over devices) -> scalar to minimise.
      optimizer: acts on the trainable parameters alone; clipping belongs inside it.
      epochs: the most passes over the rows.
      batch_size: slot -> the most rows of that slot in one step. The rows of an epoch are shared
        out evenly over its steps, of which there are max over slots of ceil(rows / batch_size).
      trainable: regexes, each matching whole paths such as "encoder/dense_0/bias"; everything else
        is frozen.
      monitor: (variables, validation batch) -> scalar, lower is better; jit-able. With it the stage
        hands on the variables of the best epoch, or those it started from if another stage handed
        them on and no epoch was better; without it, the last. Or name -> scalar, of which "monitor"
        decides and the others are only written to the history.
      patience: stop after this many monitored epochs without improvement; None trains all epochs.
      monitor_every: number of epochs between two evaluations of the monitor.
      features: (variables, batch of one slot) -> field -> (width, ...): the output of the frozen
        part of the network. It is computed once, at the start of the stage, and batches hold it
        under these names.
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
        counts = {"epochs": self.epochs, "monitor_every": self.monitor_every}
        for slot, size in self.batch_size.items():
            counts[f"batch_size of {slot!r}"] = size
        if self.patience is not None:
            counts["patience"] = self.patience
        for name, value in counts.items():
            if value < 1:
                raise UserError(f"stage {self.name!r}: {name} is {value}; give 1 or more")
        if self.plateau is not None and self.monitor is None:
            raise ValueError(f"stage {self.name!r} has a plateau and no monitor for it to watch")

    @property
    def scales_updates(self) -> bool:
        """Whether its updates are multiplied by a rate other than 1, see `TrainState.rate`."""
        return self.rate is not None or self.plateau is not None


def monitored_values(stage: Stage, variables: Variables, batch: Batch) -> Mapping[str, jax.Array]:
    """The values of the stage's monitor by name; a scalar's name is "monitor"."""
    values = stage.monitor(variables, batch)
    return values if isinstance(values, Mapping) else {"monitor": values}


def fields_read(stage: Stage, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row that the stage reads."""

    def is_read(name: str) -> bool:
        return any(re.fullmatch(pattern, name) for pattern in stage.reads)

    return {name: field for name, field in fields.items() if is_read(name)}


@dataclass(frozen=True)
class Replicate:
    """One training among many of the same shape: a fold, a repeat, a drug, a seed.

    Attributes:
      rows: slot -> (n,) indices of the rows to train on.
      validation: slot -> (n,) indices of the rows the monitor sees.
      test: (n,) indices of the rows to predict and score.
      seed: of everything random in this training; never its position among the others.
      constants: name -> array fitted on this replicate's training rows (scalers, medians, masks).
      labels: what distinguishes it, for tables: {"group": "vorinostat", "fold": 0, "repeat": 3}.
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
        words = [
            str(label) if kind == "group" else f"{kind} {label}"
            for kind, label in self.labels.items()
        ]
        return " ".join(words) or "all rows"
