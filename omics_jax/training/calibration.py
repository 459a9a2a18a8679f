"""A last stage for overconfident networks: a few numbers, fitted to the validation rows.

They are parameters of the module "calibration", by the name of what they calibrate, and change
nothing where they are 0, such as the logarithm of a temperature T by which logits are divided (Guo
et al. 2017, ICML). The stage minimises

    sum over names k of  L_k + sum_i a_ki^2 / (2 s^2 n_k)

with s = 1/2 and n_k the number of validation rows with a known outcome. Without the prior, the best
T would be 0 if all rows are classified correctly, and infinite for a network that has learned
nothing. Validation rows are used because nothing else is fitted to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp

from omics_jax.training.schedules import optimizer
from omics_jax.training.stage import Batch, Replicate, Stage, Term, Terms, Variables

CALIBRATION = "calibration"  # the module, and the slot of the validation rows, see `Replicate.rows`
PRIOR_SD = 0.5
EPOCHS = 200

Rows = Mapping[str, jax.Array]


def with_calibration_rows(replicates: Sequence[Replicate], slot: str) -> list[Replicate]:
    """The replicates, with their validation rows of `slot` also as calibration rows."""
    return [replace(r, rows={**r.rows, CALIBRATION: r.validation[slot]}) for r in replicates]


def calibration_stage(
    rows: int,
    features: Callable[[Variables, Rows], Rows],
    terms: Callable[[Variables, Rows], dict[str, Term]],
    reads: tuple[str, ...],
    epochs: int = EPOCHS,
) -> Stage:
    """The stage in which only the module "calibration" moves; every epoch is one step on all rows.

    Args:
      rows: validation rows of a replicate, at most.
      features: what the network predicts of a row before it is calibrated, computed once.
      terms: name -> the loss of what is calibrated, its weight the number of rows with a known
        outcome.
      reads: regexes of the fields that `terms` reads.
    """

    def loss(variables: Variables, batch: Batch, key: jax.Array) -> tuple[Terms, Mapping]:
        slot = batch[CALIBRATION]
        losses = terms(variables, slot)
        # The prior is not a sum over rows, so each of several devices adds its share of it.
        share = jnp.sum(slot["live"], dtype=jnp.float32) / rows
        module = variables["params"][CALIBRATION]
        squares = {name: _sum_of_squares(module[name]) for name in losses}
        priors = {
            f"prior_{name}": Term(share * squares[name] / (2 * PRIOR_SD**2), term.weight)
            for name, term in losses.items()
        }
        return {**losses, **priors}, variables["batch_stats"]

    def objective(terms: Terms) -> jax.Array:
        return sum(term.mean for term in terms.values())

    return Stage(
        name="calibration",
        loss=loss,
        objective=objective,
        optimizer=optimizer(dict(name="adam", learning_rate=0.2), epochs),
        epochs=epochs,
        batch_size={CALIBRATION: rows},
        trainable=(f"{CALIBRATION}/.*",),
        features=features,
        reads=reads,
    )


def _sum_of_squares(tree) -> jax.Array:
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))
