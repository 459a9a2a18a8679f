"""From a dataset to replicates: folds by group, seeds, labels, and the sizes that a spec records.

Every system deals its folds here, so that they are alike everywhere: groups (persons, cell lines)
are never split, the seed of a replicate depends on its split alone, and its constants are fitted to
its training rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Real

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split, repeated_group_folds
from omics_jax.errors import UserError
from omics_jax.training.stage import Replicate

Constants = Mapping[str, np.ndarray]
UNKNOWN = -1  # the stratum of rows whose outcome is unknown


def deal_folds(
    config: Any,
    dataset: Dataset,
    strata: Real[np.ndarray, " n"] | None = None,
    rows: Int[np.ndarray, " m"] | Bool[np.ndarray, " n"] | None = None,
) -> list[Split]:
    """`config.folds` folds of the rows, `config.repeats` times; groups are never split.

    strata: (n,) codes that are balanced over the folds, see `repeated_group_folds`.
    rows: the rows to deal; None for all.
    """
    return repeated_group_folds(
        dataset.groups.astype(str),
        folds=config.folds,
        repeats=config.repeats,
        seed=config.seed,
        strata=strata,
        rows=rows,
    )


def strata_of(
    codes: Real[np.ndarray, " n"], known: Bool[np.ndarray, " n"]
) -> Real[np.ndarray, " n"]:
    """The code of every row with a known outcome, `UNKNOWN` elsewhere."""
    return np.where(known, codes, UNKNOWN)


def seed_of(config: Any, split: Split) -> int:
    """The seed of a split's replicate, whatever its position among the replicates."""
    return config.seed + 1000 * split.repeat + split.fold


def labels_of(split: Split, group: str = "all") -> dict[str, Any]:
    """The labels of a split's replicate, see `Replicate.labels`."""
    return {"group": group, "fold": split.fold, "repeat": split.repeat}


def replicates(
    config: Any,
    splits: Sequence[Split],
    slot: str,
    constants_of: Callable[[Split], Constants],
    group: str = "all",
) -> list[Replicate]:
    """A replicate per split, with its rows in one slot.

    constants_of: split -> the constants fitted to its training rows.
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


def restricted(
    split: Split,
    chosen: Mapping[str, Bool[np.ndarray, " n"]],
    error: str = "belongs to the arm; use fewer folds",
) -> Split:
    """The split with those rows of each part that are chosen for it.

    chosen: part -> which of all rows.
    error: the end of the sentence about a part of which none is.

    Raises:
      UserError: a part without a row.
    """
    rows = {part: getattr(split, part)[mask[getattr(split, part)]] for part, mask in chosen.items()}
    for part, indices in rows.items():
        if not len(indices):
            raise UserError(f"fold {split.fold}: none of its {part} rows {error}")
    return replace(split, **rows)


def features_of(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Modality -> feature names, for `DataSpec.features`."""
    return {name: tuple(m.features.astype(str).tolist()) for name, m in dataset.modalities.items()}


def most_rows(replicates: Sequence[Replicate]) -> dict[str, int]:
    """Slot -> the most training rows that any replicate has, for `DataSpec.rows`."""
    slots = replicates[0].rows
    return {slot: max(len(replicate.rows[slot]) for replicate in replicates) for slot in slots}
