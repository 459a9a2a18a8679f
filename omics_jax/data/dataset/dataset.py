"""`Dataset`: what every reader returns and every system reads.

Rows are samples (profiles, patients); columns live in named modalities; whatever is missing is a
mask from
the reader onwards, never a magic number and never a dropped row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from omics_jax.data.dataset import mapped
from omics_jax.errors import UserError


@dataclass(frozen=True)
class Modality:
    """One measured block: `values` (n, f) float32, `mask` (n, f) bool (True = observed), feature
    names (f,).

    A series has its time steps between rows and features, (n, T, f). Unobserved values are stored
    as 0 and must only
    be read through the mask.
    """

    values: np.ndarray
    mask: np.ndarray
    features: np.ndarray

    def __post_init__(self):
        if self.values.shape != self.mask.shape or self.values.shape[-1] != len(self.features):
            raise ValueError(
                f"a modality's values {self.values.shape}, mask {self.mask.shape} and "
                f"{len(self.features)} features do not agree"
            )

    def take(self, rows: np.ndarray) -> Modality:
        """The same modality for the given rows (indices or a boolean mask)."""
        return replace(
            self, values=mapped.rows_of(self.values, rows), mask=mapped.rows_of(self.mask, rows)
        )

    def select_features(self, features) -> Modality:
        """The modality on these features, in this order; those it lacks are unobserved."""
        place = {str(name): j for j, name in enumerate(self.features)}
        columns = np.array([place.get(str(name), -1) for name in features])
        return Modality(*mapped.columns_of(self.values, self.mask, columns), np.asarray(features))

    @property
    def observed_rows(self) -> np.ndarray:
        """(n,) bool: rows with at least one observed value."""
        return self.mask.reshape(len(self.mask), -1).any(axis=1)


@dataclass(frozen=True)
class Dataset:
    """Named modalities over the same n rows.

    Attributes:
      ids: (n,) str, unique.
      groups: (n,) str; rows of one group (cell line, patient, donor) never part in a split.
      modalities: name -> Modality of n rows.
      table: n rows of annotations (drug, dose, platform, ...), indexed like `ids`.
      targets: name -> (values (n,), mask (n,)).
      classes: name of a target of categories -> the categories' names, of which its values are
        indices.
      notes: sentences for the user on what was understood, dropped or assumed while reading.
    """

    ids: np.ndarray
    groups: np.ndarray
    modalities: Mapping[str, Modality]
    table: pd.DataFrame
    targets: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self):
        n = len(self.ids)
        sizes = {
            "groups": len(self.groups),
            "table": len(self.table),
            **{name: len(m.values) for name, m in self.modalities.items()},
            **{name: len(values) for name, (values, _) in self.targets.items()},
        }
        wrong = {name: size for name, size in sizes.items() if size != n}
        if wrong:
            raise ValueError(f"a dataset of {n} ids has parts of other lengths: {wrong}")
        ids, counts = np.unique(np.asarray(self.ids, dtype=str), return_counts=True)
        if len(ids) != n:
            raise UserError(
                f"id {ids[counts > 1][0]!r} names {counts.max()} rows; "
                "ids must be unique: rename or drop the duplicates"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> Dataset:
        """The dataset of the given rows (indices or a boolean mask), in that order."""
        return replace(
            self,
            ids=self.ids[rows],
            groups=self.groups[rows],
            modalities={name: m.take(rows) for name, m in self.modalities.items()},
            table=self.table.iloc[np.arange(len(self))[rows]],
            targets={name: (v[rows], m[rows]) for name, (v, m) in self.targets.items()},
        )

    def fingerprint(self) -> str:
        """sha256 over ids, groups, features, values, masks and annotations: equal only for the same
        data.
        """
        digest = hashlib.sha256()

        def add(array):
            array = np.asarray(array)
            text = array.dtype.kind in "OUT"
            digest.update(str(array.shape).encode())
            digest.update(
                "\x1f".join(map(str, array.ravel())).encode()
                if text
                else np.ascontiguousarray(array)
            )

        add(self.ids)
        add(self.groups)
        for name in sorted(self.modalities):
            m = self.modalities[name]
            digest.update(name.encode())
            for array in (m.features, m.values, m.mask):
                add(array)
        for name in sorted(self.targets):
            digest.update(name.encode())
            for array in self.targets[name]:
                add(array)
        for name in sorted(self.classes):
            add(np.array([name, *self.classes[name]]))
        for column in sorted(self.table.columns):
            digest.update(str(column).encode())
            add(self.table[column].astype(str).to_numpy())
        return digest.hexdigest()
