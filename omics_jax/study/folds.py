"""From a dataset to replicates: folds dealt by group, seeds and labels, and what a spec counts.

Every system deals its rows here, so that a fold means the same everywhere: groups (persons, cell
lines) never part, the seed of a replicate is that of its split, and what a replicate needs is
fitted to its training rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Real

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split, repeated_group_folds
from omics_jax.training.stage import Replicate

Constants = Mapping[str, np.ndarray]
UNKNOWN = -1  # the stratum of rows whose outcome is unknown


def deal_folds(
    config: Any,
    dataset: Dataset,
    strata: Real[np.ndarray, " n"] | None = None,
    rows: Int[np.ndarray, " m"] | Bool[np.ndarray, " n"] | None = None,
) -> list[Split]:
    """`config.repeats` times `config.folds` folds of the rows, groups together.

    strata: (n,) codes whose shares every fold keeps, see `repeated_group_folds`.
    rows: those that are dealt; None for all.
    """
    return repeated_group_folds(
        dataset.groups.astype(str),
        folds=config.folds,
        repeats=config.repeats,
        seed=config.seed,
        strata=strata,
        rows=rows,
    )


def strata_of(codes: np.ndarray, known: Bool[np.ndarray, " n"]) -> np.ndarray:
    """(n,) the code of every row whose outcome is known, `UNKNOWN` elsewhere."""
    return np.where(known, codes, UNKNOWN)


def seed_of(config: Any, split: Split) -> int:
    """Of the split itself, not of its place among the replicates."""
    return config.seed + 1000 * split.repeat + split.fold


def labels_of(split: Split, group: str = "all") -> dict[str, Any]:
    """The labels of a split's replicate."""
    return {"group": group, "fold": split.fold, "repeat": split.repeat}


def replicates(
    config: Any,
    splits: Sequence[Split],
    slot: str,
    constants_of: Callable[[Split], Constants],
    group: str = "all",
) -> list[Replicate]:
    """A replicate per split, whose rows are all of one slot.

    constants_of: split -> what is fitted to its training rows.
    """
    return [
        Replicate(
            rows={slot: split.train},
            validation={slot: split.validation},
            test=split.test,
            seed=seed_of(config, split),
            constants=constants_of(split),
            labels=labels_of(split, group),
        )
        for split in splits
    ]


def features_of(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Modality -> feature names, as a `DataSpec` keeps them."""
    return {name: tuple(m.features.astype(str).tolist()) for name, m in dataset.modalities.items()}


def most_rows(replicates: Sequence[Replicate]) -> dict[str, int]:
    """Slot -> the most training rows that any replicate has, as a `DataSpec` keeps them."""
    return {slot: max(len(r.rows[slot]) for r in replicates) for slot in replicates[0].rows}
