"""Arms of the experiment `network`: a network, and its nulls in which no two genes act together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation.tables import Evaluation, Frame
from omics_jax.study.system import Arm, Predictions
from omics_jax.systems.gene_transformer.arms import network_arm
from omics_jax.systems.gene_transformer.assembly import Spec, evaluate, scaled_values, shape_of
from omics_jax.systems.gene_transformer.cohort import Cohort
from omics_jax.systems.gene_transformer.interaction_tables import (
    ATTENTION,
    PAIRS,
    null_frame,
    pair_frame,
)
from omics_jax.systems.gene_transformer.interactions import null_fields, pair_fields
from omics_jax.systems.gene_transformer.model import SLOT, network_of
from omics_jax.tasks.additive_null import additive_arm
from omics_jax.tasks.attribution import NETWORK
from omics_jax.tasks.settings import weights_of


def interaction_arms(config: Any, cohort: Cohort) -> list[Arm]:
    """A network that is asked which pairs of genes interact, and those of the null."""
    arm = network_arm(config, cohort, NETWORK, cohort.tasks)
    null = additive_arm(arm, cohort.tasks, SLOT, partial(features_of, config, arm.spec))
    return [
        asked(arm, pair_fields, pair_frame),
        asked(null, null_fields, null_frame),
    ]


def features_of(config: Any, spec: Spec, dataset: Dataset) -> Float[np.ndarray, "n F"]:
    """The genes and covariates that a network of these patients reads, on one scale."""
    return scaled_values(config, spec, dataset, dataset)[0]


def asked(arm: Arm, fields: Callable[..., Any], frame: Callable[..., Frame]) -> Arm:
    """The arm, asked for pairs of genes.

    fields: (shape, network, variables) -> what its trained networks say of pairs.
    frame: (predictions, test, train) -> the pairs of a network.
    """
    shape = shape_of(arm.config, arm.spec)
    network = network_of(shape, weights_of(arm.config))
    system = replace(
        arm.system,
        of_variables=partial(fields, shape, network),
        evaluate=partial(evaluate_pairs, arm.spec, frame),
    )
    return replace(arm, system=system)


def evaluate_pairs(
    spec: Spec,
    frame: Callable[..., Frame],
    predictions: Predictions,
    test: Dataset,
    train: Dataset,
) -> Evaluation:
    """The scores of all tasks; of a network that was asked for pairs of genes, their frame, too."""
    scored = evaluate(spec, predictions, test, train)
    if ATTENTION not in predictions:  # of a simple model
        return scored
    return replace(scored, frames={**scored.frames, PAIRS: frame(predictions, test, train)})
