"""From stays to replicates: the patients of the parts of a fold, and the constants fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Int, Real
from ml_collections import ConfigDict

from omics_jax.data.clinical_series.hiding import hiding_rates, median_gaps
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.dataset.splits import Split
from omics_jax.data.formats.messages import count_phrase
from omics_jax.errors import UserError
from omics_jax.evaluation.classifiers import PLATT_FOLDS
from omics_jax.study import external, folds
from omics_jax.study.system import DataSpec
from omics_jax.systems.ehr import model
from omics_jax.systems.ehr.assembly import build, check_config, shape_of
from omics_jax.systems.ehr.device_rows import held_levels, outcome, statics
from omics_jax.systems.ehr.scales import fit_ranges, imputed_range, scale_of
from omics_jax.systems.ehr.stays import SLOT
from omics_jax.tasks.labels import check_labels
from omics_jax.tasks.task import binary_task, strata_by_task
from omics_jax.training.stage import Replicate

Deal = Callable[[ConfigDict, Dataset], list[Split]]
PARTS = ("train", "validation", "test")


# --- splits ---------------------------------------------------------------------------------------


def deal_patients(config: ConfigDict, dataset: Dataset) -> list[Split]:
    """Folds of all patients by group, stratified by the outcome; or the parts that the file has."""
    if config.data.split == "file":
        return [_split_of_file(dataset)]
    return folds.deal_folds(config, dataset, _strata(dataset))


def deal_internal(config: ConfigDict, dataset: Dataset) -> list[Split]:
    """Folds of the internal patients, one of them to validate; all external patients are tested."""
    if config.data.split == "file":
        return [_split_of_file(dataset)]
    return external.deal_internal(config, dataset, _strata(dataset))


def _split_of_file(dataset: Dataset) -> Split:
    """The parts train, val and test that the file itself has."""
    parts = {part: _rows_of_part(dataset, part) for part in ("train", "val", "test")}
    lacking = [part for part, rows in parts.items() if not len(rows)]
    if lacking:
        raise UserError(
            f"config.data.split is file, and the data have no part {', '.join(lacking)}; store X "
            "in each of the groups train, val and test, or set --config.data.split=folds"
        )
    for a, b in combinations(parts, 2):
        groups_a, groups_b = (dataset.groups[parts[part]].astype(str) for part in (a, b))
        both = np.intersect1d(groups_a, groups_b)
        if len(both):
            raise UserError(
                f"config.data.split is file, and {count_phrase(len(both), 'group', both.tolist())} "
                f"in its parts {a} and {b}; keep each person in one of them, or set "
                "data.split=folds"
            )
    return Split(parts["train"], parts["val"], parts["test"], fold=0, repeat=0)


def _rows_of_part(dataset: Dataset, part: str) -> Int[np.ndarray, " rows"]:
    """The rows that the file has in one of its parts, none where it has no parts."""
    if "split" not in dataset.table:
        return np.array([], int)
    return np.flatnonzero(dataset.table["split"] == part)


def _strata(dataset: Dataset) -> Real[np.ndarray, " n"] | None:
    """1 for patients with the outcome, 0 without, -1 unknown."""
    return strata_by_task(dataset, [binary_task(dataset)]) if dataset.targets else None


# --- replicates -----------------------------------------------------------------------------------


def imputing_replicates(config: ConfigDict, dataset: Dataset) -> list[Replicate]:
    """A replicate per split, for experiments that predict no outcome."""
    check_config(config)
    splits = deal_patients(config, dataset)
    _check_held(config, dataset, splits)
    return _replicates(config, dataset, splits)


def outcome_replicates(
    config: ConfigDict, dataset: Dataset, deal: Deal = deal_patients
) -> list[Replicate]:
    """A replicate per split, for experiments that predict the outcome.

    Raises:
      UserError: no outcome, or one class only in a part of a split.
    """
    _check_outcome(config, dataset)
    check_config(config)
    splits = deal(config, dataset)
    _check_classes(dataset)
    for split in splits:
        check_labels(dataset, [binary_task(dataset)], split)
    _check_held(config, dataset, splits)
    return _replicates(config, dataset, splits)


def _replicates(config: ConfigDict, dataset: Dataset, splits: Sequence[Split]) -> list[Replicate]:
    def constants(split: Split) -> dict[str, np.ndarray]:
        return constants_of(config, dataset, split.train)

    return folds.replicates(config, splits, SLOT, constants)


def with_summaries(
    config: ConfigDict, dataset: Dataset, replicates: Sequence[Replicate]
) -> list[Replicate]:
    """The replicates with what the network `summary` fits on their training rows."""
    spec = spec_of(dataset, replicates)
    table, shape = build(config, spec).arrays(dataset), shape_of(config, spec)
    extended = []
    for replicate in replicates:
        rows = {name: values[replicate.rows[SLOT]] for name, values in table.items()}
        fitted = model.fit_summaries(shape, replicate.constants, rows)
        extended.append(replace(replicate, constants={**replicate.constants, **fitted}))
    return extended


def spec_of(dataset: Dataset, replicates: Sequence[Replicate]) -> DataSpec:
    """Names of variables, steps and descriptors, and the most rows of each slot."""
    return DataSpec(folds.features_of(dataset), folds.most_rows(replicates))


# --- what is fitted -------------------------------------------------------------------------------


def constants_of(
    config: ConfigDict, dataset: Dataset, train: Int[np.ndarray, " rows"]
) -> dict[str, np.ndarray]:
    """Constants of the training rows: scales, ranges, usual gaps (hours or steps) and hiding rates.

    All are per variable.
    """
    series = dataset.modalities["series"].take(train)
    mask, hours = series.mask, dataset.modalities["hours"].values
    mean, sd = scale_of(series)
    ranges = fit_ranges(series.values, mask)
    rates = hiding_rates(mask, config.pretrain.hide, config.pretrain.increase)
    # Gaps of the convention "code" count steps, and so must what is usual among them.
    steps = np.broadcast_to(np.arange(hours.shape[1]), hours.shape)
    times = hours if config.model.gaps == "paper" else steps
    usual = median_gaps(mask, times[train].astype(np.float32))
    return {
        "mean": mean,
        "sd": sd,
        "usual_gap": usual.astype(np.float32),
        "hiding_rate": rates.astype(np.float32),
        **ranges,
        **imputed_range(ranges, mean, sd),
        **_scale_of_statics(statics(dataset), train),
    }


def _scale_of_statics(static: Modality, train: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
    """Mean, s.d. and range of every descriptor over the training rows that have it."""
    names = ("mean", "sd", "low", "high", "far_low", "far_high")
    if not static.values.shape[1]:
        return {f"static_{name}": np.zeros(0, np.float32) for name in names}
    known = static.take(train)
    mean, sd = scale_of(known)
    # An infinite s.d. makes z 0 for a descriptor that no training row has: the network would take
    # any other value for noise.
    sd = np.where(known.mask.any(axis=0), sd, np.float32(np.inf))
    fitted = {"mean": mean, "sd": sd, **fit_ranges(known.values, known.mask)}
    return {f"static_{name}": values for name, values in fitted.items()}


# --- checks ---------------------------------------------------------------------------------------


def _check_outcome(config: ConfigDict, dataset: Dataset) -> None:
    if not dataset.targets or not outcome(dataset)[1].any():
        raise UserError(
            f"the experiment {config.experiment} predicts an outcome and the data hold none; name "
            "the outcomes' file with --config.data.outcomes, or choose the experiment imputation"
        )


def _check_classes(dataset: Dataset) -> None:
    """Refuses an outcome that all patients have, or none."""
    label, known = outcome(dataset)
    if len(np.unique(label[known])) == 1:
        name, value = next(iter(dataset.targets)), label[known][0]
        raise UserError(
            f"{name} is {value:g} of all {known.sum():,} patients; name another label with "
            "--config.data.label, or choose the experiment imputation"
        )


def _check_held(config: ConfigDict, dataset: Dataset, splits: Sequence[Split]) -> None:
    """Refuses a split in which no held-out value shows how well values are imputed."""
    levels = held_levels(tuple(config.held_out), config.seed, dataset)
    scored: Bool[np.ndarray, " n"] = (levels == 1).any(axis=(1, 2))
    mend = "a larger first share in --config.held_out"
    if "truth" in dataset.modalities:
        mend = "leave X_ori out of the file"
    for split in splits:
        for part in ("validation", "test"):
            if not scored[getattr(split, part)].any():
                raise UserError(
                    f"fold {split.fold}, repeat {split.repeat}: no value of its {part} rows is "
                    "held out, so that an imputation of them cannot be judged; use fewer folds, "
                    f"more patients, or {mend}"
                )


def check_svm(dataset: Dataset, replicates: Sequence[Replicate]) -> None:
    """Refuses folds with too few training rows of a class for the SVM that is fitted at the end.

    Before anything is trained.
    """
    label, known = outcome(dataset)
    for replicate in replicates:
        rows = replicate.rows[SLOT]
        labels = label[rows][known[rows]].astype(int)
        rarest = int(min(np.bincount(labels, minlength=2)))
        if rarest < PLATT_FOLDS:
            raise UserError(
                f"{replicate.name}: one class has {rarest} training rows and the SVM of these "
                f"tables needs {PLATT_FOLDS}; use fewer folds, more patients, or the experiment "
                "mortality"
            )
