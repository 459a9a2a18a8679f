"""`TaskNetwork`: any encoder with a head per task; what a system of the shape "encoder + tasks" is.

    z = encode(x)                       the system's own
    y_k = head_k(z) / T_k               one head per task, T_k = 1 until calibrated

How it is trained stands in `stages`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from omics_jax.nn.blocks import RowInfo
from omics_jax.nn.modules import apply_module, init_modules
from omics_jax.tasks import calibration
from omics_jax.tasks.heads import Heads, heads_of
from omics_jax.tasks.losses import TaskLosses, losses_of
from omics_jax.tasks.prediction import predict_tasks
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Terms, Variables

Rows = Mapping[str, Array]
HEADS = "heads"  # the module of all heads


class Encoded(NamedTuple):
    """What an encoder makes of rows.

    embedding: (n, d), what the heads read.
    terms: of the encoder's own losses, {} where it has none.
    stats: its new batch statistics, {} without training.
    """

    embedding: Float[Array, "n d"]
    terms: Terms
    stats: Mapping[str, Any]


def no_loss(terms: Terms) -> float:
    """The loss of an encoder that has none of its own."""
    return 0.0


@dataclass(frozen=True)
class TaskNetwork:
    """An encoder and the heads on its embedding.

    Attributes:
      config: of the run; its sections heads, survival, model, balancing and training are read.
      tasks: those that have a head.
      slot: of the rows it is trained on.
      encode: (variables, rows, key) -> Encoded; with a key it is in training, with None it is
        deterministic.
      modules: names of the encoder's modules among the parameters.
      encoder_loss: terms -> the encoder's own loss.
      encoder_weight: of that loss beside the tasks'.
      weights: task -> w_k, 1 where it has none.
      prepare: (variables, rows) -> fields that `encode` finds in the rows instead of computing
        them, where what they depend on is frozen; None for none.
    """

    config: Any
    tasks: tuple[Task, ...]
    slot: str
    encode: Callable[[Variables, Rows, jax.Array | None], Encoded]
    modules: tuple[str, ...] = ("encoder",)
    encoder_loss: Callable[[Terms], jax.Array | float] = no_loss
    encoder_weight: float = 1.0
    weights: Mapping[str, float] = field(default_factory=dict)
    prepare: Callable[[Variables, Rows], Rows] | None = None

    @property
    def heads(self) -> Heads:
        """The heads, a module named `HEADS` among the parameters."""
        return heads_of(self.tasks, self.config.heads)

    @property
    def losses(self) -> TaskLosses:
        """The losses of the tasks."""
        return losses_of(self.config, self.tasks, self.weights)

    @property
    def calibrated(self) -> tuple[Task, ...]:
        """The tasks whose outputs a last stage calibrates."""
        return calibration.calibrated_tasks(self.config, self.tasks)


def row_info(rows: Rows) -> RowInfo:
    """What layers must know of a batch's rows."""
    return RowInfo(rows["live"], rows["row"])


def init_network(
    network: TaskNetwork,
    key: jax.Array,
    rows: Rows,
    encoder: Mapping[str, tuple[Any, ...]],
    width: int,
) -> Variables:
    """{"params", "batch_stats"} of the encoder, the heads and, where calibrated, the temperatures.

    encoder: name -> (module, its inputs...). width: d of the embedding.
    """
    z = jnp.zeros((len(rows["row"]), width))
    variables = init_modules(key, {**encoder, HEADS: (network.heads, z, row_info(rows))})
    temperatures = calibration.initial_temperatures(network.calibrated)
    return {**variables, "params": {**variables["params"], **temperatures}}


def head_outputs(
    network: TaskNetwork, variables: Variables, z: jax.Array, rows: Rows, key=None
) -> tuple[dict[str, jax.Array], dict[str, Any]]:
    """Task -> (n, outputs) from the embedding z (n, d), and new statistics; a key trains."""
    outputs, stats = untempered_outputs(network, variables, z, rows, key)
    return calibration.apply_temperatures(variables, outputs), stats


def untempered_outputs(
    network: TaskNetwork, variables: Variables, z: jax.Array, rows: Rows, key=None
) -> tuple[dict[str, jax.Array], dict[str, Any]]:
    """The same of the heads themselves, before any calibration."""
    return apply_module(network.heads, HEADS, variables, key, z, row_info(rows))


def predict(network: TaskNetwork, variables: Variables, rows: Rows) -> dict[str, jax.Array]:
    """embedding (n, d), and every task's prediction as `prediction.predict_tasks` describes it."""
    z = network.encode(variables, rows, None).embedding
    outputs, _ = head_outputs(network, variables, z, rows)
    hazard = network.config.survival.hazard
    predictions = predict_tasks(network.tasks, variables["constants"], outputs, hazard)
    return {"embedding": z, **predictions}
