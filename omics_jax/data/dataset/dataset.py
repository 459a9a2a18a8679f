"""`Dataset`: what every reader returns and every system reads.

Rows are samples (profiles, patients); columns are in named modalities. Whatever is missing is a
mask from the reader onwards, never a magic number and never a dropped row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.dataset.account import Use
from omics_jax.errors import UserError


@dataclass(frozen=True)
class Modality:
    """One measured block of n rows.

    Attributes:
      values: (n, f) numbers, float32 as a rule; a series has its time steps between rows and
        features, (n, T, f). Unobserved values are stored as 0 and must be read through the mask.
      mask: of the same shape, True = observed.
      features: (f,) names.
      transform: what was done to the file's values, "" for nothing.
      one_unit: whether all features are measured on one scale, as genes are; then a value is only
        judged far (`quality`) if it is so for the whole modality.
    """

    values: np.ndarray
    mask: np.ndarray
    features: np.ndarray
    transform: str = ""
    one_unit: bool = False

    def __post_init__(self):
        if self.values.shape != self.mask.shape or self.values.shape[-1] != len(self.features):
            raise ValueError(
                f"a modality's values {self.values.shape}, mask {self.mask.shape} and "
                f"{len(self.features)} features do not agree"
            )

    def take(self, rows: Shaped[np.ndarray, " r"]) -> Modality:
        """The same modality for the given rows (indices or a boolean mask)."""
        values, mask = mapped.take_rows(self.values, rows), mapped.take_rows(self.mask, rows)
        return replace(self, values=values, mask=mask)

    def select_features(self, features: Sequence[str] | np.ndarray) -> Modality:
        """The modality on these features, in this order; those it lacks are unobserved."""
        column_of = {str(name): j for j, name in enumerate(self.features)}
        columns = np.array([column_of.get(str(name), -1) for name in features])
        values, mask = mapped.take_columns(self.values, self.mask, columns)
        return replace(self, values=values, mask=mask, features=np.asarray(features))

    @property
    def observed_rows(self) -> Bool[np.ndarray, " n"]:
        """(n,) bool: rows with at least one observed value."""
        return self.mask.reshape(len(self.mask), -1).any(axis=1)


@dataclass(frozen=True)
class Dataset:
    """Named modalities over the same n rows.

    Attributes:
      ids: (n,) str, unique.
      groups: (n,) str; all rows of a group (cell line, patient, donor) are in one part of a split.
      modalities: name -> Modality of n rows.
      table: n rows of annotations (drug, dose, platform, ...), indexed like `ids`.
      targets: name -> (values (n,), mask (n,)).
      classes: name of a categorical target -> the categories' names; its values are indices into
        these.
      notes: sentences for the user on what was understood, dropped or assumed while reading.
      warnings: sentences on what looks wrong and should be looked at before any result is used.
      uses: what became of the rows and columns of the files.
    """

    ids: np.ndarray
    groups: np.ndarray
    modalities: Mapping[str, Modality]
    table: pd.DataFrame
    targets: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    uses: tuple[Use, ...] = ()

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

    def take(self, rows: Shaped[np.ndarray, " r"]) -> Dataset:
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
        """sha256 over ids, groups, features, values, masks, targets and annotations.

        It is equal only for the same data.
        """
        digest = hashlib.sha256()
        for array in (self.ids, self.groups):
            _update(digest, array)
        for name in sorted(self.modalities):
            m = self.modalities[name]
            digest.update(name.encode())
            for array in (m.features, m.values, m.mask):
                _update(digest, array)
        for name in sorted(self.targets):
            digest.update(name.encode())
            for array in self.targets[name]:
                _update(digest, array)
        for name in sorted(self.classes):
            _update(digest, np.array([name, *self.classes[name]]))
        for column in sorted(self.table.columns):
            digest.update(str(column).encode())
            _update(digest, self.table[column].astype(str).to_numpy())
        return digest.hexdigest()


def _update(digest, array: np.ndarray) -> None:
    """Adds the array's shape and its numbers, or its texts with separators, to the digest."""
    array = np.asarray(array)
    digest.update(str(array.shape).encode())
    if array.dtype.kind in "OUT":
        digest.update("\x1f".join(map(str, array.ravel())).encode())
    else:
        digest.update(np.ascontiguousarray(array))
