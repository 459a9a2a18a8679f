"""Covariates of people, such as age, sex, study or cell proportions, as columns of numbers.

A column of numbers is one covariate; a column of words becomes an indicator for each of its words.
In a fold they are standardised by its training rows, and what is unknown counts as the training
mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.vocabulary import Missing
from omics_jax.errors import UserError

Levels = Mapping[str, tuple[str, ...]]  # column -> its words; () for numbers
MOST_LEVELS = 50


def levels_of(dataset: Dataset, columns: Sequence[str], missing: Missing = Missing()) -> Levels:
    """The words of every column of the dataset's table that is a covariate.

    missing: what the user's files write for unknown.

    Raises:
      UserError: a column that the table lacks, that is empty, or that has more words than
        `MOST_LEVELS`.
    """
    levels = {}
    for column in columns:
        if column not in dataset.table:
            have = ", ".join(map(str, dataset.table.columns)) or "none"
            raise UserError(
                f"config.adjust names the column {column!r}, which the table of people lacks; it "
                f"has {have}"
            )
        cells = _known_cells(dataset.table[column], missing)
        if cells.isna().all():
            raise UserError(
                f"the covariate {column!r} is unknown of everyone; leave it out of config.adjust"
            )
        is_numeric = np.isfinite(_numbers(cells)).sum() == cells.notna().sum()
        levels[column] = () if is_numeric else tuple(sorted(cells.dropna().unique()))
        if len(levels[column]) > MOST_LEVELS:
            raise UserError(
                f"the covariate {column!r} has {len(levels[column])} different words, such as "
                f"{levels[column][0]!r}, where at most {MOST_LEVELS} make sense; name another "
                "column in config.adjust"
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


def _known_cells(column: pd.Series, missing: Missing) -> pd.Series:
    """The cells as text, nan where they mean unknown."""
    text = column.fillna("").astype(str).str.strip()
    is_unknown = [cell == "" or missing.is_word(cell) for cell in text]
    return text.mask(is_unknown)


def _numbers(cells: pd.Series) -> Float[np.ndarray, " n"]:
    """The cells as finite numbers, nan where they are none."""
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(float)
    return np.where(np.isfinite(numbers), numbers, np.nan)
