"""What a stage may watch on its validation rows: twins, inside a compiled step, of measures in
`omics_jax.evaluation`.

The area under the ROC curve is taken as the Mann-Whitney statistic (Hanley & McNeil 1982, Radiology
143:29-36). A stage's monitor is "lower is better", so the AUC enters one with a minus sign. Left
out: average precision, and
whatever takes part in a gradient (nothing here has a useful one except the cross-entropy).

Common to all: `label` holds 0 or 1 (bool, int or float); `weight` is 0 for padding and for missing
labels, and what score and label hold in such rows is never read.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

Scores = Float[Array | np.ndarray, " n"]
Column = Shaped[Array | np.ndarray, " n"]


def auroc(score: Scores, label: Column, weight: Column) -> Float[Array, ""]:
    """P(a positive scores above a negative), a tie counting half, by sorting in O(n log n).

    sum_i w+_i (N(s < s_i) + N(s <= s_i)) / 2 / (W+ W-), N the negatives' weight at such scores. nan
    where a class has no weight, and where a row of weight has score nan. Equals
    `evaluation.classification.auroc` for weights 0 and 1.
    """
    counted = jnp.asarray(weight) > 0
    # At padding's common score 0 a row of weight 0 adds nothing to any sum.
    score, label = jnp.where(counted, score, 0), jnp.where(counted, label, 0)
    positive = jnp.where(counted, weight * label, 0.0)
    negative = jnp.where(counted, weight * (1 - label), 0.0)
    order = jnp.argsort(score)
    ascending = score[order]
    negatives_before = jnp.concatenate([jnp.zeros(1), jnp.cumsum(negative[order])])
    below, upto = (
        negatives_before[jnp.searchsorted(ascending, score, side=side)]
        for side in ("left", "right")
    )
    # Shares, not pairs: the number of pairs outgrows the integers that single precision holds
    # exactly.
    share_below = (below + upto) / (2 * jnp.sum(negative))
    area = jnp.sum(positive * share_below) / jnp.sum(positive)
    return jnp.where(jnp.any(jnp.isnan(score)), jnp.nan, area)


def binary_cross_entropy(logit: Scores, label: Column, weight: Column) -> Float[Array, ""]:
    """sum_i w_i (log(1 + exp(l_i)) - y_i l_i) / sum_i w_i, in nats; nan where no row has weight."""
    counted = jnp.asarray(weight) > 0
    logit, label = jnp.where(counted, logit, 0.0), jnp.where(counted, label, 0)
    losses = jax.nn.softplus(logit) - label * logit
    return jnp.sum(jnp.where(counted, weight * losses, 0.0)) / jnp.sum(
        jnp.where(counted, weight, 0.0)
    )
