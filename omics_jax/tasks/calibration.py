"""Temperatures that calibrate overconfident heads, in an optional last stage.

Training stops by the sum of the tasks' losses, when some tasks are already overfitted. The outputs
of every task are therefore divided by a temperature T, fitted to the validation rows
(`training.calibration`). The order of a row's classes does not change, and neither does that of
rows by a number, whose distance from the training mean is what is divided. The papers of the
systems here do not calibrate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from omics_jax.tasks.task import Task
from omics_jax.training.calibration import CALIBRATION
from omics_jax.training.stage import Variables


def calibrated_tasks(config: Any, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """All tasks where `config.training.stages` has calibration, else none."""
    return tuple(tasks) if CALIBRATION in config.training.stages else ()


def initial_temperatures(tasks: Sequence[Task]) -> dict[str, dict[str, jax.Array]]:
    """{"calibration": task -> log T = 0}; {} where nothing is calibrated."""
    logarithms = {task.name: jnp.zeros(()) for task in tasks}
    return {CALIBRATION: logarithms} if logarithms else {}


def apply_temperatures(
    variables: Variables, outputs: Mapping[str, Float[Array, "n _"]]
) -> dict[str, Float[Array, "n _"]]:
    """Task -> (n, K) outputs divided by the task's temperature, which is 1 until calibrated."""
    logarithms = variables["params"].get(CALIBRATION, {})
    divided = {
        name: outputs[name] / jnp.exp(logarithm)
        for name, logarithm in logarithms.items()
        if name in outputs
    }
    return {**outputs, **divided}
