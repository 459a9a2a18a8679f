"""An arm of networks trained on outcomes in which no two inputs act together.

In each training one outcome is drawn anew from an additive model of the inputs (see
`evaluation.additive`), and the others remain as they are: a network of all outcomes shows in each
what it has learned from the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation.additive import class_sampler, number_sampler, survival_sampler
from omics_jax.study.system import Arm
from omics_jax.tasks.attribution import null_arm
from omics_jax.tasks.task import Task, known_rows, outcome

ADDITIVE = "additive"  # the arm
_DRAW = " draw "  # between the outcome and its number, in the group of a training

Features = Float[np.ndarray, "n F"]
FeaturesOf = Callable[[Dataset], Features]
Draw = Callable[[np.random.Generator], Mapping[str, np.ndarray]]


def additive_arm(arm: Arm, tasks: Sequence[Task], slot: str, features_of: FeaturesOf) -> Arm:
    """The arm's first replicate, `config.interpret.permutations` times for each task.

    Each has its own draw of one outcome and its own seed; see `outcome_of_draw`. The additive
    models are fitted to the training and validation rows, which are those that a network reads
    outcomes of. Other rows have 0.

    slot: of the rows. features_of: the inputs of rows on one scale, nothing missing.
    """
    first, config = arm.replicates[0], arm.config
    table = arm.system.arrays(arm.dataset)
    rows = np.concatenate([first.rows[slot], first.validation[slot]])
    x = features_of(arm.dataset.take(rows))
    names = [f"{field}_{task.name}" for task in tasks for field in task.fields]
    observed = {name: _among(rows, table[name][rows], len(arm.dataset)) for name in names}
    outcomes = {}
    for place, task in enumerate(tasks):
        draw = drawn_outcome(task, arm.dataset, rows, x)
        for number in range(config.interpret.permutations):
            drawn = draw(np.random.default_rng((config.seed, place, number)))
            outcomes[f"{task.name}{_DRAW}{number + 1}"] = {**observed, **drawn}
    return null_arm(arm, ADDITIVE, outcomes, {ADDITIVE: True})


def outcome_of_draw(group: str) -> str:
    """The outcome that was drawn anew in the training with this label "group"."""
    return group.rpartition(_DRAW)[0]


def drawn_outcome(task: Task, dataset: Dataset, rows: Int[np.ndarray, " n"], x: Features) -> Draw:
    """rng -> y_T (and e_T) (N,) of all rows of a dataset, drawn anew in `rows` where it is known.

    Other rows have 0: nothing fitted holds their outcomes.

    x: the features of `rows`.
    """
    is_known = known_rows(dataset, task)[rows]
    known, x = rows[is_known], x[is_known]
    observed = outcome(dataset, task, known)
    names = [f"{field}_{task.name}" for field in task.fields]
    if task.kind == "classification":
        sampler = class_sampler(x, observed.astype(int), len(task.classes))
    elif task.kind == "regression":
        sampler = number_sampler(x, observed)
    else:
        sampler = survival_sampler(x, *observed)

    def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
        drawn = sampler(rng)
        parts = drawn if task.kind == "survival" else (drawn,)
        return {
            name: _among(known, part, len(dataset)) for name, part in zip(names, parts, strict=True)
        }

    return draw


def _among(rows: Int[np.ndarray, " k"], values: np.ndarray, count: int) -> Float[np.ndarray, " N"]:
    """The values at their rows, 0 elsewhere."""
    whole = np.zeros(count, np.float32)
    whole[rows] = values
    return whole
