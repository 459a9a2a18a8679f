"""Detection p-values: a value that does not stand out from the background is missing.

Source: the detection p-value of Illumina's GenomeStudio and of minfi; Lehne et al. 2015 discuss
limits. Left out: removing sites or people of whom many values are missing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.options import ReadOptions
from omics_jax.data.methylation.sites import columns_of
from omics_jax.data.patients.modality_files import read_modality
from omics_jax.data.patients.remarks import Remarks, note, warning
from omics_jax.errors import UserError


def without_undetected(
    study: str, matrix: Matrix, path: str, limit: float, options: ReadOptions
) -> tuple[Matrix, Remarks]:
    """The study without the values whose detection p-value is above the limit, and remarks.

    Args:
      path: of a matrix of p-values, people and sites in any order.
      options: as the study was read.

    Raises:
      UserError: no person or no site of the study is in the file, or its values are no p-values.
    """
    p_values, _ = read_modality(path, options, set(matrix.ids.tolist()), "", matrix.features)
    if p_values.values.min() < 0 or p_values.values.max() > 1:
        raise UserError(
            f"{path}: its values are {p_values.values.min():.3g} to {p_values.values.max():.3g}, "
            "and detection p-values are between 0 and 1; name the matrix of p-values in "
            "data.detection"
        )
    row_of = {person: i for i, person in enumerate(p_values.ids.tolist())}
    rows = np.array([row_of.get(person, -1) for person in matrix.ids.tolist()])
    columns = columns_of(matrix.features, p_values.features)
    for kind, places, names in (
        ("person", rows, (matrix.ids, p_values.ids)),
        ("site", columns, (matrix.features, p_values.features)),
    ):
        if (places < 0).all():
            raise UserError(
                f"{path}: no {kind} of the study {study} (such as {str(names[0][0])!r}) is among "
                f"its own (such as {str(names[1][0])!r}); use the same ids in both"
            )
    mask = mapped.empty_or_mapped(matrix.mask.shape, bool)
    n_above = 0
    for block in mapped.row_blocks(matrix.values):
        is_known = (rows[block] >= 0)[:, None] & (columns >= 0)
        is_above = p_values.values[rows[block]][:, columns] > limit
        is_above &= p_values.mask[rows[block]][:, columns] & is_known & matrix.mask[block]
        mask[block] = matrix.mask[block] & ~is_above
        n_above += int(is_above.sum())
    remarks = note(
        f"{study}: {n_above:,} of {int(matrix.mask.sum()):,} values have a detection p-value above "
        f"{limit:g} and are taken for missing (data.detection)."
    )
    for kind, places, names in (
        ("person", rows, matrix.ids),
        ("site", columns, matrix.features),
    ):
        if n_without := int((places < 0).sum()):
            some = count_phrase(n_without, kind, names[places < 0][:5].tolist())
            remarks += warning(f"{study}: {some} without detection p-values; all values are kept.")
    values = mapped.zero_missing(matrix.values, mask)
    return replace(matrix, values=values, mask=mask), remarks
