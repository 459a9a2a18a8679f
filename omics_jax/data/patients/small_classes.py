"""Classes of few patients, of whom no fold could learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int, Shaped

from omics_jax.data.patients.remarks import Remarks, note
from omics_jax.data.patients.targets import Target
from omics_jax.errors import UserError

Classes = Mapping[str, tuple[str, ...]]


def without_small_classes(
    targets: Mapping[str, Target], classes: Classes, groups: Shaped[np.ndarray, " n"], smallest: int
) -> tuple[dict[str, Target], dict[str, tuple[str, ...]], Remarks]:
    """The targets, unknown in patients whose class has fewer than `smallest` groups; and a note.

    groups: of the patients, such as the donors of samples.

    Raises:
      UserError: a target of which fewer than two classes are left.
    """
    kept, names = dict(targets), dict(classes)
    remarks = Remarks()
    for name, own in classes.items():
        codes, known = targets[name]
        sizes = class_sizes(codes, known, groups, len(own))
        is_small = (sizes > 0) & (sizes < smallest)
        if not is_small.any():
            continue
        left = np.flatnonzero(~is_small)
        if len(left) < 2:
            raise UserError(
                f"{name}: only {len(left)} of its {len(own)} classes has {smallest:,} patients or "
                "more; set a smaller --config.data.smallest_class"
            )
        place = np.zeros(len(own), codes.dtype)
        place[left] = np.arange(len(left))
        is_kept = known & ~is_small[codes]
        kept[name] = np.where(is_kept, place[codes], 0), is_kept
        names[name] = tuple(own[i] for i in left)
        remarks += note(_sentence(name, own, is_small, int((known & ~is_kept).sum()), smallest))
    return kept, names, remarks


def class_sizes(
    codes: Int[np.ndarray, " n"],
    known: Bool[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    classes: int,
) -> Int[np.ndarray, " C"]:
    """The number of groups in which each class was seen."""
    pairs = {(int(code), group) for code, group in zip(codes[known], groups[known], strict=True)}
    return np.bincount([code for code, _ in pairs], minlength=classes)


def _sentence(
    name: str,
    classes: Sequence[str],
    is_small: Bool[np.ndarray, " C"],
    patients: int,
    smallest: int,
) -> str:
    small = ", ".join(classes[i] for i in np.flatnonzero(is_small))
    return (
        f"{name}: unknown in the {patients:,} patients of {small}, of whom there are fewer than "
        f"data.smallest_class = {smallest:,}."
    )
