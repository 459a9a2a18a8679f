"""Covariates of people, such as age, sex, study or cell proportions, as columns of numbers.

A column of numbers is one covariate; a column of words becomes an indicator for each of its words.
In a fold they are standardised by its training rows, and what is unknown counts as the training
mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.vocabulary import Missing
from omics_jax.errors import UserError

Levels = Mapping[str, tuple[str, ...]]  # column -> its words; () for numbers
MOST_LEVELS = 50
_LEAST_SD = 1e-6  # below it a covariate is constant


def levels_of(
    dataset: Dataset,
    columns: Sequence[str],
    missing: Missing = Missing(),
    setting: str = "config.adjust",
) -> Levels:
    """The words of every column of the dataset's table that is a covariate.

    missing: what the user's files write for unknown.
    setting: that names the columns, for messages.

    Raises:
      UserError: a column that the table lacks, that is empty, or that has more words than
        `MOST_LEVELS`.
    """
    levels = {}
    for column in columns:
        if column not in dataset.table:
            have = ", ".join(map(str, dataset.table.columns)) or "none"
            raise UserError(
                f"{setting} names the column {column!r}, which the table of people lacks; it has "
                f"{have}"
            )
        cells = _known_cells(dataset.table[column], missing)
        if cells.isna().all():
            raise UserError(
                f"the covariate {column!r} is unknown of everyone; leave it out of {setting}"
            )
        is_numeric = np.isfinite(_numbers(cells)).sum() == cells.notna().sum()
        levels[column] = () if is_numeric else tuple(sorted(cells.dropna().unique()))
        if len(levels[column]) > MOST_LEVELS:
            raise UserError(
                f"the covariate {column!r} has {len(levels[column])} different words, such as "
                f"{levels[column][0]!r}, where at most {MOST_LEVELS} make sense; name another "
                f"column in {setting}"
            )
    return levels


def covariate_columns(levels: Levels) -> list[tuple[str, str]]:
    """(column, word) of every covariate, the word "" for a number."""
    return [(column, word) for column, words in levels.items() for word in (words or ("",))]


def covariate_values(
    dataset: Dataset, levels: Levels, missing: Missing = Missing()
) -> Float[np.ndarray, "n k"]:
    """The covariates of every person in the order of `covariate_columns`, nan where unknown.

    A word that `levels` lacks is unknown, as is text in a column of numbers.
    """
    columns = []
    for column, word in covariate_columns(levels):
        if column not in dataset.table:
            columns.append(np.full(len(dataset), np.nan))
            continue
        cells = _known_cells(dataset.table[column], missing)
        if word:
            is_word = (cells == word).astype(float)
            columns.append(is_word.where(cells.isin(levels[column])).to_numpy())
        else:
            columns.append(_numbers(cells))
    shape = (len(dataset), len(columns))
    return np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros(shape, np.float32)


def unknown_covariates(
    new: Dataset,
    levels: Levels,
    missing: Missing,
    consequence: str,
    people: str = "new people",
    setting: str = "data.clinical",
) -> list[str]:
    """A sentence on every covariate of the training that is not known of all new people.

    consequence: what becomes of those in whom it is unknown.
    people: what they are called. setting: which names their table.
    """
    sentences = []
    for column, words in levels.items():
        values = covariate_values(new, {column: words}, missing)
        count = int(np.isnan(values).any(axis=1).sum())
        if count:
            what = f"no word of the training ({', '.join(words)})" if words else "no number"
            sentences.append(
                f"{column}: {what} is known of {count:,} of {len(new):,} {people}, who "
                f"{consequence}; {setting} names their table."
            )
    return sentences


def _known_cells(column: pd.Series, missing: Missing) -> pd.Series:
    """The cells as text, nan where they mean unknown."""
    text = column.fillna("").astype(str).str.strip()
    is_unknown = [cell == "" or missing.is_word(cell) for cell in text]
    return text.mask(is_unknown)


def _numbers(cells: pd.Series) -> Float[np.ndarray, " n"]:
    """The cells as finite numbers, nan where they are none."""
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


# --- their scale in a fold ------------------------------------------------------------------------


def covariate_scale(
    covariates: Float[np.ndarray, "n k"], rows: Int[np.ndarray, " r"]
) -> dict[str, Float[np.ndarray, " k"]]:
    """c_mean and c_sd (k,) of the known training rows; 0 and 1 where there are none."""
    known = np.isfinite(covariates[rows])
    count = np.maximum(known.sum(axis=0), 1)
    values = np.where(known, covariates[rows], 0).astype(np.float64)
    mean = values.sum(axis=0) / count
    sd = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(axis=0) / count)
    return {
        "c_mean": mean.astype(np.float32),
        "c_sd": np.where(sd > _LEAST_SD, sd, 1).astype(np.float32),
    }


def scaled_covariates(scale: Mapping[str, Any], c: Float[Any, "n k"]) -> Float[Any, "n k"]:
    """(c - c_mean) / c_sd, 0 where c is nan, which is unknown; for numpy and jax arrays alike."""
    xp = c.__array_namespace__()
    return xp.where(xp.isnan(c), 0, (c - scale["c_mean"]) / scale["c_sd"])


def on_own_scale(covariates: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """The covariates of these people on their own scale, 0 where unknown, to compare groups."""
    scale = covariate_scale(covariates, np.arange(len(covariates)))
    return scaled_covariates(scale, covariates)
