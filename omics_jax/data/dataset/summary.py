"""What was understood of a dataset, in words, for `--mode=inspect` and the head of a report."""

from __future__ import annotations

import numpy as np
import pandas as pd

from omics_jax.data.dataset.dataset import Dataset, Modality

MOST_CELLS = 1 << 24  # that quantiles are taken of: those of 16 million say the same


def summary(dataset: Dataset) -> list[tuple[str, str]]:
    """Labels and values: rows, groups, what is observed of each modality, the commonest
    annotations.
    """
    lines = [
        ("rows", f"{len(dataset):,}"),
        ("groups that are never split", f"{len(np.unique(dataset.groups.astype(str))):,}"),
    ]
    for name, m in dataset.modalities.items():
        rows = int(m.observed_rows.sum())
        cells = m.mask[m.observed_rows].mean() if rows else 0.0
        steps = f" x {m.values.shape[1]} steps" if m.values.ndim == 3 else ""
        size = f"{rows:,} rows{steps} x {len(m.features):,} features"
        lines.append((name, f"{size}, {1 - cells:.1%} of their cells missing"))
        if rows and m.values.ndim == 2:  # the features of a series have units of their own
            low, high = np.quantile(_some_cells(m), [0.01, 0.99])
            lines.append((f"{name}, 1st to 99th percentile", f"{low:.3g} to {high:.3g}"))
    for name, (values, mask) in dataset.targets.items():
        unknown = f", unknown in {(~mask).sum():,}" if not mask.all() else ""
        lines.append(
            (
                f"outcome {name}",
                _outcome_in_words(values[mask], dataset.classes.get(name)) + unknown,
            )
        )
    for column in dataset.table.columns:
        text = dataset.table[column].astype(str)
        counts = text[text != ""].value_counts()
        if 0 < len(counts) <= max(20, len(dataset) // 4):
            shown = ", ".join(f"{k} ({v})" for k, v in counts.head(6).items())
            lines.append(
                (str(column), shown + (f" and {len(counts) - 6} more" if len(counts) > 6 else ""))
            )
    return lines


def _some_cells(m: Modality) -> np.ndarray:
    """Observed cells of rows that have any: of all, or where they are very many of rows at even
    distances.
    """
    rows = np.flatnonzero(m.observed_rows)
    rows = rows[:: -(-len(rows) * len(m.features) // MOST_CELLS)]
    return m.values[rows][m.mask[rows]]


def combinations(dataset: Dataset) -> np.ndarray:
    """(n,) the modalities that a patient has, such as "rna + mirna", "" for none."""
    names = list(dataset.modalities)
    present = np.stack([m.observed_rows for m in dataset.modalities.values()], axis=1)
    rows, which = np.unique(present, axis=0, return_inverse=True)
    words = [
        " + ".join(name for name, here in zip(names, row, strict=True) if here) for row in rows
    ]
    return np.array(words, str)[which.reshape(-1)]


def overlaps(dataset: Dataset) -> pd.DataFrame:
    """combination, such as "rna + mirna" ("" for none), and patients, how many have these and no
    others; most first.
    """
    words, counts = np.unique(combinations(dataset), return_counts=True)
    counted = pd.DataFrame({"combination": words, "patients": counts})
    return counted.sort_values("patients", ascending=False, kind="stable", ignore_index=True)


def _outcome_in_words(known: np.ndarray, classes: tuple[str, ...] | None) -> str:
    """Counts of classes or of 1 among 0 and 1, quartiles of other numbers."""
    if classes:
        counts = np.bincount(known.astype(int), minlength=len(classes))
        shown = ", ".join(
            f"{classes[c]} ({counts[c]:,})" for c in np.argsort(-counts, kind="stable")[:6]
        )
        return shown + (f" and {len(classes) - 6} more" if len(classes) > 6 else "")
    if np.isin(known, (0, 1)).all():
        return f"{known.sum():,.0f} of {len(known):,}" + (
            f" ({known.mean():.1%})" if len(known) else ""
        )
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    return f"median {middle:,.4g} (quartiles {low:,.4g} and {high:,.4g}) of {len(known):,}"
