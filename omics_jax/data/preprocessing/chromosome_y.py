"""Which features lie on chromosome Y, by an annotation or by a name that is a locus.

The paper that couples deep imputation with multi-task learning on TCGA drops the methylation sites
of chromosome Y.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omics_jax.errors import UserError

_LOCUS = re.compile(r"chr(\d{1,2}|x|y|mt?)(?:[:_.|-]|$)|(\d{1,2}|x|y|mt?):\d")
_UNKNOWN = ("", "na", "nan", "none")


def on_chromosome_y(
    features: Sequence[str] | np.ndarray, name: str, chromosome: Mapping[str, Any] | None = None
) -> tuple[frozenset[str], str]:
    """The features of a modality that lie on chromosome Y, and a sentence on how that is known.

    An annotation decides for the features it names. For the others it is known only if the name is
    a locus: it begins with chr and a chromosome (`chrY:2655180`, `chrY_cg00050873`), or is a
    chromosome, a colon and a position (`Y:2655180`). Identifiers of probes (cg00050873) and genes
    (KDM5D) say nothing about it.

    Args:
      name: the modality's, for messages.
      chromosome: feature -> chromosome (`Y`, `chrY`), of other features too; empty, NA and NaN are
        not known.

    Raises:
      UserError: an annotation of none of the features.
    """
    names = [str(feature) for feature in features]
    annotated = {
        str(feature): str(where).strip().lower() for feature, where in (chromosome or {}).items()
    }
    if annotated and names and annotated.keys().isdisjoint(names):
        raise UserError(
            f"{name}: the annotation gives chromosomes of features such as "
            f"{next(iter(annotated))!r}, but of none of the modality's, such as {names[0]!r}; give "
            "an annotation by the same names"
        )
    by_feature = {feature: _chromosome(feature, annotated.get(feature, "")) for feature in names}
    on_y = frozenset(feature for feature, where in by_feature.items() if where in ("y", "chry"))
    unknown = [feature for feature, where in by_feature.items() if not where]
    if len(unknown) == len(by_feature):
        return on_y, (
            f"{name}: the chromosome of no feature is known (names such as {', '.join(names[:2])} "
            "do not tell it), so that sites of chromosome Y stay in; an annotation of chromosomes "
            "would find them."
        )
    rest = ""
    if unknown:
        rest = f"; that of {len(unknown):,} is not known and they stay in, such as {unknown[0]}"
    counts = f"{len(on_y):,} of {len(by_feature):,}"
    return on_y, f"{name}: {counts} features lie on chromosome Y{rest}."


def _chromosome(feature: str, annotated: str) -> str:
    """In lower case; empty if neither the annotation nor the name says it."""
    if annotated not in _UNKNOWN:
        return annotated
    locus = _LOCUS.match(feature.lower())
    return (locus[1] or locus[2]) if locus else ""
