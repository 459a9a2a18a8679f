"""The null of the experiment `pathways`: the whole pipeline on permuted outcomes.

Outcomes are permuted among the test people of a fold who are of one study, and sites are then
selected anew. So every fold keeps its numbers of cases and controls, the test people of one fold
are training people of the others under the same permutation, and what a fold is trained on does not
depend on whom it tests. Covariates stay with their people: what they explain of an outcome is no
part of the null.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.study.system import Arm
from omics_jax.systems.miracle.arms import fitted_constants
from omics_jax.systems.miracle.cohort import Cohort
from omics_jax.systems.miracle.model import SLOT
from omics_jax.systems.miracle.sites import BY_OUTCOME
from omics_jax.tasks.labels import fit_to_outcomes
from omics_jax.tasks.task import Task, known_rows, outcome_arrays
from omics_jax.training.stage import Replicate

PERMUTED = "permuted"  # label of the arms of the null
STUDY = "study"  # the column of people whose outcomes may be exchanged

Targets = dict[str, tuple[np.ndarray, np.ndarray]]


def permuted_name(arm: str) -> str:
    """The arm's null."""
    return f"{arm}, permuted"


def permuted_arm(arm: Arm, cohort: Cohort, tasks: tuple[Task, ...]) -> Arm:
    """The first repeat of the arm, `config.interpret.permutations` times, on permuted outcomes."""
    config = arm.config
    pairs = zip(cohort.splits, arm.replicates, strict=True)
    first = [(split, replicate) for split, replicate in pairs if split.repeat == 0]
    drawn, refitted = [], []
    for number in range(config.interpret.permutations):
        draws = [number * len(first) + place for place in range(len(first))]
        tested = [replicate.test for _, replicate in first]
        permuted = with_permuted_folds(cohort.dataset, tasks, tested, draws, config.seed)
        for draw, (split, replicate) in zip(draws, first, strict=True):
            own = replicate_of_draw(config, permuted, tasks, replicate, number, draw)
            drawn.append(own)
            refitted.append((permuted, replace(split, train=replicate.rows[SLOT])))
    if config.selection.method in BY_OUTCOME:
        fitted = fitted_constants(config, cohort, tasks, refitted)
        drawn = [
            replace(replicate, constants={**replicate.constants, **own})
            for replicate, own in zip(drawn, fitted, strict=True)
        ]
    return replace(
        arm,
        name=permuted_name(arm.name),
        replicates=drawn,
        start_from=tuple(permuted_name(source) for source in arm.sources) or None,
        labels={PERMUTED: True},
        main=False,
        with_baselines=False,
        is_null=True,
    )


def with_permuted_folds(
    dataset: Dataset,
    tasks: Sequence[Task],
    tested: Sequence[np.ndarray],
    draws: Sequence[int],
    seed: int,
) -> Dataset:
    """The dataset with the outcomes of every fold's test rows permuted among themselves.

    draws: a number for each fold, which with the seed decides its permutation.
    """
    light = replace(dataset, modalities={})
    targets = {name: (values.copy(), mask) for name, (values, mask) in dataset.targets.items()}
    for rows, draw in zip(tested, draws, strict=True):
        for name, (values, _) in permuted_targets(light.take(rows), tasks, (seed, draw)).items():
            targets[name][0][rows] = values
    return replace(dataset, targets=targets)


def permuted_targets(dataset: Dataset, tasks: Sequence[Task], seed: Sequence[int]) -> Targets:
    """The targets, those of every task permuted among the rows of a study in which it is known."""
    strata = np.zeros(len(dataset), int)
    if STUDY in dataset.table:
        strata = pd.factorize(dataset.table[STUDY].astype(str))[0]
    targets = dict(dataset.targets)
    for task in tasks:
        known = np.flatnonzero(known_rows(dataset, task))
        source = np.arange(len(dataset))
        rng = np.random.default_rng((*seed, zlib.crc32(task.name.encode())))
        source[known] = known[exchanged(dataset.groups[known], strata[known], rng)]
        for name in task.targets:
            values, mask = dataset.targets[name]
            targets[name] = values[source], mask
    return targets


def exchanged(
    groups: Shaped[np.ndarray, " n"], strata: Shaped[np.ndarray, " n"], rng: np.random.Generator
) -> Shaped[np.ndarray, " n"]:
    """(n,) from which row each row gets its outcome.

    The rows of a group (a person) stay together: groups with as many rows, in the same stratum,
    exchange all of theirs.
    """
    rows_of = [np.flatnonzero(groups == group) for group in dict.fromkeys(groups.tolist())]
    alike: dict[tuple, list[np.ndarray]] = {}
    for rows in rows_of:
        alike.setdefault((strata[rows[0]], len(rows)), []).append(rows)
    source = np.arange(len(groups))
    for blocks in alike.values():
        for block, other in zip(blocks, rng.permutation(len(blocks)), strict=True):
            source[block] = blocks[other]
    return source


def replicate_of_draw(
    config: Any, dataset: Dataset, tasks: Sequence[Task], real: Replicate, number: int, draw: int
) -> Replicate:
    """A real replicate with the outcomes of a dataset of permuted ones, 0 in its test rows."""
    rows = np.concatenate([real.rows[SLOT], real.validation[SLOT]])
    light = replace(dataset, modalities={})
    fitted = np.isin(np.arange(len(dataset)), rows)
    names = [f"{field}_{task.name}" for task in tasks for field in task.fields]
    table = outcome_arrays(light, tasks)
    outcomes = {name: np.where(fitted, table[name], 0) for name in names}
    scales = fit_to_outcomes(config, light, tasks, real.rows[SLOT], f"permutation {number + 1}")
    return replace(
        real,
        seed=real.seed + 1000 * (config.repeats + number),
        constants={**real.constants, **outcomes, **scales, "draw": np.array(draw, np.int32)},
        labels={**real.labels, "group": f"permutation {number + 1}"},
    )
