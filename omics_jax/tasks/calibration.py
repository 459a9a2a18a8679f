"""Temperatures that calibrate overconfident heads, in an optional last stage.

Training stops by the sum of the tasks' losses, when some tasks are already overfitted. The outputs
of every task that predicts probabilities are therefore divided by a temperature T, fitted to the
validation rows (`training.calibration`). The order of a row's classes does not change. The papers
of the systems here do not calibrate.
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
    """The tasks that predict probabilities, where `config.training.stages` has calibration."""
    if CALIBRATION not in config.training.stages:
        return ()
    return tuple(task for task in tasks if task.kind != "regression")


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
