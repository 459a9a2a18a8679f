"""A last stage for networks that are too sure of themselves: a few numbers, fitted to the validation rows.

They lie in the module "calibration" and are 0 where they change nothing, such as the logarithm of a temperature T by
which logits are divided (Guo et al. 2017, ICML). What is minimised is

    L + sum_i a_i^2 / (2 s^2 n),   s = 1/2, n validation rows;

without the prior, rows that are all classified rightly would ask for a T of 0, and a network that knows nothing for an
infinite one. The rows are validation rows, so nothing that learns from training rows has seen them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from omics_jax.training.schedules import optimizer
from omics_jax.training.stage import Stage, Term, Terms, Variables

MODULE = "calibration"
SLOT = "calibration"  # of the validation rows, see `Replicate.rows`
PRIOR_SD = 0.5
EPOCHS = 200

Rows = Mapping[str, jax.Array]


def calibration_stage(
    rows: int,
    features: Callable[[Variables, Rows], Rows],
    terms: Callable[[Variables, Rows], dict[str, Term]],
    reads: tuple[str, ...],
    epochs: int = EPOCHS,
) -> Stage:
    """The stage, in which nothing but the module "calibration" moves; every epoch is one step on all rows.

    Args:
      rows: validation rows of a replicate, at most. features: what the network says of a row before it is calibrated,
        computed once. terms: the losses of what is calibrated. reads: regexes of the fields that `terms` reads.
    """

    def loss(variables, batch, key) -> tuple[Terms, dict]:
        found = batch[SLOT]
        squares = sum(jnp.sum(a**2) for a in jax.tree.leaves(variables["params"][MODULE]))
        live = jnp.sum(found["live"], dtype=jnp.float32)
        prior = Term(live * squares / (2 * PRIOR_SD**2 * rows), live)
        return {**terms(variables, found), "prior": prior}, variables["batch_stats"]

    return Stage(
        name="calibration",
        loss=loss,
        objective=lambda terms: sum(term.mean for term in terms.values()),
        optimizer=optimizer(dict(name="adam", learning_rate=0.2), epochs),
        epochs=epochs,
        batch_size={SLOT: rows},
        trainable=(f"{MODULE}/.*",),
        features=features,
        reads=reads,
    )
