"""The accuracy that a network of one task reaches, kept for networks of several tasks.

PWInVal (`training.task_weights`) weighs a task by its validation accuracy relative to that of a
network for this task alone. The bound b of a task T is a parameter of the module "bound_T". After
the training of the single network one step of gradient descent with rate 1 on

    (1 / n) sum_i (b - c_i)^2 / 2,    c_i = 1 if validation row i is classified correctly, else 0

sets b to the mean of c. Networks of several tasks start from it and leave it as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from omics_jax.tasks.losses import OUTCOME_FIELDS, Outputs, accuracy_name, bound_name, outcomes
from omics_jax.tasks.task import Task
from omics_jax.training.schedules import optimizer
from omics_jax.training.stage import Batch, Replicate, Stage, Term, Terms, Variables

BOUND = "bound"  # the stage, and the slot of the validation rows

Rows = Mapping[str, Array]


def initial_bounds(tasks: Sequence[Task]) -> dict[str, dict[str, Array]]:
    """Bounds of 1, until a single network's are known; that of a number or a time stays so."""
    return {bound_name(task): {"accuracy": jnp.ones(())} for task in tasks}


def with_bound_rows(replicates: Sequence[Replicate], slot: str) -> list[Replicate]:
    """The replicates, with their validation rows of `slot` also as rows of the bounds."""
    return [replace(r, rows={**r.rows, BOUND: r.validation[slot]}) for r in replicates]


def accuracy_term(task: Task, output: Float[Array, "n C"], rows: Rows) -> Term:
    """How many live rows with a known class are classified correctly, and their number."""
    known = (rows[f"k_{task.name}"] & rows["live"]).astype(jnp.float32)
    correct = jnp.argmax(output, axis=1) == rows[f"y_{task.name}"].astype(jnp.int32)
    return Term(jnp.sum(known * correct), jnp.sum(known))


def with_outcome(constants: Variables, rows: Rows, task: Task) -> Rows:
    """The rows with the outcome that the task's loss reads, see `losses.outcomes`."""
    return {**rows, f"y_{task.name}": outcomes(constants, rows, task)["y"]}


def monitored_accuracies(
    tasks: Sequence[Task], variables: Variables, outputs: Outputs, rows: Rows
) -> dict[str, Float[Array, ""]]:
    """accuracy_T of the validation rows, nan without any or if T is no class; bound_T, if any."""
    values = {}
    for task in tasks:
        accuracy = jnp.full((), jnp.nan)
        if task.kind == "classification":
            own = with_outcome(variables["constants"], rows, task)
            term = accuracy_term(task, outputs[task.name], own)
            accuracy = jnp.where(term.weight > 0, term.mean, jnp.nan)
        values[accuracy_name(task)] = accuracy
        module = bound_name(task)
        if module in variables["params"]:
            values[module] = variables["params"][module]["accuracy"]
    return values


def bound_stage(predict: Any, task: Task, rows: int) -> Stage:
    """One step that sets a task's bound to the accuracy on the validation rows.

    predict: (variables, rows) -> the outputs of the heads, task -> (n, C).
    rows: validation rows of a replicate, at most.
    """
    module = bound_name(task)

    def features(variables: Variables, table: Rows) -> dict[str, Float[Array, "n C"]]:
        return {"output": predict(variables, table)[task.name]}

    def loss(variables: Variables, batch: Batch, key: jax.Array) -> tuple[Terms, Mapping[str, Any]]:
        slot = with_outcome(variables["constants"], batch[BOUND], task)
        bound = variables["params"][module]["accuracy"]
        term = accuracy_term(task, slot["output"], slot)
        # c is 0 or 1, so that c^2 = c.
        squares = bound**2 * term.weight - 2 * bound * term.sum + term.sum
        return {"bound": Term(squares / 2, term.weight)}, variables["batch_stats"]

    return Stage(
        name=BOUND,
        loss=loss,
        objective=lambda terms: terms["bound"].mean,
        optimizer=optimizer(dict(name="sgd", learning_rate=1.0), 1),
        epochs=1,
        batch_size={BOUND: rows},
        trainable=(f"{module}/.*",),
        features=features,
        reads=("output", *OUTCOME_FIELDS),
    )
