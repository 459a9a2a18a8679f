"""The losses of several tasks on the outputs of their heads, as terms that are masked and weighed.

    L_down = (1/K) sum_k w_k L_k                       (the multi-task paper's equation 2)

L_k is the cross-entropy of classes, the absolute or squared error of numbers in standard deviations
of the training rows, or the MTLR likelihood of survival times; rows whose outcome is unknown count
nothing in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from omics_jax.nn import mtlr
from omics_jax.tasks.task import Task
from omics_jax.training import balancing
from omics_jax.training.schedules import optimizer
from omics_jax.training.stage import Balance, Term, Terms, Variables

OUTCOME_FIELDS = ("y_.*", "e_.*", "k_.*")  # what the losses read of a row
BALANCES = ("fixed", "gradnorm", "pcgrad", "uncertainty")

Outputs = Mapping[str, Float[Array, "n _"]]  # task -> the outputs of its head
Rows = Mapping[str, Array]


@dataclass(frozen=True)
class TaskLosses:
    """The losses of `tasks`.

    weights: task -> w_k, 1 where it has none.
    convention: how an event's time becomes a bin, see `mtlr.bins_of`.
    regression_loss: "mae" or "mse".
    """

    tasks: tuple[Task, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    convention: str = "containing"
    regression_loss: str = "mae"

    def terms(self, constants: Variables, outputs: Outputs, rows: Rows) -> dict[str, Term]:
        """task_T: the summed loss of the live rows whose outcome T is known, and their number."""
        return {
            f"task_{task.name}": self._term(task, constants, outputs[task.name], rows)
            for task in self.tasks
        }

    def _term(self, task: Task, constants: Variables, output: jax.Array, rows: Rows) -> Term:
        weight = (rows[f"k_{task.name}"] & rows["live"]).astype(jnp.float32)
        observed = outcomes(constants, rows, task)
        target = jnp.where(weight > 0, observed["y"], 0)
        if task.kind == "survival":
            bins = mtlr.bin_index(target, constants[f"{task.name}_edges"], self.convention)
            event = jnp.where(weight > 0, observed["e"], 0)
            return Term(*mtlr.mtlr_loss(output, bins, event, weight))
        if task.kind == "classification":
            loss = optax.softmax_cross_entropy_with_integer_labels(output, target.astype(jnp.int32))
        else:
            standardized = (target - constants[f"{task.name}_mean"]) / constants[f"{task.name}_sd"]
            residual = output[:, 0] - standardized
            loss = jnp.abs(residual) if self.regression_loss == "mae" else residual**2
        return Term(jnp.sum(jnp.where(weight > 0, loss, 0)), jnp.sum(weight))

    def weighted(self, terms: Terms) -> Float[Array, " K"]:
        """w_k L_k / K of every task."""
        losses = [self.weights.get(t.name, 1.0) * terms[f"task_{t.name}"].mean for t in self.tasks]
        return jnp.stack(losses) / len(losses)

    def total(self, terms: Terms) -> Float[Array, ""]:
        """L_down."""
        return jnp.sum(self.weighted(terms))

    def monitored(self, terms: Terms) -> dict[str, jax.Array]:
        """L_down, by which training stops, and every task's loss."""
        by_task = {f"validation_{t.name}": terms[f"task_{t.name}"].mean for t in self.tasks}
        return {"monitor": self.total(terms), **by_task}


def losses_of(config: Any, tasks: Sequence[Task], weights: Mapping[str, float]) -> TaskLosses:
    """The losses that a config's sections `survival` and `model` ask for."""
    return TaskLosses(
        tuple(tasks), weights, config.survival.convention, config.model.regression_loss
    )


def outcomes(constants: Variables, rows: Rows, task: Task) -> dict[str, Float[Array, " n"]]:
    """y (and e) (n,): the rows' own, or those that the replicate's constants y_T (and e_T) (N,)
    give to all rows instead.

    So a replicate can learn from permuted outcomes; they must be known where the rows' own are.
    """

    def values(key: str) -> jax.Array:
        return constants[key][rows["row"]] if key in constants else rows[key]

    return {field: values(f"{field}_{task.name}") for field in task.fields}


def balance_of(
    settings: Any, losses: TaskLosses, outside: Callable[[Terms], jax.Array]
) -> Balance | None:
    """How the tasks' gradients are weighed against each other; None for fixed weights.

    settings: the config's section `balancing`.
    outside: terms -> a loss that takes no part in the balancing, such as the encoder's own.
    """
    count = len(losses.tasks)
    if settings.name == "fixed" or count < 2:
        return None
    learned = optimizer(dict(name="adam", learning_rate=settings.learning_rate), 1)
    if settings.name == "gradnorm":
        balance = balancing.gradnorm(losses.weighted, count, learned, settings.alpha)
    elif settings.name == "uncertainty":
        squared = losses.regression_loss == "mse"
        factors = [0.5 if t.kind == "regression" and squared else 1.0 for t in losses.tasks]
        balance = balancing.uncertainty(losses.weighted, factors, learned)
    else:
        balance = balancing.pcgrad(losses.weighted)
    return balancing.with_unweighted_loss(outside, balance)
