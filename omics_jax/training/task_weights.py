"""Weights of tasks from what the validation rows, the gradients or the losses say of them.

The policies of MIRACLE (Xu et al. 2023) and its code: piecewise inverse validation (PWInVal),
inverse validation accuracy, inverse gradient norm, and the share of the loss that distributionally
robust optimisation gives. The network's gradient is sum_i w_i g_i. Fixed weights, as the inverse
sample size, are part of a stage's objective; rules that learn weights are in `balancing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from omics_jax.training.balancing import shared_norms, weighted_sum
from omics_jax.training.stage import Balance, Terms

Tasks = Callable[[Terms], jax.Array]
PerTask = Float[Array, " T"]

WEIGHT_AT_BOUND = 0.1
SMOOTHING = 0.7  # of the accuracies: a validation part of 12 people moves in steps of 8 %
# Bounds are kept this far from 0 and 1, where the formula divides by zero.
_BOUND_MARGIN = 1e-3


def piecewise_inverse(
    accuracy: PerTask, bound: PerTask, at_bound: float = WEIGHT_AT_BOUND, slip: bool = False
) -> PerTask:
    """PWInVal: 1 - (1 - w) x / s up to the bound, w (1 - x) / (1 - s) above it.

    Of a task with validation accuracy x and single-task upper bound s the weight falls from 1 at
    x = 0 to w at x = s, and to 0 at x = 1.

    slip: above the bound w (1 + x) / (1 - s), a sign slip of the authors' code, by which the weight
      jumps up.
    """
    s = jnp.clip(bound, _BOUND_MARGIN, 1 - _BOUND_MARGIN)
    below = 1 - (1 - at_bound) * accuracy / s
    sign = 1 if slip else -1
    above = at_bound * (1 + sign * accuracy) / (1 - s)
    return jnp.where(accuracy <= s, below, above)


def inverse_accuracy(accuracy: PerTask) -> PerTask:
    """1 - x, "reversed validation accuracy" in the authors' code."""
    return 1 - accuracy


class Accuracies(NamedTuple):
    """The smoothed validation accuracy of each task, how many looks at it there were, its bound."""

    mean: PerTask
    looks: PerTask
    bound: PerTask


def by_validation(
    tasks: Tasks,
    names: Sequence[str],
    weight: Callable[..., PerTask],
    *,
    bounds: Sequence[str] = (),
    smoothing: float = SMOOTHING,
) -> Balance:
    """w_i = weight(x)_i of the smoothed validation accuracies x; 1 before the first look.

    With bounds s it is weight(x, s)_i.

    x is an exponential moving average without the bias of its start:
    x_t = (1 - c) sum_k c^(t-k) a_k / (1 - c^t).

    Args:
      names: of the monitored values that are the tasks' accuracies, in the order of the tasks. NaN,
        as of a task without validation rows, changes nothing.
      bounds: of the monitored values that are the tasks' bounds, in the same order.
      smoothing: c, from 0 (the last accuracy alone) to below 1.
    """

    def init(params):
        zeros = jnp.zeros(len(names), jnp.float32)
        return Accuracies(zeros, zeros, zeros)

    def combine(leaves, losses, state, key):
        unbiased = state.mean / jnp.where(state.looks > 0, 1 - smoothing**state.looks, 1)
        arguments = (unbiased, state.bound) if bounds else (unbiased,)
        weights = jnp.where(state.looks > 0, weight(*arguments), 1)
        return weighted_sum(weights, leaves), state

    def observe(state, values):
        accuracy = jnp.stack([values[name] for name in names])
        known = jnp.isfinite(accuracy)
        mean = smoothing * state.mean + (1 - smoothing) * jnp.where(known, accuracy, 0)
        bound = jnp.stack([values[name] for name in bounds]) if bounds else state.bound
        return Accuracies(jnp.where(known, mean, state.mean), state.looks + known, bound)

    return Balance(tasks, init, combine, observe)


def inverse_gradient_norm(tasks: Tasks) -> Balance:
    """w_i = (1 / |g_i|) / mean_j (1 / |g_j|), over the tasks with a gradient in the batch.

    The norms are over the parameters that two tasks or more reach, as in GradNorm.
    """

    def combine(leaves, losses, state, key):
        norms = shared_norms(leaves)
        present = norms > 0
        inverse = jnp.where(present, 1 / jnp.where(present, norms, 1), 0)
        mean = jnp.sum(inverse) / jnp.maximum(jnp.sum(present), 1)
        weights = jnp.where(present, inverse / jnp.where(mean > 0, mean, 1), 1)
        return weighted_sum(weights, leaves), state

    return Balance(tasks, lambda params: (), combine)


def loss_share(tasks: Tasks) -> Balance:
    """w_i = T L_i / sum_j L_j: tasks with a large loss pull harder (the authors' DRO)."""

    def combine(leaves, losses, state, key):
        total = jnp.sum(losses)
        weights = len(losses) * losses / jnp.where(total > 0, total, 1)
        return weighted_sum(weights, leaves), state

    return Balance(tasks, lambda params: (), combine)
