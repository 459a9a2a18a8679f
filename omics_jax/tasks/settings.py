"""The settings of tasks in a config: their weights, and checks of their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from omics_jax.errors import UserError
from omics_jax.nn import mtlr
from omics_jax.settings.checks import (
    MOST_UNITS,
    check_values,
    choice,
    number,
    one_of,
    positive,
    rate,
    several,
    text,
    whole,
    widths,
)
from omics_jax.settings.sections import SHARED_RULES
from omics_jax.settings.words import parse_pairs
from omics_jax.study.conformal import LEVELS
from omics_jax.tasks.losses import BALANCES
from omics_jax.tasks.task import KINDS, Task
from omics_jax.training.pcgrad import ORDERS

# What the settings of the sections that every `TaskNetwork` reads may be.
TASK_RULES = {
    "model.regression_loss": choice("mae", "mse"),
    "balancing.name": choice(*BALANCES),
    "balancing.learning_rate": positive(),
    "balancing.alpha": number(0),
    "balancing.smoothing": number(0, 0.999),
    "balancing.order": choice(*ORDERS),
    "survival.bins": whole(0, 10_000),
    "survival.grid": choice("quantile", "equal"),
    "survival.convention": choice(*mtlr.CONVENTIONS),
    "survival.hazard": choice(*mtlr.HAZARDS),
    "survival.times": several(number(0), "times", "(12, 24)"),
    "training.batch_size": whole(2, MOST_UNITS),
    "training.stopping": text(),
    "training.epochs.*": whole(1, MOST_UNITS),
    "training.rates.*": positive(),
    "predict.coverage": one_of(0, *LEVELS),
    "weights": text(),
    **{f"heads.{kind}.widths": widths() for kind in KINDS},
    **{f"heads.{kind}.dropout": rate() for kind in KINDS},
}


def weights_of(config: Any) -> dict[str, float]:
    """Task -> w_k, for the tasks that `config.weights` names.

    Raises:
      UserError: a weight that is not a number of 0 or more.
    """
    weights = {}
    for name, weight in parse_pairs(config.weights, "weights").items():
        try:
            weights[name] = float(weight)
        except ValueError:
            weights[name] = -1.0
        if not 0 <= weights[name] < np.inf:
            raise UserError(
                f"config.weights gives {name} the weight {weight!r}; give a number of 0 or more"
            )
    return weights


def check_named_tasks(config: Any, tasks: Sequence[Task]) -> None:
    """Refuses a weight of, and early stopping by, a task that the data do not have."""
    stopping = {config.training.stopping} - {""}
    for setting, named in (("weights", weights_of(config)), ("training.stopping", stopping)):
        unknown = sorted(set(named) - {task.name for task in tasks})
        if unknown:
            names = ", ".join(task.name for task in tasks) or "none"
            raise UserError(
                f"config.{setting} names {unknown[0]!r}, which is no outcome of the data; they "
                f"have {names}"
            )


def check_task_settings(config: Any, has_tasks: bool = True) -> None:
    """Refuses invalid values in the sections of a config that every `TaskNetwork` reads.

    These are heads, survival, balancing, training and weights, `model.regression_loss` and
    `predict.coverage`.

    has_tasks: False for an encoder alone, which has no heads to train.
    """
    check_values(config, {**SHARED_RULES, **TASK_RULES})
    if has_tasks and not {"heads", "all"} & set(config.training.stages):
        raise UserError(
            f"config.training.stages is {tuple(config.training.stages)}, which trains no head; "
            "add the stage heads or all"
        )
    weights_of(config)  # refuses invalid weights
