"""Splits in which all rows of a group (cell line, patient) are in one part.

A keyed hash of each group's name decides its fold, so an assignment depends on the names and the
seed alone: never on the order of the rows in a file, on the process or on a library's random
generator. Stratification by number of rows is left out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int, Shaped

from omics_jax.errors import UserError


@dataclass(frozen=True)
class Split:
    """Row indices (ascending, disjoint) of one fold of one repeat, into all rows of the dataset."""

    train: Int[np.ndarray, " train"]
    validation: Int[np.ndarray, " validation"]
    test: Int[np.ndarray, " test"]
    fold: int
    repeat: int


def repeated_group_folds(
    groups: Shaped[np.ndarray, " n"],
    *,
    folds: int = 5,
    repeats: int = 10,
    seed: int = 0,
    rows: Shaped[np.ndarray, " m"] | None = None,
    strata: Shaped[np.ndarray, " n"] | None = None,
) -> list[Split]:
    """Repeated cross-validation by group: fold f is tested, fold f + 1 (cyclic) validates.

    In each repeat the group names are put in the order of sha256(seed|repeat|name) and dealt round
    robin, so that the folds' numbers of groups differ by one at most. With `strata` they are put in
    that order stratum by stratum, so that this is true of every stratum too.

    Args:
      groups: (n,) the group name of every row of the dataset.
      folds: 3 or more (test, validation and at least one fold to train on).
      repeats: number of fresh assignments; `seed` keys them.
      rows: indices or boolean mask (n,) of the rows to split, such as those with both profiles;
        all by default.
      strata: (n,) a number per row, such as the outcome; a group has the largest of its rows.

    Returns:
      folds x repeats splits, repeat by repeat.

    Raises:
      UserError: folds < 3, repeats < 1, fewer groups than folds, or a row without a group name.
    """
    rows = _row_indices(len(groups), rows)
    names = groups[rows].astype(str)
    _check_folds(names, rows, folds, repeats)
    unique, group_of_row = np.unique(names, return_inverse=True)
    stratum = np.zeros(len(unique))
    if strata is not None:
        stratum[:] = -np.inf
        np.maximum.at(stratum, group_of_row, strata[rows].astype(float))
    splits = []
    for repeat in range(repeats):
        fold_of_group = _deal(unique, folds, f"{seed}|{repeat}", stratum)
        fold_of_row = fold_of_group[group_of_row]
        splits += [_split(rows, fold_of_row, fold, folds, repeat) for fold in range(folds)]
    return splits


def with_training_rows(
    split: Split, groups: Shaped[np.ndarray, " n"], rows: Shaped[np.ndarray, " m"]
) -> Split:
    """The split with further rows to train on, without those whose group is validated or tested.

    Meant for rows that are no target themselves, such as untreated profiles of further cell lines:
    that of a tested cell line follows its line out of the training set.

    Args:
      groups: (n,) the group name of every row of the dataset.
      rows: indices or boolean mask (n,) of the rows to add; rows already in training are not
        doubled.
    """
    held_out = groups[np.concatenate([split.validation, split.test])]
    rows = _row_indices(len(groups), rows)
    allowed = rows[~np.isin(groups[rows], held_out)]
    return replace(split, train=np.union1d(split.train, allowed))


def _row_indices(n: int, rows: np.ndarray | None) -> np.ndarray:
    """Ascending unique indices of the chosen rows."""
    if rows is None:
        return np.arange(n)
    if rows.dtype == bool and len(rows) != n:
        raise ValueError(f"a row mask of {len(rows)} entries was given for {n} rows")
    return np.unique(np.arange(n)[rows])


def _check_folds(names: np.ndarray, rows: np.ndarray, folds: int, repeats: int) -> None:
    """Enough folds, repeats and groups; every row has a group."""
    if folds < 3:
        raise UserError(
            f"{folds} folds leave no rows to train on after a test and a validation fold; "
            "set the number of folds to 3 or more"
        )
    if repeats < 1:
        raise UserError(f"{repeats} repeats of the cross-validation were asked for; set 1 or more")
    unnamed = np.flatnonzero(names == "")
    if len(unnamed):
        raise UserError(
            f"row {rows[unnamed[0]]} has an empty group name; name its group or drop the row"
        )
    groups = len(np.unique(names))
    if groups < folds:
        mend = "give rows of more groups"
        if groups >= 3:
            mend = f"set the number of folds to {groups} or less"
        raise UserError(
            f"{folds} folds were asked for but the rows form only {groups} groups, which cannot "
            f"be split; {mend}"
        )


def _deal(names: np.ndarray, folds: int, key: str, stratum: np.ndarray) -> np.ndarray:
    """The fold of each name: its rank by stratum, then by keyed hash, modulo the folds."""
    digests = [hashlib.sha256(f"{key}|{name}".encode()).hexdigest() for name in names]
    fold = np.empty(len(names), dtype=np.int64)
    fold[np.lexsort((digests, stratum))] = np.arange(len(names)) % folds
    return fold


def _split(rows: np.ndarray, fold_of_row: np.ndarray, fold: int, folds: int, repeat: int) -> Split:
    """The split that tests `fold`."""
    test = fold_of_row == fold
    validation = fold_of_row == (fold + 1) % folds
    return Split(
        train=rows[~test & ~validation],
        validation=rows[validation],
        test=rows[test],
        fold=fold,
        repeat=repeat,
    )
