"""What was understood of a dataset, in words, for `--mode=inspect` and the head of a report."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from jaxtyping import Num, Shaped

from omics_jax.data.dataset.dataset import Dataset, Modality

_MOST_CELLS = 1 << 24  # that quantiles are computed of: those of 16 million say the same
_SHOWN = 6  # values of an annotation, or classes of an outcome

Line = tuple[str, str]


def summary(dataset: Dataset) -> list[Line]:
    """Labels and values: rows, groups, modalities, outcomes, the commonest annotations."""
    n_groups = len(np.unique(dataset.groups.astype(str)))
    lines = [
        ("rows", f"{len(dataset):,}"),
        ("groups that are never split", f"{n_groups:,}"),
    ]
    for name, modality in dataset.modalities.items():
        lines += _modality_lines(name, modality)
    for name, (values, mask) in dataset.targets.items():
        classes = dataset.classes.get(name)
        outcome = _outcome_in_words(values[mask], classes)
        unknown = np.sum(~mask)
        if unknown:
            outcome += f", unknown in {unknown:,}"
        lines.append((f"outcome {name}", outcome))
    for column in dataset.table.columns:
        lines += _annotation_lines(dataset, column)
    return lines


def _modality_lines(name: str, modality: Modality) -> list[Line]:
    """Its size and what is observed of it; the range of its values unless it is a series."""
    has_values = modality.observed_rows
    rows = int(has_values.sum())
    observed_share = modality.mask[has_values].mean() if rows else 0.0
    is_series = modality.values.ndim == 3
    size = f"{rows:,} rows"
    if is_series:
        size += f" x {modality.values.shape[1]} steps"
    size += f" x {len(modality.features):,} features"
    lines = [(name, f"{size}, {1 - observed_share:.1%} of their cells missing")]
    # The features of a series have units of their own.
    if rows and not is_series:
        cells = _some_cells(modality)
        low, q1, median, q3, high = np.quantile(cells, [0.01, 0.25, 0.5, 0.75, 0.99])
        percentiles = f"1st to 99th percentile {low:.3g} to {high:.3g}"
        quartiles = f"quartiles {q1:.3g}, {median:.3g} and {q3:.3g}"
        extremes = f"{cells.min():.3g} to {cells.max():.3g}"
        lines.append((f"{name}, values", f"{extremes}, {percentiles}, {quartiles}"))
    return lines


def _annotation_lines(dataset: Dataset, column: str) -> list[Line]:
    """The commonest values; nothing for a column that is empty or has too many of them."""
    text = dataset.table[column].astype(str)
    counts = text[text != ""].value_counts()
    most_values = max(20, len(dataset) // 4)
    if counts.empty or len(counts) > most_values:
        return []
    commonest = counts.head(_SHOWN)
    shown = [f"{value} ({count})" for value, count in commonest.items()]
    line = (str(column), _listed(shown, len(counts)))
    return [line]


def _listed(shown: list[str], count: int) -> str:
    """The items that are shown, out of so many."""
    text = ", ".join(shown)
    hidden = count - len(shown)
    return f"{text} and {hidden} more" if hidden else text


def _some_cells(modality: Modality) -> Num[np.ndarray, " cells"]:
    """Observed cells of the rows that have any; if they are very many, of evenly spaced rows."""
    rows = np.flatnonzero(modality.observed_rows)
    n_cells = len(rows) * len(modality.features)
    step = math.ceil(n_cells / _MOST_CELLS)
    rows = rows[::step]
    values, mask = modality.values[rows], modality.mask[rows]
    return values[mask]


def combinations(dataset: Dataset) -> Shaped[np.ndarray, " n"]:
    """(n,) the modalities that a patient has, such as "rna + mirna", "" for none."""
    names = np.array(list(dataset.modalities), dtype=object)
    columns = [modality.observed_rows for modality in dataset.modalities.values()]
    present = np.stack(columns, axis=1)
    patterns, pattern_of_row = np.unique(present, axis=0, return_inverse=True)
    words = [" + ".join(names[pattern]) for pattern in patterns]
    return np.array(words, str)[pattern_of_row.reshape(-1)]


def overlaps(dataset: Dataset) -> pd.DataFrame:
    """How many patients have which modalities, most first.

    Columns: combination, such as "rna + mirna" ("" for none), and patients, the number who have
    these and no others.
    """
    words, counts = np.unique(combinations(dataset), return_counts=True)
    counted = pd.DataFrame({"combination": words, "patients": counts})
    return counted.sort_values("patients", ascending=False, kind="stable", ignore_index=True)


def _outcome_in_words(known: Num[np.ndarray, " k"], classes: tuple[str, ...] | None) -> str:
    """Counts of classes or of 1 among 0 and 1, quartiles of other numbers."""
    if classes:
        counts = np.bincount(known.astype(int), minlength=len(classes))
        commonest = np.argsort(-counts, kind="stable")[:_SHOWN]
        shown = [f"{classes[c]} ({counts[c]:,})" for c in commonest]
        return _listed(shown, len(classes))
    n = len(known)
    is_binary = np.isin(known, (0, 1)).all()
    if is_binary:
        words = f"{known.sum():,.0f} of {n:,}"
        return f"{words} ({known.mean():.1%})" if n else words
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    quartiles = f"quartiles {low:,.4g} and {high:,.4g}"
    return f"median {middle:,.4g} ({quartiles}) of {n:,}"
