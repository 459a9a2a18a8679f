"""A last stage for networks that are too sure of themselves: a few numbers, fitted to the
validation rows.

They lie in the module "calibration", by name of what they calibrate, and are 0 where they change
nothing, such as the logarithm of a temperature T by which logits are divided (Guo et al. 2017,
ICML). What is minimised is

    sum over names k of  L_k + sum_i a_ki^2 / (2 s^2 n_k),   s = 1/2, n_k validation rows with a known outcome;

without the prior, rows that are all classified rightly would ask for a T of 0, and a network that
knows nothing for an infinite one. The rows are validation rows, so nothing that learns from
training rows has seen them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp

from omics_jax.training.schedules import optimizer
from omics_jax.training.stage import Replicate, Stage, Term, Terms, Variables

CALIBRATION = "calibration"  # the module, and the slot of the validation rows, see `Replicate.rows`
PRIOR_SD = 0.5
EPOCHS = 200

Rows = Mapping[str, jax.Array]


def with_calibration_rows(replicates: Sequence[Replicate], slot: str) -> list[Replicate]:
    """The replicates, whose validation rows of `slot` are also the rows they are calibrated on."""
    return [replace(r, rows={**r.rows, CALIBRATION: r.validation[slot]}) for r in replicates]


def calibration_stage(
    rows: int,
    features: Callable[[Variables, Rows], Rows],
    terms: Callable[[Variables, Rows], dict[str, Term]],
    reads: tuple[str, ...],
    epochs: int = EPOCHS,
) -> Stage:
    """The stage, in which nothing but the module "calibration" moves; every epoch is one step on
    all rows.

    Args:
      rows: validation rows of a replicate, at most. features: what the network says of a row before
        it is calibrated, computed once. terms: name -> the loss of what is calibrated, its weight
        the rows that are known. reads: regexes of the fields that `terms` reads.
    """

    def loss(variables, batch, key) -> tuple[Terms, dict]:
        found = terms(variables, batch[CALIBRATION])
        share = (
            jnp.sum(batch[CALIBRATION]["live"], dtype=jnp.float32) / rows
        )  # of several devices each has its own
        squares = {
            k: sum(jnp.sum(a**2) for a in jax.tree.leaves(variables["params"][CALIBRATION][k]))
            for k in found
        }
        priors = {
            f"prior_{k}": Term(share * squares[k] / (2 * PRIOR_SD**2), found[k].weight)
            for k in found
        }
        return {**found, **priors}, variables["batch_stats"]

    return Stage(
        name="calibration",
        loss=loss,
        objective=lambda terms: sum(term.mean for term in terms.values()),
        optimizer=optimizer(dict(name="adam", learning_rate=0.2), epochs),
        epochs=epochs,
        batch_size={CALIBRATION: rows},
        trainable=(f"{CALIBRATION}/.*",),
        features=features,
        reads=reads,
    )
