"""`TaskNetwork`: any encoder with a head per task.

    z = encode(x)                       defined by the system
    y_k = head_k(z) / T_k               one head per task, T_k = 1 until calibrated

The stages that train it are in `stages`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from omics_jax.nn import mtlr
from omics_jax.nn.blocks import RowInfo
from omics_jax.nn.modules import apply_module, init_modules
from omics_jax.tasks import calibration
from omics_jax.tasks.bounds import initial_bounds
from omics_jax.tasks.heads import Heads, heads_of
from omics_jax.tasks.losses import TaskLosses, losses_of
from omics_jax.tasks.prediction import predict_tasks
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Terms, Variables

Rows = Mapping[str, Array]
HEADS = "heads"  # the module of all heads
Embedding = Float[Array, "n d"] | Float[Array, "T n d"]  # for all tasks, or a copy for each


class Encoded(NamedTuple):
    """The output of an encoder.

    embedding: (n, d), which the heads read.
    terms: of the encoder's own loss; {} if it has none.
    stats: new batch statistics; {} outside of training.
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
      encode: (variables, rows, key) -> Encoded; a key means training, None a deterministic output.
      modules: names of the encoder's modules among the parameters.
      encoder_loss: terms -> the encoder's own loss.
      encoder_weight: of the encoder's loss, relative to the tasks' losses.
      weights: task -> w_k, 1 where it has none.
      has_bounds: whether the accuracy of every classification is bounded, see `bounds`.
      prepare: (variables, rows) -> fields that depend on frozen parameters alone. They are computed
        once per stage, and `encode` reads them from the rows. None if there are none.
      reads: regexes of the fields of a row that `encode` reads in a stage.
      undecayed: regexes of paths of parameters that the weight decay spares.
    """

    config: Any
    tasks: tuple[Task, ...]
    slot: str
    encode: Callable[[Variables, Rows, PRNGKeyArray | None], Encoded]
    modules: tuple[str, ...] = ("encoder",)
    encoder_loss: Callable[[Terms], Float[Array, ""] | float] = no_loss
    encoder_weight: float = 1.0
    weights: Mapping[str, float] = field(default_factory=dict)
    has_bounds: bool = False
    prepare: Callable[[Variables, Rows], Rows] | None = None
    reads: tuple[str, ...] = (".*",)
    undecayed: tuple[str, ...] = ()

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
    """The row ids and the mask of padding that layers read of a batch."""
    return RowInfo(rows["live"], rows["row"])


def init_network(
    network: TaskNetwork,
    key: PRNGKeyArray,
    rows: Rows,
    encoder: Mapping[str, tuple[Any, ...]],
    width: int,
) -> Variables:
    """{"params", "batch_stats"} of the encoder, the heads and, if calibrated, the temperatures.

    encoder: name -> (module, its inputs...).
    width: d of the embedding.
    """
    z = jnp.zeros((len(rows["row"]), width))
    variables = init_modules(key, {**encoder, HEADS: (network.heads, z, row_info(rows))})
    temperatures = calibration.initial_temperatures(network.calibrated)
    bounds = initial_bounds(network.tasks) if network.has_bounds else {}
    return {**variables, "params": {**variables["params"], **temperatures, **bounds}}


def head_outputs(
    network: TaskNetwork,
    variables: Variables,
    z: Embedding,
    rows: Rows,
    key: PRNGKeyArray | None = None,
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Task -> (n, outputs), and new batch statistics; a key means training."""
    outputs, stats = uncalibrated_outputs(network, variables, z, rows, key)
    return calibration.apply_temperatures(variables, outputs), stats


def uncalibrated_outputs(
    network: TaskNetwork,
    variables: Variables,
    z: Embedding,
    rows: Rows,
    key: PRNGKeyArray | None = None,
) -> tuple[dict[str, Array], dict[str, Any]]:
    """As `head_outputs`, but not divided by the temperatures.

    Outputs of survival bins that the replicate's grid does not have are those of `within_grid`.
    """
    outputs, stats = apply_module(network.heads, HEADS, variables, key, z, row_info(rows))
    for task in network.tasks:
        if task.kind == "survival":
            edges = variables["constants"][f"{task.name}_edges"]
            outputs = {**outputs, task.name: mtlr.within_grid(outputs[task.name], edges)}
    return outputs, stats


def predict(network: TaskNetwork, variables: Variables, rows: Rows) -> dict[str, Array]:
    """embedding (n, d), and every task's prediction, see `prediction.predict_tasks`."""
    z = network.encode(variables, rows, None).embedding
    outputs, _ = head_outputs(network, variables, z, rows)
    hazard = network.config.survival.hazard
    predictions = predict_tasks(network.tasks, variables["constants"], outputs, hazard)
    return {"embedding": z, **predictions}
