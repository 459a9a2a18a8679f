"""The features of patients that a fold uses: the config's rules, what is fitted, and the fields.

Selection, mean fill and min-max are those of `data.preprocessing.features`, here for all modalities
of a study; `columns` reads the constants and fields on the device. Left out: what a system does
where a modality is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from omics_jax.data.dataset import mapped
from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.data.preprocessing.features import Constants, apply, fit_folds, on_own_columns
from omics_jax.data.preprocessing.log2 import LOG2
from omics_jax.data.preprocessing.selection import Rules
from omics_jax.settings.words import parse_number, parse_pairs
from omics_jax.training.stage import Variables

Matrix = Float[np.ndarray, "n F"]
TestMatrix = Float[np.ndarray, "t F"]
# (modality, splits) -> the constants fitted to the training rows of every split.
Fit = Callable[[str, Sequence[Split]], list[dict[str, np.ndarray]]]
# split -> the constants of all modalities.
ConstantsOf = Callable[[Split], dict[str, np.ndarray]]


# --- what a fold fits -----------------------------------------------------------------------------


def rules_of(config: Any, name: str) -> Rules:
    """The rules by which a modality's features are selected in every fold."""
    settings = config.preprocess
    zeros = parse_pairs(settings.zeros, "preprocess.zeros").get(name, "keep")
    share = parse_pairs(settings.share, "preprocess.share").get(name, "1")
    return Rules(
        zeros=zeros,
        most_missing=settings.most_missing,
        share=parse_number(share, f"preprocess.share of {name}"),
        seed=config.seed,
        top_k=settings.top_k or None,
    )


def fit_once(dataset: Dataset, rules: Callable[[str], Rules], with_sd: bool = False) -> Fit:
    """The `Fit` of these patients, which stores what it fitted and returns it for the same rows.

    rules: modality -> the rules by which its features are selected.
    with_sd: whether standard deviations are among the constants.
    """
    fitted: dict[tuple[str, tuple[bytes, ...]], list[dict[str, np.ndarray]]] = {}

    def fit(name: str, splits: Sequence[Split]) -> list[dict[str, np.ndarray]]:
        rows = [split.train for split in splits]
        key = name, tuple(part.tobytes() for part in rows)
        if key not in fitted:
            modality = dataset.modalities[name]
            fitted[key] = fit_folds(modality, rows, rules(name), name, with_sd)
        return fitted[key]

    return fit


def on_common_table(
    dataset: Dataset,
    names: Sequence[str],
    splits: Sequence[Split],
    fit: Fit,
    widths: Mapping[str, int],
) -> tuple[Dataset, ConstantsOf]:
    """The patients on the features that any fold uses, and what every fold fits to its own of them.

    names: the modalities; the others are left out.
    splits: those to whose training rows the constants are fitted.
    widths: modality -> w, at least as many features as any fold uses of it.

    Returns:
      the dataset, and split -> M_columns, M_alive, M_fill, M_low, M_high (w,) and, if fitted, M_sd
      of every modality M, see `on_own_columns`, for these splits and any others of the same repeats
      and folds.
    """
    modalities = {}
    constants: dict[tuple[int, int], dict[str, np.ndarray]] = {_key(split): {} for split in splits}
    for name in names:
        modality = dataset.modalities[name]
        fitted = fit(name, splits)
        columns, by_fold = on_own_columns(fitted, len(modality.features), widths[name])
        modalities[name] = modality.select_features(modality.features[columns])
        for split, fold_constants in zip(splits, by_fold, strict=True):
            for field, value in fold_constants.items():
                constants[_key(split)][f"{name}_{field}"] = value
    return replace(dataset, modalities=modalities), lambda split: constants[_key(split)]


def _key(split: Split) -> tuple[int, int]:
    return split.repeat, split.fold


def training_range(
    names: Sequence[str], variables: Variables
) -> dict[str, tuple[Float[np.ndarray, " F"], Float[np.ndarray, " F"]]]:
    """`System.training_range` of these modalities; features that a fold does not use have none."""
    # Stored variables of one replicate have its axis, of length 1.
    constants = {name: np.ravel(value) for name, value in variables["constants"].items()}
    ranges = {}
    for name in names:
        alive = constants[f"{name}_alive"]
        low, high = (constants[f"{name}_{end}"].astype(np.float64) for end in ("low", "high"))
        ranges[name] = np.where(alive, low, np.nan), np.where(alive, high, np.nan)
    return ranges


# --- what a row holds -----------------------------------------------------------------------------


def inputs(names: Sequence[str], dataset: Dataset) -> dict[str, np.ndarray]:
    """The fields of the patients' rows, for the device.

    Returns:
      of every modality M that is named, x_M (n, F), its values, 0 where they are missing, and m_M
      (n, F), whether they were observed; has (n, modalities), whether the patient has any value.
    """
    modalities = {name: dataset.modalities[name] for name in names}
    x = {f"x_{name}": mapped.zero_missing(m.values, m.mask) for name, m in modalities.items()}
    masks = {f"m_{name}": m.mask for name, m in modalities.items()}
    has = np.stack([m.observed_rows for m in modalities.values()], axis=1)
    return {**x, **masks, "has": has}


def logged_modalities(dataset: Dataset) -> tuple[str, ...]:
    """The modalities whose values are logarithms of those in the files."""
    return tuple(name for name, m in dataset.modalities.items() if m.transform == LOG2)


# --- for simple models ----------------------------------------------------------------------------


def scaled_features(
    rules: Mapping[str, Rules], modalities: Sequence[str], train: Dataset, test: Dataset
) -> tuple[Matrix, TestMatrix]:
    """The modalities of both datasets side by side, as float32 in [0, 1].

    Features are selected and scaled by the training rows; missing cells are the training mean.
    """
    return side_by_side(fit_modalities(rules, modalities, train), train, test)


def fit_modalities(
    rules: Mapping[str, Rules], modalities: Sequence[str], train: Dataset
) -> dict[str, Constants]:
    """Modality -> the constants fitted to all these rows, see `fit_folds`."""
    all_rows = np.arange(len(train))
    constants = {}
    for name in modalities:
        (constants[name],) = fit_folds(train.modalities[name], [all_rows], rules[name], name)
    return constants


def side_by_side(
    constants: Mapping[str, Constants], train: Dataset, test: Dataset
) -> tuple[Matrix, TestMatrix]:
    """As `scaled_features`, by the constants that `fit_modalities` fitted to the training rows."""

    def scaled(dataset: Dataset) -> Matrix:
        parts = []
        for name, fitted in constants.items():
            modality = dataset.modalities[name]
            parts.append(apply(fitted, modality.values, modality.mask))
        return np.concatenate(parts, axis=1)

    return scaled(train), scaled(test)
