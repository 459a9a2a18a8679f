"""Ensembles: trainings of a replicate that differ in their seed alone, with one mean prediction.

The members of a replicate stand one after the other in its arm. Each is trained, saved and resumed
like any other training; only scoring averages them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Shaped

from omics_jax.study.system import Arm, Predictions, System
from omics_jax.training.stage import Replicate

MEMBER = "member"  # the label of a replicate in an ensemble
FEATURE_VECTORS = "feature_vectors"  # a field of `System.of_variables`
# Fields whose axes differ between trainings: they have no mean.
UNALIGNED = ("embedding", FEATURE_VECTORS)
TEXT = "OSU"  # kinds of dtypes
SEED_STEP = 10_000_000  # between the seeds of two members; above every seed of folds and repeats


def with_members(arm: Arm, count: int) -> Arm:
    """The arm with `count` trainings of each of its replicates, of which the first has its seed."""
    if count == 1:
        return arm
    members = range(count)
    replicates = [
        replace(
            replicate,
            seed=replicate.seed + SEED_STEP * member,
            labels={**replicate.labels, MEMBER: member},
        )
        for replicate in arm.replicates
        for member in members
    ]
    starts = tuple(start * count + member for start in arm.starts for member in members)
    tuning = arm.tuning
    if tuning and tuning.replicate is not None:
        tuning = replace(tuning, replicate=tuning.replicate * count)
    return replace(arm, replicates=replicates, starts=starts, tuning=tuning)


def ensembles(replicates: Sequence[Replicate]) -> list[range]:
    """The places of replicates whose predictions are averaged; without members each by itself."""
    pairs = enumerate(pairwise(replicates), start=1)
    later = {place for place, pair in pairs if _is_next_member(*pair)}
    firsts = [place for place in range(len(replicates)) if place not in later]
    return [range(*ends) for ends in pairwise([*firsts, len(replicates)])]


def _is_next_member(one: Replicate, next_one: Replicate) -> bool:
    """Whether both are of one ensemble: their labels differ in the member alone, which is higher.

    Where replicates have no other label, a number that does not rise begins a new ensemble.
    """
    if MEMBER not in one.labels or MEMBER not in next_one.labels:
        return False
    is_higher = one.labels[MEMBER] < next_one.labels[MEMBER]
    return is_higher and split_labels(one) == split_labels(next_one)


def split_labels(replicate: Replicate) -> dict[str, object]:
    """The labels of a replicate that its other members have, too."""
    return {name: label for name, label in replicate.labels.items() if name != MEMBER}


def mean_prediction(system: System, members: Sequence[Predictions]) -> Predictions:
    """The prediction of an ensemble: `System.pool_new` where that is finite, or else the mean.

    What all members predict alike stays as it is, and so does the first member's `UNALIGNED`.

    Raises:
      ValueError: a field of text that differs between members; it has no mean.
    """
    if len(members) == 1:
        return members[0]
    pooled = system.pool_new(members) if system.pool_new else {}
    mean = {
        field: first if field in UNALIGNED else _mean_field(field, [own[field] for own in members])
        for field, first in members[0].items()
    }
    return mean | {
        field: np.where(np.isfinite(value), value, mean[field])
        for field, (value, _) in pooled.items()
    }


def _mean_field(
    field: str, members: Sequence[Shaped[np.ndarray, " *n"]]
) -> Shaped[np.ndarray, " *n"]:
    if all(np.array_equal(own, members[0]) for own in members[1:]):
        return members[0]
    stacked = np.stack(members)
    if stacked.dtype.kind in TEXT:
        raise ValueError(
            f"the predictions {field!r} of an ensemble's members are text that differs, which has "
            "no mean; let System.predict return numbers"
        )
    return over_replicates(stacked)[0]


def over_replicates(
    stacked: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and s.d. (n, ...) float32 over the replicates (r, n, ...) that are not nan.

    They are nan where all replicates are. In double precision the mean of equal numbers is that
    number, so observed values are unchanged.
    """
    known = ~np.isnan(stacked)
    count = known.sum(axis=0)

    def total(values: np.ndarray) -> np.ndarray:
        return np.where(known, values, 0).sum(axis=0, dtype=np.float64)

    with np.errstate(invalid="ignore"):
        mean = total(stacked) / count
        sd = np.sqrt(total((stacked - mean) ** 2) / count)
    return mean.astype(np.float32), sd.astype(np.float32)
