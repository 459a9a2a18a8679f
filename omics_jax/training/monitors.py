"""Monitors for the validation rows of a stage: measures of `omics_jax.evaluation`, jit-able.

The area under the ROC curve is taken as the Mann-Whitney statistic (Hanley & McNeil 1982, Radiology
143:29-36). A stage's monitor is "lower is better", so the AUC enters one with a minus sign. Left
out: average precision, and anything that would take part in a gradient (only the cross-entropy here
has a useful one).

Common to all: `label` holds 0 or 1 (bool, int or float). `weight` is 0 for padding and for missing
labels; what score and label hold in such rows is never read.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

Scores = Float[Array | np.ndarray, " n"]
Column = Shaped[Array | np.ndarray, " n"]
Scalar = Float[Array, ""]


def auroc(score: Scores, label: Column, weight: Column) -> Scalar:
    """P(a positive scores above a negative), a tie counting half, by sorting in O(n log n).

    sum_i w+_i (N(s < s_i) + N(s <= s_i)) / 2 / (W+ W-), N the negatives' weight at such scores. nan
    where a class has no weight, and where a row with weight has score nan. Equals
    `evaluation.classification.auroc` for weights 0 and 1.
    """
    counted = jnp.asarray(weight) > 0
    # At padding's common score 0 a row of weight 0 adds nothing to any sum.
    score = jnp.where(counted, score, 0)
    label = jnp.where(counted, label, 0)
    positive = jnp.where(counted, weight * label, 0.0)
    negative = jnp.where(counted, weight * (1 - label), 0.0)

    order = jnp.argsort(score)
    ascending = score[order]
    running = jnp.cumsum(negative[order])
    negatives_before = jnp.concatenate([jnp.zeros(1), running])
    first = jnp.searchsorted(ascending, score, side="left")
    last = jnp.searchsorted(ascending, score, side="right")
    below = negatives_before[first]
    up_to = negatives_before[last]

    # Shares of the negatives, because the number of pairs soon exceeds the integers that single
    # precision holds exactly.
    negatives = jnp.sum(negative)
    share_below = (below + up_to) / (2 * negatives)
    weighted = positive * share_below
    positives = jnp.sum(positive)
    area = jnp.sum(weighted) / positives
    undefined = jnp.any(jnp.isnan(score))
    return jnp.where(undefined, jnp.nan, area)


def binary_cross_entropy(logit: Scores, label: Column, weight: Column) -> Scalar:
    """sum_i w_i (log(1 + exp(l_i)) - y_i l_i) / sum_i w_i, in nats; nan where no row has weight."""
    counted = jnp.asarray(weight) > 0
    logit = jnp.where(counted, logit, 0.0)
    label = jnp.where(counted, label, 0)
    losses = jax.nn.softplus(logit) - label * logit
    weighted = jnp.where(counted, weight * losses, 0.0)
    weights = jnp.where(counted, weight, 0.0)
    total = jnp.sum(weighted)
    return total / jnp.sum(weights)
