"""Temperatures for heads that are too sure of themselves: the last stage, where it is asked for.

A network that stopped early by the sum of its tasks has overfitted some. For every task that predicts probabilities one
number T, by which its outputs are divided, is fitted to the validation patients (Guo et al. 2017),

    L(T) + (log T)^2 / (2 s^2 n),   s = 1/2, n validation patients;

without the prior, patients who are all classified rightly would ask for a T of 0, and a head that knows nothing for an
infinite one. The order of a patient's classes stays. Not of the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp

from omics_jax.systems.multiomics.patients import CALIBRATION, Network
from omics_jax.systems.multiomics.tasks import Task
from omics_jax.training.schedules import optimizer
from omics_jax.training.stage import Stage, Term, Terms, Variables

PRIOR_SD = 0.5  # of log T


def calibrated(network: Network) -> tuple[Task, ...]:
    """The tasks that predict probabilities, where `config.training.stages` asks for calibration."""
    wanted = "calibration" in network.config.training.stages
    return tuple(task for task in network.tasks if wanted and task.kind != "regression")


def init(network: Network) -> dict[str, dict[str, jax.Array]]:
    """{"calibration": task -> log T = 0}; {} where nothing is calibrated."""
    logs = {task.name: jnp.zeros(()) for task in calibrated(network)}
    return {"calibration": logs} if logs else {}


def tempered(variables: Variables, outputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """task -> (n, K) outputs over their task's temperature, which is 1 until calibrated."""
    logs = variables["params"].get("calibration", {})
    return {name: y / jnp.exp(logs[name]) if name in logs else y for name, y in outputs.items()}


def stage(
    network: Network,
    rows: int,
    outputs: Callable[[Variables, Mapping[str, jax.Array]], Mapping[str, jax.Array]],
    terms_of: Callable[..., dict[str, Term]],
    outcomes: tuple[str, ...],
) -> Stage:
    """The stage, in which nothing but the temperatures moves; the heads' outputs are computed once.

    Args:
      rows: validation patients of a replicate, at most. outputs: (variables, rows) -> task -> (n, K), untempered.
      terms_of: (network, constants, outputs, rows) -> the losses of the network's tasks. outcomes: the fields it reads.
    """
    only = replace(network, tasks=calibrated(network))

    def features(variables, rows):
        found = outputs(variables, rows)
        return {f"output_{task.name}": found[task.name] for task in only.tasks}

    def loss(variables, batch, key) -> tuple[Terms, dict]:
        found = batch[CALIBRATION]
        y = tempered(variables, {task.name: found[f"output_{task.name}"] for task in only.tasks})
        terms, live = terms_of(only, variables["constants"], y, found), jnp.sum(found["live"], dtype=jnp.float32)
        for task in only.tasks:
            prior = variables["params"]["calibration"][task.name] ** 2 / (2 * PRIOR_SD**2 * rows)
            terms[f"prior_{task.name}"] = Term(live * prior, live)
        return terms, variables["batch_stats"]

    epochs = network.config.training.epochs.calibration
    return Stage(
        name="calibration",
        loss=loss,
        objective=lambda terms: sum(term.mean for term in terms.values()),
        optimizer=optimizer(dict(name="adam", learning_rate=0.2), epochs),
        epochs=epochs,
        batch_size={CALIBRATION: rows},
        trainable=("calibration/.*",),
        features=features,
        reads=("output_.*", *outcomes),
    )
