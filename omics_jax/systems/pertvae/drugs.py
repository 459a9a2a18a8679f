"""Which pairs each model learns from: those of one drug, or all; and notes on too little to learn.

A drug that cannot be split into the folds is left out with a note. Data in which no drug can be are
refused, with the settings by which they can be used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int
from ml_collections import ConfigDict

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.errors import UserError
from omics_jax.study.folds import deal_folds
from omics_jax.study.system import LEAST_BASELINE_ROWS

ALL = "all drugs"
FEW_GROUPS = 10  # of training pairs, below which a network learns little but the mean change
_SHOWN = 3  # names of drugs in a sentence

Rows = Int[np.ndarray, " m"]


def splits_by_model(
    config: ConfigDict, dataset: Dataset, paired: Bool[np.ndarray, " n"]
) -> tuple[dict[str, list[Split]], list[str]]:
    """What each model is of (a drug, or all drugs) -> its folds; and notes on the drugs left out.

    Raises:
      UserError: no drug can be split, or all drugs together cannot.
    """
    rows_of = _rows_by_model(config, dataset, paired)
    obstacles = {name: _obstacle(config, dataset, rows) for name, rows in rows_of.items()}
    if all(obstacles.values()):
        raise UserError(_refusal(config, dataset, rows_of, obstacles))
    splits = {
        name: deal_folds(config, dataset, rows=rows)
        for name, rows in rows_of.items()
        if not obstacles[name]
    }
    return splits, list(_left_out(config, obstacles))


def _rows_by_model(
    config: ConfigDict, dataset: Dataset, paired: Bool[np.ndarray, " n"]
) -> dict[str, Rows]:
    if not config.model.per_drug:
        return {ALL: np.flatnonzero(paired)}
    drug = dataset.table["drug"].astype(str).to_numpy()
    return {name: np.flatnonzero(paired & (drug == name)) for name in sorted(set(drug[paired]))}


def _count_groups(dataset: Dataset, rows: Rows) -> int:
    return len(np.unique(dataset.groups[rows].astype(str)))


def _obstacle(config: ConfigDict, dataset: Dataset, rows: Rows) -> str:
    """Why these pairs cannot be split into the folds; "" where they can."""
    if 3 <= config.folds and _count_groups(dataset, rows) < config.folds:
        return f"{config.folds} folds need as many groups"
    least = min(len(split.train) for split in deal_folds(config, dataset, rows=rows))
    if least < LEAST_BASELINE_ROWS:
        need = f"the simple models need {LEAST_BASELINE_ROWS}"
        return f"one of {config.folds} folds leaves {least} pair to train on, and {need}"
    return ""


def _refusal(
    config: ConfigDict, dataset: Dataset, rows_of: Mapping[str, Rows], obstacles: Mapping[str, str]
) -> str:
    """Why nothing can be trained, and those settings that would help with these data."""
    name = max(rows_of, key=lambda name: _count_groups(dataset, rows_of[name]))
    rows, by = rows_of[name], config.data.group_by
    groups = _count_groups(dataset, rows)
    mends = []
    as_many = config.copy_and_resolve_references()
    as_many.folds = groups
    if groups >= 3 and not _obstacle(as_many, dataset, rows):
        mends.append(f"set --config.folds={groups}")
    drugs = dataset.table["drug"].astype(str)[dataset.modalities["treated"].observed_rows]
    if drugs.nunique() > 3 and by not in ("drug", config.data.columns.drug):
        mends.append(
            "train one model for all drugs and test it on drugs that it has not seen, with "
            "--config.model.per_drug=False --config.data.group_by=drug"
        )
    mends.append("give pairs of more groups (4 at least)")
    subject = "the pairs cannot be split" if name == ALL else "no drug has enough pairs"
    most = "all drugs have" if name == ALL else f"drug {name!r}, which has the most groups, has"
    return (
        f"{subject}: {most} {_count(len(rows), 'pair')} in {_count(groups, 'group')} "
        f"(--config.data.group_by={by}), but {obstacles[name]}; {', or '.join(mends)}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _left_out(config: ConfigDict, obstacles: Mapping[str, str]) -> Iterator[str]:
    """A note for every reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in obstacles.items():
        if reason:
            by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        are = "is" if len(names) == 1 else "are"
        yield (
            f"{_listed(names)} {are} left out, having too few groups "
            f"(--config.data.group_by={config.data.group_by}): {reason}; --config.model.per_drug="
            "False trains one model for all drugs"
        )


def _listed(names: Sequence[str]) -> str:
    """ "drug 'a'", or "5 drugs ('a', 'b', 'c' and 2 more)"."""
    if len(names) == 1:
        return f"drug {names[0]!r}"
    shown = ", ".join(map(repr, names[:_SHOWN]))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} drugs ({shown}{more})"


def limits(dataset: Dataset, splits: Mapping[str, Sequence[Split]]) -> Iterator[str]:
    """Notes on models with little to learn from: few groups, or controls that are all alike."""
    least = {
        name: min(_count_groups(dataset, split.train) for split in parts)
        for name, parts in splits.items()
    }
    few = [name for name, count in least.items() if count < FEW_GROUPS]
    if few:
        yield (
            f"{len(few)} of {len(splits)} models learn from fewer than {FEW_GROUPS} groups (as "
            f"few as {min(least.values())}), too few to learn more than a mean change; read their "
            "scores beside those of the simple models"
        )
    alike = [name for name, parts in splits.items() if _controls_are_alike(dataset, parts)]
    if alike:
        whose = ALL if alike == [ALL] else _listed(alike)
        yield (
            f"all pairs of {whose} have one and the same control profile, so that x1 carries no "
            "information and no model can do better than the mean shift"
        )


def _controls_are_alike(dataset: Dataset, splits: Sequence[Split]) -> bool:
    rows = np.concatenate([splits[0].train, splits[0].validation, splits[0].test])
    control = dataset.modalities["control"].take(rows)
    values = np.where(control.mask, control.values, np.nan)
    return len(rows) > 1 and np.array_equal(values, np.tile(values[0], (len(rows), 1)), True)
