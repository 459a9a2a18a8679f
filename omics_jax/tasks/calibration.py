"""Temperatures for heads that are too sure of themselves: the last stage, where it is asked for.

A network that stopped early by the sum of its tasks has overfitted some. For every task that
predicts probabilities one number T, by which its outputs are divided, is fitted to the validation
rows, see `training.calibration`. The order of a row's classes stays. Not of any paper here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

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


def tempered(variables: Variables, outputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Task -> (n, K) outputs over their task's temperature, which is 1 until calibrated."""
    logarithms = variables["params"].get(CALIBRATION, {})
    return {
        name: output / jnp.exp(logarithms[name]) if name in logarithms else output
        for name, output in outputs.items()
    }
