"""The experiment `pathways`: a network for all diseases, and its null of permuted outcomes.

What each network says of its test people is in `explained`, how outcomes are permuted in
`permuted`, and what is concluded in `findings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Evaluation
from omics_jax.study.system import Arm, Rows
from omics_jax.systems.miracle import explained, model
from omics_jax.systems.miracle.arms import bounding_arms, network_arm
from omics_jax.systems.miracle.assembly import shape_of
from omics_jax.systems.miracle.cohort import Cohort, cohort_of
from omics_jax.systems.miracle.explained import diseases_of, units_of
from omics_jax.systems.miracle.permuted import permuted_arm
from omics_jax.tasks.settings import weights_of

NETWORK = "network"  # the arm


def pathways(config: Any, dataset: Dataset) -> list[Arm]:
    """The network for all diseases, and the same trained on permuted outcomes.

    Policies of task weights that need bounds have a network for each outcome alone, permuted, too.
    """
    cohort = cohort_of(config, dataset)
    if not diseases_of(cohort.tasks):
        raise UserError(
            "the experiment pathways compares cases with controls, and no outcome has two classes; "
            "name diseases with --config.data.diseases"
        )
    single = bounding_arms(config, cohort)
    joint = network_arm(config, cohort, NETWORK, cohort.tasks, starts=single)
    alone = [permuted_arm(arm, cohort, arm.spec.tasks) for arm in single]
    null = permuted_arm(joint, cohort, cohort.tasks)
    return [
        *single,
        with_explanations(joint, cohort),
        *alone,
        with_comparisons(null, cohort),
    ]


def with_explanations(arm: Arm, cohort: Cohort) -> Arm:
    """The arm, whose system also predicts and scores what `findings` reads."""
    predict = partial(explained.predict_explained, steps=arm.config.interpret.steps)
    return with_scoring(arm, cohort, predict, explained.evaluate_explained)


def with_comparisons(arm: Arm, cohort: Cohort) -> Arm:
    """The null's arm, scored with the outcomes of its own permutations."""
    evaluate = partial(explained.evaluate_permuted, seed=arm.config.seed)
    return with_scoring(arm, cohort, explained.predict_compared, evaluate)


def with_scoring(
    arm: Arm, cohort: Cohort, predict: Callable[..., Rows], evaluate: Callable[..., Evaluation]
) -> Arm:
    """The arm with other predictions of test rows and other scores of them.

    predict: (shape, network, variables, rows) -> fields.
    evaluate: (the arm's own system, units, predictions, test, train) -> scores.
    """
    shape = shape_of(arm.config, arm.spec)
    network = model.network_of(shape, weights_of(arm.config))
    units = units_of(cohort.tasks, cohort.levels, cohort.knowledge)
    system = replace(
        arm.system,
        predict=partial(predict, shape, network),
        evaluate=partial(evaluate, arm.system, units),
        predict_new=arm.system.predict,
    )
    return replace(arm, system=system)
