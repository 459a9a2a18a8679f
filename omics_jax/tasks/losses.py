"""The losses of several tasks on the outputs of their heads, without rows of unknown outcome.

    L_down = (1/K) sum_k w_k L_k                       (the multi-task paper's equation 2)

L_k is the cross-entropy of classes, the absolute or squared error of numbers in standard deviations
of the training rows, or the negative MTLR log-likelihood of survival times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from omics_jax.nn import mtlr
from omics_jax.tasks.task import Task
from omics_jax.training import balancing, task_weights
from omics_jax.training.pcgrad import pcgrad
from omics_jax.training.schedules import optimizer
from omics_jax.training.stage import Balance, Term, Terms, Variables

AT_EMBEDDING = "pcgrad_features"  # see `training.pcgrad.conflict_free_copies`
# Balancings for which the gradient of the objective is taken as it is.
IN_OBJECTIVE = ("fixed", "inverse_size", AT_EMBEDDING)
OUTCOME_FIELDS = ("y_.*", "e_.*", "k_.*")  # the fields of a row that the losses read
# The policies of task weights, see `training.balancing` and `training.task_weights`.
BY_BOUND = ("pwinval", "pwinval_slip")
BY_VALIDATION = (*BY_BOUND, "inverse_accuracy")
BALANCES = (
    *("fixed", "gradnorm", "pcgrad", AT_EMBEDDING, "uncertainty"),
    *(*BY_VALIDATION, "inverse_size", "inverse_gradient", "loss_share"),
)

Outputs = Mapping[str, Float[Array, "n _"]]  # task -> the outputs of its head
Rows = Mapping[str, Array]


@dataclass(frozen=True)
class TaskLosses:
    """The losses of `tasks`.

    weights: task -> w_k, 1 where it has none.
    convention: how an event's time becomes a bin, see `mtlr.bins_of`.
    regression_loss: "mae" or "mse".
    stopping: the task by whose loss training stops; of another name, all of them.
    """

    tasks: tuple[Task, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    convention: str = "containing"
    regression_loss: str = "mae"
    stopping: str = ""

    def terms(self, constants: Variables, outputs: Outputs, rows: Rows) -> dict[str, Term]:
        """task_T: the summed loss of the live rows with a known outcome T, and their number.

        weight_T: the replicate's own weight of T, where its constants have one.
        """
        terms = {
            f"task_{task.name}": self._term(task, constants, outputs[task.name], rows)
            for task in self.tasks
        }
        own = [f"weight_{task.name}" for task in self.tasks]
        return terms | {name: Term(constants[name], 1.0) for name in own if name in constants}

    def _term(
        self, task: Task, constants: Variables, output: Float[Array, "n _"], rows: Rows
    ) -> Term:
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
        losses = []
        for task in self.tasks:
            weight = self.weights.get(task.name, 1.0)
            if f"weight_{task.name}" in terms:
                weight = weight * terms[f"weight_{task.name}"].mean
            losses.append(weight * terms[f"task_{task.name}"].mean)
        return jnp.stack(losses) / len(losses)

    def total(self, terms: Terms) -> Float[Array, ""]:
        """L_down."""
        return jnp.sum(self.weighted(terms))

    def monitored(self, terms: Terms) -> dict[str, Float[Array, ""]]:
        """The loss by which training stops, and every task's, for the history.

        The former is L_down, or L_k of the task `stopping` if it is among these.
        """
        by_task = {task.name: terms[f"task_{task.name}"].mean for task in self.tasks}
        named = {f"validation_{name}": loss for name, loss in by_task.items()}
        return {"monitor": by_task.get(self.stopping, self.total(terms)), **named}


def losses_of(config: Any, tasks: Sequence[Task], weights: Mapping[str, float]) -> TaskLosses:
    """The losses by a config's sections `survival`, `model` and `training`."""
    return TaskLosses(
        tuple(tasks),
        weights,
        config.survival.convention,
        config.model.regression_loss,
        config.training.stopping,
    )


def accuracy_name(task: Task) -> str:
    """Of the monitored value that is a task's accuracy on the validation rows."""
    return f"accuracy_{task.name}"


def bound_name(task: Task) -> str:
    """Of the module, and the monitored value, that is a task's bound, see `bounds`."""
    return f"bound_{task.name}"


def outcomes(constants: Variables, rows: Rows, task: Task) -> dict[str, Float[Array, " n"]]:
    """y (and e) (n,) of a task T: from the rows, or from the constants y_T (and e_T) (N,) if any.

    Constants let a replicate learn from permuted outcomes. They must be known where those of the
    rows are.
    """

    def values(name: str) -> Float[Array, " n"]:
        return constants[name][rows["row"]] if name in constants else rows[name]

    return {field: values(f"{field}_{task.name}") for field in task.fields}


def balance_of(
    settings: Any, losses: TaskLosses, unbalanced: Callable[[Terms], jax.Array] | None
) -> Balance | None:
    """How the tasks' gradients are weighted against each other; None where nothing is to be done
    with the objective's own, and for a single task, which has nothing to be balanced against.

    settings: the config's section `balancing`.
    unbalanced: terms -> a loss that is not balanced with the tasks', such as the encoder's own;
      None if there is none, for which no gradient is then computed.
    """
    count = len(losses.tasks)
    if settings.name in IN_OBJECTIVE or count < 2:
        return None
    balance = _POLICIES[settings.name](settings, losses)
    return balancing.with_unweighted_loss(unbalanced, balance) if unbalanced else balance


def _gradnorm(settings: Any, losses: TaskLosses) -> Balance:
    return balancing.gradnorm(
        losses.weighted, len(losses.tasks), _weight_optimizer(settings), settings.alpha
    )


def _uncertainty(settings: Any, losses: TaskLosses) -> Balance:
    is_squared = losses.regression_loss == "mse"
    factors = [0.5 if task.kind == "regression" and is_squared else 1.0 for task in losses.tasks]
    return balancing.uncertainty(losses.weighted, factors, _weight_optimizer(settings))


def _weight_optimizer(settings: Any) -> optax.GradientTransformation:
    return optimizer(dict(name="adam", learning_rate=settings.learning_rate), 1)


def _inverse_accuracy(settings: Any, losses: TaskLosses) -> Balance:
    return task_weights.by_validation(
        losses.weighted,
        [accuracy_name(task) for task in losses.tasks],
        task_weights.inverse_accuracy,
        smoothing=settings.smoothing,
    )


def _pwinval(settings: Any, losses: TaskLosses) -> Balance:
    return task_weights.by_validation(
        losses.weighted,
        [accuracy_name(task) for task in losses.tasks],
        partial(task_weights.piecewise_inverse, slip=settings.name == "pwinval_slip"),
        bounds=[bound_name(task) for task in losses.tasks],
        smoothing=settings.smoothing,
    )


_POLICIES: dict[str, Callable[[Any, TaskLosses], Balance]] = {
    "gradnorm": _gradnorm,
    "pcgrad": lambda settings, losses: pcgrad(losses.weighted, settings.order),
    "uncertainty": _uncertainty,
    "inverse_accuracy": _inverse_accuracy,
    "inverse_gradient": lambda settings, losses: task_weights.inverse_gradient_norm(
        losses.weighted
    ),
    "loss_share": lambda settings, losses: task_weights.loss_share(losses.weighted),
    **dict.fromkeys(BY_BOUND, _pwinval),
}
