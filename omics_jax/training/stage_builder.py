"""A `Stage` built from the settings that every system has in its config.

Such a section holds `epochs`, `batch_size`, `patience`, sometimes `monitor_every`, and an
`optimizer` with `name`, `learning_rate`, and optionally `clip`, `weight_decay` and `multiple`. Left
out: what differs between stages (loss, objective, monitor, features, balance), which the caller
passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from omics_jax.training.order import count_steps
from omics_jax.training.schedules import optimizer, plateau_of
from omics_jax.training.stage import Batch, Stage, Terms, Variables


def build_stage(
    name: str,
    *,
    loss: Callable[[Variables, Batch, jax.Array], tuple[Terms, Any]],
    objective: Callable[[Terms], jax.Array],
    rows: Mapping[str, int],
    batch_size: Mapping[str, int],
    epochs: int,
    optimizer_settings: Any,
    undecayed: Sequence[str] = (),
    **fields: Any,
) -> Stage:
    """A stage whose learning rate is scheduled over all the optimiser steps it can take.

    These are epochs * max over slots of ceil(rows / batch size). A learning rate of the name
    "plateau" also sets `Stage.plateau`.

    Args:
      rows: slot -> the most rows of it that a replicate trains on.
      batch_size: slot -> the most rows of it in one step; its slots are those of the stage.
      optimizer_settings: the section `optimizer` of a config (a dict or a ConfigDict), see
        `schedules.optimizer`.
      undecayed: regexes of paths of parameters that the weight decay spares.
      fields: any other field of `Stage` (`trainable`, `monitor`, `patience`, `features`, ...).

    Raises:
      UserError: invalid settings of the optimiser, see `schedules.optimizer`; epochs, a
        batch size, monitor_every or patience below 1, see `Stage`.
      ValueError: a learning rate of the name "plateau" in a stage without a monitor.
      KeyError: a slot of `batch_size` that `rows` does not count.
    """
    steps = epochs * count_steps(rows, batch_size)
    return Stage(
        name=name,
        loss=loss,
        objective=objective,
        optimizer=optimizer(optimizer_settings, steps, undecayed),
        epochs=epochs,
        batch_size=dict(batch_size),
        plateau=plateau_of(optimizer_settings["learning_rate"]),
        **fields,
    )
