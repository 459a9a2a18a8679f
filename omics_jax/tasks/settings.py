"""The settings of tasks in a config: their weights, and checks of their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from omics_jax.errors import UserError
from omics_jax.nn import mtlr
from omics_jax.settings.checks import check_choices, check_minimum, check_rates
from omics_jax.settings.words import parse_pairs
from omics_jax.tasks.losses import BALANCES
from omics_jax.tasks.task import KINDS, Task


def weights_of(config: Any) -> dict[str, float]:
    """Task -> w_k, for the tasks that `config.weights` names.

    Raises:
      UserError: a weight that is not a number of 0 or more.
    """
    weights = {}
    for name, text in parse_pairs(config.weights, "weights").items():
        try:
            weights[name] = float(text)
        except ValueError:
            weights[name] = -1.0
        if not 0 <= weights[name] < np.inf:
            raise UserError(
                f"config.weights gives {name} the weight {text!r}; give a number of 0 or more"
            )
    return weights


def check_weights(config: Any, tasks: Sequence[Task]) -> None:
    """Refuses weights for tasks that the data do not have."""
    unknown = sorted(weights_of(config).keys() - {task.name for task in tasks})
    if unknown:
        names = ", ".join(task.name for task in tasks) or "none"
        raise UserError(
            f"config.weights names {unknown[0]!r}, which is no outcome of the data; they have "
            f"{names}"
        )


def check_task_settings(config: Any) -> None:
    """Refuses invalid values in the sections of a config that every `TaskNetwork` reads.

    These are heads, survival, balancing, training and weights, and `model.regression_loss`.
    """
    choices = {
        "model.regression_loss": ("mae", "mse"),
        "balancing.name": BALANCES,
        "survival.grid": ("quantile", "equal"),
        "survival.convention": mtlr.CONVENTIONS,
        "survival.hazard": mtlr.HAZARDS,
    }
    check_choices(config, choices)
    if not {"heads", "all"} & set(config.training.stages):
        raise UserError(
            f"config.training.stages is {tuple(config.training.stages)}, which trains no head; "
            "add the stage heads or all"
        )
    weights_of(config)  # refuses invalid weights
    minimums = {
        "training.batch_size": 2,
        "training.patience": 1,
        "survival.bins": 0,
        "survival.times": 0,
        **{f"heads.{kind}.widths": 1 for kind in KINDS},
    }
    check_minimum(config, minimums)
    check_rates(config, [f"heads.{kind}.dropout" for kind in KINDS])
