"""Task balancing: ways to combine the gradients of several tasks into one.

GradNorm (Chen et al. 2018) and homoscedastic uncertainty (Kendall et al. 2018) weight them, with
weights that are learned together with the network. A task without a label in a batch has loss 0 and
gradient 0 there; its weight does not change, and it does not change the weights of others. Left
out: PCGrad, see `pcgrad`, and fixed weights, which are part of a stage's objective.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from omics_jax.errors import UserError
from omics_jax.training.stage import Balance, Terms

LEAST_WEIGHT = 1e-3  # what a GradNorm weight may fall to; the weights' mean is 1

PerTask = Float[Array, " T"]
Present = Bool[Array, " T"]


# --- GradNorm -------------------------------------------------------------------------------------


class GradNormState(NamedTuple):
    """What GradNorm remembers of T tasks.

    Attributes:
      weights: w (T,), above 0, of sum T.
      first: L(0) (T,), each task's loss in the first step of the stage that had one; 0 before it.
      moments: state of the weights' optimiser, every leaf (T, ...).
    """

    weights: Array
    first: Array
    moments: Any


def gradnorm(
    tasks: Callable[[Terms], jax.Array],
    count: int,
    optimizer: optax.GradientTransformation,
    alpha: float = 1.5,
) -> Balance:
    """Gradient normalisation (Chen et al. 2018, algorithm 1): slower tasks pull harder.

    The network's gradient is sum_i w_i g_i. Then w descends sum_i |G_i - target_i| with
      G_i = w_i |g_i|,  target_i = mean_j(G_j) r_i^alpha held constant,
      r_i = (L_i / L_i(0)) / mean_j(L_j / L_j(0)),
    and is scaled back to sum T. Means and the scaling are over the tasks with a gradient in the
    batch; the others keep w_i and their moments. The norm is over the trainable parameters that at
    least two tasks of the batch reach: a task's own head is not balanced against the other tasks.
    The paper uses the last shared layer alone, to save backward passes; here the full gradient of
    every task is computed anyway.

    Deviates: w is kept above 0 (`LEAST_WEIGHT`, before the scaling), where algorithm 1 and the code
    of OmiEmbed let it turn negative, which climbs the task's loss. L(0) is frozen once (OmiEmbed
    reads it anew every epoch).

    Args:
      tasks: terms -> (T,) losses; L_i is compared as a ratio, so a task starts with its first
        finite loss above 0, and a later loss below 0 counts as 0.
      count: T.
      optimizer: of each weight by itself, such as `optax.adam(0.025)`; a schedule counts the task's
        own steps.
      alpha: 0 or more; how hard slow tasks are favoured (0: equal norms; the paper's examples have
        0.12 and 1.5).

    Raises:
      UserError: alpha below 0.
      ValueError: (when a step is traced) `tasks` does not give `count` losses.
    """
    if not alpha >= 0:
        raise UserError(f"GradNorm's alpha is {alpha}; it must be 0 or more")

    def init(params):
        weights = jnp.ones(count, _state_dtype(params))
        moments = jax.vmap(optimizer.init)(weights)
        return GradNormState(weights, jnp.zeros_like(weights), moments)

    def combine(leaves, losses, state, key):
        _check_count("GradNorm", losses, count)
        w = state.weights
        losses = losses.astype(w.dtype)
        starts = (state.first == 0) & (losses > 0) & jnp.isfinite(losses)
        first = jnp.where(starts, losses, state.first)
        norm = shared_norms(leaves).astype(w.dtype)
        has_gradient = (norm > 0) & (first > 0)
        present = has_gradient & jnp.isfinite(norm) & jnp.isfinite(losses)
        divisor = jnp.where(first > 0, first, 1)
        ratio = jnp.maximum(losses, 0) / divisor
        slope = _gradnorm_slope(w, norm, ratio, present, alpha)
        descended, moments = _descend(optimizer, w, slope, state.moments, present)
        weights = _rescaled(w, descended, present)
        state = GradNormState(weights, first, moments)
        return weighted_sum(w, leaves), state

    return Balance(tasks=tasks, init=init, combine=combine)


def _gradnorm_slope(
    w: PerTask, norm: PerTask, ratio: PerTask, present: Present, alpha: float
) -> PerTask:
    """Gradient of sum_i |w_i norm_i - target_i| with respect to w, whose entries are above 0."""

    def mean(values):
        return _sum_present(values, present) / jnp.maximum(jnp.sum(present), 1)

    typical = mean(ratio)
    relative = ratio / jnp.where(typical > 0, typical, 1)
    target = mean(w * norm) * relative**alpha
    return jnp.sign(w * norm - target) * norm


def _rescaled(before: PerTask, descended: PerTask, present: Present) -> PerTask:
    """The descended weights, kept above 0, with the sum that the present ones had before."""
    weights = jnp.where(present, jnp.maximum(descended, LEAST_WEIGHT), 0)
    total = _sum_present(before, present)
    scale = total / jnp.where(present.any(), jnp.sum(weights), 1)
    return jnp.where(present, weights * scale, before)


def _sum_present(values: PerTask, present: Present) -> Float[Array, ""]:
    return jnp.sum(jnp.where(present, values, 0))


def shared_norms(leaves: list[jax.Array]) -> PerTask:
    """|g_i| over the entries in which two tasks or more have a gradient; 0 where there are none."""

    def squares(leaf):
        flat = leaf.reshape(len(leaf), -1)
        # Entries and not leaves: heads may be columns of one matrix.
        shared = jnp.sum(flat != 0, axis=0) > 1
        squares_of_shared = jnp.where(shared, flat**2, 0)
        return jnp.sum(squares_of_shared, axis=1)

    return jnp.sqrt(sum(squares(leaf) for leaf in leaves))


# --- homoscedastic uncertainty --------------------------------------------------------------------


class UncertaintyState(NamedTuple):
    """What uncertainty weighting remembers of T tasks.

    Attributes:
      log_variance: s (T,) = log sigma_i^2.
      moments: state of its optimiser, every leaf (T, ...).
    """

    log_variance: Array
    moments: Any


def uncertainty(
    tasks: Callable[[Terms], jax.Array],
    factors: Sequence[float],
    optimizer: optax.GradientTransformation,
) -> Balance:
    """Weights from homoscedastic uncertainty (Kendall et al. 2018, eq. 7 and 10).

    Descends sum_i a_i exp(-s_i) L_i + s_i / 2 in the network and in s_i = log sigma_i^2, from
    s = 0. The network's gradient is sum_i a_i exp(-s_i) g_i, that of s_i is
    1/2 - a_i exp(-s_i) L_i, both at the s before the step. At rest sigma_i^2 = 2 a_i L_i: the
    residual variance where L_i is a mean squared error and a_i = 1/2. A task with L_i = 0, as
    without a label, keeps s_i and its moments. Deviates: s has an optimiser of its own, not the
    stage's.

    Args:
      tasks: terms -> (T,) losses, none below 0 (s_i would fall for ever): mean squared errors,
        cross-entropies.
      factors: a (T,), 1/2 for a mean squared error, 1 for a cross-entropy (the paper's
        approximation of it).
      optimizer: of each s_i by itself, such as `optax.adam(1e-3)`; a schedule counts the task's own
        steps.

    Raises:
      UserError: a factor that is not above 0.
      ValueError: (when a step is traced) `tasks` does not give a loss for every factor.
    """
    for i, factor in enumerate(factors):
        if not factor > 0:
            raise UserError(
                f"the uncertainty weighting's factor of task {i} is {factor}; it must be above 0"
            )

    def init(params):
        s = jnp.zeros(len(factors), _state_dtype(params))
        return UncertaintyState(s, jax.vmap(optimizer.init)(s))

    def combine(leaves, losses, state, key):
        _check_count("uncertainty weighting", losses, len(factors))
        s = state.log_variance
        precision = jnp.asarray(factors, s.dtype) * jnp.exp(-s)
        present = (losses != 0) & jnp.isfinite(losses)
        slope = 0.5 - precision * losses.astype(s.dtype)
        descended, moments = _descend(optimizer, s, slope, state.moments, present)
        return weighted_sum(precision, leaves), UncertaintyState(descended, moments)

    return Balance(tasks=tasks, init=init, combine=combine)


# --- a loss that is not balanced ------------------------------------------------------------------


def with_unweighted_loss(loss: Callable[[Terms], jax.Array], balance: Balance) -> Balance:
    """`balance` of its tasks, plus the gradient of one more loss, which is not weighted.

    So OmiEmbed's GradNorm leaves the embedding's loss alone while it weights the heads'.

    Args:
      loss: terms -> scalar.
    """

    def tasks(terms):
        return jnp.append(balance.tasks(terms), loss(terms))

    def combine(leaves, losses, state, key):
        balanced, state = balance.combine([leaf[:-1] for leaf in leaves], losses[:-1], state, key)
        grads = [grad + leaf[-1] for grad, leaf in zip(balanced, leaves, strict=True)]
        return grads, state

    return Balance(tasks, balance.init, combine, balance.observe)


# --- what the rules share -------------------------------------------------------------------------


def _descend(
    optimizer: optax.GradientTransformation,
    values: PerTask,
    slope: PerTask,
    moments: Any,
    present: Present,
) -> tuple[PerTask, Any]:
    """(values, moments) after a step of the entries that are present.

    Every entry has an optimiser state of its own.
    """
    updates, new_moments = jax.vmap(optimizer.update)(slope, moments, values)
    new_values = optax.apply_updates(values, updates)

    def keep_absent(new, old):
        by_task = present.reshape(-1, *[1] * (new.ndim - 1))  # an optimiser may add axes
        return jnp.where(by_task, new, old)

    return jax.tree.map(keep_absent, (new_values, new_moments), (values, moments))


def weighted_sum(weights: PerTask, leaves: list[jax.Array]) -> list[jax.Array]:
    """sum_i w_i g_i, leaf by leaf.

    A product and a sum, because accelerators shorten the operands of a dot product.
    """

    def of_leaf(leaf):
        trailing = [1] * (leaf.ndim - 1)
        by_task = weights.astype(leaf.dtype).reshape(-1, *trailing)
        return jnp.sum(by_task * leaf, axis=0)

    return [of_leaf(leaf) for leaf in leaves]


def _state_dtype(params: list) -> Any:
    return jnp.result_type(jnp.float32, *params)


def _check_count(name: str, losses: jax.Array, count: int) -> None:
    if losses.shape != (count,):
        raise ValueError(
            f"{name} was made for {count} tasks, and `tasks` gives losses of shape {losses.shape}"
        )
