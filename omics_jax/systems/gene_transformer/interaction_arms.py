"""Arms of the experiment `network`: a network, and its nulls in which no two genes act together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation.tables import Evaluation, Frame
from omics_jax.study.system import Arm, Predictions
from omics_jax.systems.gene_transformer.arms import network_arm
from omics_jax.systems.gene_transformer.assembly import Spec, evaluate, scaled_values, shape_of
from omics_jax.systems.gene_transformer.cohort import Cohort
from omics_jax.systems.gene_transformer.explained import gene_fields
from omics_jax.systems.gene_transformer.interaction_tables import (
    ATTENTION,
    PAIRS,
    null_frame,
    pair_frame,
)
from omics_jax.systems.gene_transformer.interactions import null_fields, pair_fields
from omics_jax.systems.gene_transformer.known_pairs import (
    SETS,
    known_edges,
    known_pair_frame,
    read_sets,
    set_frame,
)
from omics_jax.systems.gene_transformer.model import SLOT, ModelShape, network_of
from omics_jax.systems.gene_transformer.network_pictures import GENES, gene_frame
from omics_jax.systems.gene_transformer.patient_groups import (
    GROUPS,
    group_fields,
    group_frame,
    groups_of,
    with_patients,
)
from omics_jax.tasks.additive_null import additive_arm
from omics_jax.tasks.attribution import NETWORK
from omics_jax.tasks.network import TaskNetwork
from omics_jax.tasks.settings import weights_of
from omics_jax.training.stage import Variables

FrameOf = Callable[[Predictions, Dataset, Dataset], Frame]  # of predictions, test, train


def interaction_arms(config: Any, cohort: Cohort) -> list[Arm]:
    """A network that is asked which pairs of genes interact, and those of the null."""
    groups = groups_of(config, cohort.tasks)
    arm = network_arm(config, cohort, NETWORK, cohort.tasks)
    edges = known_edges(cohort.known, cohort.dataset, arm.dataset)
    sets = read_sets(config, arm.dataset, arm.replicates[0].constants)
    compared = with_patients(arm, groups, SLOT) if groups else arm
    pairs = partial(known_pair_frame, edges) if edges else pair_frame
    frames: dict[str, FrameOf] = {PAIRS: pairs, GENES: gene_frame}
    if sets:
        frames[SETS] = partial(set_frame, sets)
        compared = replace(compared, notes=(*compared.notes, *sets.notes))
    if groups:
        frames[GROUPS] = partial(group_frame, groups)
    null = additive_arm(arm, cohort.tasks, SLOT, partial(features_of, config, arm.spec))
    return [
        asked(compared, pair_and_group_fields if groups else pair_fields, frames),
        asked(null, null_fields, {PAIRS: null_frame}),
    ]


def pair_and_group_fields(
    shape: ModelShape, network: TaskNetwork, variables: Variables
) -> dict[str, Float[Array, ...]]:
    """The fields of `pair_fields` and of `group_fields`."""
    return {**pair_fields(shape, network, variables), **group_fields(shape, variables)}


def features_of(config: Any, spec: Spec, dataset: Dataset) -> Float[np.ndarray, "n F"]:
    """The genes and covariates that a network of these patients reads, on one scale."""
    return scaled_values(config, spec, dataset, dataset)[0]


def asked(arm: Arm, fields: Callable[..., Any], frames: Mapping[str, FrameOf]) -> Arm:
    """The arm, asked for pairs of genes.

    fields: (shape, network, variables) -> what its trained networks say of pairs.
    frames: name -> a frame that is made of these fields.
    """
    shape = shape_of(arm.config, arm.spec)
    network = network_of(shape, weights_of(arm.config))

    def of_variables(variables: Variables) -> dict[str, Float[Array, ...]]:
        return {**gene_fields(shape, variables), **fields(shape, network, variables)}

    system = replace(
        arm.system,
        of_variables=of_variables,
        evaluate=partial(evaluate_pairs, arm.spec, frames),
    )
    return replace(arm, system=system)


def evaluate_pairs(
    spec: Spec,
    frames: Mapping[str, FrameOf],
    predictions: Predictions,
    test: Dataset,
    train: Dataset,
) -> Evaluation:
    """The scores of all tasks; of a network that was asked for pairs of genes, its frames, too."""
    scored = evaluate(spec, predictions, test, train)
    if ATTENTION not in predictions:  # of a simple model
        return scored
    own = {name: frame_of(predictions, test, train) for name, frame_of in frames.items()}
    return replace(scored, frames={**scored.frames, **own})
