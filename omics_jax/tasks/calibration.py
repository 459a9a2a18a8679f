"""Temperatures for heads that are too sure of themselves: the last stage, where it is asked for.

A network that stopped early by the sum of its tasks has overfitted some. For every task that
predicts probabilities one number T, by which its outputs are divided, is fitted to the validation
patients, see `training.calibration`. The order of a patient's classes stays. Not of the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp

from omics_jax.systems.multiomics.patients import Network
from omics_jax.tasks.task import Task
from omics_jax.training.calibration import CALIBRATION, calibration_stage
from omics_jax.training.stage import Stage, Term, Variables


def calibrated(network: Network) -> tuple[Task, ...]:
    """The tasks that predict probabilities, where `config.training.stages` asks for calibration."""
    wanted = "calibration" in network.config.training.stages
    return tuple(task for task in network.tasks if wanted and task.kind != "regression")


def init(network: Network) -> dict[str, dict[str, jax.Array]]:
    """{"calibration": task -> log T = 0}; {} where nothing is calibrated."""
    logs = {task.name: jnp.zeros(()) for task in calibrated(network)}
    return {CALIBRATION: logs} if logs else {}


def tempered(variables: Variables, outputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """task -> (n, K) outputs over their task's temperature, which is 1 until calibrated."""
    logs = variables["params"].get(CALIBRATION, {})
    return {name: y / jnp.exp(logs[name]) if name in logs else y for name, y in outputs.items()}


def stage(
    network: Network,
    rows: int,
    outputs: Callable[[Variables, Mapping[str, jax.Array]], Mapping[str, jax.Array]],
    terms_of: Callable[..., dict[str, Term]],
    outcomes: tuple[str, ...],
) -> Stage:
    """The stage on at most `rows` validation patients of a replicate.

    Args:
      outputs: (variables, rows) -> task -> (n, K), untempered. terms_of: (network, constants,
        outputs, rows) -> the losses of the network's tasks. outcomes: the fields it reads.
    """
    only = replace(network, tasks=calibrated(network))

    def features(variables, rows):
        found = outputs(variables, rows)
        return {f"output_{task.name}": found[task.name] for task in only.tasks}

    def terms(variables, rows):
        y = tempered(variables, {task.name: rows[f"output_{task.name}"] for task in only.tasks})
        found = terms_of(only, variables["constants"], y, rows)
        return {task.name: found[f"task_{task.name}"] for task in only.tasks}

    epochs = network.config.training.epochs.calibration
    return calibration_stage(rows, features, terms, ("output_.*", *outcomes), epochs)
