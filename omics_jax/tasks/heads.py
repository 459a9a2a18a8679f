"""The heads of several tasks on one embedding: flax modules, a head per task.

Source: OmiEmbed (Zhang et al. 2021). Heads of classes and numbers have batch norm; the layers of a
survival head are linear, dropout, tanh. Left out: the losses, see `losses`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from omics_jax.nn.blocks import Block, RowInfo, dropout_by_row
from omics_jax.tasks.task import Task


class Head(nn.Module):
    """A task's outputs from the embedding: hidden layers of `widths`, then `outputs` linear units.

    kind: "classification" or "regression" (blocks with batch norm), or "survival" (linear, dropout,
      tanh).
    """

    kind: str
    widths: Sequence[int]
    outputs: int
    dropout: float

    @nn.compact
    def __call__(self, z: Float[Array, "n z"], rows: RowInfo) -> Float[Array, "n k"]:
        for width in self.widths:
            if self.kind == "survival":
                z = jnp.tanh(dropout_by_row(self, nn.Dense(width)(z), rows, self.dropout))
            else:
                z = Block(width, self.dropout)(z, rows)
        return nn.Dense(self.outputs)(z)


class Heads(nn.Module):
    """The heads of several tasks on one embedding, or each on a copy of it.

    heads: task -> the attributes of its `Head`, in the order of the copies.
    """

    heads: Mapping[str, Mapping[str, Any]]

    @nn.compact
    def __call__(
        self, z: Float[Array, "n z"] | Float[Array, "T n z"], rows: RowInfo
    ) -> dict[str, Float[Array, "n _"]]:
        copies = z if z.ndim == 3 else [z] * len(self.heads)
        return {
            task: Head(**settings, name=task)(copy, rows)
            for (task, settings), copy in zip(self.heads.items(), copies, strict=True)
        }


def heads_of(tasks: Sequence[Task], settings: Any) -> Heads:
    """The heads of the tasks.

    settings: of the config, kind of task -> widths and dropout of its heads.
    """

    def attributes(task: Task) -> dict[str, Any]:
        head = settings[task.kind]
        return {
            "kind": task.kind,
            "widths": tuple(head.widths),
            "outputs": task.outputs,
            "dropout": head.dropout,
        }

    return Heads({task.name: attributes(task) for task in tasks})
